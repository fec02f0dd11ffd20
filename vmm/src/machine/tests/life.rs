//! Start, vCPUs, reset, end.

use super::*;
use sel4cp_memory::{GuestAddress, GuestRange};

const SYSTEM_OFF: [u64; 4] = [0x8400_0008, 0, 0, 0];
const SYSTEM_RESET: [u64; 4] = [0x8400_0009, 0, 0, 0];
const SECOND: u64 = 62_500_000;

pub(super) fn read_ram(fixture: &Fixture, address: u64, len: u32) -> Vec<u8> {
    let span = fixture
        .ram
        .check(GuestRange::new(GuestAddress::new(address), len))
        .unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    fixture.ram.read_bytes(span, &mut bytes);
    bytes
}

/// Whether the vCPU has been started at `entry` with `x0`.
fn started(calls: &[Call], vcpu: Vcpu, entry: u64, x0: u64) -> bool {
    calls.iter().any(|call| {
        matches!(call, Call::WriteRegs(found, true, words)
            if *found == vcpu && words.len() == 36 && words[..4] == [entry, 0, 0x3c5, x0])
    })
}

#[test]
fn a_guest_starts_when_all_its_backends_are_there() {
    let mut fixture = Fixture::silent(1, 3);
    let notified = host::calls();
    for id in FIRST_DEVICE..FIRST_DEVICE + 3 {
        assert!(notified.contains(&Call::Notify(Channel::new(id))));
    }
    fixture.announce(1);
    fixture.announce(0);
    assert_eq!(fixture.machine.phase, Phase::Waiting);
    assert!(
        !calls()
            .iter()
            .any(|call| matches!(call, Call::WriteRegs(..)))
    );
    fixture.announce(2);
    assert!(started(&calls(), CPU0, RAM, DEVICE_TREE));
    assert_eq!(read_ram(&fixture, RAM, 8), b"mov x0, ");
    assert_eq!(read_ram(&fixture, DEVICE_TREE, 8), b"\xd0\x0d\xfe\xedtree");
    assert_eq!(read_ram(&fixture, INITRD, 4), b"disk");
}

#[test]
fn what_a_guest_starts_with_is_in_memory_not_in_caches() {
    let config = config(1, 0, &kernel(b"mov x0, "));
    let ram = config.ram.vaddr;
    let _fixture = Fixture::with(&config);
    let calls = host::calls();
    for (start, size) in [(0, 64), (0x10_0000, 8), (0x18_0000, 4)] {
        assert!(
            calls.contains(&Call::Cache(ram + start, ram + start + size)),
            "{start:#x}"
        );
    }
}

#[test]
fn a_missing_backend_is_named() {
    let mut fixture = Fixture::silent(1, 2);
    fixture.announce(0);
    assert_eq!(fixture.timer.deadline.load(Relaxed), 5 * SECOND);
    host::set_counter(5 * SECOND);
    fixture.notify(TIMER_CHANNEL);
    let log = host::log();
    assert_eq!(
        log,
        "sel4cp-vmm: guest linux waits for the net backend to be ready, for 5 s already\n"
    );
    host::set_counter(50 * SECOND);
    fixture.notify(TIMER_CHANNEL);
    assert_eq!(host::log(), "", "once");
    fixture.announce(1);
    assert_eq!(fixture.machine.phase, Phase::Running);
}

#[test]
fn a_kernel_that_does_not_fit_is_reported() {
    let mut image = kernel(b"mov x0, ");
    image[56] = 0;
    let _fixture = Fixture::with(&config(1, 0, &image));
    let log = host::log();
    assert!(
        log.starts_with("sel4cp-vmm: guest linux stopped: kernel has [00, 52, 4d, 64]"),
        "{log}"
    );
    assert!(host::calls().contains(&Call::Notify(POWER_CHANNEL)));
}

#[test]
fn files_are_kept_apart_and_in_ram() {
    for (address, expected) in [
        (RAM + 0x7_fff8, "overlaps the kernel"),
        (RAM + RAM_SIZE as u64 - 4, "inside RAM"),
        (0, "inside RAM"),
        (INITRD - 4, "initial RAM disk at"),
    ] {
        let mut config = config(1, 0, &kernel(b"mov x0, "));
        config.device_tree.bus = address;
        let _fixture = Fixture::with(&config);
        let log = host::log();
        assert!(log.contains(expected), "{address:#x}: {log}");
    }
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let good = || config(1, 1, &kernel(b"mov x0, "));
    let refusal = |config: &VmmConfig| {
        host::set_config(config);
        Machine::new().err().unwrap().to_string()
    };
    let mut config = good();
    config.vcpu_count = 5;
    assert_eq!(refusal(&config), "number of vCPUs is 5, expected 1 to 4");
    let mut config = good();
    config.devices[0].offset = 0x1000;
    assert!(refusal(&config).contains("0x1000"));
    let mut config = good();
    config.devices[0].link.channel = 99;
    assert!(refusal(&config).contains("is 99, expected 0 to 61"));
    let mut config = good();
    config.ram = Region::NONE;
    assert!(refusal(&config).starts_with("RAM: "));
}

#[test]
fn system_off_waits_for_the_devices() {
    // field.md 11: poweroff leaves the machine of libvmm running.
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.smc(CPU0, SYSTEM_OFF);
    assert_eq!(host::log(), "");
    let taken = calls();
    assert!(
        taken.contains(&Call::Notify(Channel::new(FIRST_DEVICE))),
        "{taken:?}"
    );
    assert!(!taken.contains(&Call::Notify(POWER_CHANNEL)));
    fixture.obey(0);
    assert_eq!(host::log(), "sel4cp-vmm: guest linux powered off\n");
    assert_eq!(calls(), [Call::Notify(POWER_CHANNEL)]);
}

#[test]
fn a_guest_without_devices_powers_off_at_once() {
    let mut fixture = Fixture::silent(1, 0);
    fixture.smc(CPU0, SYSTEM_OFF);
    assert_eq!(host::log(), "sel4cp-vmm: guest linux powered off\n");
    assert!(calls().contains(&Call::Notify(POWER_CHANNEL)));
}

#[test]
fn a_guest_reboots_any_number_of_times() {
    // field.md 11: reboot hangs libvmm.
    let mut fixture = Fixture::running(1);
    for _ in 0..5 {
        fixture.drive();
        let span = GuestRange::new(GuestAddress::new(RAM), 8);
        let span = fixture.ram.check(span).unwrap();
        fixture.ram.fill(span, 0xff);
        fixture.smc(CPU0, SYSTEM_RESET);
        let taken = calls();
        assert!(taken.contains(&Call::Suspend(CPU0)), "{taken:?}");
        assert!(!started(&taken, CPU0, RAM, DEVICE_TREE));
        fixture.obey(0);
        assert_eq!(host::log(), "sel4cp-vmm: guest linux rebooting\n");
        assert!(started(&calls(), CPU0, RAM, DEVICE_TREE));
        assert_eq!(read_ram(&fixture, RAM, 8), b"mov x0, ");
        assert_eq!(fixture.load(CPU0, REGISTERS + 0x70), 0);
        assert_eq!(fixture.load(CPU0, GICD), 0);
    }
}

#[test]
fn list_registers_are_emptied_before_a_restart() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.interrupt();
    fixture.fault(CPU0, PRIVATE, &[27]);
    fixture.smc(CPU0, SYSTEM_RESET);
    fixture.obey(0);
    let taken = calls();
    assert!(started(&taken, CPU0, RAM, 0x0801_0000), "{taken:?}");
    assert_eq!(x(CPU0, 1), 0x0801_1000);
    assert_eq!(
        read_ram(&fixture, RAM, 84),
        crate::drain::bytes(crate::gic::Version::V2).as_slice()
    );
    // It ends the one, and the kernel has not told about the other when it is done.
    fixture.fault(CPU0, MAINTENANCE, &[0]);
    assert_eq!(calls(), [Call::Reply(MessageInfo::default(), vec![])]);
    fixture.fault(CPU0, TRAP, &[SMC]);
    let taken = calls();
    assert!(taken.contains(&Call::AckVppi(CPU0, 27)), "{taken:?}");
    assert!(started(&taken, CPU0, RAM, DEVICE_TREE));
    fixture.fault(CPU0, MAINTENANCE, &[1]);
    assert_eq!(calls(), [Call::Reply(MessageInfo::default(), vec![])]);
    // Everything works as the first time.
    fixture.drive();
    assert_eq!(fixture.interrupt(), [injected(CPU0, 48, 0)]);
}

#[test]
fn a_reset_during_a_device_reset_joins_it() {
    let mut fixture = Fixture::running(1);
    fixture.drive();
    fixture.smc(CPU0, [0xc400_0003, 1, RAM, 0]);
    fixture.store(CPU0, REGISTERS + 0x70, 0);
    assert!(matches!(fixture.state(CPU0), State::Held(_)));
    fixture
        .machine
        .stop(CPU0, &Cause::Kernel(pd::Error::InvalidArgument));
    fixture.obey(0);
    assert_eq!(fixture.machine.phase, Phase::Over(power::After::Stopped));
    assert!(
        !calls()
            .iter()
            .any(|call| matches!(call, Call::WriteRegs(_, true, _)))
    );
}

#[test]
fn vcpus_are_turned_on_and_off() {
    let mut fixture = Fixture::running(3);
    let on = |target, entry| [0xc400_0003, target, entry, 0xabc];
    let info = |target| [0xc400_0004, target, 0, 0];
    let error = |number: i64| number.cast_unsigned();
    assert_eq!(fixture.smc(CPU0, info(1)), 1);
    assert_eq!(fixture.smc(CPU0, on(1, RAM + 0x40)), 0);
    assert_eq!(fixture.smc(CPU0, info(1)), 0);
    assert_eq!(host::context_of(CPU1)[..4], [RAM + 0x40, 0, 0x3c5, 0xabc]);
    assert_eq!(fixture.smc(CPU0, on(1, RAM)), error(-4), "already on");
    assert_eq!(fixture.smc(CPU0, on(0, RAM)), error(-4));
    assert_eq!(fixture.smc(CPU0, on(3, RAM)), error(-2), "there is none");
    assert_eq!(fixture.smc(CPU0, on(1 << 8 | 2, RAM)), error(-2));
    assert_eq!(fixture.smc(CPU0, on(2 | 1 << 31, RAM)), error(-2));
    assert_eq!(fixture.smc(CPU0, on(2, 0)), error(-9), "no address in RAM");
    assert_eq!(fixture.smc(CPU0, on(2, RAM + RAM_SIZE as u64)), error(-9));
    assert_eq!(fixture.smc(CPU0, on(2, RAM + 2)), error(-9));
    assert_eq!(fixture.smc(CPU0, info(7)), error(-2));
    fixture.smc(CPU1, [0x8400_0002, 0, 0, 0]);
    assert!(
        !calls()
            .iter()
            .any(|call| matches!(call, Call::WriteRegs(..)))
    );
    assert_eq!(fixture.smc(CPU0, info(1)), 1);
    assert_eq!(fixture.smc(CPU0, on(1, RAM)), 0);
    // All of them stop with the guest.
    fixture.smc(CPU1, SYSTEM_OFF);
    let taken = calls();
    assert!(
        [CPU0, CPU1]
            .iter()
            .all(|vcpu| taken.contains(&Call::Suspend(*vcpu)))
    );
}

#[test]
fn a_call_that_is_unknown_is_answered() {
    let mut fixture = Fixture::running(1);
    assert_eq!(fixture.smc(CPU0, [0x8400_0000, 0, 0, 0]), 0x1_0001);
    assert_eq!(host::context_of(CPU0)[0], 0x2004);
    assert_eq!(fixture.smc(CPU0, [0xdead, 0, 0, 0]), u64::MAX);
    // The same by HVC, which the kernel tells about with the registers.
    let mut words = [0; 13];
    (words[0], words[8]) = (0x8400_0000, 0x5000);
    fixture.fault(CPU0, UNKNOWN_SYSCALL, &words);
    assert_eq!((x(CPU0, 0), host::context_of(CPU0)[0]), (0x1_0001, 0x5004));
}

#[test]
fn a_fault_of_an_unknown_vcpu_changes_nothing() {
    let mut fixture = Fixture::running(1);
    fixture.fault(Vcpu::new(9), TRAP, &[WFI]);
    fixture.fault(Vcpu::new(200), VM, &[0, REGISTERS, 0, STORE]);
    assert_eq!(calls(), []);
    assert_eq!(fixture.machine.phase, Phase::Running);
}

#[test]
fn where_there_are_caches_all_of_ram_is_written_back_before_the_guest_starts() {
    for caches in [0, 1] {
        let mut config = config(1, 1, &kernel(b"mov x0, "));
        config.caches = caches;
        let mut fixture = Fixture::with(&config);
        host::calls();
        fixture.announce(0);
        let taken = calls();
        let (start, size) = (config.ram.vaddr, config.ram.size);
        let flush = Call::Cache(start, start + size);
        let at = taken.iter().position(|call| *call == flush);
        assert_eq!(at.is_some(), caches != 0, "{taken:?}");
        assert!(started(&taken[at.unwrap_or(0)..], CPU0, RAM, DEVICE_TREE));
    }
}
