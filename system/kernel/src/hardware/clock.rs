//! The system counter, and the timer of EL2 (CNTHP, private interrupt 26) for the scheduler.

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0, Readable, Writeable};
use core::arch::asm;

/// Ticks of the system counter in a second.
pub(crate) fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// The system counter.
pub(crate) fn now() -> u64 {
    CNTPCT_EL0.get()
}

/// Enables the timer, with no deadline.
pub(crate) fn start() {
    set_deadline(u64::MAX);
    CNTHP_CTL_EL2.set(1);
}

/// Asks for an interrupt at `time`.
pub(crate) fn set_deadline(time: u64) {
    // SAFETY: the register of the kernel's own timer; it has no effect on memory.
    unsafe {
        asm!("msr cnthp_cval_el2, {}", in(reg) time, options(nomem, nostack, preserves_flags));
    }
}
