//! A device with a guest before it, a VMM's end of the link beside it, and whatever the test is behind it.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

pub(crate) mod disk;
pub(crate) mod wire;

use sel4cp_backends::{Backend, Device, Signals, Trouble};
use sel4cp_link::{CONFIG_SIZE, Changes, LinkPage, QueueSetup, VmmEnd, interrupt};
use sel4cp_memory::GuestRam;
use sel4cp_queue::{Config, Features};
use sel4cp_testing::Guest;

/// Status with everything up to DRIVER_OK.
const RUNNING: u8 = 15;

/// Everything but the driver of the hardware.
pub(crate) struct Bench<D: Device> {
    pub(crate) guest: Guest,
    pub(crate) vmm: VmmEnd,
    pub(crate) backend: Backend<D>,
    page: &'static LinkPage,
    pub(crate) ring_features: Features,
    /// What the guest has been told since the test last looked.
    pub(crate) interrupts: u32,
    pub(crate) needs_reset: bool,
    /// Notifications of the driver and of the VMM.
    pub(crate) driver_notified: usize,
    pub(crate) vmm_notified: usize,
    /// Wires whose peers have been notified.
    pub(crate) wires_notified: u32,
    /// Notifications of the domain that tells of the guest's pauses.
    pub(crate) asked_for_pause: usize,
    pub(crate) trouble: Option<Trouble>,
}

impl<D: Device> Bench<D> {
    /// A guest with the queues of these sizes, and the device that `make` makes for its RAM.
    pub(crate) fn new(
        sizes: &[u16],
        ring_features: Features,
        make: impl FnOnce(GuestRam) -> D,
    ) -> Self {
        let mut guest = Guest::new();
        for size in sizes {
            guest.add_queue(*size, ring_features);
        }
        let page: &'static LinkPage = Box::leak(Box::default());
        let vmm = VmmEnd::new(page);
        let backend = Backend::new(page, guest.ram(), make(guest.ram()));
        Self {
            guest,
            vmm,
            backend,
            page,
            ring_features,
            interrupts: 0,
            needs_reset: false,
            driver_notified: 0,
            vmm_notified: 0,
            wires_notified: 0,
            asked_for_pause: 0,
            trouble: None,
        }
    }

    /// The protection domain starts again, with this device, and nobody else does.
    pub(crate) fn revive(&mut self, device: D) {
        self.backend = Backend::new(self.page, self.guest.ram(), device);
        self.turn();
    }

    /// What the protection domain does when it is notified, and what the VMM then does. Ends: a turn that asks for another
    /// one for ever is a failure.
    pub(crate) fn turn(&mut self) -> Changes {
        for _ in 0..100 {
            let Signals {
                vmm,
                driver,
                wires,
                ask_for_pause,
                again,
            } = self.backend.turn();
            self.vmm_notified += usize::from(vmm);
            self.driver_notified += usize::from(driver);
            self.wires_notified |= wires;
            self.asked_for_pause += usize::from(ask_for_pause);
            self.trouble = self.backend.take_trouble().or(self.trouble);
            if !again {
                let changes = self.vmm.poll();
                assert!(
                    changes == Changes::default() || self.vmm_notified > 0,
                    "the VMM was not notified of {changes:?}"
                );
                self.interrupts |= changes.interrupts;
                self.needs_reset |= changes.needs_reset;
                return changes;
            }
        }
        panic!("the backend does not come to rest");
    }

    /// The guest's driver initializes the device and accepts the features in `accept` that are offered.
    pub(crate) fn start(&mut self, accept: u64) {
        self.turn();
        assert!(
            self.vmm.is_ready(),
            "not announced, or the reset is not done"
        );
        let offered = self.vmm.facts().unwrap().features;
        assert_eq!(
            offered & (1 << 32 | 1 << 29 | 1 << 28),
            1 << 32 | 1 << 29 | 1 << 28
        );
        self.vmm
            .set_features(offered & accept | 1 << 32 | self.ring_features.bits());
        for index in 0..self.vmm.facts().unwrap().queue_max.len() {
            let number = u32::try_from(index).unwrap();
            if self.vmm.facts().unwrap().queue_max(number) != 0 {
                let config = self.guest.queue(index).config();
                self.vmm.set_queue(number, setup(config));
            }
        }
        assert!(self.vmm.set_status(RUNNING));
        self.turn();
    }

    /// The guest notifies a queue, if the device asked for it; then the device works. Whether it did.
    pub(crate) fn kick(&mut self, queue: usize) -> bool {
        let wanted = self.guest.queue(queue).kick();
        if wanted {
            let _told = self.vmm.kick();
            self.turn();
        }
        wanted
    }

    /// Begins a reset; whether it is complete at once.
    pub(crate) fn reset(&mut self) -> bool {
        self.vmm.reset();
        self.turn().reset_done
    }

    /// After a complete reset: the guest forgets its queues and begins again.
    pub(crate) fn restart(&mut self, queues: usize, accept: u64) {
        assert!(!self.vmm.is_resetting());
        for index in 0..queues {
            self.guest.queue(index).reset();
        }
        (self.interrupts, self.needs_reset, self.trouble) = (0, false, None);
        self.start(accept);
    }

    /// The interrupt for used buffers, once.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        let taken = self.interrupts & interrupt::USED_BUFFER != 0;
        self.interrupts &= !interrupt::USED_BUFFER;
        taken
    }

    pub(crate) fn config(&mut self) -> [u8; CONFIG_SIZE] {
        let mut bytes = [0; CONFIG_SIZE];
        self.vmm.config(&mut bytes).unwrap();
        bytes
    }

    /// The device has given up, told the guest so, and comes back with a reset.
    pub(crate) fn assert_broken(&mut self) {
        assert!(self.needs_reset, "DEVICE_NEEDS_RESET was not set");
        assert!(
            self.interrupts & interrupt::CONFIGURATION != 0,
            "§2.1.2: with an interrupt"
        );
        assert!(
            matches!(self.trouble, Some(Trouble::Guest(_))),
            "{:?}",
            self.trouble
        );
    }
}

pub(crate) fn setup(config: Config) -> QueueSetup {
    QueueSetup {
        size: config.size,
        ready: true,
        descriptors: config.descriptors.value(),
        driver: config.driver.value(),
        device: config.device.value(),
    }
}
