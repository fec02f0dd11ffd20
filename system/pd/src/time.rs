//! The machine's physical counter, which every PD may read.

use crate::sys;

/// The counter (CNTPCT_EL0), in ticks since the machine started.
pub fn now() -> u64 {
    sys::counter()
}

/// Ticks of the counter per second (CNTFRQ_EL0).
pub fn frequency() -> u64 {
    sys::counter_frequency()
}
