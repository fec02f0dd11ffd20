//! Domains that do anything: the kernel's structures stay whole.

use super::fake::{Fake, System};
use crate::fault::Fault;
use crate::id::{DomainId, ThreadId};
use crate::kernel::Kernel;
use crate::thread::{Queued, State};
use sel4cp_abi::image::{Domain, End, Interrupt, UserCap};
use sel4cp_abi::label::Labels;
use sel4cp_abi::message::MessageInfo;

/// A small generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Six domains that may do everything to each other, one more, and a guest.
fn system() -> System {
    let mut system = System::default();
    for number in 0..6 {
        let domain = system.domain(&format!("d{number}"), 10 + number * number % 7);
        if number % 2 == 1 {
            system.domains[domain as usize].flags = Domain::PASSIVE | Domain::SMC;
        }
        if number == 4 {
            let domain = &mut system.domains[domain as usize];
            (domain.budget, domain.period) = (100, 700);
        }
    }
    // One without callers receives on its notification.
    let last = system.domain("d6", 10);
    system.channel((last, 20, End::NOTIFY), (0, 50, End::NOTIFY));
    system.child(0, 1, 3);
    system.child(3, 2, 5);
    let mut ids = [10; 6];
    for a in 0..6u32 {
        for b in a + 1..6 {
            let priority = |domain: u32| system.domains[domain as usize].priority;
            let flags = |from, to| {
                if priority(to) > priority(from) {
                    End::NOTIFY | End::PROTECTED
                } else {
                    End::NOTIFY
                }
            };
            let ends = [
                (a, ids[a as usize], flags(a, b)),
                (b, ids[b as usize], flags(b, a)),
            ];
            ids[a as usize] += 1;
            ids[b as usize] += 1;
            system.channel(ends[0], ends[1]);
        }
    }
    for domain in 0..6 {
        for (slot, kind) in [
            (1, UserCap::TCB),
            (2, UserCap::SCHED_CONTEXT),
            (3, UserCap::VSPACE),
        ] {
            system.user_caps.push(UserCap {
                domain,
                slot,
                kind,
                target: (domain + slot) % 6,
            });
        }
        system.interrupts.push(Interrupt {
            domain,
            channel: 40,
            number: 40 + domain,
            trigger: Interrupt::EDGE,
        });
    }
    system.vcpu(0, 12);
    system
}

/// A CPtr, mostly one that means something.
fn cptr(random: &mut Random) -> u64 {
    match random.below(12) {
        0..=2 => 1 + random.below(7),
        3..=4 => 10 + 10 + random.below(6),
        5..=6 => 74 + 10 + random.below(6),
        7 => 138 + 40,
        8 => 202 + random.below(4),
        9 => [266, 330][usize::from(random.chance(2))],
        10 => random.below(4) << 58,
        _ => random.next(),
    }
}

fn step(kernel: &mut Kernel<Fake>, random: &mut Random) {
    kernel.machine.time += random.below(20_000);
    match random.below(20) {
        0 => kernel.timer_expired(),
        1 => {
            kernel.device_interrupt(u16::try_from(30 + random.below(30)).unwrap());
        }
        2 if random.chance(4) => {
            let fault = Fault::Memory {
                address: random.next(),
                fetch: random.chance(2),
                syndrome: random.next(),
            };
            kernel.fault(fault);
        }
        _ => {
            let Some(thread) = kernel.current() else {
                kernel.device_interrupt(u16::try_from(40 + random.below(6)).unwrap());
                return;
            };
            let label = match random.below(4) {
                0 => 0,
                1 => u64::from(Labels::RELEASE.tcb_read_registers) + random.below(16),
                _ => random.below(64),
            };
            let info = MessageInfo::new(label, usize::try_from(random.below(12)).unwrap()).0
                | u64::from(random.chance(8)) << 7;
            for index in 0..12 {
                let word = if random.chance(3) {
                    random.next()
                } else {
                    random.below(40)
                };
                kernel.set_word(thread, index, word);
            }
            let (a, b, c) = (cptr(random), cptr(random), cptr(random));
            let number = if random.chance(50) {
                random.next()
            } else {
                !random.below(11)
            };
            let context = kernel.context(thread);
            context.set_general(0, a);
            context.set_general(
                1,
                if random.chance(20) {
                    random.next()
                } else {
                    info
                },
            );
            context.set_general(6, if random.chance(2) { 4 } else { b });
            context.set_general(7, number);
            context.set_general(8, c);
            kernel.system_call();
        }
    }
}

/// What must hold between two events.
fn check(kernel: &Kernel<Fake>) {
    let threads = || (0..8).filter_map(ThreadId::new);
    for thread in threads() {
        let state = &kernel.threads[thread];
        if let Some(budget) = state.budget {
            assert_eq!(kernel.contexts[budget].thread, Some(thread), "{thread:?}");
        }
        match state.state {
            State::AwaitingReply(reply)
            | State::Receiving {
                reply: Some(reply), ..
            } => {
                assert_eq!(kernel.replies[reply].thread, Some(thread));
            }
            _ => {}
        }
        if state.queued == Queued::Ready {
            assert!(
                state.is_runnable() && state.budget.is_some(),
                "{thread:?}: {state:?}"
            );
            assert_ne!(
                kernel.current(),
                Some(thread),
                "the running thread is in no queue"
            );
        }
    }
    for budget in threads() {
        if let Some(thread) = kernel.contexts[budget].thread {
            assert_eq!(kernel.threads[thread].budget, Some(budget));
        }
    }
    for reply in (0..7).filter_map(DomainId::new) {
        if let Some(thread) = kernel.replies[reply].thread {
            let linked = match kernel.threads[thread].state {
                State::AwaitingReply(other) => Some(other),
                State::Receiving { reply, .. } => reply,
                _ => None,
            };
            assert_eq!(linked, Some(reply));
        }
    }
    if let Some(current) = kernel.current() {
        let thread = &kernel.threads[current];
        assert!(thread.is_schedulable(), "{current:?} runs: {thread:?}");
        let better = threads().find(|other| {
            let other = &kernel.threads[*other];
            other.queued == Queued::Ready && other.priority > thread.priority
        });
        assert_eq!(better, None, "somebody of higher priority is ready");
    } else {
        let ready = threads().find(|thread| kernel.threads[*thread].queued == Queued::Ready);
        assert_eq!(ready, None, "somebody is ready while nobody runs");
    }
}

#[test]
fn nothing_breaks_the_kernel() {
    let mut seen = std::collections::HashMap::<_, u32>::new();
    for seed in 1..=60 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut kernel = system().boot();
        for _ in 0..2_000 {
            step(&mut kernel, &mut random);
            kernel.decide();
            check(&kernel);
            revive(&mut kernel, &mut random);
            kernel.machine.output.clear();
            for thread in (0..8).filter_map(ThreadId::new) {
                let state = &kernel.threads[thread].state;
                *seen.entry(core::mem::discriminant(state)).or_default() += 1;
            }
        }
    }
    assert_eq!(seen.len(), 7, "every state was there: {seen:?}");
    assert!(seen.values().all(|count| *count > 500), "often: {seen:?}");
}

/// Lets a stopped thread run again now and then, so that something goes on.
fn revive(kernel: &mut Kernel<Fake>, random: &mut Random) {
    if kernel.current().is_none() || random.chance(30) {
        let thread = ThreadId::new(usize::try_from(random.below(8)).unwrap()).unwrap();
        if kernel.current() != Some(thread) {
            kernel.resume(thread);
            kernel.schedule();
            check(kernel);
        }
    }
}
