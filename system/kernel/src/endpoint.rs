//! Endpoints: threads that wait to send or to receive, and the transfer of messages.

use crate::capability::Badge;
use crate::context::Register;
use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::queue::Queue;
use crate::thread::State;
use sel4cp_abi::message::{MessageInfo, REGISTERS};

/// An endpoint. Senders and receivers never wait at the same time.
#[derive(Debug)]
pub(crate) struct Endpoint {
    queue: Queue,
    sending: bool,
}

impl Endpoint {
    pub(crate) const fn new() -> Self {
        Self {
            queue: Queue::EMPTY,
            sending: false,
        }
    }

    fn receiver(&self) -> Option<ThreadId> {
        self.queue.first().filter(|_| !self.sending)
    }

    fn sender(&self) -> Option<ThreadId> {
        self.queue.first().filter(|_| self.sending)
    }
}

impl<M: Machine> Kernel<M> {
    /// `thread` sends its message, or its fault, to an endpoint.
    pub(crate) fn send(
        &mut self,
        thread: ThreadId,
        endpoint: DomainId,
        badge: Badge,
        blocking: bool,
        call: bool,
        can_donate: bool,
    ) {
        let Some(receiver) = self.endpoints[endpoint].receiver() else {
            if blocking {
                let state = State::Sending {
                    endpoint,
                    badge,
                    call,
                };
                self.set_state(thread, state);
                self.endpoints[endpoint].sending = true;
                self.enqueue_at(thread, endpoint);
            }
            return;
        };
        self.dequeue_from(receiver, endpoint);
        self.transfer(thread, receiver, badge);
        let reply = match self.threads[receiver].state {
            State::Receiving { reply, .. } => reply,
            _ => None,
        };
        if let Some(reply) = reply {
            self.unlink_reply(reply, receiver);
        }
        if call || self.threads[thread].fault.is_some() {
            match reply {
                Some(reply) => self.push_call(thread, receiver, reply, can_donate),
                None => self.set_state(thread, State::Inactive),
            }
        } else if can_donate
            && self.threads[receiver].budget.is_none()
            && let Some(budget) = self.threads[thread].budget
        {
            self.donate(budget, receiver);
        }
        self.set_state(receiver, State::Running);
        self.wake(receiver);
    }

    /// The running thread receives from an endpoint, or looks whether there is something.
    pub(crate) fn receive(
        &mut self,
        thread: ThreadId,
        endpoint: DomainId,
        blocking: bool,
        reply: Option<DomainId>,
    ) {
        if let Some(reply) = reply
            && let Some(other) = self.replies[reply].thread
            && other != thread
        {
            // Receiving with an unanswered caller in the reply object cancels that caller.
            self.cancel(other);
        }
        if self.take_bound(thread) {
            return;
        }
        if blocking && let Some(notification) = self.threads[thread].notification {
            self.give_back(thread, notification);
        }
        let Some(sender) = self.endpoints[endpoint].sender() else {
            if blocking {
                self.set_state(thread, State::Receiving { endpoint, reply });
                if let Some(reply) = reply {
                    self.replies[reply].thread = Some(thread);
                }
                self.endpoints[endpoint].sending = false;
                self.enqueue_at(thread, endpoint);
            } else {
                self.threads[thread].context.set(Register::Capability, 0);
            }
            return;
        };
        self.dequeue_from(sender, endpoint);
        let (badge, call) = match self.threads[sender].state {
            State::Sending { badge, call, .. } => (badge, call),
            _ => (Badge::None, false),
        };
        self.transfer(sender, thread, badge);
        if call || self.threads[sender].fault.is_some() {
            match reply {
                Some(reply) => self.push_call(sender, thread, reply, true),
                None => self.set_state(sender, State::Inactive),
            }
        } else {
            self.set_state(sender, State::Running);
            self.wake(sender);
        }
    }

    /// Answers through a reply object; nothing happens when nobody waits there.
    pub(crate) fn answer(&mut self, sender: ThreadId, reply: DomainId) {
        let Some(caller) = self.replies[reply].thread else {
            return;
        };
        if self.threads[caller].state != State::AwaitingReply(reply) {
            return;
        }
        self.pop_call(reply, caller);
        if let Some(fault) = self.threads[caller].fault.take() {
            let goes_on = self.answer_fault(sender, caller, &fault);
            let state = if goes_on {
                State::Restart
            } else {
                State::Inactive
            };
            self.set_state(caller, state);
        } else {
            self.transfer(sender, caller, Badge::None);
            self.set_state(caller, State::Running);
        }
        if let Some(budget) = self.threads[caller].budget
            && self.threads[caller].is_runnable()
        {
            self.hold_back(budget);
            self.wake(caller);
        }
    }

    fn answer_fault(
        &mut self,
        sender: ThreadId,
        caller: ThreadId,
        fault: &crate::fault::Fault,
    ) -> bool {
        let info = MessageInfo(self.threads[sender].context.get(Register::Info));
        let mut words = crate::fault::Words::new();
        for index in 0..info.length() {
            if words.push(self.word(sender, index)).is_err() {
                break;
            }
        }
        let is_vcpu = self.threads[caller].is_vcpu();
        let context = &mut self.threads[caller].context;
        fault.answer(context, is_vcpu, info.label(), &words)
    }

    /// Copies a thread's message, or its fault, to another.
    fn transfer(&mut self, sender: ThreadId, receiver: ThreadId, badge: Badge) {
        let info = match self.threads[sender].fault {
            None => self.copy_message(sender, receiver),
            Some(fault) => {
                let words = fault.words(&self.threads[sender].context);
                let length = self.set_words(receiver, &words);
                MessageInfo::new(fault.label() as u64, length)
            }
        };
        let context = &mut self.threads[receiver].context;
        context.set(Register::Capability, badge.word());
        context.set(Register::Info, info.0);
    }

    /// Copies the words of a message and returns its info without capabilities: none are transferred.
    fn copy_message(&mut self, sender: ThreadId, receiver: ThreadId) -> MessageInfo {
        let info = MessageInfo(self.threads[sender].context.get(Register::Info));
        let has_buffers =
            self.threads[sender].buffer.is_some() && self.threads[receiver].buffer.is_some();
        let length = if has_buffers {
            info.length()
        } else {
            info.length().min(REGISTERS)
        };
        for index in 0..length {
            let word = self.word(sender, index);
            self.set_word(receiver, index, word);
        }
        MessageInfo::new(info.label(), length)
    }

    /// Ends whatever the thread waits for: it does nothing then, and its fault is forgotten.
    pub(crate) fn cancel(&mut self, thread: ThreadId) {
        self.threads[thread].fault = None;
        match self.threads[thread].state {
            State::Sending { endpoint, .. } => {
                self.dequeue_from(thread, endpoint);
                self.set_state(thread, State::Inactive);
            }
            State::Receiving { endpoint, reply } => {
                self.dequeue_from(thread, endpoint);
                if let Some(reply) = reply {
                    self.unlink_reply(reply, thread);
                }
                self.set_state(thread, State::Inactive);
            }
            State::Waiting(notification) => {
                self.dequeue_waiting(thread, notification);
                self.set_state(thread, State::Inactive);
            }
            State::AwaitingReply(reply) => self.abandon_call(reply, thread),
            State::Inactive | State::Running | State::Restart => {}
        }
    }

    /// Puts a thread into an endpoint's queue, after those of its priority.
    pub(crate) fn enqueue_at(&mut self, thread: ThreadId, endpoint: DomainId) {
        let threads = &self.threads;
        let priority = threads[thread].priority;
        let queue = &mut self.endpoints[endpoint].queue;
        queue.insert(&mut self.schedule.links, thread, |other| {
            threads[other].priority < priority
        });
    }

    pub(crate) fn dequeue_from(&mut self, thread: ThreadId, endpoint: DomainId) {
        let queue = &mut self.endpoints[endpoint].queue;
        queue.remove(&mut self.schedule.links, thread);
    }
}
