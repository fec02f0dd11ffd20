//! Control pages: what is to become of a guest, and which protection domains have faulted.
//!
//! ```text
//!   control service ── order ──►  GuestPage  ◄── life, answer ── VMM
//!                   ◄───────────  DomainsPage ◄── faults ── supervisor
//! ```
//! Nobody waits in place. An order is a word with a number in it; the VMM answers with the same word when it has dealt with it,
//! and notifies. One that is dead answers nothing, and [`Controller::outcome`] goes on saying so.
//!
//! Neither side trusts the other: a number that is none is refused, and an answer to what was not ordered is none.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Bits of an order's word below its number.
const NUMBER: u32 = 8;
/// The orders whose outcomes are remembered: a bit each.
const REMEMBERED: u32 = u32::BITS;
/// The upper half of an answer to an order that was carried out.
const DONE: u64 = 1 << 32;

crate::shared! {
    /// Between the control service and a guest's VMM. All zero: there were no orders, and the guest waits for its backends.
    pub struct GuestPage {
        /// The latest order: its number and its [`Order`]. The control service writes it.
        order: AtomicU32,
        /// A [`Life`]. The VMM writes it.
        life: AtomicU32,
        /// The latest order that the VMM has dealt with, and whether it was carried out.
        answer: AtomicU64,
    }

    /// Between the supervisor and the control service.
    pub struct DomainsPage {
        /// Bit n: the supervisor's child n has faulted.
        faulted: AtomicU64,
    }
}

/// What a VMM is to do with its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Stop its vCPUs where they are.
    Pause = 1,
    /// Let them go on.
    Resume = 2,
    /// Start it again, as by PSCI's SYSTEM_RESET; also one that is off.
    Restart = 3,
    /// End it, as by PSCI's SYSTEM_OFF.
    PowerOff = 4,
}

impl Order {
    const fn from_word(word: u32) -> Option<Self> {
        Some(match word & ((1 << NUMBER) - 1) {
            1 => Self::Pause,
            2 => Self::Resume,
            3 => Self::Restart,
            4 => Self::PowerOff,
            _ => return None,
        })
    }
}

/// Where a guest is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Life {
    /// It will be started when all its backends are ready.
    Waiting = 0,
    /// It runs.
    Running = 1,
    /// It was told to pause.
    Paused = 2,
    /// It does not run any more, and its devices are being reset.
    Resetting = 3,
    /// It is off.
    Off = 4,
    /// It did what cannot be served, and was stopped.
    Stopped = 5,
}

impl Life {
    /// A word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Resetting => "resetting",
            Self::Off => "off",
            Self::Stopped => "stopped",
        }
    }
}

impl GuestPage {
    /// What the VMM says of its guest; a number that is none is [`Life::Stopped`].
    pub fn life(&self) -> Life {
        match self.life.load(Acquire) {
            0 => Life::Waiting,
            1 => Life::Running,
            2 => Life::Paused,
            3 => Life::Resetting,
            4 => Life::Off,
            _ => Life::Stopped,
        }
    }

    /// Whether the guest does not run and will not without an order.
    pub fn is_over(&self) -> bool {
        matches!(self.life(), Life::Off | Life::Stopped)
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out; a restart or an end has begun.
    Done,
    /// It does not fit the guest's [`Life`], and has changed nothing.
    Refused,
}

/// The control service's end of a guest's page.
pub struct Controller {
    page: &'static GuestPage,
    /// The word of the latest order.
    given: u32,
    answered: bool,
    /// Bit n: the order that was answered n before the latest answer was carried out.
    done: u32,
}

impl Controller {
    /// Takes the control service's end. What an earlier life has ordered stays ordered.
    pub fn new(page: &'static GuestPage) -> Self {
        Self {
            page,
            given: page.order.load(Relaxed),
            // Nobody waits for that any more.
            answered: true,
            done: 0,
        }
    }

    /// Where the guest is in its life.
    pub fn life(&self) -> Life {
        self.page.life()
    }

    /// Gives an order: its number, for [`outcome`](Self::outcome). The VMM is to be notified. `None` while the order before has no
    /// answer: it comes with a notification, if the VMM lives.
    #[must_use = "the VMM is to be notified, and somebody waits for the outcome"]
    pub fn give(&mut self, order: Order) -> Option<u32> {
        self.look();
        if !self.answered {
            return None;
        }
        // A number of 24 bits, so that an answer to an older order is not one to this.
        let number = (self.given >> NUMBER).wrapping_add(1);
        self.given = number << NUMBER | u32::from(order as u8);
        self.answered = false;
        // Release: pairs with the VMM's look.
        self.page.order.store(self.given, Release);
        Some(self.given >> NUMBER)
    }

    /// What became of the order with this number; `None`: the VMM has not answered. Only the latest 32 are remembered, and of those
    /// before them it is not known that they were carried out.
    pub fn outcome(&mut self, number: u32) -> Option<Outcome> {
        self.look();
        let latest = self.given >> NUMBER;
        let before = latest.wrapping_sub(number) & (u32::MAX >> NUMBER);
        let age = if self.answered {
            before
        } else {
            before.checked_sub(1)?
        };
        Some(match age < REMEMBERED && self.done >> age & 1 != 0 {
            true => Outcome::Done,
            false => Outcome::Refused,
        })
    }

    fn look(&mut self) {
        // Acquire: what the VMM says of its guest came before.
        let answer = self.page.answer.load(Acquire);
        if !self.answered && answer & !DONE == u64::from(self.given) {
            self.answered = true;
            self.done = self.done << 1 | u32::from(answer & DONE != 0);
        }
    }
}

/// The VMM's end of a guest's page.
pub struct Controlled {
    page: &'static GuestPage,
    /// The word of the latest order that was taken.
    taken: u32,
}

impl Controlled {
    /// Takes the VMM's end. What an earlier life did not answer is refused. The control service is to be notified.
    pub fn new(page: &'static GuestPage) -> Self {
        let taken = page.order.load(Relaxed);
        let end = Self { page, taken };
        end.show(Life::Waiting);
        if page.answer.load(Relaxed) & !DONE != u64::from(taken) {
            end.answer(Outcome::Refused);
        }
        end
    }

    /// Says where the guest is in its life.
    pub fn show(&self, life: Life) {
        self.page.life.store(life as u32, Release);
    }

    /// The order that there is since this was last asked; [`answer`](Self::answer) it.
    pub fn take(&mut self) -> Option<Order> {
        let word = self.page.order.load(Acquire);
        if word == self.taken {
            return None;
        }
        self.taken = word;
        let order = Order::from_word(word);
        if order.is_none() {
            self.answer(Outcome::Refused);
        }
        order
    }

    /// Answers the order that was taken, after [`show`](Self::show). The control service is to be notified.
    pub fn answer(&self, outcome: Outcome) {
        let done = match outcome {
            Outcome::Done => DONE,
            Outcome::Refused => 0,
        };
        // Release: pairs with the controller's look.
        self.page
            .answer
            .store(u64::from(self.taken) | done, Release);
    }
}

impl DomainsPage {
    /// Says that the supervisor's child with this id has faulted.
    pub fn set_faulted(&self, child: u8) {
        let bit = 1_u64.checked_shl(child.into()).unwrap_or(0);
        self.faulted.fetch_or(bit, Release);
    }

    /// Whether the supervisor's child with this id has faulted.
    pub fn has_faulted(&self, child: u8) -> bool {
        let bit = 1_u64.checked_shl(child.into()).unwrap_or(0);
        self.faulted.load(Acquire) & bit != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn page() -> &'static GuestPage {
        Box::leak(Box::default())
    }

    #[test]
    fn an_order_is_taken_once_and_answered() {
        let page = page();
        let mut control = Controller::new(page);
        let mut vmm = Controlled::new(page);
        assert_eq!(control.life(), Life::Waiting);
        let first = control.give(Order::Pause).unwrap();
        assert_eq!(control.outcome(first), None);
        assert_eq!(control.give(Order::Resume), None, "one at a time");
        assert_eq!(vmm.take(), Some(Order::Pause));
        assert_eq!(vmm.take(), None);
        vmm.show(Life::Paused);
        vmm.answer(Outcome::Done);
        assert_eq!(control.life(), Life::Paused);
        let second = control.give(Order::Pause).unwrap();
        assert_eq!(control.outcome(first), Some(Outcome::Done));
        assert_eq!(control.outcome(second), None);
        assert_eq!(vmm.take(), Some(Order::Pause));
        vmm.answer(Outcome::Refused);
        assert_eq!(control.outcome(second), Some(Outcome::Refused));
        assert_eq!(control.outcome(first), Some(Outcome::Done));
    }

    #[test]
    fn the_latest_outcomes_are_remembered_across_the_end_of_numbers() {
        let page = page();
        page.order.store(u32::MAX - 0x3ff, Relaxed);
        let mut vmm = Controlled::new(page);
        let mut control = Controller::new(page);
        let mut numbers = Vec::new();
        for index in 0..100 {
            numbers.push(control.give(Order::Restart).unwrap());
            assert_eq!(vmm.take(), Some(Order::Restart));
            vmm.answer(match index % 3 {
                0 => Outcome::Done,
                _ => Outcome::Refused,
            });
        }
        for (index, number) in numbers.into_iter().enumerate() {
            let done = index % 3 == 0 && index >= 68;
            let outcome = control.outcome(number);
            assert_eq!(outcome == Some(Outcome::Done), done, "{index}: {outcome:?}");
        }
    }

    #[test]
    fn whoever_starts_again_leaves_nobody_waiting() {
        let page = page();
        let mut control = Controller::new(page);
        let _vmm = Controlled::new(page);
        let number = control.give(Order::PowerOff).unwrap();
        let mut vmm = Controlled::new(page);
        assert_eq!(vmm.take(), None, "it was for an earlier life");
        assert_eq!(control.outcome(number), Some(Outcome::Refused));
        assert!(control.give(Order::Pause).is_some());
        let mut control = Controller::new(page);
        assert!(control.give(Order::Resume).is_some());
        assert_eq!(vmm.take(), Some(Order::Resume));
    }

    #[test]
    fn what_is_no_order_and_no_life_is_refused() {
        let page = page();
        let mut vmm = Controlled::new(page);
        page.order.store(1 << NUMBER | 99, Relaxed);
        assert_eq!(vmm.take(), None);
        assert_eq!(page.answer.load(Relaxed), 1 << NUMBER | 99);
        page.life.store(77, Relaxed);
        assert_eq!(page.life(), Life::Stopped);
        // An answer to what was not ordered is none.
        let mut control = Controller::new(page);
        let number = control.give(Order::Pause).unwrap();
        for lie in [0, DONE, u64::MAX, DONE | 1 << NUMBER | 1] {
            page.answer.store(lie, Relaxed);
            assert_eq!(control.outcome(number), None, "{lie:#x}");
        }
    }

    #[test]
    fn faults_are_told_by_the_childs_id() {
        let page = DomainsPage::default();
        page.set_faulted(61);
        page.set_faulted(200);
        assert!(page.has_faulted(61));
        assert!(!page.has_faulted(60) && !page.has_faulted(200));
    }
}
