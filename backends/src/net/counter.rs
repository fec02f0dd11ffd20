//! Places of [`Net`](super::Net)'s counters.

/// Frames from the guest.
pub const TRANSMITTED: usize = 0;
/// Their bytes.
pub const TRANSMITTED_BYTES: usize = 1;
/// Frames from the guest that were not sent: too short, too long, or with an offload that was not agreed on or makes no sense.
pub const TRANSMIT_DROPPED: usize = 2;
/// Frames to the guest.
pub const RECEIVED: usize = 3;
/// Their bytes.
pub const RECEIVED_BYTES: usize = 4;
/// Receive buffers that came back without a frame.
pub const RECEIVE_FAILED: usize = 5;
/// How often a frame or buffer waited for the ring.
pub const DELAYED: usize = 6;
/// Frames that were made here: a checksum was completed, or a longer one was cut.
pub const MADE: usize = 7;
/// Frames that came to the guest in one with another, as what that says already or behind it, and are not counted themselves.
pub const JOINED: usize = 8;
/// Frames from the guest that came with the next one, without a notification of their own.
pub const UNNOTIFIED: usize = 9;
/// How many there are.
pub(crate) const COUNT: usize = sel4cp_link::names(sel4cp_model::DeviceType::Net as u32).len();
const _: () = assert!(COUNT == UNNOTIFIED + 1);

/// The device's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters(pub(super) [u64; COUNT]);

impl Counters {
    pub(super) fn add(&mut self, counter: usize, more: u64) {
        if let Some(value) = self.0.get_mut(counter) {
            *value = value.wrapping_add(more);
        }
    }
}
