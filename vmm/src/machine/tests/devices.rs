//! What a guest's accesses cost, and what they do.

use super::*;

#[test]
fn a_kick_is_one_write_and_a_notification_with_the_next_receive() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    let expected = [
        resumed(CPU0, 0x1004),
        Call::Notify(Channel::new(FIRST_DEVICE)),
    ];
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x50, 0), expected);
    // The backend has not looked yet: it is not told twice.
    let expected = answered(CPU0, 0x1004);
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x50, 0), expected);
}

#[test]
fn a_store_reads_no_more_registers_than_it_takes() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    for (register, words) in [
        (0, Some(4)),
        (8, Some(12)),
        (9, Some(18)),
        (19, Some(25)),
        (31, None),
    ] {
        let syndrome = STORE & !(31 << 16) | register << 16;
        fixture.fault(CPU0, VM, &[0x1000, REGISTERS + 0x64, 0, syndrome]);
        let read = words.map(|words| Call::ReadRegs(CPU0, words));
        let expected: Vec<Call> = read.into_iter().chain(answered(CPU0, 0x1004)).collect();
        assert_eq!(calls(), expected, "x{register}");
    }
}

#[test]
fn an_interrupt_is_injected_acknowledged_and_ended() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    assert_eq!(fixture.interrupt(), [injected(CPU0, 48, 0)]);
    assert_eq!(fixture.load(CPU0, REGISTERS + 0x60), 1);
    // Nobody needs to hear of its end.
    let stand_in = Call::InjectIrq {
        vcpu: CPU0,
        virq: 48,
        priority: 31,
        group: 1,
        list_register: 0,
    };
    let [moved, answer] = answered(CPU0, 0x1004);
    let expected = [
        Call::ReadRegs(CPU0, 5),
        stand_in,
        moved.clone(),
        answer.clone(),
    ];
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x64, 1), expected);
    // Another one comes before that.
    assert_eq!(fixture.interrupt(), [injected(CPU0, 48, 0)]);
    // Acknowledged in part: the line stays high.
    let expected = [Call::ReadRegs(CPU0, 5), moved, answer];
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x64, 2), expected);
    assert_eq!(fixture.interrupt(), [], "it is in flight");
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    let expected = [
        injected(CPU0, 48, 0),
        Call::Reply(MessageInfo::default(), vec![]),
    ];
    assert_eq!(calls(), expected, "the line is high still");
}

#[test]
fn on_a_debug_kernel_the_end_of_an_interrupt_exits() {
    let mut fixture = Fixture::running(1);
    fixture.machine.retires = false;
    fixture.drive();
    assert_eq!(fixture.interrupt(), [injected(CPU0, 48, 0)]);
    let [moved, answer] = answered(CPU0, 0x1004);
    let expected = [Call::ReadRegs(CPU0, 5), moved, answer.clone()];
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x64, 1), expected);
    assert_eq!(fixture.interrupt(), [], "it is in flight");
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    assert_eq!(calls(), [injected(CPU0, 48, 0), answer]);
}

#[test]
fn an_interrupt_that_is_not_enabled_waits() {
    // field.md 7 and 10.
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.store(CPU0, GICD + 0x184, 1 << 16);
    assert_eq!(fixture.interrupt(), []);
    assert_eq!(
        fixture.load(CPU0, GICD + 0x204),
        1 << 16,
        "a poller sees it"
    );
    let calls = fixture.store(CPU0, GICD + 0x104, 1 << 16);
    assert!(calls.contains(&injected(CPU0, 48, 0)), "{calls:?}");
}

#[test]
fn a_reset_holds_the_vcpu_until_the_backend_is_done() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    let expected = [
        Call::ReadRegs(CPU0, 5),
        Call::Notify(Channel::new(FIRST_DEVICE)),
        Call::Suspend(CPU0),
    ];
    assert_eq!(fixture.store(CPU0, REGISTERS + 0x70, 0), expected);
    assert!(matches!(fixture.state(CPU0), State::Held(_)));
    fixture.notify(Channel::new(FIRST_DEVICE));
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(calls(), []);
    fixture.obey(0);
    assert_eq!(calls(), [resumed(CPU0, 0x1004)]);
    assert_eq!(fixture.load(CPU0, REGISTERS + 0x70), 0);
}

#[test]
fn what_is_not_there_aborts_as_on_hardware() {
    // field.md 6: it stops a guest of libvmm.
    let mut fixture = Fixture::running(1);
    host::set_register(CPU0, VcpuRegister::VbarEl1, 0xffff_8000);
    let abort = |fixture: &mut Fixture, words: &[u64; 4]| {
        host::set_context(CPU0, 0, words[0]);
        host::set_context(CPU0, 2, 0x5);
        fixture.fault(CPU0, VM, words);
        assert_eq!(host::context_of(CPU0)[0], 0xffff_8200);
        let calls = calls();
        let esr = calls.iter().find_map(|call| match call {
            Call::WriteRegister(_, field, value) if *field == VcpuRegister::EsrEl1 as u64 => {
                Some(*value)
            }
            _ => None,
        });
        esr.unwrap()
    };
    let nowhere = 0x1234_0000;
    assert_eq!(
        abort(&mut fixture, &[0x1000, nowhere, 0, STORE]),
        0x9600_0450
    );
    assert_eq!(
        abort(&mut fixture, &[0x1000, nowhere, 0, LOAD]),
        0x9600_0410
    );
    assert_eq!(
        abort(&mut fixture, &[0x1000, nowhere, 1, 0x8600_0006]),
        0x8600_0410
    );
    // Pairs, vectors, write-back; the walk of a translation table.
    let odd = REGISTERS + 0x70;
    assert_eq!(
        abort(&mut fixture, &[0x1000, odd, 0, 0x9200_0047]),
        0x9600_0450
    );
    assert_eq!(
        abort(&mut fixture, &[0x1000, odd, 0, LOAD | 1 << 7]),
        0x9600_0410
    );
    assert_eq!(fixture.machine.phase, Phase::Running);
}

#[test]
fn the_rest_of_the_register_page_is_empty() {
    let mut fixture = Fixture::running(1);
    set_x(CPU0, 2, 9);
    for address in [REGISTERS + 0x200, REGISTERS + 0xffc] {
        let [moved, answer] = answered(CPU0, 0x1004);
        let expected = [Call::ReadRegs(CPU0, 5), moved, answer];
        assert_eq!(fixture.store(CPU0, address, 7), expected);
        assert_eq!(fixture.load(CPU0, address), 0);
    }
    // Cache maintenance by address on registers does nothing.
    host::calls();
    fixture.fault(CPU0, VM, &[0x1000, REGISTERS, 0, 0x9200_0147]);
    assert_eq!(calls(), answered(CPU0, 0x1004));
}

#[test]
fn loads_extend_into_their_register() {
    let mut fixture = Fixture::running(1);
    assert_eq!(fixture.load(CPU0, REGISTERS), 0x7472_6976);
    assert_eq!(host::context_of(CPU0)[0], 0x1004);
    // LDRSB x2 of PIDR0 (0x90).
    let esr = LOAD & !(3 << 22) | 1 << 21;
    fixture.fault(CPU0, VM, &[0x1000, GICD + 0x400, 0, esr]);
    assert_eq!(x(CPU0, 2), 0);
    fixture.store(CPU0, GICD + 0x400, 0x80);
    fixture.fault(CPU0, VM, &[0x1000, GICD + 0x400, 0, esr]);
    assert_eq!(x(CPU0, 2), 0xffff_ffff_ffff_ff80);
}

#[test]
fn debug_registers_read_as_zero_and_others_are_undefined() {
    let mut fixture = Fixture::running(1);
    let trap = |name: (u64, u64, u64, u64, u64), register: u64, read: u64| {
        let (op0, op1, crn, crm, op2) = name;
        0x18 << 26
            | 1 << 25
            | op0 << 20
            | op2 << 17
            | op1 << 14
            | crn << 10
            | register << 5
            | crm << 1
            | read
    };
    host::set_context(CPU0, 0, 0x4000);
    set_x(CPU0, 7, 99);
    fixture.fault(CPU0, TRAP, &[trap((3, 3, 9, 12, 0), 7, 1)]);
    assert_eq!((x(CPU0, 7), host::context_of(CPU0)[0]), (0, 0x4004));
    fixture.fault(CPU0, TRAP, &[trap((2, 0, 1, 0, 4), 7, 0)]);
    assert_eq!(host::context_of(CPU0)[0], 0x4008);
    host::set_register(CPU0, VcpuRegister::VbarEl1, 0x8000);
    host::set_context(CPU0, 2, 5);
    fixture.fault(CPU0, TRAP, &[trap((3, 0, 12, 12, 5), 7, 1)]);
    assert_eq!(host::context_of(CPU0)[0], 0x8200);
}

#[test]
fn output_is_held_when_the_ring_is_full() {
    let mut fixture = Fixture::running(1);
    for n in 0..64 {
        fixture.store(CPU0, UART, n);
    }
    let calls_of_full = fixture.store(CPU0, UART, 64);
    assert_eq!(
        calls_of_full,
        [Call::ReadRegs(CPU0, 5), Call::Suspend(CPU0)]
    );
    assert!(matches!(fixture.state(CPU0), State::Held(_)));
    let mut bytes = [0; 65];
    assert_eq!(fixture.uart.pop_slice(&mut bytes), Ok(64));
    assert!(fixture.uart.release());
    fixture.notify(UART_CHANNEL);
    assert!(calls().contains(&resumed(CPU0, 0x1004)));
    assert_eq!(fixture.uart.pop_slice(&mut bytes), Ok(1));
    assert_eq!(bytes[0], 64);
    assert_eq!(fixture.load(CPU0, UART + 0x18), 0x90);
}

#[test]
fn a_mistake_of_ours_stops_the_guest_with_a_report() {
    let mut fixture = Fixture::running(1);
    host::set_context(CPU0, 0, 0xffff_1234);
    fixture.fault(CPU0, VM, &[0xffff_1234, RAM + 8, 0, STORE]);
    let log = host::log();
    let first = log.lines().next().unwrap();
    assert!(
        first.starts_with("sel4cp-vmm: guest linux stopped: memory that is mapped"),
        "{first}"
    );
    assert!(
        first.contains("4-byte write with x1 at 0x40000008, pc 0xffff1234"),
        "{first}"
    );
    assert!(log.contains("x28–x30") && log.contains("esr_el1"), "{log}");
    assert!(
        !calls().contains(&Call::Notify(POWER_CHANNEL)),
        "its device is not reset yet"
    );
    fixture.obey(0);
    assert!(calls().contains(&Call::Notify(POWER_CHANNEL)));
    assert_eq!(fixture.machine.phase, Phase::Over(power::After::Stopped));
    // Nothing that comes later changes that.
    fixture.fault(CPU0, TRAP, &[WFI]);
    fixture.announce(0);
    assert_eq!(calls(), []);
    assert_eq!(host::log(), "");
}

#[test]
fn what_cannot_be_served_stops_the_guest() {
    for (label, words) in [
        (USER_EXCEPTION, [0x1000, 0, 0, 7, 0]),
        (TRAP, [0x1c << 26, 0, 0, 0, 0]),
        (77, [1, 2, 3, 4, 5]),
    ] {
        let mut fixture = Fixture::running(1);
        fixture.fault(CPU0, label, &words);
        let log = host::log();
        assert!(
            log.starts_with("sel4cp-vmm: guest linux stopped: message with label"),
            "{log}"
        );
        fixture.obey(0);
        assert!(calls().contains(&Call::Notify(POWER_CHANNEL)));
    }
}

#[test]
fn a_restarted_backend_is_taken_back() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.announce(0);
    assert_eq!(fixture.load(CPU0, REGISTERS + 0x70), 15);
    assert_eq!(fixture.backends[0].poll(), Some(Event::Start));
    assert!(fixture.backends[0].session().resumed);
    assert_eq!(fixture.machine.phase, Phase::Running);
}
