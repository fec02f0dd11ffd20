//! The event indices of a queue: when the hardware interrupts (virtIO 1.2 §2.7.7), moved ahead of the next request, and when it wants to
//! be told of requests (§2.7.10).
//!
//! The crate always asks for an interrupt at the next request, forgets that indices wrap around, and keeps its rings to itself, so
//! their places are learned where it tells the hardware.

use super::dma::own_word;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicU16, fence};
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The shared words of a queue that say when it interrupts, and when it wants to be told.
#[derive(Clone, Copy)]
pub(super) struct Events {
    /// The hardware interrupts when its index passes this one.
    event: &'static AtomicU16,
    /// Requests that the hardware is done with, modulo 2¹⁶.
    index: &'static AtomicU16,
    /// The hardware wants to be told when our index passes this one.
    wanted: &'static AtomicU16,
}

impl Events {
    /// How many requests the hardware is done with, of which `taken` were taken (modulo 2¹⁶).
    pub(super) fn ready(&self, taken: u16) -> u16 {
        // Acquire: what the hardware wrote before the index is there.
        self.index.load(Acquire).wrapping_sub(taken)
    }

    /// Asks for an interrupt when `ahead` more requests than the `taken` ones are done, at least one. False: that many
    /// are done already, and no interrupt may come.
    ///
    /// As in §2.7.7: the wish is out before the index is looked at, and the hardware moves the index before it looks at
    /// the wish, so that one of the two sees the other's write.
    pub(super) fn ask(&self, taken: u16, ahead: u16) -> bool {
        let ahead = ahead.max(1);
        self.event
            .store(taken.wrapping_add(ahead).wrapping_sub(1), Relaxed);
        fence(SeqCst);
        self.ready(taken) < ahead
    }

    /// Whether the hardware wants to be told that there are `added` requests now, after it was told of `told` (modulo 2¹⁶).
    pub(super) fn wants(&self, told: u16, added: u16) -> bool {
        // §2.7.10: our index is out before the wish is looked at, and the hardware writes the wish before it looks at the index.
        fence(SeqCst);
        let beyond = added
            .wrapping_sub(self.wanted.load(Relaxed))
            .wrapping_sub(1);
        beyond < added.wrapping_sub(told)
    }

    /// Asks for no interrupt, whatever is done after the `taken` requests, until asked for one again: the index is past
    /// the event already, and would have to go around.
    pub(super) fn mute(&self, taken: u16) {
        self.event.store(taken.wrapping_sub(1), Relaxed);
    }
}

/// A transport that remembers where the queue is that is set up through it.
pub(super) struct Witness<'a, T> {
    transport: &'a mut T,
    /// Number of entries, the driver's area, the device's area.
    place: Option<(u32, PhysAddr, PhysAddr)>,
}

impl<'a, T> Witness<'a, T> {
    pub(super) fn new(transport: &'a mut T) -> Self {
        Self {
            transport,
            place: None,
        }
    }

    /// The words of the queue that was set up; `None` if there was none, or not in this driver's memory.
    pub(super) fn events(&self) -> Option<Events> {
        let (size, driver, device) = self.place?;
        // §2.7.6, §2.7.8: the flags, the index and the ring come before `used_event` and `avail_event`.
        let event = driver.checked_add(4 + 2 * u64::from(size))?;
        let wanted = device.checked_add(4 + 8 * u64::from(size))?;
        Some(Events {
            event: own_word(event)?,
            index: own_word(device.checked_add(2)?)?,
            wanted: own_word(wanted)?,
        })
    }
}

impl<T: Transport> Transport for Witness<'_, T> {
    fn device_type(&self) -> DeviceType {
        self.transport.device_type()
    }
    fn read_device_features(&mut self) -> u64 {
        self.transport.read_device_features()
    }
    fn write_driver_features(&mut self, features: u64) {
        self.transport.write_driver_features(features);
    }
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.transport.max_queue_size(queue)
    }
    fn notify(&mut self, queue: u16) {
        self.transport.notify(queue);
    }
    fn get_status(&self) -> DeviceStatus {
        self.transport.get_status()
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.transport.set_status(status);
    }
    fn set_guest_page_size(&mut self, size: u32) {
        self.transport.set_guest_page_size(size);
    }
    fn requires_legacy_layout(&self) -> bool {
        self.transport.requires_legacy_layout()
    }
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.place = Some((size, driver, device));
        self.transport
            .queue_set(queue, size, descriptors, driver, device);
    }
    fn queue_unset(&mut self, queue: u16) {
        self.transport.queue_unset(queue);
    }
    fn queue_used(&mut self, queue: u16) -> bool {
        self.transport.queue_used(queue)
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.transport.ack_interrupt()
    }
    fn read_config_generation(&self) -> u32 {
        self.transport.read_config_generation()
    }
    fn read_config_space<V: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<V> {
        self.transport.read_config_space(offset)
    }
    fn write_config_space<V: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: V,
    ) -> virtio_drivers::Result<()> {
        self.transport.write_config_space(offset, value)
    }
}
