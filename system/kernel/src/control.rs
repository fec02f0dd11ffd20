//! Control over threads from outside: priority, suspend, resume, directed yield.

use crate::id::ThreadId;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::thread::{Queued, State};

impl<M: Machine> Kernel<M> {
    /// Changes a thread's priority, and its place in whatever queue it is in.
    pub(crate) fn set_priority(&mut self, thread: ThreadId, priority: u8) {
        let was_candidate = self.schedule.is_candidate(thread);
        match self.threads[thread].state {
            State::Running | State::Restart => {
                let queued = self.threads[thread].queued;
                if queued == Queued::Ready || was_candidate {
                    self.dequeue(thread);
                }
                self.threads[thread].priority = priority;
                if queued == Queued::Ready || was_candidate {
                    self.enqueue(thread, true);
                }
                self.look_again();
            }
            State::Receiving { endpoint, .. } | State::Sending { endpoint, .. } => {
                self.dequeue_from(thread, endpoint);
                self.threads[thread].priority = priority;
                self.enqueue_at(thread, endpoint);
            }
            State::Waiting(notification) => {
                self.dequeue_waiting(thread, notification);
                self.threads[thread].priority = priority;
                self.enqueue_waiting(thread, notification);
            }
            State::Inactive | State::AwaitingReply(_) => {
                self.threads[thread].priority = priority;
            }
        }
    }

    /// Stops a thread, whatever it does.
    pub(crate) fn suspend(&mut self, thread: ThreadId) {
        self.cancel(thread);
        if self.threads[thread].state == State::Running {
            let context = &mut self.threads[thread].context;
            context.restart = context.pc;
        }
        self.dequeue(thread);
        self.threads[thread].yielded_to = None;
        self.set_state(thread, State::Inactive);
    }

    /// Lets a thread go on that does nothing, or ends what it waits for.
    pub(crate) fn resume(&mut self, thread: ThreadId) {
        if self.threads[thread].is_runnable() {
            return;
        }
        self.cancel(thread);
        self.set_state(thread, State::Restart);
        if let Some(budget) = self.threads[thread].budget {
            self.hold_back(budget);
            self.wake(thread);
        }
    }

    /// Lets the thread of another scheduling context run before the running one; whether the answer waits until then.
    pub(crate) fn yield_to(&mut self, thread: ThreadId, budget: ThreadId) -> bool {
        self.hold_back(budget);
        let Some(target) = self.contexts[budget].thread else {
            return false;
        };
        if !self.threads[target].is_schedulable() {
            return false;
        }
        self.dequeue(target);
        if self.threads[target].priority < self.threads[thread].priority {
            self.enqueue(target, true);
            return false;
        }
        self.threads[thread].yielded_to = Some(budget);
        self.enqueue(thread, true);
        self.enqueue(target, true);
        self.look_again();
        true
    }
}
