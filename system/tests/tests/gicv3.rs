//! Guests whose interrupt controller is a GICv3, as that of the machine.

use sel4cp_tests::{MIB, System};

/// The bundled kernel knows the board; the SDK has none like it.
#[test]
fn guests_on_a_gicv3() {
    let system = System::new("smp")
        .bundled()
        .board("qemu_virt_aarch64_gicv3");
    let mut machine = system.spare_disk(32 * MIB).boot();
    for (guest, vcpus) in [("two", 2), ("one", 4)] {
        machine.focus(guest);
        assert_eq!(machine.run("nproc"), format!("{vcpus}\n"));
        let interrupts = machine.run("cat /proc/interrupts");
        assert!(
            interrupts.contains("GICv3") && !interrupts.contains("GIC-0"),
            "{interrupts}"
        );
    }
    // SGIs trap: each vCPU gets the others'.
    machine.run("for cpu in 0 1 2 3; do taskset -c $cpu python3 -c 'import os; [os.sched_setaffinity(0, [n % 4]) for n in range(40)]'; done");
    let line = machine.run("grep IPI0 /proc/interrupts");
    let counts: Vec<u64> = (line.split_whitespace())
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        counts.len() == 4 && counts.iter().all(|count| *count > 0),
        "{line}"
    );
    let at = machine.spare_offset();
    machine.run_within(
        &format!(
            "fio --name=verify --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=8m --offset_increment=8m --numjobs=4 \
             --rw=randrw --bsrange=512-64k --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
             --verify_backlog=32 --time_based --runtime=3 --group_reporting > /tmp/fio.log 2>&1 || (cat /tmp/fio.log; false)"
        ),
        300,
    );
    machine.run("ping -q -c 20 -i 0.02 10.0.2.2");
    // Whatever the list registers and the CPU interface hold then is gone when the next kernel starts.
    machine.run("(while :; do date > /root/now; sync; done) > /dev/null 2>&1 &");
    machine.send(
        "taskset -c 2 sh -c 'echo 1 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger'\n",
    );
    machine.expect("Kernel panic - not syncing");
    machine.shell_again();
    assert_eq!(machine.run("nproc"), "4\n");
    machine.reboot();
    machine.run("ping -q -c 20 -i 0.02 10.0.2.2");
    machine.power_off();
}
