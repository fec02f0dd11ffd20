//! Orders of the control service.

use super::*;
use power::After;
use sel4cp_ring::control::{Life, Order, Outcome};

impl Fixture {
    /// Gives an order: what became of it, and the calls that it took.
    fn order(&mut self, order: Order) -> (Option<Outcome>, Vec<Call>) {
        host::calls();
        let number = self.control.give(order).unwrap();
        self.notify(CONTROL_CHANNEL);
        (self.control.outcome(number), calls())
    }

    fn refuses(&mut self, order: Order) {
        let (outcome, calls) = self.order(order);
        assert_eq!(outcome, Some(Outcome::Refused));
        assert_eq!(calls, [Call::Notify(CONTROL_CHANNEL)], "nothing else");
    }
}

const DONE: Option<Outcome> = Some(Outcome::Done);

#[test]
fn a_guest_pauses_and_goes_on() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    assert_eq!(fixture.control.life(), Life::Running);
    fixture.refuses(Order::Resume);
    let expected = [Call::Suspend(CPU0), Call::Notify(CONTROL_CHANNEL)];
    assert_eq!(fixture.order(Order::Pause), (DONE, expected.to_vec()));
    assert_eq!(fixture.control.life(), Life::Paused);
    fixture.refuses(Order::Pause);
    // What a device tells is kept, and the vCPU does not run.
    assert_eq!(fixture.interrupt(), [injected(CPU0, 48, 0)]);
    let expected = [Call::Resume(CPU0), Call::Notify(CONTROL_CHANNEL)];
    assert_eq!(fixture.order(Order::Resume), (DONE, expected.to_vec()));
    assert_eq!(fixture.control.life(), Life::Running);
    // A notification without an order is none.
    fixture.notify(CONTROL_CHANNEL);
    assert_eq!(calls(), []);
}

#[test]
fn a_sleeping_guest_that_is_paused_sleeps_on_and_wakes_late() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    host::set_register(CPU0, VcpuRegister::CntvCtlEl0, 1);
    host::set_register(CPU0, VcpuRegister::CntvCvalEl0, 5000);
    fixture.wfi(CPU0);
    assert_eq!(fixture.state(CPU0), sleeping(Some(5000)));
    let (outcome, taken) = fixture.order(Order::Pause);
    assert_eq!(
        (outcome, taken),
        (DONE, vec![Call::Notify(CONTROL_CHANNEL)])
    );
    host::set_counter(6000);
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(calls(), [], "nor is the timer asked again and again");
    fixture.interrupt();
    assert_eq!(fixture.state(CPU0), sleeping(Some(5000)));
    let (_, taken) = fixture.order(Order::Resume);
    assert_eq!(
        taken,
        [resumed(CPU0, 0x3004), Call::Notify(CONTROL_CHANNEL)]
    );
    assert_eq!(fixture.state(CPU0), State::Running);
    // One that is not due yet keeps its alarm.
    host::set_register(CPU0, VcpuRegister::CntvCvalEl0, 9000);
    fixture.store(CPU0, REGISTERS + 0x64, 1);
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    fixture.wfi(CPU0);
    fixture.order(Order::Pause);
    let (_, taken) = fixture.order(Order::Resume);
    assert!(taken.contains(&Call::Notify(TIMER_CHANNEL)), "{taken:?}");
    assert_eq!(fixture.timer.deadline.load(Relaxed), 9000);
}

#[test]
fn a_vcpu_that_is_held_is_released_into_the_pause() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.store(CPU0, REGISTERS + 0x70, 0);
    fixture.order(Order::Pause);
    fixture.obey(0);
    assert_eq!(calls(), [Call::WriteRegs(CPU0, false, vec![0x1004])]);
    let (_, taken) = fixture.order(Order::Resume);
    assert_eq!(taken[0], Call::Resume(CPU0));
}

#[test]
fn a_fault_that_came_before_the_pause_is_served_and_the_vcpu_stays_where_it_is() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.order(Order::Pause);
    fixture.fault(CPU0, PRIVATE, &[27]);
    let taken = calls();
    assert_eq!(taken, [injected(CPU0, 27, 0), Call::Suspend(CPU0)]);
}

#[test]
fn a_guest_restarts_and_powers_off_as_by_psci() {
    for paused in [false, true] {
        let mut fixture = Fixture::running(1);
        fixture.drive();
        if paused {
            fixture.order(Order::Pause);
        }
        assert_eq!(fixture.order(Order::Restart).0, DONE);
        assert_eq!(fixture.control.life(), Life::Resetting);
        for order in [Order::Pause, Order::Resume, Order::Restart, Order::PowerOff] {
            fixture.refuses(order);
        }
        host::log();
        fixture.obey(0);
        assert_eq!(host::log(), "sel4cp-vmm: guest linux rebooting\n");
        assert_eq!(fixture.control.life(), Life::Running);
        assert!(
            calls()
                .iter()
                .any(|call| matches!(call, Call::WriteRegs(CPU0, true, words) if words[0] == RAM))
        );
        fixture.drive();
        if paused {
            fixture.order(Order::Pause);
        }
        assert_eq!(fixture.order(Order::PowerOff).0, DONE);
        fixture.obey(0);
        assert_eq!(host::log(), "sel4cp-vmm: guest linux powered off\n");
        assert_eq!(fixture.control.life(), Life::Off);
        assert_eq!(calls(), [Call::Notify(POWER_CHANNEL)]);
    }
}

#[test]
fn a_guest_that_is_over_starts_again() {
    for stopped in [false, true] {
        let mut fixture = Fixture::running(1);
        fixture.drive();
        if stopped {
            let cause = Cause::Kernel(pd::Error::InvalidArgument);
            fixture.machine.stop(CPU0, &cause);
        } else {
            fixture.order(Order::PowerOff);
        }
        fixture.obey(0);
        let over = if stopped { Life::Stopped } else { Life::Off };
        assert_eq!(fixture.control.life(), over);
        fixture.refuses(Order::Pause);
        fixture.refuses(Order::PowerOff);
        assert_eq!(fixture.order(Order::Restart).0, DONE);
        assert_eq!(
            fixture.machine.phase,
            Phase::Resetting(After::Restart),
            "its devices are reset once more"
        );
        fixture.obey(0);
        assert_eq!(fixture.control.life(), Life::Running);
        fixture.drive();
    }
}

#[test]
fn without_a_control_service_there_is_nothing() {
    let mut config = config(1, 1, &kernel(b"mov x0, "));
    config.control.channel = abi::NO_CHANNEL;
    let mut fixture = Fixture::with(&config);
    fixture.announce(0);
    assert_eq!(fixture.control.life(), Life::Waiting, "nobody writes it");
    assert_eq!(fixture.machine.phase, Phase::Running);
    let mut config = super::config(1, 1, &kernel(b"mov x0, "));
    config.control.region.size = 2;
    host::set_config(&config);
    let refused = Machine::new().err().unwrap().to_string();
    assert!(refused.starts_with("page of the control service: "));
}
