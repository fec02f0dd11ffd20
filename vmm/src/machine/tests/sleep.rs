//! Sleeping, and every way to wake up.

use super::*;

fn set_timer(vcpu: Vcpu, control: u64, compare: u64) {
    host::set_register(vcpu, VcpuRegister::CntvCtlEl0, control);
    host::set_register(vcpu, VcpuRegister::CntvCvalEl0, compare);
}

fn timer_reads(vcpu: Vcpu) -> [Call; 2] {
    [VcpuRegister::CntvCtlEl0, VcpuRegister::CntvCvalEl0]
        .map(|register| Call::ReadRegister(vcpu, register as u64))
}

#[test]
fn an_idle_guest_sleeps_until_its_timer() {
    // field.md 11: WFI of a guest of libvmm spins.
    let mut fixture = Fixture::running(1);
    fixture.drive();
    host::set_counter(2000);
    set_timer(CPU0, 1, 5000);
    let mut expected = vec![Call::Suspend(CPU0), Call::ReadRegs(CPU0, 1)];
    expected.extend(timer_reads(CPU0));
    expected.push(Call::Notify(TIMER_CHANNEL));
    assert_eq!(fixture.wfi(CPU0), expected);
    assert_eq!(fixture.timer.deadline.load(Relaxed), 5000);
    // Too early: asks again.
    fixture.timer.deadline.store(0, Relaxed);
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(calls(), [Call::Notify(TIMER_CHANNEL)]);
    assert_eq!(fixture.timer.deadline.load(Relaxed), 5000);
    host::set_counter(5000);
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(calls(), [resumed(CPU0, 0x3004)]);
    // It finds its timer expired.
    fixture.fault(CPU0, PRIVATE, &[27]);
    let expected = [
        injected(CPU0, 27, 0),
        Call::Reply(MessageInfo::default(), vec![]),
    ];
    assert_eq!(calls(), expected);
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    let expected = [
        Call::AckVppi(CPU0, 27),
        Call::Reply(MessageInfo::default(), vec![]),
    ];
    assert_eq!(calls(), expected, "only after the guest has ended it");
}

#[test]
fn the_physical_timer_is_kept_ahead_while_the_guest_exits() {
    for (microseconds, expected) in [(0, 0), (500, 2000 + 31_250)] {
        let mut config = config(1, 1, &kernel(b"mov x0, "));
        config.timer_ahead = microseconds;
        let mut fixture = Fixture::with(&config);
        fixture.announce(0);
        timer::program(None);
        host::set_counter(2000);
        fixture.fault(CPU0, MAINTENANCE, &[0]);
        assert_eq!(timer::registers().0, expected);
    }
}

#[test]
fn a_guest_that_wakes_early_does_not_set_the_alarm_again() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    set_timer(CPU0, 1, 5000);
    fixture.wfi(CPU0);
    assert_eq!(
        fixture.interrupt(),
        [injected(CPU0, 48, 0), resumed(CPU0, 0x3004)]
    );
    fixture.store(CPU0, REGISTERS + 0x64, 1);
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    let calls = fixture.wfi(CPU0);
    assert_eq!(fixture.state(CPU0), sleeping(Some(5000)));
    assert!(!calls.contains(&Call::Notify(TIMER_CHANNEL)), "{calls:?}");
    // An earlier deadline does.
    fixture.interrupt();
    fixture.store(CPU0, REGISTERS + 0x64, 1);
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    set_timer(CPU0, 1, 4000);
    let calls = fixture.wfi(CPU0);
    assert!(calls.contains(&Call::Notify(TIMER_CHANNEL)), "{calls:?}");
    assert_eq!(fixture.timer.deadline.load(Relaxed), 4000);
}

#[test]
fn a_pending_interrupt_keeps_a_guest_awake() {
    // Whatever it masks: a handler would run as soon as it unmasks.
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.interrupt();
    let expected = [
        Call::Suspend(CPU0),
        Call::ReadRegs(CPU0, 1),
        resumed(CPU0, 0x3004),
    ];
    assert_eq!(fixture.wfi(CPU0), expected);
    assert_eq!(fixture.state(CPU0), State::Running);
}

#[test]
fn a_timer_that_has_expired_keeps_a_guest_awake() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    host::set_counter(5000);
    set_timer(CPU0, 1, 5000);
    assert!(fixture.wfi(CPU0).contains(&resumed(CPU0, 0x3004)));
}

#[test]
fn a_timer_that_cannot_interrupt_does_not_wake() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    for control in [0, 2, 3] {
        set_timer(CPU0, control, 0);
        fixture.wfi(CPU0);
        assert_eq!(fixture.state(CPU0), sleeping(None));
        fixture.interrupt();
        fixture.store(CPU0, REGISTERS + 0x64, 1);
        fixture.fault(CPU0, MAINTENANCE, &[0]);
    }
    set_timer(CPU0, 1, 0);
    fixture.store(CPU0, GICD + 0x180, 1 << 27);
    let expected = [Call::Suspend(CPU0), Call::ReadRegs(CPU0, 1)];
    assert_eq!(fixture.wfi(CPU0), expected, "its interrupt is disabled");
}

#[test]
fn wfe_and_timed_waits_return() {
    let mut fixture = Fixture::running(1);
    for kind in 1..4 {
        host::set_context(CPU0, 0, 0x3000);
        fixture.fault(CPU0, TRAP, &[WFI | kind]);
        assert_eq!(calls(), [Call::ReadRegs(CPU0, 1), resumed(CPU0, 0x3004)]);
    }
}

#[test]
fn at_wfe_the_others_that_run_come_first() {
    let mut fixture = Fixture::running(3);
    fixture.drive();
    let cpu_2 = Vcpu::new(2);
    for cpu in [1, 2] {
        fixture.smc(CPU0, [0xc400_0003, cpu, RAM + 0x1000, 7]);
    }
    fixture.wfi(cpu_2);
    for (waits, runs) in [(CPU0, CPU1), (CPU1, CPU0)] {
        host::set_context(waits, 0, 0x3000);
        host::calls();
        fixture.fault(waits, TRAP, &[WFI | 1]);
        let expected = [
            Call::ReadRegs(waits, 1),
            resumed(waits, 0x3004),
            Call::Suspend(runs),
            Call::Resume(runs),
        ];
        assert_eq!(calls(), expected);
    }
    assert_eq!(fixture.state(cpu_2), sleeping(None));
}

#[test]
fn an_sgi_wakes_another_vcpu() {
    let mut fixture = Fixture::running(2);
    fixture.drive();
    assert_eq!(fixture.smc(CPU0, [0xc400_0003, 1, RAM + 0x1000, 7]), 0);
    fixture.wfi(CPU1);
    assert_eq!(fixture.state(CPU1), sleeping(None));
    let calls = fixture.store(CPU0, GICD + 0xf00, 1 << 17 | 3);
    let [moved, answer] = answered(CPU0, 0x1004);
    let expected = [
        Call::ReadRegs(CPU0, 5),
        injected(CPU1, 3, 0),
        resumed(CPU1, 0x3004),
        moved,
        answer,
    ];
    assert_eq!(calls, expected);
}

#[test]
fn the_earliest_of_two_sleepers_sets_the_alarm() {
    let mut fixture = Fixture::running(2);
    fixture.drive();
    fixture.smc(CPU0, [0xc400_0003, 1, RAM + 0x1000, 7]);
    fixture.store(CPU1, GICD + 0x100, 1 << 27);
    set_timer(CPU0, 1, 9000);
    set_timer(CPU1, 1, 6000);
    fixture.wfi(CPU0);
    fixture.wfi(CPU1);
    assert_eq!(fixture.timer.deadline.load(Relaxed), 6000);
    host::set_counter(6000);
    host::calls();
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(
        calls(),
        [resumed(CPU1, 0x3004), Call::Notify(TIMER_CHANNEL)]
    );
    assert_eq!(fixture.timer.deadline.load(Relaxed), 9000);
}

#[test]
fn cpu_suspend_sleeps_and_succeeds() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    host::set_context(CPU0, 1, 77);
    host::set_context(CPU0, 2, 5);
    fixture.smc(CPU0, [0xc400_0001, 0, 0, 0]);
    assert!(matches!(fixture.state(CPU0), State::Sleeping(_)));
    assert_eq!(host::context_of(CPU0)[..4], [0x2004, 77, 5, 0]);
    assert_eq!(fixture.interrupt().last(), Some(&resumed(CPU0, 0x2004)));
}
