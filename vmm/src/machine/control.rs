//! Orders of the control service: pause, resume, restart, power off.
//!
//! A guest that is paused keeps everything but its vCPUs' time: backends go on with what they have, and what is for the guest
//! becomes pending. Its counter and its clock may jump when it goes on.
//!
//! A vCPU may be suspended at any time: this domain comes before it, so that whenever an order is taken each vCPU either runs, or
//! is stopped for a reason that its [`State`] tells. None is in the middle of a fault, which would be lost.

use super::Machine;
use super::power::{After, Phase};
use crate::report::Cause;
use crate::vcpu::State;
use sel4cp_abi::config::Ring;
use sel4cp_pd::{self as pd, Channel, RegionError, Vcpu};
use sel4cp_ring::control::{Controlled, Life, Order, Outcome};

/// The control service, as the VMM sees it; none where nobody may use it.
pub(super) struct Control {
    page: Option<(Controlled, Channel)>,
}

impl Control {
    pub(super) fn new(config: &'static Ring) -> Result<Self, RegionError> {
        let Some(channel) = Channel::from_config(config.channel) else {
            return Ok(Self { page: None });
        };
        let page = Controlled::new(pd::shared(&config.region)?);
        channel.notify();
        Ok(Self {
            page: Some((page, channel)),
        })
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        self.page.as_ref().map(|(_, channel)| *channel)
    }

    fn show(&self, life: Life) {
        if let Some((page, _)) = &self.page {
            page.show(life);
        }
    }

    fn take(&mut self) -> Option<Order> {
        self.page.as_mut()?.0.take()
    }

    fn answer(&self, outcome: Outcome) {
        if let Some((page, channel)) = &self.page {
            page.answer(outcome);
            channel.notify();
        }
    }
}

impl Machine {
    /// Begins another phase of the guest's life, and tells the control service.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.show_life();
    }

    fn show_life(&self) {
        self.control.show(match self.phase {
            Phase::Running if self.paused => Life::Paused,
            Phase::Running => Life::Running,
            Phase::Waiting => Life::Waiting,
            Phase::Resetting(_) | Phase::Draining => Life::Resetting,
            Phase::Over(After::Stopped) => Life::Stopped,
            Phase::Over(_) => Life::Off,
        });
    }

    /// The control service has notified: carries its order out, if there is one.
    #[cold]
    pub(super) fn ordered(&mut self) -> Result<(), Cause> {
        let Some(order) = self.control.take() else {
            return Ok(());
        };
        let runs = self.phase == Phase::Running;
        let fits = match order {
            Order::Pause => runs && !self.paused,
            Order::Resume => runs && self.paused,
            Order::Restart => runs || matches!(self.phase, Phase::Over(_)),
            Order::PowerOff => runs,
        };
        let result = match (fits, order) {
            (false, _) => Ok(()),
            (true, Order::Pause) => self.pause(),
            (true, Order::Resume) => self.unpause(),
            (true, Order::Restart) => self.end_and_proceed(After::Restart),
            (true, Order::PowerOff) => self.end_and_proceed(After::Off),
        };
        self.control.answer(if fits {
            Outcome::Done
        } else {
            Outcome::Refused
        });
        result
    }

    fn pause(&mut self) -> Result<(), Cause> {
        self.paused = true;
        self.show_life();
        self.freeze()
    }

    /// Suspends the vCPUs that run. Those that do not are kept from going on by [`wake`](Self::wake) and [`go_on`](Self::go_on).
    #[cold]
    pub(super) fn freeze(&self) -> Result<(), Cause> {
        for vcpu in self.vcpus() {
            if self.state(vcpu) == State::Running {
                vcpu.suspend()?;
            }
        }
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), Cause> {
        self.paused = false;
        self.show_life();
        for vcpu in self.vcpus() {
            if self.state(vcpu) == State::Running {
                vcpu.resume()?;
            }
        }
        // Whoever sleeps may have been due meanwhile, and have got interrupts.
        self.alarm_rings()?;
        self.deliver()
    }

    /// Lets a vCPU that was held go on at `pc`, when the guest runs.
    pub(super) fn go_on(&mut self, vcpu: Vcpu, pc: u64) -> Result<(), Cause> {
        self.set_state(vcpu, State::Running);
        Ok(vcpu.write_regs(!self.paused, &[pc])?)
    }
}
