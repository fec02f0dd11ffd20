//! The physical timer (Arm ARM, D13.8): CNTP_CVAL_EL0 and CNTP_CTL_EL0, on a machine whose kernel leaves it to PDs.
//!
//! It asserts its interrupt (PPI 30) for as long as it is enabled, unmasked and the counter has reached the compare value.
//! Whoever has that interrupt programs it; meanwhile, others may only move the compare value of a timer that is masked.

use crate::now;

/// CNTP_CTL_EL0.ENABLE.
const ENABLE: u64 = 1 << 0;
/// CNTP_CTL_EL0.IMASK.
const IMASK: u64 = 1 << 1;

/// Asks for an interrupt at these ticks of the counter, or for none: then it runs, masked.
pub fn program(deadline: Option<u64>) {
    match deadline {
        Some(ticks) => {
            cpu::write_compare_value(ticks);
            cpu::write_control(ENABLE);
        }
        None => cpu::write_control(ENABLE | IMASK),
    }
}

/// Has the timer wait for something: if it has nothing ahead and its interrupt is not asked for, for these ticks from now.
///
/// If its owner asks for an interrupt at the same moment, that comes at these ticks instead: late by less than them, or early, and
/// then the owner asks again.
pub fn keep_ahead(ticks: u64) {
    let now = now();
    if cpu::compare_value() <= now && cpu::control() & (ENABLE | IMASK) == ENABLE | IMASK {
        cpu::write_compare_value(now.saturating_add(ticks));
    }
}

/// CNTP_CVAL_EL0 and CNTP_CTL_EL0.
#[cfg(not(target_os = "none"))]
pub fn registers() -> (u64, u64) {
    (cpu::compare_value(), cpu::control())
}

#[cfg(target_os = "none")]
mod cpu {
    use core::arch::asm;

    pub(super) fn compare_value() -> u64 {
        let ticks;
        // SAFETY: reads a register of a timer that the kernel leaves to EL0.
        unsafe { asm!("mrs {}, cntp_cval_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }

    pub(super) fn control() -> u64 {
        let control;
        // SAFETY: as above.
        unsafe { asm!("mrs {}, cntp_ctl_el0", out(reg) control, options(nomem, nostack)) };
        control
    }

    pub(super) fn write_compare_value(ticks: u64) {
        // SAFETY: sets when the timer fires, on which no memory depends.
        unsafe { asm!("msr cntp_cval_el0, {}", in(reg) ticks, options(nomem, nostack)) };
    }

    pub(super) fn write_control(control: u64) {
        // SAFETY: as above. The ISB has it done before the interrupt is acknowledged.
        unsafe { asm!("msr cntp_ctl_el0, {}", "isb", in(reg) control, options(nomem, nostack)) };
    }
}

#[cfg(not(target_os = "none"))]
mod cpu {
    use std::cell::Cell;

    std::thread_local! {
        static COMPARE_VALUE: Cell<u64> = const { Cell::new(0) };
        static CONTROL: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn compare_value() -> u64 {
        COMPARE_VALUE.get()
    }

    pub(super) fn control() -> u64 {
        CONTROL.get()
    }

    pub(super) fn write_compare_value(ticks: u64) {
        COMPARE_VALUE.set(ticks);
    }

    pub(super) fn write_control(control: u64) {
        CONTROL.set(control);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn what_is_asked_for_stays() {
        host::set_counter(100);
        program(Some(150));
        keep_ahead(10);
        host::set_counter(150);
        // It interrupts now, and its owner has not come yet.
        keep_ahead(10);
        assert_eq!(registers(), (150, ENABLE));
    }

    #[test]
    fn a_masked_timer_always_has_something_ahead() {
        host::set_counter(100);
        program(None);
        keep_ahead(10);
        assert_eq!(registers(), (110, ENABLE | IMASK));
        host::set_counter(109);
        keep_ahead(10);
        assert_eq!(registers().0, 110);
        host::set_counter(110);
        keep_ahead(10);
        assert_eq!(registers(), (120, ENABLE | IMASK));
        host::set_counter(u64::MAX - 3);
        keep_ahead(10);
        assert_eq!(registers().0, u64::MAX);
    }

    #[test]
    fn a_timer_that_nobody_has_started_is_left_alone() {
        host::set_counter(100);
        keep_ahead(10);
        assert_eq!(registers(), (0, 0));
    }
}
