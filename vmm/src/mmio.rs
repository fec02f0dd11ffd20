//! A virtio-mmio device as its guest sees it (virtIO 1.2 §4.2): a file of registers in a page that the guest reads
//! without our help, and whose writes come here.
//!
//! Reads have no side effects in virtIO, so the page always shows what a read must give (`page`). A write changes
//! the private copy here, and what it makes visible is stored into the page before the guest goes on. The device
//! itself is in the backend, behind the link.
//!
//! Nothing a guest writes is trusted, and nothing stops it: a write that the specification does not allow is ignored,
//! or answered with what the specification has for that (FEATURES_OK stays clear, QueueReady reads 0).

mod page;
mod queue;

#[cfg(test)]
mod tests;

use core::sync::atomic::AtomicU32;
use page::Page;
use queue::Half;
use sel4cp_link::{CONFIG_SIZE, MAX_QUEUES, QueueSetup, VmmEnd};
use sel4cp_memory::GuestRam;
use sel4cp_model::features::negotiate;
use sel4cp_model::mmio::{self, Register};
use sel4cp_model::status::{Status, Transition, transition};

/// Where QueueNotify is. What is written there does not matter: backends look at all of a device's queues.
pub const QUEUE_NOTIFY: u64 = Register::QueueNotify as u64;
/// Bytes of a device's register file.
pub const FILE_SIZE: u64 = mmio::SIZE;
/// 32-bit words of it.
pub const FILE_WORDS: usize = (mmio::SIZE / 4) as usize;

/// One device.
pub struct Transport {
    link: VmmEnd,
    page: Page,
    ram: GuestRam,
    status: Status,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    queues: [QueueSetup; MAX_QUEUES],
    interrupt_status: u32,
    config_generation: u32,
}

/// What a write asks the VMM to do, after which the guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Notify the backend.
    Notify,
    /// Sample [`Transport::line`].
    Line,
    /// Notify the backend, and hold the vCPU that wrote until the reset is done ([`Update::reset_done`]).
    Reset,
}

/// What the backend's notification changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The reset is done: Status reads 0, held vCPUs may go on.
    pub reset_done: bool,
    /// A backend has announced itself.
    pub announced: bool,
    /// The backend wants to be notified (it has a reset to do).
    pub notify: bool,
}

impl Transport {
    /// The device behind `page` (the link's) with its registers in `file`. The backend is to be notified.
    ///
    /// Until it has announced itself ([`is_ready`](Self::is_ready)) the registers show a device with id 0, which
    /// drivers ignore (§4.2.2.2).
    pub fn new(link: VmmEnd, file: &'static [AtomicU32], ram: GuestRam) -> Self {
        let mut transport = Self {
            link,
            page: Page::new(file),
            ram,
            status: Status::empty(),
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            queues: [QueueSetup::default(); MAX_QUEUES],
            interrupt_status: 0,
            config_generation: 0,
        };
        transport.show_all();
        transport
    }

    /// Whether the backend is there and has done the last reset.
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    /// Whether a reset is not done yet.
    pub fn is_resetting(&self) -> bool {
        self.link.is_resetting()
    }

    /// The level of the device's interrupt line.
    pub fn line(&self) -> bool {
        self.interrupt_status != 0
    }

    /// Resets the device as if the guest had written 0 to Status. The backend is to be notified.
    pub fn reset(&mut self) {
        self.interrupt_status = 0;
        self.link.reset();
        // Status keeps what it shows until the backend has let go of the guest's memory.
        self.page.show(Register::InterruptStatus, 0);
    }

    /// A store of `size` bytes at `offset` of the register file.
    #[inline]
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Effect {
        // §4.2.2.2: a driver uses aligned 32-bit accesses for registers. None of the devices has configuration that
        // a driver may write, so what is beyond them is ignored too.
        let (4, Some(register)) = (size, Register::from_offset(offset)) else {
            return Effect::None;
        };
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        let value = u32::from_le_bytes([b0, b1, b2, b3]);
        match register {
            Register::QueueNotify => {
                if self.link.kick() {
                    Effect::Notify
                } else {
                    Effect::None
                }
            }
            Register::InterruptACK => self.acknowledge(value),
            Register::Status => self.write_status(value),
            _ => {
                self.configure(register, value);
                Effect::None
            }
        }
    }

    /// What a load of `size` bytes at `offset` gets, for a guest whose reads come here.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        let is_register = offset < mmio::CONFIG;
        if is_register && (size != 4 || !offset.is_multiple_of(4)) {
            return 0;
        }
        self.page.read(offset, size)
    }

    /// Takes what the backend has written.
    pub fn poll(&mut self) -> Update {
        let changes = self.link.poll();
        if changes.reset_done {
            self.forget();
        }
        if changes.reset_done || changes.announced && self.status.is_empty() {
            self.show_all();
        }
        if changes.interrupts & mmio::INTERRUPT_CONFIG_CHANGE != 0 {
            self.show_config();
        }
        if changes.needs_reset {
            self.status |= Status::DEVICE_NEEDS_RESET;
            self.show_status();
        }
        // §2.1.2, §3.1.1: a driver that is not ready is not interrupted.
        if changes.interrupts != 0 && self.status.contains(Status::DRIVER_OK) {
            self.interrupt_status |= changes.interrupts;
            self.page
                .show(Register::InterruptStatus, self.interrupt_status);
        }
        Update {
            reset_done: changes.reset_done,
            announced: changes.announced,
            notify: changes.announced && self.link.is_resetting(),
        }
    }

    fn acknowledge(&mut self, bits: u32) -> Effect {
        self.interrupt_status &= !bits;
        self.page
            .show(Register::InterruptStatus, self.interrupt_status);
        Effect::Line
    }

    #[cold]
    fn write_status(&mut self, value: u32) -> Effect {
        if self.link.is_resetting() {
            // Another vCPU has begun a reset that is not done: a second one joins it, anything else is too early.
            return if value == 0 {
                Effect::Reset
            } else {
                Effect::None
            };
        }
        match transition(self.status, value) {
            // Nothing has been set up: there is nothing that the backend would have to let go of.
            Transition::Reset if self.status.is_empty() => {
                self.forget();
                self.show_all();
                Effect::None
            }
            Transition::Reset => {
                self.reset();
                Effect::Reset
            }
            Transition::Negotiate(next) => {
                let offered = self.link.facts().map_or(0, |facts| facts.features);
                // §3.1.1 step 6: the driver finds out by reading Status.
                if let Ok(features) = negotiate(offered, self.driver_features) {
                    self.link.set_features(features);
                    self.set_status(next)
                } else {
                    self.set_status(next - Status::FEATURES_OK)
                }
            }
            Transition::Start(next) | Transition::Keep(next) => self.set_status(next),
            Transition::Ignore => Effect::None,
        }
    }

    fn set_status(&mut self, status: Status) -> Effect {
        self.status = status;
        self.show_status();
        if self.link.set_status(status.bits()) {
            Effect::Notify
        } else {
            Effect::None
        }
    }

    /// Whether the driver has been accepted and is setting up (§3.1.1 step 7): queues can be configured then.
    fn is_configuring(&self) -> bool {
        self.status.contains(Status::FEATURES_OK)
            && !self.status.intersects(Status::DRIVER_OK | Status::FAILED)
            && !self.link.is_resetting()
    }

    #[cold]
    fn configure(&mut self, register: Register, value: u32) {
        match register {
            Register::DeviceFeaturesSel => {
                self.device_features_sel = value;
                self.show_features();
            }
            Register::DriverFeaturesSel => self.driver_features_sel = value,
            Register::DriverFeatures => self.accept_features(value),
            Register::QueueSel => {
                self.queue_sel = value;
                self.show_queue();
            }
            Register::QueueNum => self.set_queue_size(value),
            Register::QueueReady => self.set_queue_ready(value),
            Register::QueueDescLow => {
                self.set_address(Half::Low, value, |queue| &mut queue.descriptors)
            }
            Register::QueueDescHigh => {
                self.set_address(Half::High, value, |queue| &mut queue.descriptors)
            }
            Register::QueueDriverLow => {
                self.set_address(Half::Low, value, |queue| &mut queue.driver)
            }
            Register::QueueDriverHigh => {
                self.set_address(Half::High, value, |queue| &mut queue.driver)
            }
            Register::QueueDeviceLow => {
                self.set_address(Half::Low, value, |queue| &mut queue.device)
            }
            Register::QueueDeviceHigh => {
                self.set_address(Half::High, value, |queue| &mut queue.device)
            }
            // There are no shared memory regions (§2.10) and queues are not reset one by one: the page shows that.
            _ => {}
        }
    }

    /// §2.2.1: features are accepted before FEATURES_OK; what was not offered is found out there.
    fn accept_features(&mut self, value: u32) {
        let expected =
            self.status.contains(Status::DRIVER) && !self.status.contains(Status::FEATURES_OK);
        if !expected {
            return;
        }
        let value = u64::from(value);
        match self.driver_features_sel {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | value,
            1 => self.driver_features = self.driver_features & 0xffff_ffff | value << 32,
            // Bits above 63 do not exist: to accept one must fail, as the last bit does, which nobody offers.
            _ if value != 0 => self.driver_features |= 1 << 63,
            _ => {}
        }
    }

    /// The private copies after a reset (§2.4).
    #[cold]
    fn forget(&mut self) {
        self.status = Status::empty();
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.driver_features = 0;
        self.queue_sel = 0;
        self.queues = [QueueSetup::default(); MAX_QUEUES];
        self.interrupt_status = 0;
    }

    fn show_all(&mut self) {
        let id = self.link.facts().map_or(0, |facts| facts.id);
        self.page.show_identity(id);
        self.show_features();
        self.show_queue();
        self.show_status();
        self.show_config();
        self.page
            .show(Register::InterruptStatus, self.interrupt_status);
    }

    fn show_status(&self) {
        self.page.show(Register::Status, self.status.bits().into());
    }

    fn show_features(&self) {
        let features = self.link.facts().map_or(0, |facts| facts.features);
        let shown = match self.device_features_sel {
            0 => features,
            1 => features >> 32,
            _ => 0,
        };
        let [b0, b1, b2, b3, ..] = shown.to_le_bytes();
        self.page.show(
            Register::DeviceFeatures,
            u32::from_le_bytes([b0, b1, b2, b3]),
        );
    }

    fn show_queue(&self) {
        let max = self
            .link
            .facts()
            .map_or(0, |facts| facts.queue_max(self.queue_sel));
        self.page.show(Register::QueueNumMax, max.into());
        let ready = self.selected().is_some_and(|queue| queue.ready);
        self.page.show(Register::QueueReady, ready.into());
    }

    /// A half-written configuration is not shown: the backend notifies when it is whole.
    fn show_config(&mut self) {
        let mut bytes = [0; CONFIG_SIZE];
        if self.link.config(&mut bytes).is_some() {
            self.config_generation = self.page.show_config(&bytes, self.config_generation);
        }
    }
}
