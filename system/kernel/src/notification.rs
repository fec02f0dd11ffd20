//! Notifications: a word of badges, or threads that wait for one.

use crate::capability::Badge;
use crate::context::Register;
use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::queue::Queue;
use crate::thread::State;

/// A notification.
#[derive(Debug)]
pub(crate) struct Notification {
    /// Badges that nobody has taken yet; meaningless unless `active`.
    badges: u64,
    /// Whether somebody signalled and nobody took it (a badge may be 0).
    active: bool,
    /// Threads that wait.
    waiting: Queue,
    /// The thread whose wait for a message it ends.
    pub(crate) bound: Option<ThreadId>,
    /// The scheduling context that it lends to a passive thread.
    pub(crate) budget: Option<ThreadId>,
}

impl Notification {
    pub(crate) const fn new() -> Self {
        Self {
            badges: 0,
            active: false,
            waiting: Queue::EMPTY,
            bound: None,
            budget: None,
        }
    }

    /// Adds a badge that nobody waits for.
    const fn add(&mut self, badge: u64) {
        self.badges = if self.active {
            self.badges | badge
        } else {
            badge
        };
        self.active = true;
    }

    /// Takes all badges, if there are any.
    const fn take(&mut self) -> Option<u64> {
        if !self.active {
            return None;
        }
        self.active = false;
        Some(self.badges)
    }

    /// Whether nobody waits and nobody is bound.
    pub(crate) const fn is_free(&self) -> bool {
        self.bound.is_none() && self.waiting.is_empty()
    }
}

impl<M: Machine> Kernel<M> {
    /// Signals a notification.
    pub(crate) fn signal(&mut self, notification: DomainId, badge: Badge) {
        let badge = badge.word();
        if let Some(waiter) = self.notifications[notification].waiting.first() {
            let waiting = &mut self.notifications[notification].waiting;
            waiting.remove(&mut self.schedule.links, waiter);
            self.deliver(waiter, notification, badge);
            return;
        }
        let bound = self.notifications[notification].bound;
        match bound {
            Some(thread) if matches!(self.threads[thread].state, State::Receiving { .. }) => {
                self.cancel(thread);
                self.deliver(thread, notification, badge);
            }
            _ => self.notifications[notification].add(badge),
        }
    }

    /// Ends a thread's wait with a badge.
    fn deliver(&mut self, thread: ThreadId, notification: DomainId, badge: u64) {
        self.set_state(thread, State::Running);
        self.threads[thread]
            .context
            .set(Register::Capability, badge);
        self.lend(thread, notification);
        self.wake(thread);
    }

    /// The running thread waits for a notification, or looks whether there is one.
    pub(crate) fn wait(&mut self, thread: ThreadId, notification: DomainId, blocking: bool) {
        if let Some(badge) = self.notifications[notification].take() {
            self.threads[thread]
                .context
                .set(Register::Capability, badge);
            self.lend(thread, notification);
        } else if blocking {
            self.set_state(thread, State::Waiting(notification));
            self.enqueue_waiting(thread, notification);
            self.give_back(thread, notification);
        } else {
            self.threads[thread].context.set(Register::Capability, 0);
        }
    }

    /// Takes what the thread's bound notification has, if it has something; whether it had.
    pub(crate) fn take_bound(&mut self, thread: ThreadId) -> bool {
        let Some(notification) = self.threads[thread].notification else {
            return false;
        };
        let Some(badge) = self.notifications[notification].take() else {
            return false;
        };
        self.threads[thread]
            .context
            .set(Register::Capability, badge);
        self.lend(thread, notification);
        true
    }

    /// Lends the notification's scheduling context to a thread without one.
    fn lend(&mut self, thread: ThreadId, notification: DomainId) {
        if self.threads[thread].budget.is_some() {
            return;
        }
        if let Some(budget) = self.notifications[notification].budget
            && self.contexts[budget].thread.is_none()
        {
            self.donate(budget, thread);
            self.hold_back(budget);
        }
    }

    /// Takes the notification's scheduling context back from a thread that is about to wait.
    pub(crate) fn give_back(&mut self, thread: ThreadId, notification: DomainId) {
        let lent = self.notifications[notification].budget;
        if lent.is_some() && lent == self.threads[thread].budget {
            self.unbind(thread);
        }
    }

    pub(crate) fn enqueue_waiting(&mut self, thread: ThreadId, notification: DomainId) {
        let threads = &self.threads;
        let priority = threads[thread].priority;
        let waiting = &mut self.notifications[notification].waiting;
        waiting.insert(&mut self.schedule.links, thread, |other| {
            threads[other].priority < priority
        });
    }

    pub(crate) fn dequeue_waiting(&mut self, thread: ThreadId, notification: DomainId) {
        let waiting = &mut self.notifications[notification].waiting;
        waiting.remove(&mut self.schedule.links, thread);
    }
}
