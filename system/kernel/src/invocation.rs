//! Invocations of kernel objects: labels, arguments, errors.

mod names;
mod thread;
mod vcpu;

use crate::capability::{Cap, LookupFailure};
use crate::context::Register;
use crate::id::{SpaceId, ThreadId};
use crate::kernel::Kernel;
use crate::machine::{CacheOperation, Machine};
use crate::syscall::Manner;
use sel4cp_abi::message::{Error, MAX_LENGTH, MessageInfo};
use sel4cp_abi::slot::USER_TOP;

/// Word of the IPC buffer with the first capability of a message.
const FIRST_CAP: usize = 1 + MAX_LENGTH + 1;
/// Registers of a secure monitor call.
const SECURE_REGISTERS: usize = 8;
/// Refusals that are printed for each thread: more tell nothing new, and a hostile domain could print forever.
const PRINTED_REFUSALS: u8 = 8;

/// Why an invocation was refused, with what the answer tells about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Argument number.
    InvalidArgument(u64),
    /// Capability number, 0 is the invoked one.
    InvalidCapability(u64),
    IllegalOperation,
    /// Lowest and highest value.
    Range(u64, u64),
    Truncated,
    DeleteFirst,
}

/// The answer of a successful invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// None.
    Empty,
    /// One word.
    Word(u64),
    /// It is in the caller's registers already, or comes later.
    Given,
}

type Outcome = Result<Answer, Refusal>;

/// One invocation.
#[derive(Clone, Copy, Debug)]
struct Request {
    thread: ThreadId,
    label: u32,
    length: usize,
    extra_caps: usize,
    /// Whether the caller wants an answer: what is only read is written nowhere otherwise.
    call: bool,
}

impl Request {
    /// Refuses when the message has fewer words.
    const fn needs(&self, words: usize) -> Result<(), Refusal> {
        if self.length < words {
            return Err(Refusal::Truncated);
        }
        Ok(())
    }
}

impl<M: Machine> Kernel<M> {
    /// Invokes any object that is not for messages.
    pub(crate) fn invoke_object(
        &mut self,
        thread: ThreadId,
        cap: Cap,
        info: MessageInfo,
        manner: Manner,
    ) {
        let request = Request {
            thread,
            // No label is that large: the largest matches none.
            label: u32::try_from(info.label()).unwrap_or(u32::MAX),
            length: info.length(),
            extra_caps: usize::from(info.extra_caps()),
            call: manner.call,
        };
        let outcome = match cap {
            Cap::Vcpu(vcpu) => self.invoke_vcpu(request, vcpu),
            Cap::Thread(_) | Cap::Budget(_) if manner.first => Err(Refusal::InvalidCapability(0)),
            Cap::Thread(target) => self.invoke_thread(request, target),
            Cap::Interrupt(number) => self.invoke_interrupt(request, number),
            Cap::Space(space) => self.invoke_space(request, space),
            Cap::Budget(budget) => self.invoke_budget(request, budget),
            Cap::SecureCall => self.invoke_secure(request),
            _ => Err(Refusal::InvalidCapability(0)),
        };
        if outcome == Err(Refusal::IllegalOperation) {
            self.print_refusal(&request, cap);
        }
        if !manner.call {
            return;
        }
        match outcome {
            Ok(Answer::Empty) => self.reply_if(thread, manner),
            Ok(Answer::Word(word)) => self.reply_words(thread, &[word]),
            Ok(Answer::Given) => {}
            Err(refusal) => self.reply_error(thread, refusal),
        }
    }

    #[cold]
    fn reply_error(&mut self, thread: ThreadId, refusal: Refusal) {
        let (error, length) = match refusal {
            Refusal::InvalidArgument(number) => {
                (Error::InvalidArgument, self.set_words(thread, &[number]))
            }
            Refusal::InvalidCapability(number) => {
                (Error::InvalidCapability, self.set_words(thread, &[number]))
            }
            Refusal::Range(lowest, highest) => {
                let length = self.set_words(thread, &[lowest, highest]);
                (Error::RangeError, length)
            }
            Refusal::IllegalOperation => (Error::IllegalOperation, 0),
            Refusal::Truncated => (Error::TruncatedMessage, 0),
            Refusal::DeleteFirst => (Error::DeleteFirst, 0),
        };
        let context = &mut self.threads[thread].context;
        context.set(Register::Capability, 0);
        context.set(Register::Info, MessageInfo::new(error as u64, length).0);
    }

    /// Says by name what was refused.
    #[cold]
    fn print_refusal(&mut self, request: &Request, cap: Cap) {
        let refusals = &mut self.threads[request.thread].refusals;
        if *refusals >= PRINTED_REFUSALS {
            return;
        }
        *refusals += 1;
        let (name, invocation) = (
            self.name(request.thread),
            names::invocation(request.label, self.debug),
        );
        self.machine.print(format_args!(
            "kernel: PD \"{name}\": {invocation} ({}) on a {} capability is refused\n",
            request.label,
            cap.name()
        ));
    }

    /// The CPtr of a capability that the thread's message carries.
    pub(crate) fn extra_cptr(&self, thread: ThreadId, index: usize) -> u64 {
        let buffer = self.threads[thread].buffer;
        buffer.map_or(0, |buffer| self.machine.load(buffer, FIRST_CAP + index))
    }

    /// The first capability that a message carries.
    fn extra_cap(&self, request: &Request) -> Result<Cap, Refusal> {
        if request.extra_caps == 0 {
            return Err(Refusal::Truncated);
        }
        let cptr = self.extra_cptr(request.thread, 0);
        self.lookup(request.thread, cptr)
            .map_err(|_: LookupFailure| Refusal::Truncated)
    }

    fn invoke_interrupt(&mut self, request: Request, number: u16) -> Outcome {
        if request.label != self.labels.irq_ack_irq {
            return Err(Refusal::IllegalOperation);
        }
        self.machine.finish_interrupt(number);
        Ok(Answer::Empty)
    }

    #[cold]
    fn invoke_budget(&mut self, request: Request, budget: ThreadId) -> Outcome {
        if request.label == self.labels.sched_context_consumed {
            let consumed = self.take_consumed(budget);
            return Ok(Answer::Word(consumed));
        }
        if request.label != self.labels.sched_context_yield_to {
            return Err(Refusal::IllegalOperation);
        }
        let Some(target) = self.contexts[budget].thread else {
            return Err(Refusal::IllegalOperation);
        };
        let limit = self.threads[request.thread].highest;
        if target == request.thread || self.threads[target].priority > limit {
            return Err(Refusal::IllegalOperation);
        }
        if self.yield_to(request.thread, budget) {
            return Ok(Answer::Given);
        }
        let consumed = self.take_consumed(budget);
        Ok(Answer::Word(consumed))
    }

    #[cold]
    fn invoke_space(&mut self, request: Request, space: SpaceId) -> Outcome {
        let labels = &self.labels;
        let operation = match request.label {
            label if label == labels.arm_vspace_clean_data => CacheOperation::Clean,
            label if label == labels.arm_vspace_invalidate_data => CacheOperation::Invalidate,
            label if label == labels.arm_vspace_clean_invalidate_data => {
                CacheOperation::CleanInvalidate
            }
            label if label == labels.arm_vspace_unify_instruction => CacheOperation::Unify,
            _ => return Err(Refusal::IllegalOperation),
        };
        request.needs(2)?;
        let start = self.word(request.thread, 0);
        let end = self.word(request.thread, 1);
        if end <= start {
            return Err(Refusal::InvalidArgument(1));
        }
        // The user's top is the last address: one past it is too far.
        if end >= USER_TOP {
            return Err(Refusal::IllegalOperation);
        }
        let Some(mapping) = self.mapping_in(space, start) else {
            // Nothing is mapped there, so nothing can be stale.
            return Ok(Answer::Empty);
        };
        let page = mapping.page();
        let last = (start & !(page - 1)) + (page - 1);
        if end - 1 > last {
            return Err(Refusal::Range(start, last));
        }
        let physical = mapping.paddr + (start - mapping.vaddr);
        let memory = physical..physical + (end - start);
        self.machine.maintain_cache(operation, memory);
        Ok(Answer::Empty)
    }

    #[cold]
    fn invoke_secure(&mut self, request: Request) -> Outcome {
        if request.label != self.labels.arm_smc_call {
            return Err(Refusal::IllegalOperation);
        }
        request.needs(SECURE_REGISTERS)?;
        let mut registers = [0; SECURE_REGISTERS];
        for (index, register) in registers.iter_mut().enumerate() {
            *register = self.word(request.thread, index);
        }
        let answer = self.machine.secure_call(registers);
        if request.call {
            self.reply_words(request.thread, &answer);
        }
        Ok(Answer::Given)
    }
}
