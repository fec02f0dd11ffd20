//! The life of a guest: firmware calls, start, reset, end.
//!
//! ```text
//!   Waiting ──all backends ready: load──► Running ──SYSTEM_OFF, SYSTEM_RESET, a stop──► Resetting
//!      ▲                                                                                   │ all devices reset
//!      └──────── Draining ◄───────────────── restart ──────────────────────────────────────┤
//!                                                                                          ▼
//!                                                                                         Over
//! ```
//! The control service orders the same as a guest does by PSCI, and may start one again that is over.
//! None of it waits in place: the phases change with the messages that come.

use super::{INSTRUCTION, Machine};
use crate::drain;
use crate::exit::Exit;
use crate::gic::TIMER;
use crate::guest::cpu_interface;
use crate::load::{copy, load, unify};
use crate::psci::{self, Affinity, Call};
use crate::report::{self, Cause};
use crate::vcpu::{self, Context, State};
use sel4cp_pd::{self as pd, Vcpu, cache, log};

/// Seconds until a guest's log says which of its backends are missing.
const PATIENCE: u64 = 5;
/// MPIDR: the affinity fields, 3 and 2 to 0.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Where a guest is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For its backends, to be started.
    Waiting,
    /// It runs.
    Running,
    /// It does not run any more; its devices are being reset.
    Resetting(After),
    /// Its vCPUs empty their list registers, to be started again.
    Draining,
    /// It is off, or was stopped.
    Over(After),
}

/// What comes after a guest's devices have been reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// SYSTEM_OFF.
    Off,
    /// SYSTEM_RESET.
    Restart,
    /// An exit could not be served, which has been reported.
    Stopped,
}

impl Machine {
    /// Serves an exit according to the phase. `Ok(true)`: the vCPU goes on where it is.
    pub(super) fn dispatch(&mut self, vcpu: Vcpu, exit: Exit) -> Result<bool, Cause> {
        match self.phase {
            Phase::Running if vcpu.id() < self.vcpu_count => {
                let goes_on = self.serve(vcpu, exit)?;
                if self.paused && self.phase == Phase::Running {
                    // From a vCPU that faulted just before it was suspended: that is dealt with, and it stays where it is.
                    self.freeze()?;
                    return Ok(false);
                }
                Ok(goes_on)
            }
            Phase::Draining => self.drained(vcpu, exit),
            // From a vCPU that faulted just before it was suspended.
            _ => Ok(false),
        }
    }

    /// SMC: the arguments are in the registers.
    #[cold]
    pub(super) fn firmware_call(&mut self, vcpu: Vcpu) -> Result<(), Cause> {
        let mut context = Context::new(vcpu);
        let next = context.pc()?.wrapping_add(INSTRUCTION);
        let arguments = [context.x(0)?, context.x(1)?, context.x(2)?, context.x(3)?];
        self.firmware(vcpu, arguments, next)
    }

    /// A firmware call; the vCPU goes on at `next`, if it does.
    #[cold]
    pub(super) fn firmware(
        &mut self,
        vcpu: Vcpu,
        arguments: [u64; 4],
        next: u64,
    ) -> Result<(), Cause> {
        let value = match psci::call(arguments) {
            Call::Return(value) => value,
            Call::CpuOn {
                target,
                entry,
                context,
            } => self.cpu_on(target, entry, context)?.value(),
            Call::AffinityInfo { target } => self.affinity(target),
            Call::CpuSuspend => return self.suspend(vcpu, next),
            Call::CpuOff => {
                self.set_state(vcpu, State::Off);
                return Ok(vcpu.suspend()?);
            }
            Call::SystemOff => {
                return self.end_and_proceed(After::Off);
            }
            Call::SystemReset => {
                return self.end_and_proceed(After::Restart);
            }
        };
        Ok(Context::new(vcpu).finish(next, 0, value)?)
    }

    /// Sleeps as in WFI, and then returns success.
    fn suspend(&mut self, vcpu: Vcpu, next: u64) -> Result<(), Cause> {
        let mut words = [0; 4];
        vcpu.suspend_and_read_regs(&mut words)?;
        let [_, sp, spsr, _] = words;
        vcpu.write_regs(false, &[next, sp, spsr, psci::Result::Success.value()])?;
        self.sleep(vcpu, next)
    }

    /// The vCPU with this MPIDR.
    fn find(&self, mpidr: u64) -> Option<Vcpu> {
        self.vcpus()
            .find(|vcpu| u64::from(vcpu.id()) == mpidr & AFFINITY && mpidr & !AFFINITY == 0)
    }

    fn cpu_on(&mut self, target: u64, entry: u64, context: u64) -> Result<psci::Result, Cause> {
        let Some(vcpu) = self.find(target) else {
            return Ok(psci::Result::InvalidParameters);
        };
        if self.state(vcpu) != State::Off {
            return Ok(psci::Result::AlreadyOn);
        }
        let offset = entry.checked_sub(self.ram.start().value());
        if offset.is_none_or(|offset| offset >= self.ram.len())
            || !entry.is_multiple_of(INSTRUCTION)
        {
            return Ok(psci::Result::InvalidAddress);
        }
        self.turn_on(vcpu, entry, context)?;
        Ok(psci::Result::Success)
    }

    fn turn_on(&mut self, vcpu: Vcpu, entry: u64, x0: u64) -> Result<(), Cause> {
        self.set_state(vcpu, State::Running);
        self.deliver()?;
        Ok(vcpu::start(vcpu, entry, x0, 0)?)
    }

    fn affinity(&self, target: u64) -> u64 {
        match self.find(target).map(|vcpu| self.state(vcpu)) {
            None => psci::Result::InvalidParameters.value(),
            Some(State::Off) => Affinity::Off as u64,
            Some(_) => Affinity::On as u64,
        }
    }

    /// Stops the guest because of `vcpu`, with a report; nobody else is affected.
    #[cold]
    pub(super) fn stop(&mut self, vcpu: Vcpu, cause: &Cause) {
        if matches!(
            self.phase,
            Phase::Over(_) | Phase::Resetting(After::Stopped)
        ) {
            return;
        }
        report::stopped(self.guest(), vcpu, cause);
        self.end(After::Stopped);
        // What comes after a stop does not fail.
        let _ = self.proceed();
    }

    /// Like [`end`](Self::end), and goes on at once if there is nothing to wait for.
    #[cold]
    pub(super) fn end_and_proceed(&mut self, after: After) -> Result<(), Cause> {
        self.end(after);
        self.proceed()
    }

    /// Stops all vCPUs and resets all devices; what comes after does when they are.
    fn end(&mut self, after: After) {
        for vcpu in self.vcpus() {
            // One that waits for the answer to its fault is stopped already; that this fails means the same.
            let _ = vcpu.suspend();
            self.set_state(vcpu, State::Off);
        }
        for device in &mut self.devices {
            device.transport.reset();
            device.channel.notify();
        }
        for index in 0..self.devices.len() {
            self.sample(index);
        }
        if let Some(uart) = &self.uart {
            uart.reset();
        }
        self.paused = false;
        self.enter(Phase::Resetting(after));
        self.await_backends();
    }

    /// A backend is ready, or has reset its device: goes on if that was the last one.
    #[cold]
    pub(super) fn proceed(&mut self) -> Result<(), Cause> {
        match self.phase {
            Phase::Waiting => {
                self.start_when_ready();
                Ok(())
            }
            Phase::Resetting(after) if self.all_reset() => self.after_reset(after),
            _ => Ok(()),
        }
    }

    fn all_reset(&self) -> bool {
        !self
            .devices
            .iter()
            .any(|device| device.transport.is_resetting())
    }

    fn after_reset(&mut self, after: After) -> Result<(), Cause> {
        self.alarm.patience = None;
        let guest = self.guest();
        match after {
            After::Off => log::plain(format_args!("sel4cp-vmm: guest {guest} powered off")),
            After::Stopped => {}
            After::Restart => {
                log::plain(format_args!("sel4cp-vmm: guest {guest} rebooting"));
                return self.drain();
            }
        }
        self.enter(Phase::Over(after));
        if let Some(power) = self.power {
            power.notify();
        }
        Ok(())
    }

    /// Has the vCPUs that have something in their list registers empty them.
    fn drain(&mut self) -> Result<(), Cause> {
        self.enter(Phase::Draining);
        let code = drain::bytes(self.gic.version());
        let at = self.ram.start().value();
        let (first, second) = cpu_interface(self.config);
        let mut copied = false;
        for vcpu in self.vcpus() {
            if self.gic.is_empty(vcpu.id()) {
                continue;
            }
            if !core::mem::replace(&mut copied, true) {
                copy(&code, at, &self.ram, &self.config.ram);
                unify(at, code.len() as u64, &self.config.ram);
            }
            self.set_state(vcpu, State::Draining);
            vcpu::start(vcpu, at, first, second)?;
        }
        self.restart_when_drained()
    }

    /// An exit of a vCPU that drains: it is done, unless the kernel tells about the ends of interrupts. Anything else
    /// than the code's last instruction means that it could not do more.
    #[cold]
    fn drained(&mut self, vcpu: Vcpu, exit: Exit) -> Result<bool, Cause> {
        match exit {
            Exit::Maintenance(list_register) => {
                if let Some(index) = list_register {
                    self.gic.ended(vcpu.id(), index);
                }
                return Ok(true);
            }
            Exit::PrivateInterrupt(_) => {
                self.gic.set_line(vcpu.id(), TIMER, true);
                return Ok(true);
            }
            _ => {
                self.set_state(vcpu, State::Off);
                vcpu.suspend()?;
            }
        }
        self.restart_when_drained()?;
        Ok(false)
    }

    fn restart_when_drained(&mut self) -> Result<(), Cause> {
        if self.vcpus().any(|vcpu| self.state(vcpu) == State::Draining) {
            return Ok(());
        }
        for vcpu in self.vcpus() {
            if self.gic.line(vcpu.id(), TIMER) {
                self.release_timer(vcpu)?;
            }
        }
        self.gic.reset();
        self.enter(Phase::Waiting);
        self.await_backends();
        self.start_when_ready();
        Ok(())
    }

    /// Starts the guest if all its backends are there. A guest that cannot be loaded is stopped, with a report.
    #[cold]
    pub(super) fn start_when_ready(&mut self) {
        if self.phase != Phase::Waiting
            || !self
                .devices
                .iter()
                .all(|device| device.transport.is_ready())
        {
            return;
        }
        self.alarm.patience = None;
        self.enter(Phase::Running);
        let boot = Vcpu::new(0);
        if self.config.caches != 0 {
            // The kernel has zeroed RAM through them, or the guest has used them before its reset. What they wrote back later
            // would lie over what the guest writes meanwhile.
            let ram = &self.config.ram;
            cache::flush(ram.vaddr, ram.vaddr.saturating_add(ram.size));
        }
        let started = load(&self.files, &self.ram, &self.config.ram)
            .map_err(Cause::Load)
            .and_then(|start| self.turn_on(boot, start.entry, start.device_tree));
        if let Err(cause) = started {
            self.stop(boot, &cause);
        }
    }

    /// Becomes impatient in a while, if there is something to wait for; looks whether it is there already.
    pub(super) fn await_backends(&mut self) {
        if self
            .devices
            .iter()
            .any(|device| !device.transport.is_ready())
        {
            self.be_patient(PATIENCE.saturating_mul(pd::frequency()));
        }
    }

    /// Names the backends that keep the guest waiting.
    pub(super) fn say_who_is_missing(&self) {
        let guest = self.guest();
        let what = match self.phase {
            Phase::Waiting => "be ready",
            Phase::Resetting(_) => "reset its device",
            _ => return,
        };
        for device in self
            .devices
            .iter()
            .filter(|device| !device.transport.is_ready())
        {
            let name = device.name();
            log::plain(format_args!(
                "sel4cp-vmm: guest {guest} waits for the {name} backend to {what}, for {PATIENCE} s already"
            ));
        }
    }
}
