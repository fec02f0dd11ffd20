//! From an image's description to threads and capabilities.

use crate::capability::{Badge, Cap};
use crate::context::SPSR_DOMAIN;
use crate::id::{DomainId, SpaceId, ThreadId, VcpuId};
use crate::kernel::Kernel;
use crate::machine::{Buffer, Machine};
use crate::thread::{Owner, State};
use sel4cp_abi::image::{Description, Domain, End, Header, Mapping, UserCap, Vcpu};
use sel4cp_abi::label::Labels;
use sel4cp_abi::slot;

/// A number of the description as an index; checked descriptions fit.
fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A number of the description as a byte; checked descriptions fit.
fn byte(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

impl<M: Machine> Kernel<M> {
    /// Brings a checked description to life, with a system counter of this frequency in Hz.
    #[cold]
    pub fn start(&mut self, description: Description<'static>, frequency: u64) {
        self.description = Some(description);
        self.debug = description.header.flags & Header::DEBUG != 0;
        self.labels = if self.debug {
            Labels::DEBUG
        } else {
            Labels::RELEASE
        };
        let mut caps = description.user_caps.iter();
        let asked = caps.any(|cap| cap.kind == UserCap::SCHED_CONTEXT);
        self.start_time(frequency, asked);
        for (number, domain) in description.domains.iter().enumerate() {
            if let Some(id) = DomainId::new(number) {
                self.add_domain(&description, id, domain);
            }
        }
        for (number, vcpu) in description.vcpus.iter().enumerate() {
            let thread = ThreadId::new(description.domains.len() + number);
            if let (Some(id), Some(thread)) = (VcpuId::new(number), thread) {
                self.add_vcpu(id, thread, vcpu);
            }
        }
        for channel in description.channels {
            let [a, b] = channel.ends;
            self.add_end(a, b);
            self.add_end(b, a);
        }
        for interrupt in description.interrupts {
            let number = u16::try_from(interrupt.number);
            if let (Some(domain), Ok(number)) = (DomainId::new(index(interrupt.domain)), number) {
                let slot = slot::IRQ + u64::from(interrupt.channel);
                self.caps[domain].insert(slot, Cap::Interrupt(number));
                self.routes.insert(number, domain, byte(interrupt.channel));
            }
        }
        for cap in description.user_caps {
            self.add_user_cap(&description, cap);
        }
        for thread in (0..description.domains.len()).filter_map(ThreadId::new) {
            self.set_state(thread, State::Running);
            self.enqueue(thread, false);
        }
        self.look_again();
    }

    fn add_domain(&mut self, description: &Description<'_>, id: DomainId, record: &Domain) {
        let thread = id.thread();
        let parent = DomainId::new(index(record.parent));
        let handler = match parent {
            Some(parent) => {
                let slot = slot::CHILD_TCB + u64::from(record.child);
                self.caps[parent].insert(slot, Cap::Thread(thread));
                Cap::Endpoint(parent, Badge::Fault(byte(record.child)))
            }
            None => Cap::Monitor(id),
        };
        let input = if description.has_endpoint(u32::from(id.number())) {
            Cap::Endpoint(id, Badge::None)
        } else {
            Cap::Notification(id, Badge::None)
        };
        let Some(space) = SpaceId::new(index(record.space)) else {
            return;
        };
        let caps = &mut self.caps[id];
        caps.insert(slot::INPUT, input);
        caps.insert(slot::FAULT, handler);
        caps.insert(slot::VSPACE, Cap::Space(space));
        caps.insert(slot::REPLY, Cap::Reply(id));
        if record.flags & Domain::PASSIVE != 0 {
            caps.insert(slot::MONITOR, Cap::Monitor(id));
        }
        if record.flags & Domain::SMC != 0 {
            caps.insert(slot::SMC, Cap::SecureCall);
        }
        self.notifications[id].bound = Some(thread);
        let state = &mut self.threads[thread];
        state.context.pc = record.entry;
        state.context.restart = record.entry;
        state.context.sp = record.stack_top;
        state.context.spsr = SPSR_DOMAIN;
        state.priority = byte(record.priority);
        state.highest = state.priority;
        state.notification = Some(id);
        state.handler = handler;
        state.owner = Owner::Domain(id);
        state.space = space;
        state.buffer = description.ipc_buffer(record).map(Buffer);
        state.fpu = record.flags & Domain::FPU != 0;
        self.configure_budget(thread, record.budget, record.period);
    }

    fn add_vcpu(&mut self, id: VcpuId, thread: ThreadId, record: &Vcpu) {
        let owner = DomainId::new(index(record.domain));
        let (Some(owner), Some(space)) = (owner, SpaceId::new(index(record.space))) else {
            return;
        };
        let number = u64::from(record.id);
        let caps = &mut self.caps[owner];
        caps.insert(slot::VCPU_TCB + number, Cap::Thread(thread));
        caps.insert(slot::VCPU + number, Cap::Vcpu(id));
        let state = &mut self.threads[thread];
        state.context.spsr = SPSR_DOMAIN;
        state.priority = byte(record.priority);
        state.highest = state.priority;
        state.handler = Cap::Endpoint(owner, Badge::Fault(byte(record.id)));
        state.owner = Owner::Vcpu(id);
        state.space = space;
        state.fpu = true;
        self.configure_budget(thread, record.budget, record.period);
    }

    /// What one end of a channel may do to the other.
    fn add_end(&mut self, from: End, to: End) {
        let ids = (
            DomainId::new(index(from.domain)),
            DomainId::new(index(to.domain)),
        );
        let (Some(domain), Some(other)) = ids else {
            return;
        };
        let (id, channel) = (u64::from(from.id), byte(to.id));
        let caps = &mut self.caps[domain];
        if from.flags & End::NOTIFY != 0 {
            let cap = Cap::Notification(other, Badge::Channel(channel));
            caps.insert(slot::NOTIFICATION + id, cap);
        }
        if from.flags & End::PROTECTED != 0 {
            let cap = Cap::Endpoint(other, Badge::Call(channel));
            caps.insert(slot::ENDPOINT + id, cap);
        }
    }

    fn add_user_cap(&mut self, description: &Description<'_>, record: &UserCap) {
        let ids = (
            DomainId::new(index(record.domain)),
            DomainId::new(index(record.target)),
        );
        let (Some(domain), Some(target)) = ids else {
            return;
        };
        let space = description
            .domains
            .get(index(record.target))
            .and_then(|target| SpaceId::new(index(target.space)));
        let cap = match (record.kind, space) {
            (UserCap::TCB, _) => Cap::Thread(target.thread()),
            (UserCap::SCHED_CONTEXT, _) => Cap::Budget(target.thread()),
            (UserCap::VSPACE, Some(space)) => Cap::Space(space),
            _ => Cap::Null,
        };
        self.caps[domain].insert_root(record.slot, cap);
    }

    /// The mapping of a space that holds an address.
    pub(crate) fn mapping_in(&self, space: SpaceId, address: u64) -> Option<&'static Mapping> {
        let description = self.description?;
        let space = description.spaces.get(usize::from(space.number()))?;
        let mappings = description.mappings_of(space);
        // Mappings are in ascending order.
        let after = mappings.partition_point(|mapping| mapping.vaddr <= address);
        let mapping = mappings.get(after.checked_sub(1)?)?;
        (address - mapping.vaddr < mapping.bytes).then_some(mapping)
    }
}
