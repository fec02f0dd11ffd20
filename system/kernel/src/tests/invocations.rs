//! Invocations: arguments, rights, errors.

use super::fake::{Fake, System, id};
use crate::kernel::Kernel;
use crate::machine::CacheOperation;
use sel4cp_abi::image::{Domain, End, Interrupt, UserCap};
use sel4cp_abi::label::Labels;
use sel4cp_abi::message::{Error, MessageInfo};
use sel4cp_abi::slot;

const LABELS: Labels = Labels::RELEASE;

/// A domain (0) with everything: a child (1, id 3), a guest (id 0), an interrupt (channel 9), secure calls, user capabilities.
fn system() -> System {
    let mut system = System::default();
    let (vmm, child) = (system.domain("vmm", 20), system.domain("child", 10));
    system.child(vmm, 3, child);
    system.domains[0].flags = Domain::SMC;
    system.channel((vmm, 1, End::NOTIFY), (child, 0, 0));
    system.interrupts.push(Interrupt {
        domain: vmm,
        channel: 9,
        number: 48,
        trigger: Interrupt::LEVEL,
    });
    for (slot, kind) in [
        (5, UserCap::TCB),
        (6, UserCap::SCHED_CONTEXT),
        (7, UserCap::VSPACE),
    ] {
        system.user_caps.push(UserCap {
            domain: vmm,
            slot,
            kind,
            target: child,
        });
    }
    system.vcpu(vmm, 5);
    system
}

fn error(kernel: &mut Kernel<Fake>, cptr: u64, label: u32, words: &[u64]) -> (Error, Vec<u64>) {
    let (label, words) = kernel.ask(cptr, u64::from(label), words);
    (Error::from_label(label).expect("an error"), words)
}

fn works(kernel: &mut Kernel<Fake>, cptr: u64, label: u32, words: &[u64]) -> Vec<u64> {
    let (label, words) = kernel.ask(cptr, u64::from(label), words);
    assert_eq!(Error::from_label(label), None);
    words
}

#[test]
fn empty_slots_are_invalid_capabilities() {
    let mut kernel = system().boot();
    let invalid = (Error::InvalidCapability, vec![0]);
    for cptr in [0, slot::VCPU + 5, slot::IRQ, 511, 8 << 58] {
        assert_eq!(error(&mut kernel, cptr, 0, &[]), invalid);
    }
}

#[test]
fn wrong_labels_are_refused_by_name() {
    let mut kernel = system().boot();
    for cptr in [
        slot::VSPACE,
        slot::CHILD_TCB + 3,
        slot::VCPU,
        slot::IRQ + 9,
        slot::SMC,
    ] {
        let refused = error(&mut kernel, cptr, 5, &[]);
        assert_eq!(refused, (Error::IllegalOperation, vec![]));
    }
    let output = &kernel.machine.output;
    assert!(output.contains("PD \"vmm\": TCBConfigure (5) on a VCPU capability is refused"));
    let huge = kernel.ask(slot::VCPU, 1 << 40, &[]).0;
    assert_eq!(Error::from_label(huge), Some(Error::IllegalOperation));
}

#[test]
fn refusals_are_not_printed_for_ever() {
    let mut kernel = system().boot();
    for _ in 0..100 {
        kernel.ask(slot::VCPU, 5, &[]);
    }
    assert_eq!(kernel.machine.output.lines().count(), 8);
}

#[test]
fn interrupts_are_delivered_and_acknowledged() {
    let mut kernel = system().boot();
    kernel.recv();
    assert!(kernel.device_interrupt(48));
    assert!(!kernel.device_interrupt(49));
    kernel.schedule();
    assert_eq!(kernel.runs(), Some(0));
    assert_eq!(kernel.badge(id(0)), 1 << 9);
    works(&mut kernel, slot::IRQ + 9, LABELS.irq_ack_irq, &[]);
    assert_eq!(kernel.machine.finished, [48]);
}

#[test]
fn an_acknowledgement_can_ride_on_a_receive() {
    let mut kernel = system().boot();
    let info = MessageInfo::new(u64::from(LABELS.irq_ack_irq), 0).0;
    let call = sel4cp_abi::syscall::Syscall::NBSendRecv;
    kernel.call(call, &[(0, 1), (1, info), (6, 4), (8, slot::IRQ + 9)]);
    assert_eq!(kernel.machine.finished, [48]);
    assert_eq!(
        kernel.runs(),
        Some(1),
        "the first half does not wait, the second does"
    );
}

#[test]
fn threads_are_not_invoked_by_the_first_half_of_a_call() {
    let mut kernel = system().boot();
    let info = MessageInfo::new(u64::from(LABELS.tcb_suspend), 0).0;
    let call = sel4cp_abi::syscall::Syscall::NBSendRecv;
    kernel.call(call, &[(0, 1), (1, info), (6, 4), (8, slot::CHILD_TCB + 3)]);
    assert_eq!(kernel.runs(), Some(1), "the child lives");
}

#[test]
fn registers_are_read_and_written_in_their_order() {
    let mut kernel = system().boot();
    let tcb = slot::CHILD_TCB + 3;
    let values: Vec<u64> = (0..36).map(|word| 0x1000 + word).collect();
    let mut arguments = vec![0, 36];
    arguments.extend(&values);
    works(&mut kernel, tcb, LABELS.tcb_write_registers, &arguments);
    let mut expected = values;
    expected[2] = 0x40;
    let read = works(&mut kernel, tcb, LABELS.tcb_read_registers, &[0, 36]);
    assert_eq!(read, expected, "the SPSR is the kernel's");
    let range = (Error::RangeError, vec![1, 36]);
    for count in [0, 37, u64::MAX] {
        let refused = error(&mut kernel, tcb, LABELS.tcb_read_registers, &[0, count]);
        assert_eq!(refused, range);
    }
    let short = error(&mut kernel, tcb, LABELS.tcb_write_registers, &[0, 2, 5]);
    assert_eq!(short.0, Error::TruncatedMessage);
}

#[test]
fn priorities_need_an_authority_that_reaches_them() {
    let mut kernel = system().boot();
    let tcb = slot::CHILD_TCB + 3;
    let label = u64::from(LABELS.tcb_set_priority);
    let info = MessageInfo(MessageInfo::new(label, 1).0 | 1 << 7);
    let buffer = kernel.thread(id(0)).buffer.unwrap();
    let mut set = |cap, priority| {
        use crate::machine::Machine;
        kernel.machine.store(buffer, 122, cap);
        kernel.ask_with(tcb, info, &[priority])
    };
    assert_eq!(set(tcb, 11), (Error::RangeError as u64, vec![0, 10]));
    assert_eq!(set(slot::VSPACE, 5).0, Error::InvalidCapability as u64);
    assert_eq!(
        set(5 << 58, 9),
        (0, vec![]),
        "the same thread as a user capability"
    );
    assert_eq!(kernel.thread(id(1)).priority, 9);
    let none = error(&mut kernel, tcb, LABELS.tcb_set_priority, &[5]);
    assert_eq!(none.0, Error::TruncatedMessage);
}

#[test]
fn the_fpu_can_be_taken_away() {
    let mut kernel = system().boot();
    let flags = |kernel: &mut Kernel<Fake>, clear, set| {
        works(kernel, slot::VCPU_TCB, LABELS.tcb_set_flags, &[clear, set])
    };
    assert!(kernel.thread(id(2)).fpu);
    assert_eq!(flags(&mut kernel, 0, 1), [1]);
    assert_eq!(kernel.machine.released, [2]);
    assert!(!kernel.thread(id(2)).fpu);
    assert_eq!(flags(&mut kernel, 1, 0), [0]);
    assert!(kernel.thread(id(2)).fpu);
}

#[test]
fn vcpu_registers_and_injections() {
    let mut kernel = system().boot();
    works(
        &mut kernel,
        slot::VCPU,
        LABELS.arm_vcpu_write_regs,
        &[16, 0x8000_0000],
    );
    let read = works(&mut kernel, slot::VCPU, LABELS.arm_vcpu_read_regs, &[16]);
    assert_eq!(read, [0x8000_0000]);
    let field = error(&mut kernel, slot::VCPU, LABELS.arm_vcpu_read_regs, &[24]);
    assert_eq!(field, (Error::InvalidArgument, vec![1]));
    let inject = LABELS.arm_vcpu_inject_irq;
    works(&mut kernel, slot::VCPU, inject, &[3 << 32 | 27]);
    assert_eq!(kernel.machine.list_registers.len(), 1);
    let range = error(&mut kernel, slot::VCPU, inject, &[4 << 32 | 27]);
    assert_eq!(range, (Error::RangeError, vec![0, 3]));
    works(&mut kernel, slot::VCPU, LABELS.arm_vcpu_ack_vppi, &[27]);
    assert_eq!(kernel.machine.unmasked, [0]);
    let other = error(&mut kernel, slot::VCPU, LABELS.arm_vcpu_ack_vppi, &[30]);
    assert_eq!(other, (Error::InvalidArgument, vec![0]));
    let tcb = error(&mut kernel, slot::VCPU, LABELS.arm_vcpu_set_tcb, &[]);
    assert_eq!(tcb.0, Error::IllegalOperation);
}

#[test]
fn caches_are_maintained_in_mapped_pages_of_any_space_one_has() {
    let mut kernel = system().boot();
    let clean = LABELS.arm_vspace_clean_data;
    works(&mut kernel, slot::VSPACE, clean, &[0x20_0010, 0x20_0050]);
    works(&mut kernel, 7 << 58, clean, &[0x20_0000, 0x20_1000]);
    let range = (CacheOperation::Clean, 0x7500_0010..0x7500_0050);
    assert_eq!(kernel.machine.maintained[0], range);
    assert_eq!(kernel.machine.maintained.len(), 2);
    works(&mut kernel, slot::VSPACE, clean, &[0x90_0000, 0x90_0040]);
    assert_eq!(
        kernel.machine.maintained.len(),
        2,
        "nothing is mapped there"
    );
    let crossing = error(&mut kernel, slot::VSPACE, clean, &[0x20_0ff0, 0x20_1010]);
    assert_eq!(crossing, (Error::RangeError, vec![0x20_0ff0, 0x20_0fff]));
    let empty = error(&mut kernel, slot::VSPACE, clean, &[0x20_0000, 0x20_0000]);
    assert_eq!(empty, (Error::InvalidArgument, vec![1]));
    let high = error(&mut kernel, slot::VSPACE, clean, &[0x20_0000, u64::MAX]);
    assert_eq!(high.0, Error::IllegalOperation);
}

#[test]
fn secure_calls_need_eight_words() {
    let mut kernel = system().boot();
    let words = [0x8400_0008, 1, 2, 3, 4, 5, 6, 7];
    let answer = works(&mut kernel, slot::SMC, LABELS.arm_smc_call, &words);
    assert_eq!(answer, words.map(|word| word + 1));
    assert_eq!(kernel.machine.secure, [words]);
    let short = error(&mut kernel, slot::SMC, LABELS.arm_smc_call, &words[..7]);
    assert_eq!(short.0, Error::TruncatedMessage);
}

#[test]
fn debug_kernels_have_other_labels() {
    let mut system = system();
    system.debug = true;
    let mut kernel = system.boot();
    works(
        &mut kernel,
        slot::VCPU,
        Labels::DEBUG.arm_vcpu_ack_vppi,
        &[27],
    );
    let refused = error(&mut kernel, slot::VCPU, LABELS.arm_vcpu_ack_vppi, &[27]);
    assert_ne!(refused.0, Error::DeleteFirst);
    assert_eq!(kernel.machine.unmasked.len(), 1);
}
