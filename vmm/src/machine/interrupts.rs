//! Interrupts into list registers; vCPUs that sleep, and what wakes them.

use super::{INSTRUCTION, Machine};
use crate::gic::TIMER;
use crate::report::Cause;
use crate::vcpu::{Sleep, State, resume_at, timer_deadline};
use core::sync::atomic::Ordering::Release;
use sel4cp_abi::config::Ring;
use sel4cp_pd::{self as pd, Channel, RegionError, Vcpu};
use sel4cp_ring::shared::TimerPage;

/// The one deadline that the timer driver keeps for us.
pub(super) struct Alarm {
    page: Option<(&'static TimerPage, Channel)>,
    /// What the driver knows of; `None`: nothing.
    set: Option<u64>,
    /// When to say which backends are missing.
    pub(super) patience: Option<u64>,
}

impl Alarm {
    pub(super) fn new(config: &'static Ring) -> Result<Self, RegionError> {
        let page = match Channel::from_config(config.channel) {
            Some(channel) if config.region.is_some() => {
                Some((pd::shared(&config.region)?, channel))
            }
            _ => None,
        };
        Ok(Self {
            page,
            set: None,
            patience: None,
        })
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        self.page.map(|(_, channel)| channel)
    }

    /// Whether anybody would wake us.
    fn exists(&self) -> bool {
        self.page.is_some()
    }

    /// Asks to be woken at `deadline` (ticks of CNTPCT) at the latest. An earlier one stays: it costs one look, and a
    /// vCPU that sleeps and wakes many times before its next tick asks only once.
    fn at(&mut self, deadline: u64) {
        let Some((page, channel)) = self.page else {
            return;
        };
        if self.set.is_none_or(|set| deadline < set) {
            // 0 means none.
            let deadline = deadline.max(1);
            page.deadline.store(deadline, Release);
            self.set = Some(deadline);
            channel.notify();
        }
    }
}

impl Machine {
    /// Puts what is pending into list registers, and wakes vCPUs that sleep.
    pub(super) fn deliver(&mut self) -> Result<(), Cause> {
        for vcpu in self.vcpus() {
            let state = self.state(vcpu);
            if matches!(state, State::Off | State::Draining) {
                continue;
            }
            while let Some(next) = self.gic.next(vcpu.id()) {
                let result =
                    vcpu.inject_irq(next.intid, next.priority, next.group, next.list_register);
                self.gic.injected(vcpu.id(), next, result)?;
            }
            if let State::Sleeping(sleep) = state
                && !self.paused
                && self.gic.is_pending(vcpu.id())
            {
                self.wake(vcpu, sleep)?;
            }
        }
        Ok(())
    }

    fn wake(&mut self, vcpu: Vcpu, sleep: Sleep) -> Result<(), Cause> {
        self.set_state(vcpu, State::Running);
        Ok(resume_at(vcpu, sleep.pc)?)
    }

    /// Passes the level of a device's line to the interrupt controller.
    pub(super) fn sample(&mut self, index: usize) {
        if let Some(device) = self.devices.get(index) {
            let high = device.transport.line();
            self.gic.set_line(0, device.interrupt, high);
        }
    }

    /// The guest, on `vcpu`, has acknowledged a device's interrupt: most are dealt with then.
    pub(super) fn acknowledged(&mut self, vcpu: Vcpu, index: usize) -> Result<(), Cause> {
        self.sample(index);
        let Some(device) = self.devices.get(index) else {
            return Ok(());
        };
        if !self.retires {
            return Ok(());
        }
        let Some(next) = self.gic.retire(vcpu.id(), device.interrupt) else {
            return Ok(());
        };
        let result = vcpu.inject_irq(next.intid, next.priority, next.group, next.list_register);
        Ok(self.gic.retired(vcpu.id(), next, result)?)
    }

    /// The guest has ended what was in a list register.
    pub(super) fn end_of_interrupt(
        &mut self,
        vcpu: Vcpu,
        list_register: Option<u8>,
    ) -> Result<(), Cause> {
        let ended = list_register.and_then(|index| self.gic.ended(vcpu.id(), index));
        if ended == Some(TIMER) {
            self.release_timer(vcpu)?;
        }
        self.deliver()
    }

    /// The timer's line is low until the kernel says otherwise: it does at once, if the condition still holds.
    pub(super) fn release_timer(&mut self, vcpu: Vcpu) -> Result<(), Cause> {
        self.gic.set_line(vcpu.id(), TIMER, false);
        Ok(vcpu.ack_vppi(TIMER.into())?)
    }

    /// The hardware raised a private interrupt: the kernel keeps it masked until we acknowledge it, which we do when
    /// the guest has ended it.
    pub(super) fn private_interrupt(&mut self, vcpu: Vcpu, intid: u64) -> Result<(), Cause> {
        if intid == u64::from(TIMER) {
            self.gic.set_line(vcpu.id(), TIMER, true);
        }
        self.deliver()
    }

    /// WFI: sleeps unless an interrupt is pending, masked by the guest or not.
    pub(super) fn wait(&mut self, vcpu: Vcpu) -> Result<(), Cause> {
        let mut pc = [0];
        vcpu.suspend_and_read_regs(&mut pc)?;
        let [pc] = pc;
        self.sleep(vcpu, pc.wrapping_add(INSTRUCTION))
    }

    /// WFE: the vCPU goes on, behind the guest's others that run, as it waits for something that one of them holds. Who is resumed
    /// comes before those of its priority.
    #[cold]
    pub(super) fn yield_to_others(&self, vcpu: Vcpu) -> Result<(), Cause> {
        let mut pc = [0];
        vcpu.read_regs(&mut pc)?;
        let [pc] = pc;
        resume_at(vcpu, pc.wrapping_add(INSTRUCTION))?;
        for other in self.vcpus() {
            if other != vcpu && self.state(other) == State::Running {
                other.suspend()?;
                other.resume()?;
            }
        }
        Ok(())
    }

    /// Lets the vCPU, which is suspended, go on at `pc` when an interrupt is pending for it: now, or when one comes.
    ///
    /// Nothing can come in between: everything that makes an interrupt pending is a message, and the next message is
    /// taken after this.
    pub(super) fn sleep(&mut self, vcpu: Vcpu, pc: u64) -> Result<(), Cause> {
        if self.gic.is_pending(vcpu.id()) {
            return Ok(resume_at(vcpu, pc)?);
        }
        // A vCPU that does not run gets no timer interrupts: we wake it when it would have one. A timer whose
        // interrupt the guest does not want does not wake it on hardware either.
        let until = if self.gic.is_forwarded(vcpu.id(), TIMER) {
            timer_deadline(vcpu)?
        } else {
            None
        };
        let passed = until.is_some_and(|deadline| deadline <= pd::now());
        if passed || until.is_some() && !self.alarm.exists() {
            return Ok(resume_at(vcpu, pc)?);
        }
        self.set_state(vcpu, State::Sleeping(Sleep { until, pc }));
        if let Some(deadline) = until {
            self.alarm.at(deadline);
        }
        Ok(())
    }

    /// The timer driver's notification: wakes who is due, and asks for the next one. Who sleeps in a guest that is paused sleeps
    /// on, and is looked at when it goes on.
    pub(super) fn alarm_rings(&mut self) -> Result<(), Cause> {
        self.alarm.set = None;
        let now = pd::now();
        let may_wake = !self.paused;
        for vcpu in self.vcpus() {
            if let State::Sleeping(sleep) = self.state(vcpu)
                && may_wake
                && sleep.until.is_some_and(|deadline| deadline <= now)
            {
                // It finds its timer expired: the kernel tells us, and the interrupt is injected then.
                self.wake(vcpu, sleep)?;
            }
        }
        if self.alarm.patience.is_some_and(|patience| patience <= now) {
            self.alarm.patience = None;
            self.say_who_is_missing();
        }
        let sleeping = self.vcpus().filter_map(|vcpu| match self.state(vcpu) {
            State::Sleeping(sleep) if may_wake => sleep.until,
            _ => None,
        });
        if let Some(earliest) = sleeping.chain(self.alarm.patience).min() {
            self.alarm.at(earliest);
        }
        Ok(())
    }

    /// Becomes impatient in `ticks`.
    pub(super) fn be_patient(&mut self, ticks: u64) {
        let deadline = pd::now().saturating_add(ticks);
        self.alarm.patience = Some(deadline);
        self.alarm.at(deadline);
    }
}
