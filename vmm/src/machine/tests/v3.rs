//! A guest with a GICv3.

use super::*;

const GICR: u64 = 0x080a_0000;
/// The first vCPU's and the second one's redistributor: GICR_WAKER, GICR_ISENABLER0.
const WAKER: u64 = 0x14;
const ISENABLER: u64 = 0x1_0100;
const SECOND: u64 = 0x2_0000;

/// Syndromes of system registers: a write of x1, a read into x2.
fn access(name: (u64, u64, u64, u64, u64), register: u64, read: bool) -> u64 {
    let (op0, op1, crn, crm, op2) = name;
    let name = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1;
    0x18 << 26 | 1 << 25 | name | register << 5 | u64::from(read)
}

const SGI1R: (u64, u64, u64, u64, u64) = (3, 0, 12, 11, 5);
const SGI0R: (u64, u64, u64, u64, u64) = (3, 0, 12, 11, 7);
const SRE: (u64, u64, u64, u64, u64) = (3, 0, 12, 12, 5);

impl Fixture {
    /// A guest that runs with two vCPUs, whose interrupts are forwarded.
    fn v3() -> Self {
        let mut config = config(2, 1, &kernel(b"mov x0, "));
        config.redistributors = GICR;
        config.redistributors_size = 2 * SECOND;
        let mut fixture = Self::with(&config);
        fixture.announce(0);
        assert_eq!(fixture.machine.phase, Phase::Running);
        fixture.store(CPU0, GICD, 2);
        for address in [GICR, GICR + SECOND] {
            fixture.store(CPU0, address + WAKER, 0);
            // Group 1, as Linux has it.
            fixture.store(CPU0, address + 0x1_0080, 0xffff_ffff);
            fixture.store(CPU0, address + ISENABLER, 0x0800_ffff);
        }
        host::calls();
        fixture
    }

    fn write_register(&mut self, name: (u64, u64, u64, u64, u64), value: u64) -> Vec<Call> {
        host::set_context(CPU0, 0, 0x4000);
        set_x(CPU0, 1, value);
        host::calls();
        self.fault(CPU0, TRAP, &[access(name, 1, false)]);
        calls()
    }
}

fn injected_of_group_1(vcpu: Vcpu, virq: u16) -> Call {
    Call::InjectIrq {
        vcpu,
        virq,
        priority: 0,
        group: 1,
        list_register: 0,
    }
}

#[test]
fn the_redistributors_answer_at_their_addresses() {
    let mut fixture = Fixture::v3();
    assert_eq!(fixture.load(CPU0, GICR + SECOND + ISENABLER), 0x0800_ffff);
    assert_eq!(fixture.load(CPU0, GICR + 0xffe8) >> 4 & 0xf, 3);
    assert_eq!(fixture.load(CPU0, GICD + 0xffe8) >> 4 & 0xf, 3);
    // Behind the last one there is nothing: an abort, at the vector.
    host::set_register(CPU0, VcpuRegister::VbarEl1, 0x8000);
    fixture.fault(CPU0, VM, &[0x1000, GICR + 2 * SECOND, 0, LOAD]);
    assert_eq!(host::context_of(CPU0)[0] & !0x7ff, 0x8000);
}

#[test]
fn a_write_of_icc_sgi1r_injects_into_those_that_it_lists() {
    let mut fixture = Fixture::v3();
    // CPU_ON.
    assert_eq!(fixture.smc(CPU0, [0xc400_0003, 1, RAM, 0]), 0);
    let found = fixture.write_register(SGI1R, 5 << 24 | 0b10);
    assert!(found.contains(&injected_of_group_1(CPU1, 5)), "{found:?}");
    assert_eq!(found.last(), Some(&resumed(CPU0, 0x4004)));
    let found = fixture.write_register(SGI0R, 6 << 24 | 0b11);
    assert_eq!(found.last(), Some(&resumed(CPU0, 0x4004)));
    let injects = |call: &Call| matches!(call, Call::InjectIrq { .. });
    assert!(!found.iter().any(injects), "{found:?}: it is of group 1");
}

#[test]
fn the_timer_and_devices_are_injected_as_before() {
    let mut fixture = Fixture::v3();
    fixture.fault(CPU0, PRIVATE, &[27]);
    assert!(calls().contains(&injected_of_group_1(CPU0, 27)));
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    assert!(calls().contains(&Call::AckVppi(CPU0, 27)));
}

#[test]
fn icc_sre_says_that_there_are_system_registers() {
    let mut fixture = Fixture::v3();
    host::set_context(CPU0, 0, 0x4000);
    fixture.fault(CPU0, TRAP, &[access(SRE, 2, true)]);
    assert_eq!((x(CPU0, 2), host::context_of(CPU0)[0]), (7, 0x4004));
    let found = fixture.write_register(SRE, 0);
    assert_eq!(found.last(), Some(&resumed(CPU0, 0x4004)));
}

#[test]
fn a_gicv2s_guest_has_none_of_these_registers() {
    let mut fixture = Fixture::running(1);
    for (name, read) in [(SRE, true), (SRE, false), (SGI1R, false), (SGI0R, false)] {
        host::set_context(CPU0, 0, 0x4000);
        host::set_register(CPU0, VcpuRegister::VbarEl1, 0x8000);
        fixture.fault(CPU0, TRAP, &[access(name, 2, read)]);
        assert_eq!(host::context_of(CPU0)[0] & !0x7ff, 0x8000, "{name:?}");
    }
    // A GICv3's cannot be read either.
    let mut fixture = Fixture::v3();
    host::set_context(CPU0, 0, 0x4000);
    host::set_register(CPU0, VcpuRegister::VbarEl1, 0x8000);
    fixture.fault(CPU0, TRAP, &[access(SGI1R, 2, true)]);
    assert_eq!(host::context_of(CPU0)[0] & !0x7ff, 0x8000);
}

#[test]
fn a_reset_empties_list_registers_by_system_registers() {
    let mut fixture = Fixture::v3();
    fixture.fault(CPU0, PRIVATE, &[27]);
    // SYSTEM_RESET.
    fixture.smc(CPU0, [0x8400_0009, 0, 0, 0]);
    fixture.obey(0);
    assert_eq!(fixture.state(CPU0), State::Draining);
    let code = crate::drain::bytes(Version::V3);
    let length = u32::try_from(code.len()).unwrap();
    assert_eq!(life::read_ram(&fixture, RAM, length), code.as_slice());
    fixture.fault(CPU0, TRAP, &[SMC]);
    fixture.announce(0);
    assert_eq!(fixture.machine.phase, Phase::Running);
    assert_eq!(fixture.load(CPU0, GICR + WAKER), 0b110);
}
