//! The system counter, and the kernel's timer for the scheduler: EL2's (CNTHP), or EL1's with the host extensions.

use super::host;
use super::registers::write;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};

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
    if host::is_on() {
        // CNTP_CTL_EL02.
        write!("S3_5_C14_C2_1", 1);
    } else {
        write!("cnthp_ctl_el2", 1);
    }
}

/// Asks for an interrupt at `time`.
pub(crate) fn set_deadline(time: u64) {
    if host::is_on() {
        // CNTP_CVAL_EL02.
        write!("S3_5_C14_C2_2", time);
    } else {
        write!("cnthp_cval_el2", time);
    }
}
