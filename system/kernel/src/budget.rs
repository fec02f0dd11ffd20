//! Budgets: how much a scheduling context may run, and when again.
//!
//! A budget equal to its period is a time slice: when it is used up, the thread goes to the end of the queue of
//! its priority and has a new one. A smaller budget is a sporadic server: time used comes back one period after it
//! was used, kept as a short list of refills in ascending order of time.
//!
//! All times are ticks of the system counter.

use heapless::Deque;

/// Refills that a sporadic server remembers; more are merged, later rather than sooner.
const REFILLS: usize = 8;

/// An amount of time that may be used from a point in time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refill {
    time: u64,
    amount: u64,
}

impl Refill {
    const fn end(self) -> u64 {
        self.time.saturating_add(self.amount)
    }
}

/// What became of a budget when time was charged to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// There is enough left to go on.
    Left,
    /// It is used up: the turn of the thread is over.
    Over,
}

/// A budget. The head of `later` follows `now` in time.
#[derive(Debug)]
pub struct Budget {
    full: u64,
    period: u64,
    /// Too little to be worth a switch.
    least: u64,
    now: Refill,
    later: Deque<Refill, REFILLS>,
}

impl Budget {
    /// No budget at all, until [`Budget::configure`].
    pub const fn none() -> Self {
        Self {
            full: 0,
            period: 0,
            least: 0,
            now: Refill { time: 0, amount: 0 },
            later: Deque::new(),
        }
    }

    /// Gives the whole budget at once, usable from `time` on. `least` is what a turn must have at least.
    pub fn configure(&mut self, full: u64, period: u64, least: u64, time: u64) {
        self.full = full;
        self.period = period;
        self.least = least;
        self.now = Refill { time, amount: full };
        self.later.clear();
    }

    /// Whether it is a time slice, which never has to wait.
    pub const fn is_slice(&self) -> bool {
        self.full == self.period
    }

    /// What is left in this turn.
    pub const fn left(&self) -> u64 {
        self.now.amount
    }

    /// When it may be used.
    pub const fn ready_at(&self) -> u64 {
        if self.is_slice() { 0 } else { self.now.time }
    }

    /// Takes `used` away.
    pub fn charge(&mut self, used: u64) -> Charged {
        if self.is_slice() {
            return self.charge_slice(used);
        }
        let over = used.saturating_add(self.least) > self.now.amount;
        let mut used = used;
        // Each turn of the loop moves the head a period (at least a tick) into the future, and `used` shrinks by
        // at least `least`, so that it ends.
        while used >= self.now.amount {
            used -= self.now.amount;
            self.requeue_head();
        }
        if used > 0 {
            let back = Refill {
                time: self.now.time.saturating_add(self.period),
                amount: used,
            };
            self.now.amount -= used;
            self.now.time = self.now.time.saturating_add(used);
            self.append(back);
        }
        while self.now.amount < self.least {
            let Some(next) = self.later.pop_front() else {
                break;
            };
            // The rest joins the next refill without ending later than that would have.
            let rest = self.now.amount;
            self.now = Refill {
                time: next.time.saturating_sub(rest),
                amount: next.amount + rest,
            };
        }
        if over { Charged::Over } else { Charged::Left }
    }

    fn charge_slice(&mut self, used: u64) -> Charged {
        if used.saturating_add(self.least) > self.now.amount {
            self.now.amount = self.full;
            Charged::Over
        } else {
            self.now.amount -= used;
            Charged::Left
        }
    }

    /// Gives the rest of this turn up.
    pub fn give_up(&mut self) {
        self.charge(self.now.amount);
    }

    /// Says that the thread runs from `time` on: refills that are due by then become one, and nothing unused is saved up.
    pub fn start(&mut self, time: u64) {
        if self.is_slice() || self.now.time > time {
            return;
        }
        self.now.time = time;
        while let Some(next) = self.later.front().copied() {
            if next.time > self.now.end() {
                break;
            }
            self.now.amount += next.amount;
            self.later.pop_front();
        }
    }

    /// The head was used whole: it comes back a period later.
    fn requeue_head(&mut self) {
        let mut used = self.now;
        used.time = used.time.saturating_add(self.period);
        match self.later.pop_front() {
            None => self.now = used,
            Some(next) => {
                self.now = next;
                self.append(used);
            }
        }
    }

    /// Adds a refill at the end, merged with the last when they touch or when there is no room.
    fn append(&mut self, refill: Refill) {
        let last = match self.later.back_mut() {
            Some(last) => last,
            None => {
                // An empty list has room.
                let _ = self.later.push_back(refill);
                return;
            }
        };
        if last.end() >= refill.time {
            last.amount += refill.amount;
        } else if let Err(refill) = self.later.push_back(refill)
            && let Some(last) = self.later.back_mut()
        {
            last.time = refill.time.saturating_sub(last.amount);
            last.amount += refill.amount;
        }
    }

    #[cfg(test)]
    fn total(&self) -> u64 {
        self.now.amount + self.later.iter().map(|refill| refill.amount).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sporadic(full: u64, period: u64) -> Budget {
        let mut budget = Budget::none();
        budget.configure(full, period, 2, 0);
        budget
    }

    #[test]
    fn a_slice_is_renewed_when_it_is_over() {
        let mut budget = sporadic(100, 100);
        assert_eq!(budget.charge(60), Charged::Left);
        assert_eq!(budget.left(), 40);
        assert_eq!(budget.charge(39), Charged::Over, "too little is left");
        assert_eq!((budget.left(), budget.ready_at()), (100, 0));
        assert_eq!(budget.charge(u64::MAX), Charged::Over);
    }

    #[test]
    fn time_used_comes_back_a_period_later() {
        let mut budget = sporadic(10, 100);
        budget.start(1000);
        assert_eq!(budget.charge(4), Charged::Left);
        assert_eq!((budget.left(), budget.ready_at()), (6, 1004));
        budget.start(1050);
        assert_eq!(budget.charge(6), Charged::Over);
        assert_eq!((budget.left(), budget.ready_at()), (4, 1100));
        budget.start(1160);
        assert_eq!(budget.left(), 10, "both refills are due");
    }

    #[test]
    fn an_overrun_waits_longer() {
        let mut budget = sporadic(10, 100);
        budget.start(0);
        assert_eq!(budget.charge(25), Charged::Over);
        assert_eq!(budget.total(), 10);
        assert!(budget.ready_at() >= 200, "two and a half budgets were used");
    }

    #[test]
    fn no_time_is_lost_or_won_when_the_list_is_full() {
        let mut budget = sporadic(1000, 100_000);
        let mut time = 0;
        for _ in 0..50 {
            time += 500;
            budget.start(time);
            budget.charge(5);
            assert_eq!(budget.total(), 1000);
        }
        assert_eq!(budget.left(), 750);
    }

    #[test]
    fn the_rest_of_a_turn_can_be_given_up() {
        let mut budget = sporadic(10, 100);
        budget.start(50);
        budget.give_up();
        assert_eq!((budget.left(), budget.ready_at()), (10, 150));
    }
}
