//! The machine's physical counter, which every PD may read; and a turn that is given up.

use crate::sys;

/// The counter (CNTPCT_EL0), in ticks since the machine started.
pub fn now() -> u64 {
    sys::counter()
}

/// Lets the others of this priority run, each for its time slice or until it has nothing to do. Those of lower ones do not.
pub fn yield_now() {
    sys::yield_now();
}

/// Ticks of the counter per second (CNTFRQ_EL0).
pub fn frequency() -> u64 {
    sys::counter_frequency()
}
