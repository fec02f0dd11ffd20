//! System calls: what each does with which registers.

use crate::capability::{Cap, LookupFailure};
use crate::context::Register;
use crate::fault::Fault;
use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::thread::State;
use sel4cp_abi::image;
use sel4cp_abi::message::MessageInfo;
use sel4cp_abi::syscall::Syscall;

/// How a capability is invoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// The caller wants an answer.
    pub(crate) call: bool,
    /// The caller waits until somebody receives.
    pub(crate) blocking: bool,
    /// A receiver without scheduling context gets the caller's.
    pub(crate) donate: bool,
    /// A receive follows in the same call.
    pub(crate) first: bool,
}

const CALL: Manner = Manner {
    call: true,
    blocking: true,
    donate: true,
    first: false,
};
const SEND: Manner = Manner {
    call: false,
    blocking: true,
    donate: false,
    first: false,
};
const TRY_SEND: Manner = Manner {
    blocking: false,
    ..SEND
};
/// The first half of a combined call.
const FIRST: Manner = Manner {
    call: false,
    blocking: false,
    donate: true,
    first: true,
};

/// The system call with this number in x7: −1 is the first.
fn decode(number: u64) -> Option<Syscall> {
    let index = usize::try_from(!number).ok()?;
    Syscall::ALL.get(index).copied()
}

impl<M: Machine> Kernel<M> {
    pub(crate) fn dispatch(&mut self, thread: ThreadId, number: u64) {
        let register = |register| self.threads[thread].context.get(register);
        let cptr = register(Register::Capability);
        let reply = register(Register::Reply);
        let destination = register(Register::Destination);
        match decode(number) {
            Some(Syscall::Call) => self.invoke(thread, cptr, CALL),
            Some(Syscall::ReplyRecv) => {
                self.invoke(thread, reply, FIRST);
                self.receive_on(thread, cptr, true, Some(reply));
            }
            Some(Syscall::NBSendRecv) => {
                self.invoke(thread, destination, FIRST);
                self.receive_on(thread, cptr, true, Some(reply));
            }
            Some(Syscall::NBSendWait) => {
                self.invoke(thread, reply, FIRST);
                self.receive_on(thread, cptr, true, None);
            }
            Some(Syscall::Send) => self.invoke(thread, cptr, SEND),
            Some(Syscall::NBSend) => self.invoke(thread, cptr, TRY_SEND),
            Some(Syscall::Recv) => self.receive_on(thread, cptr, true, Some(reply)),
            Some(Syscall::NBRecv) => self.receive_on(thread, cptr, false, Some(reply)),
            Some(Syscall::Wait) => self.receive_on(thread, cptr, true, None),
            Some(Syscall::NBWait) => self.receive_on(thread, cptr, false, None),
            Some(Syscall::Yield) => self.yield_turn(thread),
            Some(call) if self.debug => self.debug_call(thread, call, cptr),
            _ => self.raise(thread, Fault::UnknownSyscall { number }),
        }
    }

    /// Invokes the capability that `cptr` names with the thread's message.
    fn invoke(&mut self, thread: ThreadId, cptr: u64, manner: Manner) {
        let info = MessageInfo(self.threads[thread].context.get(Register::Info));
        let cap = match self.lookup_all(thread, cptr, info) {
            Ok(cap) => cap,
            Err(fault) => {
                if manner.blocking {
                    self.raise(thread, fault);
                }
                return;
            }
        };
        match cap {
            Cap::Endpoint(endpoint, badge) => {
                let Manner {
                    call,
                    blocking,
                    donate,
                    ..
                } = manner;
                self.send(thread, endpoint, badge, blocking, call, donate);
            }
            Cap::Notification(notification, badge) => {
                self.signal(notification, badge);
                self.reply_if(thread, manner);
            }
            Cap::Reply(reply) => {
                self.answer(thread, reply);
                self.reply_if(thread, manner);
            }
            Cap::Monitor(domain) => self.tell_monitor(thread, domain, info, manner),
            _ => self.invoke_object(thread, cap, info, manner),
        }
    }

    /// The capability to invoke, when it and those that the message carries can be found.
    fn lookup_all(&self, thread: ThreadId, cptr: u64, info: MessageInfo) -> Result<Cap, Fault> {
        let fault = |cptr, failure| Fault::Cap {
            cptr,
            receiving: false,
            failure,
        };
        let cap = self
            .lookup(thread, cptr)
            .map_err(|failure| fault(cptr, failure))?;
        for index in 0..usize::from(info.extra_caps()) {
            let extra = self.extra_cptr(thread, index);
            self.lookup(thread, extra)
                .map_err(|failure| fault(extra, failure))?;
        }
        Ok(cap)
    }

    /// An empty answer for a caller that goes on.
    pub(crate) fn reply_if(&mut self, thread: ThreadId, manner: Manner) {
        if manner.call && self.threads[thread].is_runnable() {
            self.reply_words(thread, &[]);
        }
    }

    /// Gives a thread these words as the answer to its invocation.
    pub(crate) fn reply_words(&mut self, thread: ThreadId, words: &[u64]) {
        let length = self.set_words(thread, words);
        let context = &mut self.threads[thread].context;
        context.set(Register::Capability, 0);
        context.set(Register::Info, MessageInfo::new(0, length).0);
    }

    /// Receives on the capability that `cptr` names, with the reply object that `reply` names if one is wanted.
    fn receive_on(&mut self, thread: ThreadId, cptr: u64, blocking: bool, reply: Option<u64>) {
        let missing = |cptr| Fault::Cap {
            cptr,
            receiving: true,
            failure: LookupFailure::Missing,
        };
        let found = self.lookup(thread, cptr).map_err(|failure| Fault::Cap {
            cptr,
            receiving: true,
            failure,
        });
        let result = match found {
            Ok(Cap::Endpoint(endpoint, _)) => self.reply_object(thread, reply).map(|reply| {
                self.receive(thread, endpoint, blocking, reply);
            }),
            Ok(Cap::Notification(notification, _)) => {
                let bound = self.notifications[notification].bound;
                if bound.is_none_or(|bound| bound == thread) {
                    self.wait(thread, notification, blocking);
                    Ok(())
                } else {
                    Err(missing(cptr))
                }
            }
            Ok(_) => Err(missing(cptr)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = result {
            self.raise(thread, fault);
        }
    }

    /// The reply object that a receive wants to use.
    fn reply_object(&self, thread: ThreadId, cptr: Option<u64>) -> Result<Option<DomainId>, Fault> {
        let Some(cptr) = cptr else {
            return Ok(None);
        };
        let fault = |failure| Fault::Cap {
            cptr,
            receiving: true,
            failure,
        };
        match self.lookup(thread, cptr).map_err(fault)? {
            Cap::Reply(reply) => Ok(Some(reply)),
            _ => Err(fault(LookupFailure::Missing)),
        }
    }

    /// A message to the monitor, which is built in: with label 0 a passive domain says that its `init` is done.
    #[cold]
    fn tell_monitor(
        &mut self,
        thread: ThreadId,
        domain: DomainId,
        info: MessageInfo,
        manner: Manner,
    ) {
        let bound = self.notifications[domain].budget.is_some();
        if info.label() == 0 && self.is_passive(domain) && !bound {
            self.notifications[domain].budget = Some(domain.thread());
        } else {
            let (name, label) = (self.name(thread), info.label());
            self.machine.print(format_args!(
                "kernel: PD \"{name}\" sent the monitor a message with label {label}, which it does not know\n"
            ));
        }
        if manner.call {
            // The monitor never answers.
            self.set_state(thread, State::Inactive);
        }
    }

    fn is_passive(&self, domain: DomainId) -> bool {
        let record = self
            .description
            .and_then(|description| description.domains.get(usize::from(domain.number())));
        record.is_some_and(|record| record.flags & image::Domain::PASSIVE != 0)
    }

    /// The system calls of a debug kernel.
    #[cold]
    fn debug_call(&mut self, thread: ThreadId, call: Syscall, argument: u64) {
        let name = self.name(thread);
        match call {
            Syscall::DebugPutChar => self.machine.put_char((argument & 0xff) as u8),
            Syscall::DebugDumpScheduler => self.print_threads(),
            Syscall::DebugHalt => {
                self.machine
                    .print(format_args!("kernel: PD \"{name}\" stopped the machine\n"));
                self.machine.halt();
            }
            Syscall::DebugCapIdentify => {
                let kind = self.lookup(thread, argument).map_or(0, Cap::kind);
                self.threads[thread].context.set(Register::Capability, kind);
            }
            // Names come from the image.
            Syscall::DebugNameThread => {}
            _ => self.machine.print(format_args!(
                "kernel: PD \"{name}\": {call:?} is not supported\n"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_negative() {
        for call in Syscall::ALL {
            assert_eq!(decode((call as i64).cast_unsigned()), Some(call));
        }
        for number in [0, 1, (-18i64).cast_unsigned(), i64::MIN.cast_unsigned()] {
            assert_eq!(decode(number), None, "{number:#x}");
        }
    }
}
