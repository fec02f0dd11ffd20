//! The physical timer's registers (Arm ARM, D13.8): CNTP_CVAL_EL0 and CNTP_CTL_EL0.
//!
//! The timer asserts its interrupt (PPI 30) for as long as it is enabled, unmasked and the counter has reached
//! the compare value.

/// CNTP_CTL_EL0.ENABLE; IMASK is the next bit and stays 0.
const ENABLE: u64 = 1;

/// Asks for an interrupt at these ticks of the counter, or for none.
pub(super) fn program(deadline: Option<u64>) {
    match deadline {
        Some(ticks) => {
            cpu::write_compare_value(ticks);
            cpu::write_control(ENABLE);
        }
        None => cpu::write_control(0),
    }
}

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "system registers")]
mod cpu {
    use core::arch::asm;

    pub(super) fn write_compare_value(ticks: u64) {
        // SAFETY: sets when the timer fires; nothing else in this program depends on it.
        unsafe { asm!("msr cntp_cval_el0, {}", in(reg) ticks, options(nomem, nostack)) };
    }

    pub(super) fn write_control(control: u64) {
        // SAFETY: enables or disables the timer. The ISB has it done before the interrupt is acknowledged.
        unsafe { asm!("msr cntp_ctl_el0, {}", "isb", in(reg) control, options(nomem, nostack)) };
    }
}

#[cfg(not(target_os = "none"))]
mod cpu {
    use std::cell::Cell;

    std::thread_local! {
        /// Compare value and control, of the test's own timer.
        pub(super) static REGISTERS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }

    pub(super) fn write_compare_value(ticks: u64) {
        REGISTERS.set((ticks, REGISTERS.get().1));
    }

    pub(super) fn write_control(control: u64) {
        REGISTERS.set((REGISTERS.get().0, control));
    }
}

/// What the timer is programmed for.
#[cfg(test)]
pub(super) fn programmed() -> Option<u64> {
    let (ticks, control) = cpu::REGISTERS.get();
    (control & ENABLE != 0).then_some(ticks)
}
