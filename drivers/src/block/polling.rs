//! Whether to wait for the disk in place: for a request that is alone, and a disk that is fast.
//!
//! A guest that asks for one thing at a time has nothing to do until it is answered. Let go, it runs to its idle loop, and the
//! answer then takes an interrupt, two switches of address space and another entry of the guest, which cost more than a
//! fast disk takes. While this driver waits, nobody of its priority runs: the guest's next instruction after the one
//! that asked finds the answer.
//!
//! It is a guess that the guest would ask for no more, so it is made only after many requests were alone, and is checked: now
//! and then one is not waited for, and a guest that asks for more meanwhile ends the waiting. So does a disk that
//! takes too long, for a longer time with each failure.

/// How long the disk may take, in microseconds: a few switches of address space.
pub(super) const PATIENCE_MICROSECONDS: u64 = 250;
/// Looks at the queue between two at the clock, which under an emulator costs more.
pub(super) const LOOKS: u32 = 128;
/// Most looks at the queue.
pub(super) const MOST_LOOKS: u32 = 1 << 16;
/// So many requests must have been alone before the disk is waited for, at first and after many failures.
const FEW: u32 = 8;
const MANY: u32 = 4096;
/// One in so many is not waited for.
const PROBE: u32 = 32;

/// What is known about the requests so far.
#[derive(Debug)]
pub(super) struct Polling {
    /// Requests in a row of which the disk had no other at the same time.
    alone: u32,
    /// How many of them it takes.
    needed: u32,
}

impl Polling {
    pub(super) const fn new() -> Self {
        Self {
            alone: 0,
            needed: FEW,
        }
    }

    /// Requests were given to the disk, which has `in_flight` now: whether to wait for it.
    pub(super) const fn worth(&mut self, in_flight: usize) -> bool {
        if in_flight != 1 {
            self.alone = 0;
            return false;
        }
        self.alone = self.alone.wrapping_add(1);
        self.alone > self.needed && !self.alone.is_multiple_of(PROBE)
    }

    /// The disk was waited for and answered in time, or not.
    pub(super) fn learn(&mut self, answered: bool) {
        if answered {
            self.needed = FEW;
        } else {
            self.alone = 0;
            self.needed = (self.needed * 2).min(MANY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(polling: &mut Polling, count: u32) -> Vec<bool> {
        (0..count).map(|_| polling.worth(1)).collect()
    }

    #[test]
    fn requests_that_are_alone_are_waited_for_except_to_probe() {
        let mut polling = Polling::new();
        assert_eq!(alone(&mut polling, FEW), [false; FEW as usize]);
        let waited = alone(&mut polling, 10 * PROBE);
        assert_eq!(waited.iter().filter(|waited| !**waited).count(), 10);
    }

    #[test]
    fn more_than_one_request_ends_it() {
        let mut polling = Polling::new();
        alone(&mut polling, 2 * FEW);
        assert!(!polling.worth(2));
        assert!(!alone(&mut polling, FEW).contains(&true));
        assert!(polling.worth(1));
    }

    #[test]
    fn a_slow_disk_is_waited_for_less_and_less() {
        let mut polling = Polling::new();
        let mut waits = 0;
        for _ in 0..10_000 {
            if polling.worth(1) {
                waits += 1;
                polling.learn(false);
            }
        }
        assert!((8..13).contains(&waits), "{waits}");
        // And a fast one again as before.
        while !polling.worth(1) {}
        polling.learn(true);
        assert!(polling.worth(1) || polling.worth(1));
    }
}
