//! Who runs: ready queues by priority, budgets, and the queue of those that wait for budget.
//!
//! Time is charged when the scheduling context changes and when the timer says that a turn may be over, and only where
//! it makes a difference, so most kernel entries read no clock. A deadline that comes too early costs one interrupt; reprogramming the timer at
//! each switch would cost more.

use crate::budget::{Budget, Charged};
use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::queue::{Links, Queue};
use crate::ready::Ready;
use crate::thread::{Queued, State};

/// Microseconds in a second.
const MICROSECONDS: u64 = 1_000_000;
/// Least budget of a turn in microseconds, seL4's `MIN_BUDGET_US`.
const LEAST_BUDGET: u64 = 20;

/// A scheduling context.
#[derive(Debug)]
pub(crate) struct SchedContext {
    pub(crate) budget: Budget,
    /// The thread that runs on it.
    pub(crate) thread: Option<ThreadId>,
    /// The top of its call stack.
    pub(crate) top: Option<DomainId>,
    /// Ticks used since somebody asked.
    consumed: u64,
}

impl SchedContext {
    pub(crate) const fn new() -> Self {
        Self {
            budget: Budget::none(),
            thread: None,
            top: None,
            consumed: 0,
        }
    }
}

/// The scheduler's state.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) links: Links,
    ready: Ready,
    /// Threads without budget, soonest first.
    release: Queue,
    current: Option<ThreadId>,
    /// A thread that was woken while the running one goes on: usually the next, so it is in no queue yet.
    candidate: Option<ThreadId>,
    /// Whether the ready queues must be looked at.
    changed: bool,
    /// The scheduling context in use.
    charged: Option<ThreadId>,
    /// Whether it is measured how long it is used, and then since when it was not charged.
    watched: bool,
    since: u64,
    /// Whether somebody can ask how long scheduling contexts were used, so that all must be measured.
    asked: bool,
    /// What the timer is set to.
    deadline: u64,
    /// Ticks of the system counter in a second.
    frequency: u64,
}

impl Schedule {
    pub(crate) const fn new() -> Self {
        Self {
            links: Links::new(),
            ready: Ready::new(),
            release: Queue::EMPTY,
            current: None,
            candidate: None,
            changed: false,
            charged: None,
            watched: false,
            since: 0,
            asked: false,
            deadline: 0,
            frequency: 0,
        }
    }

    pub(crate) const fn current(&self) -> Option<ThreadId> {
        self.current
    }

    /// Whether a thread was woken and is in no queue yet.
    pub(crate) fn is_candidate(&self, thread: ThreadId) -> bool {
        self.candidate == Some(thread)
    }
}

impl<M: Machine> Kernel<M> {
    /// Prepares the scheduler for a counter of this frequency; `asked` says whether somebody can ask what was used.
    pub(crate) fn start_time(&mut self, frequency: u64, asked: bool) {
        self.schedule.asked = asked;
        self.schedule.frequency = frequency.max(MICROSECONDS);
        self.schedule.deadline = u64::MAX;
        self.schedule.since = self.machine.now();
        self.machine.set_deadline(u64::MAX);
    }

    /// Makes the next [`Kernel::schedule`] look at the ready queues.
    pub(crate) const fn look_again(&mut self) {
        self.schedule.changed = true;
    }

    /// Gives a thread its scheduling context, with times in microseconds.
    pub(crate) fn configure_budget(&mut self, thread: ThreadId, budget: u64, period: u64) {
        let frequency = self.schedule.frequency;
        let ticks = |time: u64| time.saturating_mul(frequency) / MICROSECONDS;
        let context = &mut self.contexts[thread];
        let (full, period, least) = (ticks(budget), ticks(period), ticks(LEAST_BUDGET));
        context
            .budget
            .configure(full, period, least, self.schedule.since);
        context.thread = Some(thread);
        self.threads[thread].budget = Some(thread);
    }

    /// The running thread, if what it has called for changes nothing that [`Kernel::schedule`] decides or the machine
    /// must be made ready for. Most calls of a VMM are of this kind.
    pub fn going_on(&self) -> Option<ThreadId> {
        let schedule = &self.schedule;
        let current = schedule.current?;
        let thread = &self.threads[current];
        let goes_on = !schedule.changed
            && schedule.candidate.is_none()
            && schedule.release.is_empty()
            && schedule.charged == thread.budget
            && !(schedule.watched && schedule.deadline == u64::MAX)
            && thread.state == State::Running
            && thread.yielded_to.is_none();
        goes_on.then_some(current)
    }

    /// Decides which thread runs now; none when there is nothing to do.
    pub fn schedule(&mut self) -> Option<ThreadId> {
        if !self.schedule.release.is_empty() {
            self.awaken();
        }
        let current = self.schedule.current;
        let candidate = self.schedule.candidate.take();
        let next = match (current, candidate) {
            _ if self.schedule.changed => self.choose(candidate),
            (current, None) => current,
            (None, Some(candidate)) => Some(candidate),
            (Some(current), Some(candidate)) => {
                let (running, woken) = (self.priority(current), self.priority(candidate));
                if woken > running {
                    self.enqueue(current, true);
                    Some(candidate)
                } else {
                    self.enqueue(candidate, woken < running);
                    Some(current)
                }
            }
        };
        self.schedule.changed = false;
        self.schedule.current = next;
        self.switch_budget(next);
        if let Some(next) = next {
            self.activate(next);
        }
        next
    }

    /// The first thread of the highest priority, after the running and the woken one have been put in their queues.
    fn choose(&mut self, candidate: Option<ThreadId>) -> Option<ThreadId> {
        let first = candidate.filter(|candidate| self.comes_first(*candidate));
        // The tests go the long way and compare.
        if first.is_some() && !cfg!(test) {
            return first;
        }
        for thread in [self.schedule.current, candidate].into_iter().flatten() {
            if self.threads[thread].is_schedulable() {
                self.enqueue(thread, true);
            }
        }
        let priority = self.schedule.ready.highest()?;
        let queue = self.schedule.ready.queue(priority);
        let thread = queue.pop(&mut self.schedule.links)?;
        self.schedule.ready.update(priority);
        self.threads[thread].queued = Queued::No;
        debug_assert!(first.is_none_or(|first| first == thread));
        Some(thread)
    }

    /// Whether a woken thread would be taken out of its queue as soon as it is put there: the running one waits, and no other is
    /// more urgent.
    fn comes_first(&self, woken: ThreadId) -> bool {
        let running = self.schedule.current;
        self.threads[woken].is_schedulable()
            && self.threads[woken].queued == Queued::No
            && running.is_none_or(|running| !self.threads[running].is_schedulable())
            && self.schedule.ready.highest() <= Some(self.priority(woken))
    }

    /// Makes a chosen thread go on where it should.
    fn activate(&mut self, next: ThreadId) {
        if self.threads[next].yielded_to.is_some() {
            self.answer_yield(next);
        }
        let thread = &mut self.threads[next];
        if thread.state == State::Restart {
            thread.context.pc = thread.context.restart;
            thread.state = State::Running;
        }
    }

    #[cold]
    fn answer_yield(&mut self, thread: ThreadId) {
        if let Some(budget) = self.threads[thread].yielded_to.take() {
            let consumed = self.take_consumed(budget);
            self.reply_words(thread, &[consumed]);
        }
    }

    fn priority(&self, thread: ThreadId) -> u8 {
        self.threads[thread].priority
    }

    /// Charges the scheduling context that was in use when another comes, and sets the timer.
    fn switch_budget(&mut self, next: Option<ThreadId>) {
        let budget = next.and_then(|next| self.threads[next].budget);
        if budget != self.schedule.charged {
            if let Some(old) = self.schedule.charged
                && core::mem::take(&mut self.schedule.watched)
            {
                let now = self.machine.now();
                if self.charge(old, now) == Charged::Over
                    && let Some(thread) = self.contexts[old].thread
                {
                    if self.threads[thread].queued == Queued::Ready {
                        self.end_turn(thread, now);
                    } else {
                        self.threads[thread].turn_over = true;
                    }
                }
            }
            self.schedule.charged = budget;
        }
        if let (Some(next), Some(budget)) = (next, budget)
            && !self.schedule.watched
            && self.time_matters(next, budget)
        {
            let now = self.machine.now();
            self.schedule.watched = true;
            self.schedule.since = now;
            self.contexts[budget].budget.start(now);
        }
        self.set_timer();
    }

    /// Whether it must be measured how long a thread runs: a time slice ends only for somebody else of its priority.
    fn time_matters(&self, thread: ThreadId, budget: ThreadId) -> bool {
        !self.contexts[budget].budget.is_slice()
            || self.schedule.ready.has(self.threads[thread].priority)
            || self.schedule.asked
    }

    /// Charges a scheduling context for the time since the last charge.
    fn charge(&mut self, budget: ThreadId, now: u64) -> Charged {
        let used = now.saturating_sub(self.schedule.since);
        let context = &mut self.contexts[budget];
        context.consumed = context.consumed.saturating_add(used);
        context.budget.charge(used)
    }

    /// Sets the timer if the next event comes sooner than what it is set to.
    fn set_timer(&mut self) {
        let mut time = u64::MAX;
        if self.schedule.watched
            && let Some(budget) = self.schedule.charged
        {
            let left = self.contexts[budget].budget.left();
            time = self.schedule.since.saturating_add(left);
        }
        if let Some(first) = self.schedule.release.first() {
            time = time.min(self.ready_at(first));
        }
        if time < self.schedule.deadline {
            self.schedule.deadline = time;
            self.machine.set_deadline(time);
        }
    }

    /// The timer's interrupt.
    pub fn timer_expired(&mut self) {
        self.schedule.deadline = u64::MAX;
        self.machine.set_deadline(u64::MAX);
        let now = self.machine.now();
        if let Some(thread) = self.schedule.current
            && let Some(budget) = self.schedule.charged
            && self.schedule.watched
        {
            let charged = self.charge(budget, now);
            self.schedule.since = now;
            if charged == Charged::Over {
                self.end_turn(thread, now);
            }
        }
    }

    /// The running thread gives the rest of its turn up.
    #[cold]
    pub(crate) fn yield_turn(&mut self, thread: ThreadId) {
        let now = self.machine.now();
        if let Some(budget) = self.schedule.charged {
            if self.schedule.watched {
                self.charge(budget, now);
                self.schedule.since = now;
            }
            self.contexts[budget].budget.give_up();
            self.end_turn(thread, now);
        }
    }

    /// A thread's turn is over: it goes to the end of its queue, or waits for budget.
    #[cold]
    fn end_turn(&mut self, thread: ThreadId, now: u64) {
        self.schedule.changed = true;
        self.dequeue(thread);
        if self.ready_at(thread) > now {
            self.postpone(thread);
        } else {
            self.enqueue(thread, false);
        }
    }

    /// When a thread's budget may be used.
    fn ready_at(&self, thread: ThreadId) -> u64 {
        let budget = self.threads[thread].budget;
        budget.map_or(u64::MAX, |budget| self.contexts[budget].budget.ready_at())
    }

    /// Puts a thread into the queue of those that wait for budget.
    #[cold]
    fn postpone(&mut self, thread: ThreadId) {
        self.dequeue(thread);
        let time = self.ready_at(thread);
        let (threads, contexts) = (&self.threads, &self.contexts);
        let later = |other: ThreadId| {
            let budget = threads[other].budget;
            budget.is_none_or(|budget| contexts[budget].budget.ready_at() > time)
        };
        let release = &mut self.schedule.release;
        release.insert(&mut self.schedule.links, thread, later);
        self.threads[thread].queued = Queued::Release;
        self.schedule.changed = true;
    }

    /// Lets those go on whose budget has come.
    #[cold]
    fn awaken(&mut self) {
        let now = self.machine.now();
        while let Some(first) = self.schedule.release.first() {
            if self.ready_at(first) > now {
                break;
            }
            self.dequeue(first);
            self.wake(first);
        }
    }

    /// Makes the thread of a scheduling context wait if its budget has not come yet.
    pub(crate) fn hold_back(&mut self, budget: ThreadId) {
        let time = self.contexts[budget].budget.ready_at();
        if let Some(thread) = self.contexts[budget].thread
            && self.threads[thread].is_schedulable()
            && time != 0
            && time > self.machine.now()
        {
            self.postpone(thread);
        }
    }

    /// A thread became runnable.
    pub(crate) fn wake(&mut self, thread: ThreadId) {
        let schedulable = self.threads[thread].is_schedulable();
        if !schedulable || self.schedule.current == Some(thread) {
            // A running thread goes on; one without budget waits for some.
            return;
        }
        // Who waits again and again, always just before its turn ends, would otherwise have all turns: a vCPU with its exits.
        let last = core::mem::take(&mut self.threads[thread].turn_over);
        if last || self.schedule.changed || self.schedule.candidate.is_some() {
            if let Some(candidate) = self.schedule.candidate.take() {
                self.enqueue(candidate, true);
            }
            self.schedule.changed = true;
            self.enqueue(thread, !last);
        } else {
            self.schedule.candidate = Some(thread);
        }
    }

    /// Sets what a thread does.
    pub(crate) fn set_state(&mut self, thread: ThreadId, state: State) {
        self.threads[thread].state = state;
        if self.schedule.current == Some(thread) && !self.threads[thread].is_schedulable() {
            self.schedule.changed = true;
        }
    }

    /// Puts a thread into its ready queue, first or last, unless it is there.
    pub(crate) fn enqueue(&mut self, thread: ThreadId, first: bool) {
        if self.threads[thread].queued != Queued::No {
            return;
        }
        self.threads[thread].queued = Queued::Ready;
        let priority = self.threads[thread].priority;
        let queue = self.schedule.ready.queue(priority);
        if first {
            queue.push_front(&mut self.schedule.links, thread);
        } else {
            queue.push_back(&mut self.schedule.links, thread);
        }
        self.schedule.ready.update(priority);
    }

    /// Takes a thread out of the scheduler's queues.
    pub(crate) fn dequeue(&mut self, thread: ThreadId) {
        let links = &mut self.schedule.links;
        match core::mem::take(&mut self.threads[thread].queued) {
            Queued::Ready => {
                let priority = self.threads[thread].priority;
                self.schedule.ready.queue(priority).remove(links, thread);
                self.schedule.ready.update(priority);
            }
            Queued::Release => self.schedule.release.remove(links, thread),
            Queued::No if self.schedule.candidate == Some(thread) => {
                self.schedule.candidate = None;
            }
            Queued::No => {}
        }
    }

    /// Moves a scheduling context to a thread that has none.
    pub(crate) fn donate(&mut self, budget: ThreadId, to: ThreadId) {
        if let Some(from) = self.contexts[budget].thread {
            self.unbind(from);
        }
        self.contexts[budget].thread = Some(to);
        self.threads[to].budget = Some(budget);
    }

    /// Takes a thread's scheduling context away.
    pub(crate) fn unbind(&mut self, thread: ThreadId) {
        self.dequeue(thread);
        if let Some(budget) = self.threads[thread].budget.take() {
            self.contexts[budget].thread = None;
        }
        if self.schedule.current == Some(thread) {
            self.schedule.changed = true;
        }
    }

    /// Microseconds that a scheduling context was charged since the last time somebody asked.
    pub(crate) fn take_consumed(&mut self, budget: ThreadId) -> u64 {
        let ticks = core::mem::take(&mut self.contexts[budget].consumed);
        ticks.saturating_mul(MICROSECONDS) / self.schedule.frequency
    }
}
