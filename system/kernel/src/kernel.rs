//! The kernel's state, and the events that change it.

use crate::capability::{Cap, CapSpace, LookupFailure};
use crate::context::{Context, Register};
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::id::{DomainId, Table, ThreadId};
use crate::interrupt::Routes;
use crate::machine::Machine;
use crate::notification::Notification;
use crate::reply::Reply;
use crate::schedule::{SchedContext, Schedule};
use crate::thread::{Owner, State, Thread};
use sel4cp_abi::image::Description;
use sel4cp_abi::label::Labels;
use sel4cp_abi::message::{BUFFER_FIRST, REGISTERS};

/// The first CPU register that holds a word of a message (x2).
const FIRST_WORD: usize = 2;

/// Everything the kernel knows. In the order of its memory: what each call needs comes first, in few pages, and the first entries of a
/// table are those in use.
#[derive(Debug)]
#[repr(C)]
pub struct Kernel<M> {
    pub(crate) labels: Labels,
    pub(crate) debug: bool,
    pub(crate) schedule: Schedule,
    pub(crate) endpoints: Table<DomainId, Endpoint, { DomainId::LIMIT }>,
    pub(crate) replies: Table<DomainId, Reply, { DomainId::LIMIT }>,
    pub(crate) notifications: Table<DomainId, Notification, { DomainId::LIMIT }>,
    pub(crate) contexts: Table<ThreadId, SchedContext, { ThreadId::LIMIT }>,
    /// The hardware.
    pub machine: M,
    pub(crate) threads: Table<ThreadId, Thread, { ThreadId::LIMIT }>,
    pub(crate) caps: Table<DomainId, CapSpace, { DomainId::LIMIT }>,
    pub(crate) routes: Routes,
    pub(crate) description: Option<Description<'static>>,
}

impl<M: Machine> Kernel<M> {
    /// A kernel without threads; [`Kernel::start`](Kernel::start) brings them in.
    pub const fn new(machine: M) -> Self {
        Self {
            machine,
            threads: Table::new([const { Thread::new() }; ThreadId::LIMIT]),
            contexts: Table::new([const { SchedContext::new() }; ThreadId::LIMIT]),
            endpoints: Table::new([const { Endpoint::new() }; DomainId::LIMIT]),
            notifications: Table::new([const { Notification::new() }; DomainId::LIMIT]),
            replies: Table::new([const { Reply::new() }; DomainId::LIMIT]),
            caps: Table::new([const { CapSpace::new() }; DomainId::LIMIT]),
            schedule: Schedule::new(),
            routes: Routes::new(),
            labels: Labels::RELEASE,
            debug: false,
            description: None,
        }
    }

    /// A thread.
    pub fn thread(&self, thread: ThreadId) -> &Thread {
        &self.threads[thread]
    }

    /// A thread's registers.
    pub fn context(&mut self, thread: ThreadId) -> &mut Context {
        &mut self.threads[thread].context
    }

    /// The hardware and a thread, to let it run.
    pub fn enter(&mut self, thread: ThreadId) -> (&mut M, &mut Thread) {
        (&mut self.machine, &mut self.threads[thread])
    }

    /// The thread that runs, if any.
    pub const fn current(&self) -> Option<ThreadId> {
        self.schedule.current()
    }

    /// The running thread made a system call; its registers are in its context, `pc` after the instruction.
    pub fn system_call(&mut self) {
        let Some(thread) = self.current() else {
            return;
        };
        let context = &mut self.threads[thread].context;
        context.restart = context.pc.wrapping_sub(4);
        let number = context.get(Register::Number);
        self.dispatch(thread, number);
    }

    /// Whether the image is for a debug kernel.
    pub const fn is_debug(&self) -> bool {
        self.debug
    }

    /// The running thread faulted at its `pc`.
    pub fn fault(&mut self, fault: Fault) {
        let Some(thread) = self.current() else {
            return;
        };
        let context = &mut self.threads[thread].context;
        context.restart = context.pc;
        self.raise(thread, fault);
    }

    /// Tells the thread's handler of a fault, and stops the thread until there is an answer.
    pub(crate) fn raise(&mut self, thread: ThreadId, fault: Fault) {
        self.threads[thread].fault = Some(fault);
        if !self.threads[thread].is_vcpu() {
            self.report(thread, &fault);
        }
        match self.threads[thread].handler {
            Cap::Endpoint(endpoint, badge) => {
                let can_donate = self.threads[thread].budget.is_some();
                self.send(thread, endpoint, badge, true, false, can_donate);
            }
            // The built-in monitor has printed the report: the thread stays as it is.
            _ => self.set_state(thread, State::Inactive),
        }
    }

    /// The capability that `cptr` names in a thread's capability space.
    pub(crate) fn lookup(&self, thread: ThreadId, cptr: u64) -> Result<Cap, LookupFailure> {
        match self.threads[thread].owner {
            Owner::Domain(domain) => self.caps[domain].lookup(cptr),
            Owner::Vcpu(_) => CapSpace::lookup_empty(cptr),
        }
    }

    /// Word `index` of the message that a thread sends.
    pub(crate) fn word(&self, thread: ThreadId, index: usize) -> u64 {
        let thread = &self.threads[thread];
        if index < REGISTERS {
            return thread.context.general(FIRST_WORD + index);
        }
        let buffer = thread.buffer;
        buffer.map_or(0, |buffer| self.machine.load(buffer, BUFFER_FIRST + index))
    }

    /// Sets word `index` of the message that a thread receives; whether there was a place for it.
    pub(crate) fn set_word(&mut self, thread: ThreadId, index: usize, value: u64) -> bool {
        let thread = &mut self.threads[thread];
        if index < REGISTERS {
            thread.context.set_general(FIRST_WORD + index, value);
            return true;
        }
        let Some(buffer) = thread.buffer else {
            return false;
        };
        self.machine.store(buffer, BUFFER_FIRST + index, value);
        true
    }

    /// Sets the words of the message that a thread receives, and returns how many found a place.
    pub(crate) fn set_words(&mut self, thread: ThreadId, words: &[u64]) -> usize {
        let placed = words
            .iter()
            .enumerate()
            .take_while(|(index, word)| self.set_word(thread, *index, **word));
        placed.count()
    }

    /// A thread's name for messages.
    #[cold]
    pub(crate) fn name(&self, thread: ThreadId) -> &'static str {
        let Some(description) = &self.description else {
            return "?";
        };
        let name = match self.threads[thread].owner {
            Owner::Domain(domain) => {
                let record = description.domains.get(usize::from(domain.number()));
                record.map(|record| &record.name)
            }
            Owner::Vcpu(vcpu) => {
                let record = description.vcpus.get(usize::from(vcpu.number()));
                record.map(|record| &record.name)
            }
        };
        name.map_or("?", Description::text)
    }
}
