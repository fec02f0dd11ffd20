//! Setting up queues (§4.2.3.2): claims are collected, and checked when the driver says that a queue is ready.

use super::Transport;
use sel4cp_link::QueueSetup;
use sel4cp_memory::{GuestAddress, GuestRam, GuestRange};
use sel4cp_model::mmio::Register;

/// Half of an address.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Low,
    High,
}

impl Half {
    fn replace(self, address: u64, value: u32) -> u64 {
        let value = u64::from(value);
        match self {
            Self::Low => address & !0xffff_ffff | value,
            Self::High => address & 0xffff_ffff | value << 32,
        }
    }
}

impl Transport {
    pub(super) fn selected(&self) -> Option<&QueueSetup> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    /// The selected queue, if it exists and can be set up now: the driver is configuring and the queue is not ready
    /// (§4.2.2.2: its registers must not be written then).
    fn open_queue(&mut self) -> Option<(u16, &mut QueueSetup)> {
        let max = self.link.facts()?.queue_max(self.queue_sel);
        let configuring = self.is_configuring();
        let queue = self.queues.get_mut(usize::try_from(self.queue_sel).ok()?)?;
        (max != 0 && configuring && !queue.ready).then_some((max, queue))
    }

    /// QueueNum: a power of two (§2.7), at most QueueNumMax.
    pub(super) fn set_queue_size(&mut self, value: u32) {
        let Some((max, queue)) = self.open_queue() else {
            return;
        };
        if let Ok(size) = u16::try_from(value)
            && size.is_power_of_two()
            && size <= max
        {
            queue.size = size;
        } else {
            // A size that is not one leaves none, so that the queue cannot become ready with an older one.
            queue.size = 0;
        }
    }

    pub(super) fn set_address(
        &mut self,
        half: Half,
        value: u32,
        which: impl FnOnce(&mut QueueSetup) -> &mut u64,
    ) {
        if let Some((_, queue)) = self.open_queue() {
            let address = which(queue);
            *address = half.replace(*address, value);
        }
    }

    /// QueueReady. A queue that cannot be used stays not ready, which the driver can read. A live one cannot be
    /// stopped but by a reset of the device, and keeps reading 1.
    pub(super) fn set_queue_ready(&mut self, value: u32) {
        if !self.is_configuring() {
            return;
        }
        let ram = self.ram;
        if value == 1 {
            let Some((_, queue)) = self.open_queue() else {
                return;
            };
            if !is_usable(queue, &ram) {
                return;
            }
            queue.ready = true;
        } else if value == 0 {
            let index = usize::try_from(self.queue_sel).ok();
            if let Some(queue) = index.and_then(|index| self.queues.get_mut(index)) {
                queue.ready = false;
            }
        }
        if let Some(setup) = self.selected().copied() {
            self.link.set_queue(self.queue_sel, setup);
            self.page.show(Register::QueueReady, setup.ready.into());
        }
    }
}

/// Whether a queue has a size, and its three parts are aligned (§2.7) and inside RAM. The backend checks again: it does
/// not trust us any more than the guest.
fn is_usable(queue: &QueueSetup, ram: &GuestRam) -> bool {
    let size = u32::from(queue.size);
    let fits = |address: u64, alignment: u64, bytes: u32| {
        let start = GuestAddress::new(address);
        start.is_aligned_to(alignment) && ram.check(GuestRange::new(start, bytes)).is_ok()
    };
    size != 0
        && fits(queue.descriptors, 16, 16 * size)
        && fits(queue.driver, 2, 6 + 2 * size)
        && fits(queue.device, 4, 6 + 8 * size)
}
