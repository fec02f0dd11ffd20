//! Protection domains that fault: the supervisor tells which one, and how.

use sel4cp_tests::{Mistake, System};

#[test]
fn a_stack_overflow_is_told_with_the_name_of_the_domain() {
    let report = System::new("linux")
        .broken("net", Mistake::StackOverflow)
        .fault();
    for part in [
        "sel4cp-supervisor: PD \"linux_net\" faulted: data abort: write to 0xfffffbdff0, which is not mapped",
        "its stack is full: it ends at 0xfffffbe000",
        "sp 0x000000fffffbe",
        "it stays stopped, the others go on",
    ] {
        assert!(report.contains(part), "no {part} in\n{report}");
    }
}

#[test]
fn every_kind_of_fault_is_told() {
    for (mistake, cause) in [
        (
            Mistake::WriteToZero,
            "data abort: write to 0x0, which is not mapped",
        ),
        (Mistake::UnknownSyscall, "unknown system call -100"),
        (Mistake::Undefined, "user exception: undefined instruction"),
    ] {
        let report = System::new("linux").broken("vmm", mistake).fault();
        let line = format!("sel4cp-supervisor: PD \"linux_vmm\" faulted: {cause}, at pc 0x2");
        assert!(report.contains(&line), "no {line} in\n{report}");
    }
}

/// With the host extensions, the kernel is in the domains' page tables.
#[test]
fn a_domain_cannot_touch_the_kernel() {
    for (mistake, cause) in [
        (Mistake::ReadKernel, "data abort: read from 0x800070000000"),
        (Mistake::WriteKernel, "data abort: write to 0x800070000000"),
        (
            Mistake::RunKernel,
            "instruction abort: fetch from 0x800070000000",
        ),
    ] {
        let report = System::new("linux").broken("vmm", mistake).fault();
        let line = format!("sel4cp-supervisor: PD \"linux_vmm\" faulted: {cause}");
        assert!(report.contains(&line), "no {line} in\n{report}");
    }
}

#[test]
fn a_debug_kernel_prints_what_the_serial_driver_cannot() {
    let report = System::new("linux")
        .debug()
        .broken("serial", Mistake::WriteToZero)
        .fault();
    let line = "sel4cp-supervisor: PD \"serial\" faulted: data abort: write to 0x0";
    assert!(report.contains(line), "no {line} in\n{report}");
}
