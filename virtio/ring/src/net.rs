//! What a net backend and a net driver say to each other.
//!
//! Frames go by DMA between the hardware and guest RAM. The 12-byte header that virtIO puts before a frame
//! (virtIO 1.2 §5.1.6) is treated differently in the two directions:
//! - [`TRANSMIT`] segments hold the frame alone. The header that the hardware wants is the driver's own, all zero:
//!   the guest's is checked by the backend and never reaches the hardware.
//! - [`RECEIVE`] segments begin with [`HEADER`] bytes for the header, and the frame follows without a gap, as the guest
//!   expects it. Hardware whose header is 12 bytes (VERSION_1, or MRG_RXBUF with whole frames) gets the segments as
//!   they are; a driver for other hardware skips these bytes. The backend writes the guest's header itself when
//!   the buffer comes back, so it does not matter what the hardware left there.
//!
//! Buffers may come back in any order. Buffers posted for receiving come back when a frame has arrived, and all of
//! them on [`RESET`](crate::request::RESET).

use crate::info::Facts;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operation: send the segments as one frame (Ethernet header first, no checksum). 14 bytes to MTU + 14, + 4 with a VLAN tag.
pub const TRANSMIT: u8 = 1;
/// Operation: put one frame into the segments, after [`HEADER`] bytes. The completion's `len` counts both: the
/// frame has `len` − [`HEADER`] bytes. A frame that does not fit is dropped, not cut.
pub const RECEIVE: u8 = 2;
/// Bytes before a received frame.
pub const HEADER: u32 = 12;
/// Most segments of one frame.
pub const MAX_SEGMENTS: usize = 64;

/// What a network interface is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Interface {
    /// Reserved for offloads: 0.
    pub features: u64,
    /// The hardware's address; all zero: it has none of its own.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes; 0: 1500.
    pub mtu: u16,
    /// 1: the link is up.
    pub link_up: u16,
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// Buffers of two segments that the hardware's transmit queue holds at once; 0: unknown.
    pub transmit_buffers: u16,
    /// Buffers of two segments that its receive queue holds at once; 0: unknown. More than these wait in the ring, and
    /// so do the frames to be sent behind them: the backend stays below.
    pub receive_buffers: u16,
}

impl Facts for Interface {
    const KIND: u32 = 1;
}
