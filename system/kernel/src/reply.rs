//! Reply objects, and the call stack that they form: a caller lends its scheduling context to a passive callee,
//! which may lend it further, and each answer takes it back by one step.

use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::thread::State;

/// What is above a reply object in its call stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// It is in no stack, or was cut off.
    Nothing,
    /// The reply object of a later call.
    Reply(DomainId),
    /// Nothing above: it is the top of this scheduling context's stack.
    Top(ThreadId),
}

/// A reply object.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Who waits for the answer, or will receive with it.
    pub(crate) thread: Option<ThreadId>,
    below: Option<DomainId>,
    above: Above,
}

impl Reply {
    pub(crate) const fn new() -> Self {
        Self {
            thread: None,
            below: None,
            above: Above::Nothing,
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// `caller` waits for the answer of `callee` through `reply`, and lends its scheduling context if it may and the callee has none.
    pub(crate) fn push_call(
        &mut self,
        caller: ThreadId,
        callee: ThreadId,
        reply: DomainId,
        can_donate: bool,
    ) {
        self.replies[reply].thread = Some(caller);
        self.set_state(caller, State::AwaitingReply(reply));
        let Some(budget) = self.threads[caller].budget else {
            return;
        };
        if !can_donate || self.threads[callee].budget.is_some() {
            return;
        }
        let below = self.contexts[budget].top.replace(reply);
        if let Some(below) = below {
            self.replies[below].above = Above::Reply(reply);
        }
        self.replies[reply].below = below;
        self.replies[reply].above = Above::Top(budget);
        self.donate(budget, callee);
    }

    /// Takes `reply` out of its call stack for an answer; its caller gets its scheduling context back.
    pub(crate) fn pop_call(&mut self, reply: DomainId, caller: ThreadId) {
        let object = &mut self.replies[reply];
        let below = object.below.take();
        let above = core::mem::replace(&mut object.above, Above::Nothing);
        match above {
            Above::Top(budget) => {
                self.contexts[budget].top = below;
                if let Some(below) = below {
                    self.replies[below].above = Above::Top(budget);
                }
                if self.threads[caller].budget.is_none() {
                    self.donate(budget, caller);
                }
            }
            Above::Reply(above) => {
                self.replies[above].below = None;
                self.cut_below(below);
            }
            Above::Nothing => self.cut_below(below),
        }
        self.unlink_reply(reply, caller);
    }

    /// The caller no longer waits: its call stack breaks here, and who runs on its scheduling context keeps it.
    pub(crate) fn abandon_call(&mut self, reply: DomainId, caller: ThreadId) {
        let object = &mut self.replies[reply];
        let below = object.below.take();
        match core::mem::replace(&mut object.above, Above::Nothing) {
            Above::Top(budget) => self.contexts[budget].top = None,
            Above::Reply(above) => self.replies[above].below = None,
            Above::Nothing => {}
        }
        self.cut_below(below);
        self.unlink_reply(reply, caller);
    }

    fn cut_below(&mut self, below: Option<DomainId>) {
        if let Some(below) = below {
            self.replies[below].above = Above::Nothing;
        }
    }

    /// Separates a reply object and its thread, which does nothing then.
    pub(crate) fn unlink_reply(&mut self, reply: DomainId, thread: ThreadId) {
        self.replies[reply].thread = None;
        self.set_state(thread, State::Inactive);
    }
}
