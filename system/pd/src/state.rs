//! The runtime's own state: one set for the PD, on the host one for each test thread.

use crate::MessageInfo;
use crate::log::Log;
use core::cell::{Cell, RefCell};
use sel4cp_abi::label::Labels;

/// Most regions that one PD can take (a serial driver's clients, and some).
const MAX_CLAIMS: usize = 64;

/// What the runtime remembers.
pub(crate) struct State {
    /// The kernel's labels; those of a release kernel until the configuration says otherwise.
    pub(crate) labels: Cell<Labels>,
    /// A call that is made with the next receive.
    pub(crate) deferred: Cell<Option<(u64, MessageInfo)>>,
    /// Where log lines go.
    pub(crate) log: RefCell<Log>,
    /// First address and size of each region that has been handed out.
    claims: RefCell<[(u64, u64); MAX_CLAIMS]>,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            labels: Cell::new(Labels::RELEASE),
            deferred: Cell::new(None),
            log: RefCell::new(Log::new()),
            claims: RefCell::new([(0, 0); MAX_CLAIMS]),
        }
    }

    /// Remembers that the range is handed out; `false` if a part of it already is, or too many are.
    pub(crate) fn claim(&self, start: u64, size: u64) -> bool {
        let Ok(mut claims) = self.claims.try_borrow_mut() else {
            return false;
        };
        let Some(end) = start.checked_add(size) else {
            return false;
        };
        let taken = claims
            .iter()
            .any(|(first, size)| start < first.saturating_add(*size) && *first < end);
        if taken {
            return false;
        }
        match claims.iter_mut().find(|(_, size)| *size == 0) {
            Some(free) => {
                *free = (start, size);
                true
            }
            None => false,
        }
    }
}

/// Calls `f` with the state.
pub(crate) fn with<R>(f: impl FnOnce(&State) -> R) -> R {
    crate::sys::with_state(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_handed_out_once() {
        let state = State::new();
        assert!(state.claim(0x1000, 0x1000));
        assert!(!state.claim(0x1800, 0x1000));
        assert!(!state.claim(0x800, 0x801));
        assert!(state.claim(0x2000, 1) && state.claim(0x800, 0x800));
        assert!(!state.claim(u64::MAX, 2));
    }

    #[test]
    fn claims_end_with_the_table() {
        let state = State::new();
        let taken = (0..100).filter(|n| state.claim(n * 0x1000, 1)).count();
        assert_eq!(taken, MAX_CLAIMS);
    }
}
