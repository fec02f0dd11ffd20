//! The backend's end.

use crate::config;
use crate::facts::{Facts, Session};
use crate::interrupt;
use crate::page::LinkPage;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use sel4cp_model::status::Status;

/// Where the device is between two resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not announced.
    Silent,
    /// Told to reset; requests may still be in flight.
    Resetting,
    /// Reset; the driver is setting it up.
    Idle,
    /// DRIVER_OK.
    Running,
}

/// The backend's end of a link.
pub struct DeviceEnd {
    page: &'static LinkPage,
    facts: Facts,
    state: State,
    generation: u32,
    resumed: bool,
    session: Session,
}

/// What the VMM wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Stop: forget the queues, let what is in flight come back, then [`DeviceEnd::acknowledge`].
    Reset,
    /// The driver is ready: [`DeviceEnd::session`] says what was agreed. Every queue may hold buffers already.
    Start,
    /// The driver notified: any queue may hold more.
    Kick,
}

impl DeviceEnd {
    /// Takes the backend's end. Nothing is told to the VMM before [`announce`](Self::announce).
    pub fn new(page: &'static LinkPage) -> Self {
        Self {
            page,
            facts: Facts::default(),
            state: State::Silent,
            generation: 0,
            resumed: false,
            session: Session::default(),
        }
    }

    /// Publishes what the device is, once nothing of an earlier life is in flight any more. The VMM is to be
    /// notified.
    pub fn announce(&mut self, facts: &Facts, config: &[u8]) {
        let device = &self.page.device;
        self.facts = *facts;
        device.needs_reset.store(0, Relaxed);
        facts.store(device);
        config::store(device, config);
        // A generation that an earlier life acknowledged goes on; any other is acknowledged here, as this life
        // holds nothing yet.
        // Acquire: what the VMM wrote before the generation is there.
        self.generation = self.page.vmm.generation.load(Acquire);
        self.resumed = device.acknowledged.load(Relaxed) == self.generation
            && self.page.vmm.status.load(Relaxed) & u32::from(Status::DRIVER_OK.bits()) != 0;
        device.acknowledged.store(self.generation, Relaxed);
        self.state = State::Idle;
        let life = device.life.load(Relaxed).wrapping_add(1).max(1);
        // Release: whoever sees the life sees the facts.
        device.life.store(life, Release);
    }

    /// What there is to do; to be called until it says `None`.
    pub fn poll(&mut self) -> Option<Event> {
        if self.state == State::Silent {
            return None;
        }
        // Acquire: what the VMM wrote before the generation is there.
        let generation = self.page.vmm.generation.load(Acquire);
        if generation != self.generation {
            self.generation = generation;
            let state = core::mem::replace(&mut self.state, State::Resetting);
            return (state != State::Resetting).then_some(Event::Reset);
        }
        match self.state {
            State::Silent | State::Resetting => None,
            State::Idle => self.start(),
            State::Running => {
                if self.page.kicks.load(Relaxed) == 0 {
                    return None;
                }
                // Acquire: the driver's writes that the VMM saw before it set the word.
                let kicks = self.page.kicks.swap(0, Acquire);
                (kicks != 0).then_some(Event::Kick)
            }
        }
    }

    /// A snapshot of the session, if the driver is ready.
    #[cold]
    fn start(&mut self) -> Option<Event> {
        let vmm = &self.page.vmm;
        // Acquire: features and queues were written before DRIVER_OK.
        let status = vmm.status.load(Acquire);
        if status & u32::from(Status::DRIVER_OK.bits()) == 0 {
            return None;
        }
        let mut session = Session::load(vmm, &self.facts);
        // A reset that began meanwhile makes the snapshot worthless; the next poll sees it.
        if vmm.generation.load(Acquire) != self.generation {
            return None;
        }
        session.resumed = core::mem::take(&mut self.resumed);
        self.session = session;
        self.state = State::Running;
        Some(Event::Start)
    }

    /// What driver and device agreed on, as it was at [`Event::Start`].
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether a reset waits for [`acknowledge`](Self::acknowledge).
    pub fn is_resetting(&self) -> bool {
        self.state == State::Resetting
    }

    /// The device is reset: nothing in flight touches guest memory any more. The VMM is to be notified.
    pub fn acknowledge(&mut self) {
        if self.state != State::Resetting {
            return;
        }
        self.state = State::Idle;
        self.resumed = false;
        let device = &self.page.device;
        device.needs_reset.store(0, Relaxed);
        // Kicks and used buffers of the generation that ended; the configuration outlives it.
        self.page.kicks.store(0, Relaxed);
        self.page
            .interrupts
            .fetch_and(interrupt::CONFIGURATION, Relaxed);
        // Release: the device's last writes come before its acknowledgement.
        device.acknowledged.store(self.generation, Release);
    }

    /// Asks for an interrupt with [`interrupt`] bits. True: notify the VMM; false: it has not taken the last one yet.
    #[must_use = "true asks for a notification of the VMM"]
    pub fn interrupt(&mut self, bits: u32) -> bool {
        if self.state != State::Running {
            return false;
        }
        // Release: the used ring is written before the bit. Acquire: pairs with the VMM's take, so that a bit that is
        // found set is one that the VMM will still take.
        let before = self.page.interrupts.fetch_or(bits, AcqRel);
        before & bits != bits
    }

    /// Replaces the configuration. True: notify the VMM.
    #[must_use = "true asks for a notification of the VMM"]
    pub fn set_config(&mut self, config: &[u8]) -> bool {
        config::store(&self.page.device, config);
        // Also before DRIVER_OK, so that the VMM refreshes the registers; whether the guest gets an interrupt is
        // for the VMM to decide.
        self.page
            .interrupts
            .fetch_or(interrupt::CONFIGURATION, Release);
        true
    }

    /// The device cannot go on before it is reset (virtIO 1.2 §2.1.2). True: notify the VMM; false: no driver is
    /// using it.
    #[must_use = "true asks for a notification of the VMM"]
    pub fn needs_reset(&mut self) -> bool {
        if self.state != State::Running {
            return false;
        }
        self.page.device.needs_reset.store(1, Relaxed);
        self.page
            .interrupts
            .fetch_or(interrupt::CONFIGURATION, Release);
        true
    }

    /// Publishes the device's counters, as many as there is room for.
    pub fn set_counters(&self, values: &[u64]) {
        for (word, value) in self.page.device.counters.iter().zip(values) {
            word.store(*value, Relaxed);
        }
    }
}
