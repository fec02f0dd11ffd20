//! The kernel's place on the host: calls are recorded, answers come from the test.
//!
//! Everything here belongs to the calling thread, so that tests do not meet each other. vCPUs are simulated as
//! far as their registers go: what is written can be read back, and a test may put values there first.

use crate::event::{Receive, step};
use crate::state::State;
use crate::{Channel, ChannelSet, Child, Error, Handler, MessageInfo, Vcpu, VcpuRegister};
use core::ptr::NonNull;
use sel4cp_abi::config::{Config, Region};
use sel4cp_abi::label::Labels;
use sel4cp_abi::message::MAX_LENGTH;
use sel4cp_abi::slot;
use sel4cp_abi::vcpu::CONTEXT_WORDS;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::vec::Vec;

/// A call that the program made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The channel's peer was notified.
    Notify(Channel),
    /// The channel's interrupt was acknowledged.
    IrqAck(Channel),
    /// The PD told the monitor that it is passive.
    Passive,
    /// A protected call with its message registers.
    ProtectedCall(Channel, MessageInfo, Vec<u64>),
    /// The answer to a protected call or a fault, with its message registers.
    Reply(MessageInfo, Vec<u64>),
    /// The program waits for a message.
    Receive,
    /// The program gave up its turn.
    Yield,
    /// General registers of a vCPU were read, this many.
    ReadRegs(Vcpu, usize),
    /// General registers of a vCPU were written; `true`: and it runs.
    WriteRegs(Vcpu, bool, Vec<u64>),
    /// A vCPU was resumed.
    Resume(Vcpu),
    /// A vCPU was suspended.
    Suspend(Vcpu),
    /// A system register of a vCPU was read, by number.
    ReadRegister(Vcpu, u64),
    /// A system register of a vCPU was written, by number.
    WriteRegister(Vcpu, u64, u64),
    /// An interrupt was put into a list register.
    InjectIrq {
        /// The vCPU.
        vcpu: Vcpu,
        /// The interrupt's id.
        virq: u16,
        /// Its priority.
        priority: u8,
        /// Its group.
        group: u8,
        /// The list register.
        list_register: u8,
    },
    /// A virtual private interrupt was acknowledged.
    AckVppi(Vcpu, u64),
    /// A child PD was started again at this address.
    Restart(Child, u64),
    /// A child PD was resumed.
    ResumeChild(Child),
    /// A child PD was suspended.
    SuspendChild(Child),
    /// General registers of a child PD were read, this many.
    ReadChild(Child, usize),
    /// Cache maintenance: first address, one past the last.
    Cache(u64, u64),
    /// A secure monitor call.
    Smc(Vec<u64>),
    /// Anything else: slot, label, message registers.
    Other(u64, u64, Vec<u64>),
}

/// A scripted answer: message registers, or an error.
type Answer = Result<Vec<u64>, Error>;

struct Host {
    calls: Vec<Call>,
    answers: VecDeque<Answer>,
    messages: VecDeque<(u64, MessageInfo, Vec<u64>)>,
    registers: [u64; MAX_LENGTH],
    contexts: HashMap<Vcpu, [u64; CONTEXT_WORDS]>,
    children: HashMap<Child, [u64; CONTEXT_WORDS]>,
    system: HashMap<(Vcpu, u64), u64>,
    config: Option<&'static [u8]>,
    /// Address and size of each region that tests have made.
    regions: Vec<(usize, usize)>,
    counter: u64,
    log: Vec<u8>,
    /// What others do when the program gives up its turn, for each time that it does.
    meanwhile: VecDeque<Box<dyn FnOnce()>>,
}

impl Host {
    fn new() -> Self {
        Self {
            calls: Vec::new(),
            answers: VecDeque::new(),
            messages: VecDeque::new(),
            registers: [0; MAX_LENGTH],
            contexts: HashMap::new(),
            children: HashMap::new(),
            system: HashMap::new(),
            config: None,
            regions: Vec::new(),
            counter: 0,
            log: Vec::new(),
            meanwhile: VecDeque::new(),
        }
    }

    fn words(&self, length: usize) -> Vec<u64> {
        self.registers.iter().copied().take(length).collect()
    }

    fn word(&self, index: usize) -> u64 {
        self.registers.get(index).copied().unwrap_or(0)
    }

    fn answer_with(&mut self, words: &[u64]) {
        for (register, word) in self.registers.iter_mut().zip(words) {
            *register = *word;
        }
    }

    /// Says what a call means and does what a vCPU would.
    fn decode(&mut self, at: u64, info: MessageInfo) -> (Call, Vec<u64>) {
        let labels = Labels::RELEASE;
        let words = self.words(info.length());
        let other = || Call::Other(at, info.label(), words.clone());
        let label = u32::try_from(info.label()).unwrap_or(u32::MAX);
        let (first, id) = object(at);
        let vcpu = Vcpu::new(id);
        let call = match first {
            slot::ENDPOINT => match Channel::try_new(id) {
                Some(channel) => Call::ProtectedCall(channel, info, words),
                None => other(),
            },
            slot::CHILD_TCB if label == labels.tcb_write_registers => {
                Call::Restart(Child::new(id), self.word(2))
            }
            slot::CHILD_TCB if label == labels.tcb_resume => Call::ResumeChild(Child::new(id)),
            slot::CHILD_TCB if label == labels.tcb_suspend => Call::SuspendChild(Child::new(id)),
            slot::CHILD_TCB if label == labels.tcb_read_registers => {
                let child = Child::new(id);
                let context = self.children.get(&child).copied();
                let count = usize::try_from(self.word(1)).unwrap_or(0);
                if self.word(0) & 1 != 0 {
                    self.calls.push(Call::SuspendChild(child));
                }
                let words = context.unwrap_or([0; CONTEXT_WORDS]).to_vec();
                return (Call::ReadChild(child, count), words);
            }
            slot::VCPU_TCB if label == labels.tcb_resume => Call::Resume(vcpu),
            slot::VCPU_TCB if label == labels.tcb_suspend => Call::Suspend(vcpu),
            slot::VCPU_TCB if label == labels.tcb_read_registers => {
                let context = context(self, vcpu).to_vec();
                let count = usize::try_from(self.word(1)).unwrap_or(0);
                if self.word(0) & 1 != 0 {
                    self.calls.push(Call::Suspend(vcpu));
                }
                return (Call::ReadRegs(vcpu, count), context);
            }
            slot::VCPU_TCB if label == labels.tcb_write_registers => {
                let written: Vec<u64> = words.into_iter().skip(2).collect();
                for (register, word) in context(self, vcpu).iter_mut().zip(&written) {
                    *register = *word;
                }
                Call::WriteRegs(vcpu, self.word(0) & 1 != 0, written)
            }
            slot::VCPU if label == labels.arm_vcpu_read_regs => {
                let field = self.word(0);
                let value = self.system.get(&(vcpu, field)).copied().unwrap_or(0);
                return (Call::ReadRegister(vcpu, field), vec![value]);
            }
            slot::VCPU if label == labels.arm_vcpu_write_regs => {
                let (field, value) = (self.word(0), self.word(1));
                self.system.insert((vcpu, field), value);
                Call::WriteRegister(vcpu, field, value)
            }
            slot::VCPU if label == labels.arm_vcpu_inject_irq => {
                let [low, high, priority, group, list_register, ..] = self.word(0).to_le_bytes();
                Call::InjectIrq {
                    vcpu,
                    virq: u16::from_le_bytes([low, high]),
                    priority,
                    group,
                    list_register,
                }
            }
            slot::VCPU if label == labels.arm_vcpu_ack_vppi => Call::AckVppi(vcpu, self.word(0)),
            slot::VSPACE => Call::Cache(self.word(0), self.word(1)),
            slot::SMC => Call::Smc(words),
            _ => other(),
        };
        (call, Vec::new())
    }
}

fn context(host: &mut Host, vcpu: Vcpu) -> &mut [u64; CONTEXT_WORDS] {
    host.contexts.entry(vcpu).or_insert([0; CONTEXT_WORDS])
}

/// The first slot of the kind of object that slot `at` holds, and the object's id.
fn object(at: u64) -> (u64, u8) {
    let first = [
        slot::NOTIFICATION,
        slot::ENDPOINT,
        slot::IRQ,
        slot::CHILD_TCB,
        slot::VCPU_TCB,
        slot::VCPU,
    ]
    .into_iter()
    .rev()
    .find(|first| at >= *first)
    .unwrap_or(at);
    (first, u8::try_from(at - first).unwrap_or(u8::MAX))
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::new());
    static STATE: State = const { State::new() };
}

fn host<R>(f: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with(|host| f(&mut host.borrow_mut()))
}

/// The calls since the last time this was asked. Log output is not among them: see [`log`].
pub fn calls() -> Vec<Call> {
    host(|host| core::mem::take(&mut host.calls))
}

/// The log lines since the last time this was asked.
pub fn log() -> String {
    host(|host| String::from_utf8_lossy(&core::mem::take(&mut host.log)).into_owned())
}

/// The next call that is not answered yet gets these message registers.
pub fn answer(words: &[u64]) {
    host(|host| host.answers.push_back(Ok(words.to_vec())));
}

/// The next call that is not answered yet is refused.
pub fn refuse(error: Error) {
    host(|host| host.answers.push_back(Err(error)));
}

/// Queues a message for [`run`]: its badge, info and message registers.
pub fn deliver(badge: u64, info: MessageInfo, words: &[u64]) {
    host(|host| host.messages.push_back((badge, info, words.to_vec())));
}

/// Queues a notification through `channel`.
pub fn deliver_notification(channel: Channel) {
    deliver(1 << channel.id(), MessageInfo::default(), &[]);
}

/// Queues a fault of `child` (a vCPU's id, or a PD's).
pub fn deliver_fault(child: Child, label: u64, words: &[u64]) {
    let badge = slot::BADGE_FAULT | u64::from(child.id());
    deliver(badge, MessageInfo::new(label, words.len()), words);
}

/// What the runtime does between `init` and the first message, for a PD whose interrupts are `irqs`.
pub fn begin(irqs: ChannelSet) {
    crate::event::begin(irqs);
}

/// Has the handler receive all queued messages, and sends what it left for the next receive.
pub fn run(handler: &mut impl Handler) {
    let mut answer = None;
    while host(|host| !host.messages.is_empty()) {
        answer = step(handler, answer);
    }
    crate::channel::flush();
    if let Some(info) = answer {
        reply(info);
    }
}

/// The first general registers of a vCPU.
pub fn context_of(vcpu: Vcpu) -> [u64; CONTEXT_WORDS] {
    host(|host| *context(host, vcpu))
}

/// Sets a general register of a vCPU, by its word in the context.
pub fn set_context(vcpu: Vcpu, word: usize, value: u64) {
    host(|host| {
        if let Some(register) = context(host, vcpu).get_mut(word) {
            *register = value;
        }
    });
}

/// Sets a general register of a child PD, by its word in the context.
pub fn set_child_context(child: Child, word: usize, value: u64) {
    host(|host| {
        let context = host.children.entry(child).or_insert([0; CONTEXT_WORDS]);
        if let Some(register) = context.get_mut(word) {
            *register = value;
        }
    });
}

/// Sets a system register of a vCPU.
pub fn set_register(vcpu: Vcpu, register: VcpuRegister, value: u64) {
    host(|host| host.system.insert((vcpu, register as u64), value));
}

/// Has this happen while the program has given up its turn: at the first time that is not taken yet.
pub fn meanwhile(others: impl FnOnce() + 'static) {
    host(|host| host.meanwhile.push_back(Box::new(others)));
}

/// Sets the machine's counter.
pub fn set_counter(ticks: u64) {
    host(|host| host.counter = ticks);
}

/// Makes `config` the program's configuration.
pub fn set_config(config: &impl Config) {
    let bytes = Box::leak(config.as_bytes().to_vec().into_boxed_slice());
    // A configuration is read in place, so it must lie as its structure wants it.
    let words = Box::leak(vec![0_u64; bytes.len().div_ceil(8)].into_boxed_slice());
    let place = zerocopy::IntoBytes::as_mut_bytes(words);
    for (to, from) in place.iter_mut().zip(bytes.iter()) {
        *to = *from;
    }
    host(|host| host.config = Some(place));
    crate::config::prepare();
}

/// Memory for a region of `size` bytes, zeroed and aligned to 2 MiB or a page; it lives until the tests end.
pub fn region(size: usize) -> Region {
    const PAGE: usize = 0x1000;
    let words = vec![0_u64; (size + PAGE).div_ceil(8)].into_boxed_slice();
    let start = Box::leak(words).as_ptr().expose_provenance();
    let page = start.next_multiple_of(PAGE);
    host(|host| host.regions.push((page, size)));
    Region {
        vaddr: page as u64,
        size: size as u64,
        bus: page as u64,
    }
}

/// Makes a region of another thread's known to this one: each side of a ring is a PD, and so a thread, of its own.
pub fn adopt(region: Region) {
    let size = usize::try_from(region.size).unwrap_or(0);
    host(|host| {
        host.regions
            .push((usize::try_from(region.vaddr).unwrap_or(0), size))
    });
}

/// What a program does when it is started on the host: it says what it is.
#[doc(hidden)]
pub fn explain<H: Handler>(program: &str, _init: impl FnOnce() -> H) {
    eprintln!(
        "`{program}` is a protection domain: it runs on the Microkit, in a system that `cargo xtask run` builds."
    );
    std::process::exit(2);
}

/// Name of the PD.
pub fn name() -> &'static str {
    "host"
}

/// Whether the PD is passive.
pub fn is_passive() -> bool {
    false
}

pub(crate) fn with_state<R>(f: impl FnOnce(&State) -> R) -> R {
    STATE.with(f)
}

pub(crate) fn config_bytes() -> Option<&'static [u8]> {
    host(|host| host.config)
}

pub(crate) fn region_pointer(region: &Region) -> Option<NonNull<u8>> {
    let start = usize::try_from(region.vaddr).ok()?;
    let end = start.checked_add(usize::try_from(region.size).ok()?)?;
    let known = |(first, size): &(usize, usize)| *first <= start && end <= first + size;
    if !host(|host| host.regions.iter().any(known)) {
        return None;
    }
    NonNull::new(core::ptr::with_exposed_provenance_mut(start))
}

pub(crate) fn message_register(index: usize) -> u64 {
    host(|host| host.word(index))
}

pub(crate) fn set_message_register(index: usize, value: u64) {
    host(|host| {
        if let Some(register) = host.registers.get_mut(index) {
            *register = value;
        }
    });
}

pub(crate) fn send(at: u64, info: MessageInfo) {
    host(|host| {
        let (first, id) = object(at);
        let call = match (first, Channel::try_new(id)) {
            (slot::NOTIFICATION, Some(channel)) => Call::Notify(channel),
            (slot::IRQ, Some(channel)) => Call::IrqAck(channel),
            (slot::MONITOR, _) => Call::Passive,
            _ => Call::Other(at, info.label(), host.words(info.length())),
        };
        host.calls.push(call);
    });
}

pub(crate) fn call(at: u64, info: MessageInfo) -> MessageInfo {
    host(|host| {
        let (call, words) = host.decode(at, info);
        host.calls.push(call);
        match host.answers.pop_front() {
            Some(Ok(words)) => {
                host.answer_with(&words);
                MessageInfo::new(0, words.len())
            }
            Some(Err(error)) => MessageInfo::new(error as u64, 0),
            None => {
                host.answer_with(&words);
                MessageInfo::new(0, words.len())
            }
        }
    })
}

fn reply(info: MessageInfo) {
    host(|host| {
        let words = host.words(info.length());
        host.calls.push(Call::Reply(info, words));
    });
}

pub(crate) fn receive(how: Receive) -> (u64, MessageInfo) {
    match how {
        Receive::Plain => {}
        Receive::AfterSend(slot, info) => send(slot, info),
        Receive::AfterReply(info) => reply(info),
    }
    host(|host| {
        host.calls.push(Call::Receive);
        let Some((badge, info, words)) = host.messages.pop_front() else {
            return (0, MessageInfo::default());
        };
        host.answer_with(&words);
        (badge, info)
    })
}

#[expect(
    clippy::panic,
    reason = "on the host, a PD that stops is a test that fails"
)]
pub(crate) fn stop() -> ! {
    panic!("the PD stopped: {}", log());
}

pub(crate) fn yield_now() {
    let meanwhile = host(|host| {
        host.calls.push(Call::Yield);
        host.meanwhile.pop_front()
    });
    if let Some(others) = meanwhile {
        others();
    }
}

pub(crate) fn put_char(byte: u8) {
    host(|host| host.log.push(byte));
}

pub(crate) fn counter() -> u64 {
    host(|host| host.counter)
}

pub(crate) fn counter_frequency() -> u64 {
    62_500_000
}

pub(crate) fn clean_invalidate(start: u64, end: u64) {
    host(|host| host.calls.push(Call::Cache(start, end)));
}
