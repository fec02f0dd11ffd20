//! A fake machine and small systems on it.

use crate::capability::Badge;
use crate::context::Register;
use crate::id::{ThreadId, VcpuId};
use crate::kernel::Kernel;
use crate::list_register::ListRegister;
use crate::machine::{Buffer, CacheOperation, Machine};
use crate::thread::State;
use core::fmt;
use core::ops::Range;
use sel4cp_abi::image::{
    BASE, Channel, Description, Domain, End, Header, Interrupt, Mapping, NONE, Space, Tables,
    UserCap, Vcpu, name,
};
use sel4cp_abi::message::MessageInfo;
use sel4cp_abi::slot::{IPC_BUFFER, STACK_TOP};
use sel4cp_abi::syscall::Syscall;
use sel4cp_abi::vcpu::VcpuRegister;
use std::collections::HashMap;

/// Ticks of the fake counter in a microsecond.
pub(super) const MICROSECOND: u64 = 100;
/// Where IPC buffers start.
const BUFFERS: u64 = 0x7800_0000;

/// The machine: everything is remembered.
#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) time: u64,
    pub(super) deadline: u64,
    memory: HashMap<u64, u64>,
    pub(super) finished: Vec<u16>,
    pub(super) registers: HashMap<(u8, u64), u64>,
    pub(super) list_registers: HashMap<(u8, u8), ListRegister>,
    pub(super) unmasked: Vec<u8>,
    pub(super) released: Vec<u8>,
    pub(super) maintained: Vec<(CacheOperation, Range<u64>)>,
    pub(super) secure: Vec<[u64; 8]>,
    pub(super) output: String,
    pub(super) halted: bool,
}

impl Machine for Fake {
    fn now(&mut self) -> u64 {
        self.time
    }
    fn set_deadline(&mut self, time: u64) {
        self.deadline = time;
    }
    fn load(&self, buffer: Buffer, index: usize) -> u64 {
        assert!(index < 512, "outside the IPC buffer");
        let address = buffer.0 + 8 * index as u64;
        self.memory.get(&address).copied().unwrap_or(0)
    }
    fn store(&mut self, buffer: Buffer, index: usize, value: u64) {
        assert!(index < 512, "outside the IPC buffer");
        self.memory.insert(buffer.0 + 8 * index as u64, value);
    }
    fn load_physical(&self, address: u64) -> Option<u64> {
        self.memory.get(&address).copied()
    }
    fn finish_interrupt(&mut self, number: u16) {
        self.finished.push(number);
    }
    fn read_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister) -> u64 {
        let key = (vcpu.number(), register as u64);
        self.registers.get(&key).copied().unwrap_or(0)
    }
    fn write_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister, value: u64) {
        self.registers
            .insert((vcpu.number(), register as u64), value);
    }
    fn list_registers(&self) -> u8 {
        4
    }
    fn seen_list_register(&self, vcpu: VcpuId, index: u8) -> ListRegister {
        let value = self.list_registers.get(&(vcpu.number(), index));
        value.copied().unwrap_or_default()
    }
    fn set_list_register(&mut self, vcpu: VcpuId, index: u8, value: ListRegister) {
        self.list_registers.insert((vcpu.number(), index), value);
    }
    fn unmask_virtual_timer(&mut self, vcpu: VcpuId) {
        self.unmasked.push(vcpu.number());
    }
    fn release_fpu(&mut self, thread: ThreadId) {
        self.released.push(thread.number());
    }
    fn maintain_cache(&mut self, operation: CacheOperation, memory: Range<u64>) {
        self.maintained.push((operation, memory));
    }
    fn secure_call(&mut self, registers: [u64; 8]) -> [u64; 8] {
        self.secure.push(registers);
        registers.map(|register| register + 1)
    }
    fn put_char(&mut self, character: u8) {
        self.output.push(char::from(character));
    }
    fn print(&mut self, message: fmt::Arguments<'_>) {
        self.output.push_str(&message.to_string());
    }
    fn halt(&mut self) {
        self.halted = true;
    }
}

/// A system to be built.
#[derive(Default)]
pub(super) struct System {
    pub(super) debug: bool,
    pub(super) domains: Vec<Domain>,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) channels: Vec<Channel>,
    pub(super) interrupts: Vec<Interrupt>,
    pub(super) user_caps: Vec<UserCap>,
}

impl System {
    /// Adds a domain and returns its number.
    pub(super) fn domain(&mut self, text: &str, priority: u32) -> u32 {
        let number = u32::try_from(self.domains.len()).unwrap();
        self.domains.push(Domain {
            name: name(text).unwrap(),
            entry: 0x20_0000,
            stack_top: STACK_TOP,
            stack_bottom: STACK_TOP - 0x1000,
            budget: 1000,
            period: 1000,
            priority,
            flags: 0,
            parent: NONE,
            child: 0,
            space: number,
            reserved: 0,
        });
        number
    }

    /// Adds a vCPU with id 0 to a domain, and returns its thread. No domains may follow.
    pub(super) fn vcpu(&mut self, domain: u32, priority: u32) -> ThreadId {
        let space = u32::try_from(self.domains.len()).unwrap();
        self.vcpus.push(Vcpu {
            name: name("guest").unwrap(),
            budget: 1000,
            period: 1000,
            priority,
            domain,
            id: 0,
            space,
        });
        ThreadId::new(self.domains.len()).unwrap()
    }

    /// Makes a domain the child, with this id, of another.
    pub(super) fn child(&mut self, parent: u32, id: u32, child: u32) {
        let child = &mut self.domains[child as usize];
        (child.parent, child.child) = (parent, id);
    }

    /// Adds a channel: ends are (domain, id, flags).
    pub(super) fn channel(&mut self, a: (u32, u32, u32), b: (u32, u32, u32)) {
        let end = |(domain, id, flags)| End {
            domain,
            id,
            flags,
            reserved: 0,
        };
        self.channels.push(Channel {
            ends: [end(a), end(b)],
        });
    }

    /// Boots it on a fake machine, checked like a real image.
    pub(super) fn boot(self) -> Box<Kernel<Fake>> {
        let flags = Mapping::READ | Mapping::WRITE | Mapping::CACHED;
        let mapping = |vaddr, paddr, flags| Mapping {
            vaddr,
            paddr,
            bytes: 0x1000,
            flags,
            reserved: 0,
        };
        let (mut spaces, mut mappings) = (vec![], vec![]);
        let mut space = |new: &[Mapping]| {
            spaces.push(Space {
                first: u32::try_from(mappings.len()).unwrap(),
                count: u32::try_from(new.len()).unwrap(),
            });
            mappings.extend_from_slice(new);
        };
        for number in 0..self.domains.len() as u64 {
            space(&[
                mapping(0x20_0000, 0x7500_0000, flags | Mapping::EXECUTE),
                mapping(IPC_BUFFER, BUFFERS + number * 0x1000, flags),
            ]);
        }
        if !self.vcpus.is_empty() {
            space(&[mapping(0x4000_0000, 0x4000_0000, flags)]);
        }
        let count = |length: usize| u32::try_from(length).unwrap();
        let tables = Tables {
            domains: count(self.domains.len()),
            vcpus: count(self.vcpus.len()),
            spaces: count(spaces.len()),
            mappings: count(mappings.len()),
            clears: 0,
            interrupts: count(self.interrupts.len()),
            channels: count(self.channels.len()),
            user_caps: count(self.user_caps.len()),
        };
        let debug = if self.debug { Header::DEBUG } else { 0 };
        let free = 0x7900_0000..0x7a00_0000;
        let description = Description {
            address: BASE + 0x1000,
            header: Box::leak(Box::new(Header::new(debug, BASE + 0x10_0000, free, tables))),
            domains: self.domains.leak(),
            vcpus: self.vcpus.leak(),
            spaces: spaces.leak(),
            mappings: mappings.leak(),
            clears: &[],
            interrupts: self.interrupts.leak(),
            channels: self.channels.leak(),
            user_caps: self.user_caps.leak(),
        };
        assert_eq!(description.check(), Ok(()));
        let mut kernel = Box::new(Kernel::new(Fake::default()));
        kernel.start(description, MICROSECOND * 1_000_000);
        kernel.schedule();
        kernel
    }
}

/// The thread with this number.
pub(super) fn id(number: u32) -> ThreadId {
    ThreadId::new(number as usize).unwrap()
}

/// The calls of a running domain, as its runtime would make them.
impl Kernel<Fake> {
    /// The number of the thread that runs.
    pub(super) fn runs(&self) -> Option<u8> {
        self.current().map(ThreadId::number)
    }

    /// The running thread makes a system call with these registers.
    pub(super) fn call(&mut self, call: Syscall, registers: &[(usize, u64)]) {
        let current = self.current().expect("somebody runs");
        let context = self.context(current);
        for (number, value) in registers {
            context.set_general(*number, *value);
        }
        context.set(Register::Number, (call as i64).cast_unsigned());
        self.system_call();
        self.decide();
    }

    /// Schedules; a thread of which the kernel says that it goes on does, and would also if the machine did not ask.
    pub(super) fn decide(&mut self) {
        let going_on = self.going_on();
        let before = (
            self.machine.deadline,
            self.current().map(|id| *self.context(id)),
        );
        let next = self.schedule();
        if going_on.is_some() {
            let after = (self.machine.deadline, next.map(|id| *self.context(id)));
            assert_eq!((going_on, before), (next, after));
        }
    }

    /// The running thread calls a capability with a label and words, and gets the answer's label and words if it still runs.
    pub(super) fn ask(&mut self, cptr: u64, label: u64, words: &[u64]) -> (u64, Vec<u64>) {
        self.ask_with(cptr, MessageInfo::new(label, words.len()), words)
    }

    /// The same with any message info.
    pub(super) fn ask_with(
        &mut self,
        cptr: u64,
        info: MessageInfo,
        words: &[u64],
    ) -> (u64, Vec<u64>) {
        let current = self.current().expect("somebody runs");
        self.say(current, words);
        self.call(Syscall::Call, &[(0, cptr), (1, info.0)]);
        self.heard(current)
    }

    /// Writes the words of a thread's message.
    pub(super) fn say(&mut self, thread: ThreadId, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.set_word(thread, index, *word);
        }
    }

    /// The label and the words of the message that a thread has.
    pub(super) fn heard(&self, thread: ThreadId) -> (u64, Vec<u64>) {
        let info = MessageInfo(self.thread(thread).context.get(Register::Info));
        let words = (0..info.length()).map(|index| self.word(thread, index));
        (info.label(), words.collect())
    }

    /// The badge that a thread has.
    pub(super) fn badge(&self, thread: ThreadId) -> u64 {
        self.thread(thread).context.get(Register::Capability)
    }

    /// The running thread receives on its input, with its reply object.
    pub(super) fn recv(&mut self) {
        self.call(Syscall::Recv, &[(0, 1), (6, 4)]);
    }

    /// The running thread answers and receives.
    pub(super) fn reply_recv(&mut self, label: u64, words: &[u64]) {
        let current = self.current().expect("somebody runs");
        self.say(current, words);
        let info = MessageInfo::new(label, words.len()).0;
        self.call(Syscall::ReplyRecv, &[(0, 1), (1, info), (6, 4)]);
    }

    /// The running thread notifies on a channel.
    pub(super) fn notify(&mut self, channel: u64) {
        self.call(Syscall::Send, &[(0, 10 + channel), (1, 0)]);
    }

    /// Time passes, and the timer's interrupt comes when it is due.
    pub(super) fn pass(&mut self, microseconds: u64) {
        let end = self.machine.time + microseconds * MICROSECOND;
        while self.machine.deadline <= end {
            self.machine.time = self.machine.time.max(self.machine.deadline);
            self.timer_expired();
            self.schedule();
        }
        self.machine.time = end;
    }

    /// What a thread does.
    pub(super) fn state(&self, thread: u32) -> State {
        self.thread(id(thread)).state
    }
}

/// The badge word of a protected call on a channel.
pub(super) fn pp(channel: u8) -> u64 {
    Badge::Call(channel).word()
}

/// The badge word of a fault of a child or vCPU.
pub(super) fn fault_badge(id: u8) -> u64 {
    Badge::Fault(id).word()
}
