//! One look at a client's page.

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use sel4cp_ring::shared::TimerPage;

/// How often a look is repeated when the client writes at the same moment.
const ATTEMPTS: u32 = 8;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The client waits for nothing.
    None,
    /// The client is to be woken at these ticks.
    At(u64),
    /// A deadline had passed; it is 0 now.
    Passed,
}

/// Looks at the deadline, and clears it if it has passed. One that the client stores in between is not lost.
pub(super) fn check(page: &TimerPage, now: u64) -> Deadline {
    let mut found = page.deadline.load(Acquire);
    for _ in 0..ATTEMPTS {
        if found == 0 {
            return Deadline::None;
        }
        if found > now {
            return Deadline::At(found);
        }
        match page
            .deadline
            .compare_exchange_weak(found, 0, Relaxed, Acquire)
        {
            Ok(_) => return Deadline::Passed,
            Err(newer) => found = newer,
        }
    }
    // A client that writes without end, from another CPU, waits for the next look, which is due at once.
    Deadline::At(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ticks: u64) -> TimerPage {
        let page = TimerPage::default();
        page.deadline.store(ticks, Relaxed);
        page
    }

    #[test]
    fn a_deadline_passes_once() {
        let page = page(100);
        assert_eq!(check(&page, 99), Deadline::At(100));
        assert_eq!(check(&page, 100), Deadline::Passed);
        assert_eq!(check(&page, 101), Deadline::None);
    }

    #[test]
    fn any_value_is_a_deadline() {
        assert_eq!(check(&page(0), u64::MAX), Deadline::None);
        assert_eq!(check(&page(u64::MAX), 5), Deadline::At(u64::MAX));
        assert_eq!(check(&page(u64::MAX), u64::MAX), Deadline::Passed);
        assert_eq!(check(&page(1), u64::MAX), Deadline::Passed);
    }

    #[test]
    fn a_newer_deadline_is_not_lost() {
        let page = std::sync::Arc::new(page(0));
        let client = page.clone();
        // Whatever the interleaving: the last deadline is still there, or was seen to pass.
        let writer = std::thread::spawn(move || {
            for ticks in 1..=10_000 {
                client.deadline.store(ticks, Relaxed);
            }
            client.deadline.store(1_000_000, Relaxed);
        });
        while !writer.is_finished() {
            check(&page, 5_000);
        }
        writer.join().unwrap();
        assert_eq!(check(&page, 5_000), Deadline::At(1_000_000));
    }
}
