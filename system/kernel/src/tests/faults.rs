//! Faults: to parents, to nobody, from guests, and the answers.

use super::fake::{Fake, System, fault_badge, id};
use crate::context::Register;
use crate::fault::Fault;
use crate::kernel::Kernel;
use crate::thread::State;
use sel4cp_abi::label::Labels;
use sel4cp_abi::message::MessageInfo;

const UNMAPPED: Fault = Fault::Memory {
    address: 0xdead_0000,
    fetch: false,
    syndrome: 0x9200_0046,
};

/// A parent (0) that waits, and its child (1, id 7) that runs.
fn family() -> Box<Kernel<Fake>> {
    let mut system = System::default();
    let (parent, child) = (system.domain("parent", 20), system.domain("child", 10));
    system.child(parent, 7, child);
    let mut kernel = system.boot();
    kernel.recv();
    assert_eq!(kernel.runs(), Some(1));
    kernel.context(id(1)).pc = 0x20_0100;
    kernel
}

fn fault(kernel: &mut Kernel<Fake>, fault: Fault) {
    kernel.fault(fault);
    kernel.schedule();
}

#[test]
fn a_parent_gets_the_fault_of_its_child() {
    let mut kernel = family();
    fault(&mut kernel, UNMAPPED);
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.badge(id(0)), fault_badge(7));
    let words = vec![0x20_0100, 0xdead_0000, 0, 0x9200_0046];
    assert_eq!(kernel.heard(id(0)), (6, words));
    let report = &kernel.machine.output;
    assert!(report.contains("PD \"child\" faulted: a write to unmapped memory at 0xdead0000"));
    assert!(report.contains("its parent \"parent\" gets the fault"));
}

#[test]
fn an_answer_starts_the_child_where_it_faulted() {
    let mut kernel = family();
    fault(&mut kernel, UNMAPPED);
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.thread(id(1)).context.pc, 0x20_0100);
}

#[test]
fn a_parent_can_start_its_child_elsewhere() {
    let mut kernel = family();
    fault(&mut kernel, UNMAPPED);
    let labels = Labels::RELEASE;
    let label = u64::from(labels.tcb_write_registers);
    let answer = kernel.ask(202 + 7, label, &[1, 1, 0x20_0000]);
    assert_eq!(answer, (0, vec![]));
    kernel.recv();
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.thread(id(1)).context.pc, 0x20_0000);
    assert_eq!(kernel.thread(id(1)).fault, None);
}

#[test]
fn a_suspended_child_stays_stopped() {
    let mut kernel = family();
    fault(&mut kernel, UNMAPPED);
    let label = u64::from(Labels::RELEASE.tcb_suspend);
    assert_eq!(kernel.ask(202 + 7, label, &[]), (0, vec![]));
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), None);
    assert_eq!(kernel.state(1), State::Inactive);
}

#[test]
fn faults_wait_for_a_busy_parent() {
    let mut system = System::default();
    let (parent, child) = (system.domain("parent", 10), system.domain("child", 20));
    system.child(parent, 0, child);
    let mut kernel = system.boot();
    fault(&mut kernel, UNMAPPED);
    assert_eq!(kernel.runs(), Some(0), "the parent still initialises");
    kernel.recv();
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.badge(id(0)), fault_badge(0));
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.runs(), Some(1));
}

#[test]
fn a_domain_without_a_parent_stays_stopped_and_the_others_live() {
    let mut system = System::default();
    system.domain("broken", 20);
    system.domain("other", 10);
    let mut kernel = system.boot();
    let stack = Fault::Memory {
        address: 0xff_ffff_cff8,
        fetch: false,
        syndrome: 0x9200_0046,
    };
    fault(&mut kernel, stack);
    assert_eq!(kernel.runs(), Some(1));
    assert_eq!(kernel.state(0), State::Inactive);
    let report = &kernel.machine.output;
    assert!(report.contains("its stack is full"), "{report}");
    assert!(report.contains("it stays stopped"), "{report}");
}

#[test]
fn an_unknown_call_can_be_answered_with_registers() {
    let mut kernel = family();
    kernel.context(id(1)).set(Register::Number, 12);
    kernel.system_call();
    kernel.schedule();
    let (label, words) = kernel.heard(id(0));
    assert_eq!((label, words.len(), words[12]), (2, 13, 12));
    assert_eq!(words[8], 0x20_00fc, "the instruction itself");
    let mut answer = words[..12].to_vec();
    (answer[0], answer[8]) = (99, 0x20_0100);
    kernel.reply_recv(0, &answer);
    let context = &kernel.thread(id(1)).context;
    assert_eq!((context.general(0), context.pc), (99, 0x20_0100));
}

#[test]
fn debug_calls_are_unknown_to_a_release_kernel() {
    for debug in [false, true] {
        let mut system = System {
            debug,
            ..System::default()
        };
        system.domain("only", 10);
        let mut kernel = system.boot();
        let put_char = sel4cp_abi::syscall::Syscall::DebugPutChar;
        kernel.call(put_char, &[(0, u64::from(b'x'))]);
        assert_eq!(kernel.runs().is_some(), debug);
        assert_eq!(kernel.machine.output == "x", debug);
    }
}

/// A VMM (0) that waits, and its guest, resumed.
fn guest() -> Box<Kernel<Fake>> {
    let mut system = System::default();
    let vmm = system.domain("vmm", 20);
    let thread = system.vcpu(vmm, 10);
    let mut kernel = system.boot();
    let label = u64::from(Labels::RELEASE.tcb_write_registers);
    let start = [1, 4, 0x4000_0000, 0, 5, 0x4800_0000];
    assert_eq!(kernel.ask(266, label, &start), (0, vec![]));
    kernel.recv();
    assert_eq!(kernel.current(), Some(thread));
    assert_eq!(kernel.thread(thread).context.spsr, 5, "EL1h");
    kernel
}

#[test]
fn a_guest_starts_suspended_and_runs_at_el1() {
    let kernel = guest();
    assert_eq!(kernel.thread(id(1)).context.pc, 0x4000_0000);
    assert_eq!(kernel.thread(id(1)).context.general(0), 0x4800_0000);
}

#[test]
fn a_vmm_skips_an_instruction_and_answers() {
    let mut kernel = guest();
    fault(&mut kernel, Fault::Vcpu { syndrome: 7 });
    assert_eq!(kernel.badge(id(0)), fault_badge(0));
    assert_eq!(kernel.heard(id(0)), (8, vec![7]));
    assert!(kernel.machine.output.is_empty(), "no report for a guest");
    let label = u64::from(Labels::RELEASE.tcb_write_registers);
    assert_eq!(kernel.ask(266, label, &[0, 1, 0x4000_0004]).0, 0);
    kernel.reply_recv(0, &[]);
    assert_eq!(kernel.thread(id(1)).context.pc, 0x4000_0004);
    assert_eq!(kernel.runs(), Some(1));
}

#[test]
fn a_notification_reaches_a_vmm_before_the_faults_of_its_guest() {
    let mut system = System::default();
    let vmm = system.domain("vmm", 20);
    let other = system.domain("other", 30);
    let thread = system.vcpu(vmm, 25);
    let notify = sel4cp_abi::image::End::NOTIFY;
    system.channel((other, 0, notify), (vmm, 1, 0));
    let mut kernel = system.boot();
    kernel.recv();
    let label = u64::from(Labels::RELEASE.tcb_resume);
    assert_eq!(kernel.runs(), Some(0));
    kernel.ask(266, label, &[]);
    assert_eq!(kernel.current(), Some(thread));
    fault(&mut kernel, Fault::Vcpu { syndrome: 7 });
    assert!(matches!(kernel.thread(thread).state, State::Sending { .. }));
    kernel.signal(
        crate::id::DomainId::new(0).unwrap(),
        crate::capability::Badge::Channel(1),
    );
    kernel.recv();
    assert_eq!(kernel.badge(id(0)), 2);
    kernel.recv();
    assert_eq!(kernel.badge(id(0)), fault_badge(0));
}

#[test]
fn a_guest_has_no_capabilities() {
    let mut kernel = guest();
    let info = MessageInfo::new(0, 0).0;
    let call = sel4cp_abi::syscall::Syscall::Call;
    kernel.call(call, &[(0, 1), (1, info)]);
    assert_eq!(kernel.heard(id(1)), (2, vec![0]), "an invalid capability");
}
