//! Notifications, protected calls, reply objects, passive domains.

use super::fake::{Fake, System, id, pp};
use crate::kernel::Kernel;
use crate::thread::State;
use sel4cp_abi::image::{Domain, End};
use sel4cp_abi::message::MessageInfo;
use sel4cp_abi::syscall::Syscall;

/// A client (0, priority 10) that may notify and call a server (1, priority 20) on channel 3, which is 5 there.
fn pair(passive: bool) -> Box<Kernel<Fake>> {
    let mut system = System::default();
    let client = system.domain("client", 10);
    let server = system.domain("server", 20);
    if passive {
        system.domains[1].flags = Domain::PASSIVE;
    }
    let flags = End::NOTIFY | End::PROTECTED;
    system.channel((client, 3, flags), (server, 5, End::NOTIFY));
    system.boot()
}

/// Like `pair`, with the server waiting as Microkit's runtime does after `init`.
fn waiting(passive: bool) -> Box<Kernel<Fake>> {
    let mut kernel = pair(passive);
    assert_eq!(kernel.runs(), Some(1));
    if passive {
        kernel.call(Syscall::NBSendRecv, &[(0, 1), (1, 0), (6, 4), (8, 5)]);
    } else {
        kernel.recv();
    }
    assert_eq!(kernel.runs(), Some(0));
    kernel
}

#[test]
fn a_signal_wakes_a_waiting_server_of_higher_priority() {
    let mut kernel = waiting(false);
    kernel.notify(3);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.badge(id(1)), 1 << 5);
}

#[test]
fn signals_to_a_busy_server_are_joined() {
    let mut system = System::default();
    let client = system.domain("client", 20);
    let server = system.domain("server", 10);
    system.channel((client, 0, End::NOTIFY), (server, 5, 0));
    system.channel((client, 1, End::NOTIFY), (server, 61, 0));
    let mut kernel = system.boot();
    kernel.notify(0);
    kernel.notify(1);
    kernel.notify(0);
    kernel.recv();
    assert_eq!(kernel.runs(), Some(1));
    // The server's input is its notification: a receive takes both at once, the next waits.
    kernel.call(Syscall::NBRecv, &[(0, 1), (6, 4)]);
    assert_eq!(kernel.badge(id(1)), 1 << 61 | 1 << 5);
    kernel.call(Syscall::NBRecv, &[(0, 1), (6, 4)]);
    assert_eq!(kernel.badge(id(1)), 0);
}

#[test]
fn a_protected_call_carries_words_both_ways() {
    let mut kernel = waiting(false);
    let words: Vec<u64> = (0..120).map(|word| word * 7).collect();
    kernel.ask(74 + 3, 42, &words);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.badge(id(1)), pp(5));
    assert_eq!(kernel.heard(id(1)), (42, words));
    kernel.reply_recv(9, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.heard(id(0)), (9, vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(kernel.badge(id(0)), 0);
}

#[test]
fn messages_are_cut_at_120_words_and_carry_no_capabilities() {
    let mut kernel = waiting(false);
    kernel.call(Syscall::Call, &[(0, 74 + 3), (1, 7 << 12 | 3 << 7 | 0x7f)]);
    let info = MessageInfo(kernel.thread(id(1)).context.general(1));
    assert_eq!(
        (info.label(), info.length(), info.extra_caps()),
        (7, 120, 0)
    );
}

#[test]
fn a_passive_server_runs_on_its_callers_budget() {
    let mut kernel = waiting(true);
    assert_eq!(kernel.thread(id(1)).budget, None, "it gave its own away");
    kernel.ask(74 + 3, 0, &[]);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.thread(id(1)).budget, Some(id(0)));
    assert_eq!(kernel.thread(id(0)).budget, None);
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.thread(id(0)).budget, Some(id(0)));
    assert_eq!(kernel.thread(id(1)).budget, None);
}

#[test]
fn a_passive_server_runs_on_its_own_budget_for_a_notification() {
    let mut kernel = waiting(true);
    kernel.notify(3);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.thread(id(1)).budget, Some(id(1)));
    kernel.recv();
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.thread(id(1)).budget, None);
}

#[test]
fn an_active_server_keeps_its_own_budget() {
    let mut kernel = waiting(false);
    kernel.ask(74 + 3, 0, &[]);
    assert_eq!(kernel.thread(id(1)).budget, Some(id(1)));
    assert_eq!(kernel.thread(id(0)).budget, Some(id(0)));
}

#[test]
fn receiving_cancels_a_caller_without_an_answer() {
    let mut kernel = waiting(false);
    kernel.ask(74 + 3, 0, &[]);
    kernel.recv();
    assert_eq!(kernel.state(0), State::Inactive);
    assert_eq!(kernel.runs(), None, "nobody else is there");
}

#[test]
fn a_late_answer_goes_nowhere() {
    let mut kernel = waiting(false);
    kernel.ask(74 + 3, 0, &[]);
    kernel.reply_recv(0, &[]);
    kernel.notify(3);
    assert_eq!(kernel.runs(), Some(1));
    kernel.reply_recv(77, &[1]);
    assert_eq!(kernel.heard(id(0)), (0, vec![]), "untouched");
}

/// Three domains that call each other upwards; the upper two are passive.
fn tower() -> Box<Kernel<Fake>> {
    let mut system = System::default();
    for (name, priority) in [("low", 10), ("middle", 20), ("high", 30)] {
        system.domain(name, priority);
    }
    system.domains[1].flags = Domain::PASSIVE;
    system.domains[2].flags = Domain::PASSIVE;
    system.channel((0, 0, End::PROTECTED), (1, 0, 0));
    system.channel((1, 1, End::PROTECTED), (2, 0, 0));
    let mut kernel = system.boot();
    for _ in 0..2 {
        kernel.call(Syscall::NBSendRecv, &[(0, 1), (1, 0), (6, 4), (8, 5)]);
    }
    assert_eq!(kernel.runs(), Some(0));
    kernel
}

#[test]
fn a_budget_climbs_a_call_stack_and_comes_back() {
    let mut kernel = tower();
    kernel.ask(74, 0, &[]);
    kernel.ask(74 + 1, 0, &[]);
    assert_eq!(kernel.runs(), Some(2));
    assert_eq!(kernel.thread(id(2)).budget, Some(id(0)));
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.thread(id(1)).budget, Some(id(0)));
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.thread(id(0)).budget, Some(id(0)));
}

#[test]
fn a_combined_call_sends_before_it_receives() {
    let mut kernel = waiting(false);
    kernel.notify(3);
    // The server answers with a notification in the same call as its receive.
    kernel.call(Syscall::NBSendRecv, &[(0, 1), (1, 0), (6, 4), (8, 10 + 5)]);
    assert_eq!(kernel.runs(), Some(0));
    kernel.recv();
    assert_eq!(kernel.badge(id(0)), 1 << 3);
    assert!(matches!(kernel.state(1), State::Receiving { .. }));
}

#[test]
fn waiting_with_the_destination_in_x6() {
    let mut system = System::default();
    let (low, high) = (system.domain("low", 10), system.domain("high", 20));
    system.channel((low, 0, End::NOTIFY), (high, 0, End::NOTIFY));
    let mut kernel = system.boot();
    kernel.call(Syscall::NBSendWait, &[(0, 1), (1, 0), (6, 10)]);
    assert_eq!(kernel.runs(), Some(0));
    kernel.recv();
    assert_eq!(kernel.badge(id(0)), 1);
}

#[test]
fn nobody_waits_for_somebody_elses_notification() {
    let mut kernel = waiting(false);
    kernel.call(Syscall::Wait, &[(0, 10 + 3)]);
    assert_eq!(kernel.state(0), State::Inactive, "a fault, and no parent");
    assert!(
        kernel
            .machine
            .output
            .contains("receiving on capability 0xd")
    );
}
