//! Against the limit: the same kernel, initramfs, disk and command line on bare QEMU, in the same run.
//!
//! The machines that run this are shared and noisy, so every figure is a ratio of two that were taken one after the other.

use sel4cp_tests::{Iperf, MIB, Machine, System};

/// One fio row: its name, and fio's arguments.
const FIO: [(&str, &str); 4] = [
    ("randread-4k-qd1", "--rw=randread --bs=4k --iodepth=1"),
    ("randread-4k-qd32", "--rw=randread --bs=4k --iodepth=32"),
    ("read-128k-qd32", "--rw=read --bs=128k --iodepth=32"),
    ("write-128k-qd32", "--rw=write --bs=128k --iodepth=32"),
];

/// What is measured of one machine, by row.
fn rows(machine: &mut Machine, server: &Iperf) -> Vec<(&'static str, f64)> {
    let at = machine.spare_offset();
    let mut rows = Vec::new();
    for (name, arguments) in FIO {
        let report = machine.run_within(
            &format!(
                "fio --name=row --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=64m --ioengine=libaio --direct=1 \
                 --time_based --runtime=6 --ramp_time=1 {arguments} --output-format=terse --terse-version=3"
            ),
            180,
        );
        rows.push((name, sel4cp_tests::fio_kib_per_second(&report)));
    }
    for (name, way) in [("tcp-tx", ""), ("tcp-rx", "-R")] {
        let report = machine.run_within(&server.client(&format!("-t 6 -O 1 {way} -J")), 180);
        rows.push((name, Iperf::bits_per_second(&report)));
    }
    rows
}

#[test]
fn at_least_a_quarter_of_bare_qemu_and_boots_in_twice_its_time() {
    let server = Iperf::start();
    let mut bare = System::new("linux").spare_disk(96 * MIB).bare().boot();
    let bare_boot = bare.boot_seconds();
    let bare_idle = bare.idle_cpu_percent(10);
    let bare_rows = rows(&mut bare, &server);
    bare.power_off();

    let mut ours = System::new("linux").spare_disk(96 * MIB).boot();
    let our_boot = ours.boot_seconds();
    let our_idle = ours.idle_cpu_percent(10);
    let our_rows = rows(&mut ours, &server);
    ours.power_off();

    println!(
        "{:<18} {:>12} {:>12} {:>6}",
        "row", "bare QEMU", "bundled", "ratio"
    );
    println!(
        "{:<18} {bare_boot:>12.2} {our_boot:>12.2} {:>6.2}  (seconds to the shell)",
        "boot",
        our_boot / bare_boot
    );
    println!(
        "{:<18} {bare_idle:>12.1} {our_idle:>12.1}         (per cent of a host core)",
        "idle-cpu"
    );
    let mut low = Vec::new();
    for ((name, limit), (_, value)) in bare_rows.iter().zip(&our_rows) {
        let ratio = value / limit;
        println!("{name:<18} {limit:>12.0} {value:>12.0} {ratio:>6.2}");
        if ratio.is_nan() || ratio < 0.25 {
            low.push(format!(
                "{name}: {ratio:.2} of bare QEMU, expected at least 0.25"
            ));
        }
    }
    if our_boot > 2.0 * bare_boot {
        low.push(format!(
            "boot: {:.2} times bare QEMU's, expected at most 2",
            our_boot / bare_boot
        ));
    }
    if our_idle >= 10.0 {
        low.push(format!(
            "idle: {our_idle:.1} % of a host core, expected less than 10"
        ));
    }
    assert!(low.is_empty(), "{}", low.join("\n"));
}
