//! Runs a device on its link.

use crate::queues::Queues;
use core::fmt;
use sel4cp_link::{DeviceEnd, Event, Facts, LinkPage, interrupt};
use sel4cp_memory::GuestRam;
use sel4cp_queue::GuestFault;
use sel4cp_ring::PeerFault;

/// Why a device stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The guest broke a rule: it must reset the device.
    Guest(GuestFault),
    /// The driver of the hardware broke a rule: it must be started again.
    Peer(PeerFault),
    /// A peer broke a rule of its wire: its connections are over until it starts again. The device goes on.
    Wire(PeerFault),
    /// An earlier life of this backend had the guest's buffers: the guest must reset the device.
    Resumed,
}

impl From<GuestFault> for Trouble {
    fn from(fault: GuestFault) -> Self {
        Self::Guest(fault)
    }
}

impl From<PeerFault> for Trouble {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(fault) => write!(
                f,
                "the guest broke a rule, its device needs a reset: {fault}"
            ),
            Self::Peer(fault) => write!(f, "the driver broke a rule, it needs a restart: {fault}"),
            Self::Wire(fault) => write!(
                f,
                "a peer broke a rule of its wire, it needs a restart: {fault}"
            ),
            Self::Resumed => {
                f.write_str("started again under a running guest, its device needs a reset")
            }
        }
    }
}

impl core::error::Error for Trouble {}

/// What a step asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Notify the driver of the hardware.
    pub notify_driver: bool,
    /// Notify the peers at the ends of these wires, bit n: of wire n.
    pub wires: u32,
    /// Notify the domain that tells of the guest's pauses.
    pub ask_for_pause: bool,
    /// There is more to do, for which no notification will come.
    pub again: bool,
    /// Something went wrong that the device has dealt with.
    pub trouble: Option<Trouble>,
}

/// A device model.
pub trait Device {
    /// What the device is, once its driver has said what it needs to know; `None` before.
    fn facts(&mut self) -> Option<Facts>;

    /// Whether the configuration has changed since it was last asked.
    fn config_changed(&mut self) -> bool {
        false
    }

    /// The configuration space.
    fn config(&self) -> &[u8];

    /// The guest's driver is ready and accepted `features`.
    ///
    /// # Errors
    /// [`Trouble`] when the device cannot work at all.
    fn start(&mut self, features: u64) -> Result<(), Trouble>;

    /// The driver accepted `features` in an earlier life of this device, and uses it. A device that can go on completes chains in
    /// the order in which it takes them, and can lose or repeat what it was at when that life ended.
    ///
    /// # Errors
    /// [`Trouble::Resumed`] unless it can.
    fn resume(&mut self, _features: u64) -> Result<(), Trouble> {
        Err(Trouble::Resumed)
    }

    /// The device is being reset: nothing new may start, and what is with the driver is to come back.
    fn stop(&mut self);

    /// Whether nothing that was taken from a queue is with anybody.
    fn is_quiet(&self) -> bool;

    /// Works on everything there is to do, in a bounded number of steps: completes what the driver has done, takes what the
    /// guest has made available, and arms the notifications of both.
    ///
    /// # Errors
    /// [`Trouble`]; what was done before stays done.
    fn step(&mut self, queues: &mut Queues, step: &mut Step) -> Result<(), Trouble>;

    /// The guest has paused since the last step that asked for it.
    fn paused(&mut self) {}

    /// Statistics since the start, in the device's own order.
    fn counters(&self) -> &[u64];
}

/// What the caller of [`Backend::turn`] has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Notify the VMM.
    pub vmm: bool,
    /// Notify the driver.
    pub driver: bool,
    /// Notify the peers at the ends of these wires, bit n: of wire n.
    pub wires: u32,
    /// Notify the domain that tells of the guest's pauses.
    pub ask_for_pause: bool,
    /// Call [`Backend::turn`] again: there is more to do.
    pub again: bool,
}

/// A device on its link.
pub struct Backend<D> {
    link: DeviceEnd,
    ram: GuestRam,
    queues: Queues,
    device: D,
    announced: bool,
    /// Something went wrong. It is not among the [`Signals`], so that a turn without any does not carry it about.
    trouble: Option<Trouble>,
}

impl<D: Device> Backend<D> {
    /// Puts `device` on the link. Call [`turn`](Self::turn) next.
    pub fn new(page: &'static LinkPage, ram: GuestRam, device: D) -> Self {
        Self {
            link: DeviceEnd::new(page),
            ram,
            queues: Queues::default(),
            device,
            announced: false,
            trouble: None,
        }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The guest has paused. Call [`turn`](Self::turn) next.
    pub fn paused(&mut self) {
        self.device.paused();
    }

    /// What went wrong in the last turn, or before it; it has been dealt with, and is worth a line in the log.
    pub fn take_trouble(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// Does what there is to do, after a notification from anywhere.
    pub fn turn(&mut self) -> Signals {
        let mut signals = Signals::default();
        // Before the step, so that a driver that has started again is asked for what it lost, and after it, so that what the
        // step found out is told.
        self.introduce(&mut signals);
        // A reset, a start and the kicks: more cannot have happened than the VMM wrote into three words.
        for _ in 0..3 {
            match self.link.poll() {
                Some(Event::Reset) => self.reset(),
                Some(Event::Start) => {
                    if let Err(trouble) = self.start(&mut signals) {
                        self.fail(trouble, &mut signals);
                    }
                }
                // Every step looks at every queue: a kick has done its work by waking this domain.
                Some(Event::Kick) => {}
                None => break,
            }
        }
        let mut step = Step::default();
        let result = self.device.step(&mut self.queues, &mut step);
        if step.trouble.is_some() {
            self.trouble = step.trouble;
        }
        if let Err(trouble) = result {
            if self.queues.publish() {
                signals.vmm |= self.link.interrupt(interrupt::USED_BUFFER);
            }
            self.fail(trouble, &mut signals);
        }
        if self.queues.publish() {
            signals.vmm |= self.link.interrupt(interrupt::USED_BUFFER);
        }
        signals.driver = step.notify_driver;
        signals.wires = step.wires;
        signals.ask_for_pause = step.ask_for_pause;
        signals.again |= step.again;
        if self.link.is_resetting() && self.device.is_quiet() {
            self.link.acknowledge();
            signals.vmm = true;
        }
        self.introduce(&mut signals);
        self.link.set_counters(self.device.counters());
        signals
    }

    /// Tells the VMM what the device is, once that is known, and what changes later.
    fn introduce(&mut self, signals: &mut Signals) {
        if self.announced {
            if self.device.config_changed() {
                signals.vmm |= self.link.set_config(self.device.config());
            }
        } else {
            self.announce(signals);
        }
    }

    #[cold]
    fn announce(&mut self, signals: &mut Signals) {
        if let Some(facts) = self.device.facts() {
            self.link.announce(&facts, self.device.config());
            self.announced = true;
            signals.vmm = true;
            // The driver may have been ready before this life.
            signals.again = true;
        }
    }

    #[cold]
    fn start(&mut self, signals: &mut Signals) -> Result<(), Trouble> {
        let session = *self.link.session();
        if session.resumed {
            self.device.resume(session.features)?;
            self.queues = Queues::new(&self.ram, &session)?;
            // The earlier life may have used buffers and not come to say so.
            signals.vmm |= self.link.interrupt(interrupt::USED_BUFFER);
            return Ok(());
        }
        self.queues = Queues::new(&self.ram, &session)?;
        self.device.start(session.features)
    }

    #[cold]
    fn reset(&mut self) {
        self.queues = Queues::default();
        self.device.stop();
    }

    /// The one place where a fault becomes DEVICE_NEEDS_RESET and a configuration interrupt (virtIO 1.2 §2.1.2).
    #[cold]
    fn fail(&mut self, trouble: Trouble, signals: &mut Signals) {
        self.queues = Queues::default();
        signals.vmm |= self.link.needs_reset();
        self.trouble = Some(trouble);
    }
}
