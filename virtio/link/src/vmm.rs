//! The VMM's end.

use crate::config;
use crate::facts::{Facts, QueueSetup};
use crate::interrupt;
use crate::page::{CONFIG_SIZE, LinkPage, MAX_QUEUES};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use sel4cp_model::status::Status;

/// The VMM's end of a link.
pub struct VmmEnd {
    page: &'static LinkPage,
    facts: Option<Facts>,
    life: u32,
    generation: u32,
    /// The generation has been acknowledged, and that was reported.
    settled: bool,
    status: u8,
    features: u64,
    queues: [QueueSetup; MAX_QUEUES],
}

/// What has changed since the last [`VmmEnd::poll`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A backend announced itself: [`VmmEnd::facts`] and the configuration are new.
    pub announced: bool,
    /// The last [`VmmEnd::reset`] is complete: Status may read 0, and the vCPU that wrote it may go on. Facts and
    /// configuration are to be copied to the registers again.
    pub reset_done: bool,
    /// Bits to set in InterruptStatus; not 0: raise the interrupt. [`interrupt::CONFIGURATION`] asks to copy the
    /// configuration and [`needs_reset`](Self::needs_reset) to the registers first. Before DRIVER_OK it may be set
    /// too; the guest is not to be interrupted then.
    pub interrupts: u32,
    /// DEVICE_NEEDS_RESET is to be set in Status (virtIO 1.2 §2.1.2).
    pub needs_reset: bool,
}

impl VmmEnd {
    /// Takes the VMM's end, and begins a reset: whatever an earlier life of the VMM had set up ends. The backend is
    /// to be notified; [`is_ready`](Self::is_ready) tells when it has announced itself and acknowledged.
    pub fn new(page: &'static LinkPage) -> Self {
        let mut end = Self {
            page,
            facts: None,
            life: 0,
            generation: page.vmm.generation.load(Relaxed),
            settled: true,
            status: 0,
            features: 0,
            queues: [QueueSetup::default(); MAX_QUEUES],
        };
        end.reset();
        end
    }

    /// What the device is, once a backend has announced it. It does not change while a driver uses the device.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Whether a backend is there and has acknowledged the last reset.
    pub fn is_ready(&self) -> bool {
        self.facts.is_some() && self.settled
    }

    /// Takes what the backend has written. To be called on each notification.
    pub fn poll(&mut self) -> Changes {
        let device = &self.page.device;
        let mut changes = Changes::default();
        // Acquire: the facts were written before the life.
        let life = device.life.load(Acquire);
        if life != self.life {
            self.life = life;
            changes.announced = true;
            let facts = Facts::load(device);
            if self.status == 0 || self.fits(&facts) {
                self.facts = Some(facts);
            } else {
                // Another device than the driver knows: it must not run with what was negotiated.
                self.page.vmm.status.store(0, Relaxed);
                changes.needs_reset = true;
                changes.interrupts |= interrupt::CONFIGURATION;
            }
        }
        if !self.settled && life != 0 {
            // Acquire: the device's last writes came before its acknowledgement.
            if device.acknowledged.load(Acquire) == self.generation {
                self.settled = true;
                changes.reset_done = true;
                // What was announced meanwhile and did not fit the driver of that time.
                self.facts = Some(Facts::load(device));
            } else {
                return changes;
            }
        }
        if self.page.interrupts.load(Relaxed) != 0 {
            // Acquire: the used ring was written before the bit. Release: as said in `DeviceEnd::interrupt`.
            let taken = self.page.interrupts.swap(0, AcqRel);
            changes.interrupts |= taken & (interrupt::USED_BUFFER | interrupt::CONFIGURATION);
            if self.status & Status::DRIVER_OK.bits() == 0 {
                // No buffer can have been used; the configuration may have changed at any time.
                changes.interrupts &= interrupt::CONFIGURATION;
            }
            if taken & interrupt::CONFIGURATION != 0 {
                changes.needs_reset |= device.needs_reset.load(Relaxed) != 0;
            }
        }
        changes
    }

    /// Whether a device with `facts` can go on with what was negotiated.
    fn fits(&self, facts: &Facts) -> bool {
        let same = self.facts.as_ref().is_some_and(|old| old.id == facts.id);
        let queues = self.queues.iter().zip(facts.queue_max);
        same && self.features & !facts.features == 0
            && queues.into_iter().all(|(queue, max)| queue.size <= max)
    }

    /// A consistent copy of the configuration space and its generation (virtIO 1.2 §2.5.1), or `None` when the
    /// backend is changing it: it notifies when it is done.
    pub fn config(&self, bytes: &mut [u8; CONFIG_SIZE]) -> Option<u32> {
        config::load(&self.page.device, bytes)
    }

    /// Used bytes of the configuration space, at most [`CONFIG_SIZE`].
    pub fn config_size(&self) -> usize {
        let size = self.page.device.config_size.load(Relaxed);
        usize::try_from(size).unwrap_or(0).min(CONFIG_SIZE)
    }

    /// Writes the features that the driver accepted; before DRIVER_OK.
    pub fn set_features(&mut self, features: u64) {
        self.features = features;
        self.page.vmm.features.store(features, Relaxed);
    }

    /// Writes a queue as the driver set it up; before DRIVER_OK. Queues that do not exist are ignored.
    pub fn set_queue(&mut self, index: u32, setup: QueueSetup) {
        let Ok(index) = usize::try_from(index) else {
            return;
        };
        let words = self.page.vmm.queues.get(index);
        if let (Some(queue), Some(words)) = (self.queues.get_mut(index), words) {
            *queue = setup;
            setup.store(words);
        }
    }

    /// Writes the device status; not 0, which is [`reset`](Self::reset). True: notify the backend (DRIVER_OK is new).
    #[must_use = "true asks for a notification of the backend"]
    pub fn set_status(&mut self, status: u8) -> bool {
        let old = core::mem::replace(&mut self.status, status);
        // Release: features and queues come before DRIVER_OK.
        self.page.vmm.status.store(u32::from(status), Release);
        status & !old & Status::DRIVER_OK.bits() != 0
    }

    /// Begins a reset. The backend is to be notified. [`Changes::reset_done`] follows, from the backend or from its next
    /// life, and not before no request of the old generation touches guest memory; until then the vCPU that wrote
    /// 0 to Status is held. A second reset before that one is done joins it.
    pub fn reset(&mut self) {
        self.status = 0;
        self.features = 0;
        self.queues = [QueueSetup::default(); MAX_QUEUES];
        let vmm = &self.page.vmm;
        vmm.status.store(0, Relaxed);
        vmm.features.store(0, Relaxed);
        for (setup, words) in self.queues.iter().zip(&vmm.queues) {
            setup.store(words);
        }
        if core::mem::replace(&mut self.settled, false) {
            self.generation = self.generation.wrapping_add(1);
            // Release: the cleared words come before the generation.
            vmm.generation.store(self.generation, Release);
        }
    }

    /// Whether a reset is not done yet.
    pub fn is_resetting(&self) -> bool {
        !self.settled
    }

    /// The driver notified a queue: the backend looks at all. True: notify the backend; false: it has not taken the last kick
    /// yet, or the driver is not allowed to (virtIO 1.2 §3.1: before DRIVER_OK).
    #[must_use = "true asks for a notification of the backend"]
    pub fn kick(&mut self) -> bool {
        if self.status & Status::DRIVER_OK.bits() == 0 {
            return false;
        }
        // Release: what the driver wrote comes before the kick. Acquire: a kick that is found is one that the backend will
        // still take.
        self.page.kicks.swap(1, AcqRel) == 0
    }

    /// The value of one of the device's counters.
    pub fn counter(&self, counter: usize) -> u64 {
        let word = self.page.device.counters.get(counter);
        word.map_or(0, |word| word.load(Relaxed))
    }
}
