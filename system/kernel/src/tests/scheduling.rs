//! Priorities, time slices, budgets.

use super::fake::{MICROSECOND, System, id};
use crate::thread::State;
use sel4cp_abi::image::{End, UserCap};
use sel4cp_abi::label::Labels;
use sel4cp_abi::syscall::Syscall;

#[test]
fn the_highest_priority_runs_first() {
    let mut system = System::default();
    system.domain("low", 10);
    system.domain("high", 254);
    system.domain("middle", 64);
    let mut kernel = system.boot();
    let order: Vec<_> = (0..3)
        .map(|_| {
            let runs = kernel.runs();
            kernel.recv();
            runs
        })
        .collect();
    assert_eq!(order, [Some(1), Some(2), Some(0)]);
    assert_eq!(kernel.runs(), None);
}

#[test]
fn equal_priorities_share_time_in_slices() {
    let mut system = System::default();
    system.domain("a", 10);
    system.domain("b", 10);
    let mut kernel = system.boot();
    let mut order = vec![];
    for _ in 0..6 {
        order.push(kernel.runs().unwrap());
        kernel.pass(1000);
    }
    assert_eq!(order, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn who_waits_at_the_end_of_its_turn_has_had_it() {
    let mut system = System::default();
    let caller = system.domain("caller", 10);
    system.domain("other", 10);
    let server = system.domain("server", 20);
    let flags = End::NOTIFY | End::PROTECTED;
    system.channel((caller, 3, flags), (server, 5, End::NOTIFY));
    let mut kernel = system.boot();
    kernel.recv();
    let mut turns = vec![];
    for _ in 0..1000 {
        let runs = kernel.runs().unwrap();
        if turns.last() != Some(&runs) {
            turns.push(runs);
        }
        if runs == 0 {
            // It calls after a little time, and so is never there when its slice of 1000 is over.
            kernel.machine.time += 7 * MICROSECOND;
            kernel.ask(74 + 3, 0, &[]);
            assert_eq!(kernel.runs(), Some(2));
            kernel.reply_recv(0, &[]);
        } else {
            kernel.pass(1000);
        }
    }
    let expected: Vec<u8> = [0, 1].into_iter().cycle().take(turns.len()).collect();
    assert!(turns.len() > 10, "{turns:?}");
    assert_eq!(turns, expected);
}

#[test]
fn a_lone_thread_is_not_interrupted() {
    let mut system = System::default();
    system.domain("a", 10);
    system.domain("b", 20);
    let mut kernel = system.boot();
    assert_eq!(kernel.machine.deadline, u64::MAX);
    kernel.recv();
    assert_eq!(kernel.machine.deadline, u64::MAX);
    kernel.pass(1_000_000);
    assert_eq!(kernel.runs(), Some(0));
}

#[test]
fn a_small_budget_is_enforced_and_comes_back() {
    let mut system = System::default();
    system.domain("greedy", 20);
    system.domain("other", 10);
    (system.domains[0].budget, system.domains[0].period) = (200, 1000);
    let mut kernel = system.boot();
    let mut ran = [0; 2];
    for _ in 0..10_000 {
        ran[usize::from(kernel.runs().unwrap())] += 1;
        kernel.pass(1);
    }
    assert!(
        (1900..=2100).contains(&ran[0]),
        "a fifth of the time: {ran:?}"
    );
}

#[test]
fn a_thread_without_budget_does_not_run_when_it_is_woken() {
    let mut system = System::default();
    system.domain("greedy", 20);
    (system.domains[0].budget, system.domains[0].period) = (100, 1000);
    let mut kernel = system.boot();
    kernel.pass(100);
    assert_eq!(kernel.runs(), None);
    assert_eq!(kernel.state(0), State::Running);
    kernel.pass(950);
    assert_eq!(kernel.runs(), Some(0));
}

#[test]
fn yielding_lets_the_next_of_the_same_priority_run() {
    let mut system = System::default();
    system.domain("a", 10);
    system.domain("b", 10);
    let mut kernel = system.boot();
    kernel.call(Syscall::Yield, &[]);
    assert_eq!(kernel.runs(), Some(1));
    kernel.call(Syscall::Yield, &[]);
    assert_eq!(kernel.runs(), Some(0));
}

#[test]
fn yielding_to_a_scheduling_context_tells_what_it_used() {
    let mut system = System::default();
    system.domain("a", 10);
    system.domain("b", 10);
    let cap = UserCap {
        domain: 0,
        slot: 2,
        kind: UserCap::SCHED_CONTEXT,
        target: 1,
    };
    system.user_caps.push(cap);
    let mut kernel = system.boot();
    let label = u64::from(Labels::RELEASE.sched_context_yield_to);
    kernel.ask(2 << 58, label, &[]);
    assert_eq!(kernel.runs(), Some(1));
    kernel.machine.time += 30 * MICROSECOND;
    kernel.recv();
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.heard(id(0)), (0, vec![30]));
}
