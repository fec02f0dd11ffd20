//! The rules of a description about domains, vCPUs, interrupts, channels and capabilities.

use super::{
    Description, Domain, End, Interrupt, MAX_VCPUS, Mapping, NONE, Refused, UserCap, require,
};
use crate::slot::{CHANNELS, IPC_BUFFER, MAX_PDS, MAX_PRIORITY, NAME_LENGTH, USER_TOP};

/// The physical timer that PDs may program, the one private interrupt that can be theirs.
const PHYSICAL_TIMER: u32 = 30;
/// First shared peripheral interrupt; below are software-generated and private ones.
const FIRST_SHARED: u32 = 32;
/// One past the last INTID of a shared interrupt.
const INTERRUPTS: u32 = 1020;
/// Longest period in microseconds (an hour), so that times in timer ticks never overflow.
const MAX_PERIOD: u64 = 3_600_000_000;
/// Shortest budget in microseconds, seL4's `MIN_BUDGET_US` on this board: two kernel entries.
const MIN_BUDGET: u64 = 20;

/// A set of small numbers for each domain.
struct Ids {
    taken: [u64; MAX_PDS],
    domains: usize,
}

impl Ids {
    const fn new(domains: usize) -> Self {
        Self {
            taken: [0; MAX_PDS],
            domains,
        }
    }

    /// Takes `id` of `domain`; false when it is taken, above `last`, or there is no such domain.
    fn take(&mut self, domain: u32, id: u32, last: u32) -> bool {
        let known = self.taken.get_mut(..self.domains);
        let Some(taken) = known.and_then(|taken| taken.get_mut(domain as usize)) else {
            return false;
        };
        if id > last || *taken >> id & 1 != 0 {
            return false;
        }
        *taken |= 1 << id;
        true
    }
}

/// Last channel, child or vCPU id.
#[expect(clippy::cast_possible_truncation, reason = "62")]
const LAST_ID: u32 = CHANNELS as u32 - 1;

/// The part of a record that says how a thread is scheduled.
struct Schedule {
    priority: u32,
    budget: u64,
    period: u64,
}

fn check_schedule(table: &'static str, record: usize, schedule: &Schedule) -> Result<(), Refused> {
    let check = |good, reason, found| require(good, table, record, reason, found);
    check(
        schedule.priority <= u32::from(MAX_PRIORITY),
        "the priority is above 254",
        u64::from(schedule.priority),
    )?;
    check(
        schedule.budget >= MIN_BUDGET,
        "the budget is below 20 microseconds",
        schedule.budget,
    )?;
    check(
        schedule.period >= schedule.budget,
        "the period is shorter than the budget",
        schedule.period,
    )?;
    check(
        schedule.period <= MAX_PERIOD,
        "the period is longer than an hour",
        schedule.period,
    )
}

/// Whether `name` is printable ASCII padded with NUL, and not empty.
fn is_name(name: &[u8; NAME_LENGTH]) -> bool {
    let end = name.iter().position(|byte| *byte == 0);
    let (text, padding) = name.split_at(end.unwrap_or(NAME_LENGTH));
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    !text.is_empty() && text.iter().all(printable) && padding.iter().all(|byte| *byte == 0)
}

impl Description<'_> {
    pub(super) fn check_domains(&self) -> Result<(), Refused> {
        let count = self.domains.len();
        let fits = (1..=MAX_PDS).contains(&count);
        let reason = "expected 1 to 63 domains";
        require(fits, "domains", 0, reason, count as u64)?;
        let mut children = Ids::new(self.domains.len());
        for (number, domain) in self.domains.iter().enumerate() {
            let check = |good, reason, found| require(good, "domains", number, reason, found);
            check(
                is_name(&domain.name),
                "the name is empty or not printable ASCII",
                u64::from(domain.name[0]),
            )?;
            let schedule = Schedule {
                priority: domain.priority,
                budget: domain.budget,
                period: domain.period,
            };
            check_schedule("domains", number, &schedule)?;
            let known = Domain::PASSIVE | Domain::SMC | Domain::FPU;
            check(
                domain.flags & !known == 0 && domain.reserved == 0,
                "unknown flags",
                u64::from(domain.flags),
            )?;
            check(
                domain.stack_top.is_multiple_of(16) && domain.stack_top <= USER_TOP,
                "stack_top is not 16-byte aligned, or above the user's top",
                domain.stack_top,
            )?;
            check(
                domain.stack_bottom <= domain.stack_top,
                "stack_bottom is above stack_top",
                domain.stack_bottom,
            )?;
            check(
                self.flags_at(domain.space, domain.entry) & Mapping::EXECUTE != 0,
                "the entry point is not in an executable mapping",
                domain.entry,
            )?;
            let buffer = Mapping::READ | Mapping::WRITE | Mapping::CACHED;
            check(
                self.flags_at(domain.space, IPC_BUFFER) & buffer == buffer
                    && self.ipc_buffer(domain).is_some(),
                "the IPC buffer is not RAM mapped readable, writable and cached",
                IPC_BUFFER,
            )?;
            if domain.parent == NONE {
                let reason = "a domain without a parent has a child id";
                check(domain.child == 0, reason, u64::from(domain.child))?;
                continue;
            }
            check(
                (domain.parent as usize) < number,
                "the parent does not come before its child",
                u64::from(domain.parent),
            )?;
            check(
                children.take(domain.parent, domain.child, LAST_ID),
                "the child id is above 61 or taken",
                u64::from(domain.child),
            )?;
        }
        for (number, vcpu) in self.vcpus.iter().enumerate() {
            let fresh = children.take(vcpu.domain, vcpu.id, LAST_ID);
            let reason = "there is no such domain, or the id is above 61 or taken";
            require(fresh, "vcpus", number, reason, u64::from(vcpu.id))?;
        }
        Ok(())
    }

    pub(super) fn check_vcpus(&self) -> Result<(), Refused> {
        let count = self.vcpus.len();
        let reason = "expected at most 64 vCPUs";
        require(count <= MAX_VCPUS, "vcpus", 0, reason, count as u64)?;
        for (number, vcpu) in self.vcpus.iter().enumerate() {
            let check = |good, reason, found| require(good, "vcpus", number, reason, found);
            check(
                is_name(&vcpu.name),
                "the name is empty or not printable ASCII",
                u64::from(vcpu.name[0]),
            )?;
            let schedule = Schedule {
                priority: vcpu.priority,
                budget: vcpu.budget,
                period: vcpu.period,
            };
            check_schedule("vcpus", number, &schedule)?;
            let space = vcpu.space as usize;
            check(
                space < self.spaces.len(),
                "there is no such space",
                space as u64,
            )?;
        }
        Ok(())
    }

    /// Interrupts and channels, which share the ids of a domain.
    pub(super) fn check_channels(&self) -> Result<(), Refused> {
        let mut ids = Ids::new(self.domains.len());
        let mut owned = [false; INTERRUPTS as usize];
        for (number, interrupt) in self.interrupts.iter().enumerate() {
            let check = |good, reason, found| require(good, "interrupts", number, reason, found);
            check(
                ids.take(interrupt.domain, interrupt.channel, LAST_ID),
                "there is no such domain, or the channel id is above 61 or taken",
                u64::from(interrupt.channel),
            )?;
            let shared = (FIRST_SHARED..INTERRUPTS).contains(&interrupt.number);
            check(
                shared || interrupt.number == PHYSICAL_TIMER,
                "expected a shared peripheral interrupt (32 to 1019) or the physical timer (30)",
                u64::from(interrupt.number),
            )?;
            let twice = owned
                .get_mut(interrupt.number as usize)
                .is_none_or(|owned| core::mem::replace(owned, true));
            check(
                !twice,
                "the interrupt belongs to two channels",
                u64::from(interrupt.number),
            )?;
            check(
                matches!(interrupt.trigger, Interrupt::LEVEL | Interrupt::EDGE),
                "expected trigger 0 (level) or 1 (edge)",
                u64::from(interrupt.trigger),
            )?;
        }
        for (number, channel) in self.channels.iter().enumerate() {
            let check = |good, reason, found| require(good, "channels", number, reason, found);
            let [a, b] = channel.ends;
            for end in channel.ends {
                check(
                    ids.take(end.domain, end.id, LAST_ID),
                    "there is no such domain, or the channel id is above 61 or taken",
                    u64::from(end.id),
                )?;
                let known = End::NOTIFY | End::PROTECTED;
                check(
                    end.flags & !known == 0 && end.reserved == 0,
                    "unknown flags",
                    u64::from(end.flags),
                )?;
            }
            check(
                a.domain != b.domain,
                "both ends are the same domain",
                u64::from(a.domain),
            )?;
            for (from, to) in [(a, b), (b, a)] {
                let priority = |end: End| self.domains.get(end.domain as usize).map(|d| d.priority);
                check(
                    from.flags & End::PROTECTED == 0 || priority(to) > priority(from),
                    "a protected call must go to a higher priority; caller",
                    u64::from(from.domain),
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn check_user_caps(&self) -> Result<(), Refused> {
        let mut slots = Ids::new(self.domains.len());
        for (number, cap) in self.user_caps.iter().enumerate() {
            let check = |good, reason, found| require(good, "user_caps", number, reason, found);
            check(
                cap.slot != 0 && slots.take(cap.domain, cap.slot, u64::BITS - 1),
                "there is no such domain, or the slot is not 1 to 63 or taken",
                u64::from(cap.slot),
            )?;
            check(
                (cap.target as usize) < self.domains.len(),
                "there is no such target domain",
                u64::from(cap.target),
            )?;
            check(
                (UserCap::TCB..=UserCap::VSPACE).contains(&cap.kind),
                "expected kind 0 (TCB), 1 (scheduling context) or 2 (VSpace)",
                u64::from(cap.kind),
            )?;
        }
        Ok(())
    }
}
