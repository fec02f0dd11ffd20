//! Against the limit: the same kernel, initramfs, disk and command line on bare QEMU, in the same run.
//!
//! The machines that run this are shared and noisy, so every figure is a ratio of two that were taken one after the other.

use sel4cp_tests::{Iperf, MIB, Machine, System};
use xtask::assemble::Kernel;

/// One fio row: its name, and fio's arguments.
const FIO: [(&str, &str); 4] = [
    ("randread-4k-qd1", "--rw=randread --bs=4k --iodepth=1"),
    ("randread-4k-qd32", "--rw=randread --bs=4k --iodepth=32"),
    ("read-128k-qd32", "--rw=read --bs=128k --iodepth=32"),
    ("write-128k-qd32", "--rw=write --bs=128k --iodepth=32"),
];

/// The ratio that every row is meant to reach: what is below is marked in the table.
const WANTED: f64 = 0.25;
/// The ratio below which something has been broken: what the slowest row reaches on a noisy day.
const FLOOR: f64 = 0.2;

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

/// Boots and measures one machine.
fn round(system: System, server: &Iperf) -> Vec<(&'static str, f64)> {
    let mut machine = system.spare_disk(96 * MIB).boot();
    let mut all = vec![
        ("boot", machine.boot_seconds()),
        ("idle-cpu", machine.idle_cpu_percent(10)),
    ];
    all.extend(rows(&mut machine, server));
    machine.power_off();
    all
}

/// The middle value of one row over all rounds.
fn median(rounds: &[Vec<(&'static str, f64)>], row: usize) -> f64 {
    let mut values: Vec<f64> = rounds
        .iter()
        .filter_map(|round| round.get(row).map(|(_, value)| *value))
        .collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What falls short, with a table of everything on the way.
fn shortfalls(
    limit: &[Vec<(&'static str, f64)>],
    ours: &[Vec<(&'static str, f64)>],
) -> Vec<String> {
    println!(
        "medians of {} alternating rounds, {}",
        ours.len(),
        Kernel::from_environment()
    );
    println!(
        "{:<18} {:>12} {:>12} {:>6}",
        "row", "bare QEMU", "ours", "ratio"
    );
    let mut short = Vec::new();
    for (row, (name, _)) in ours.first().into_iter().flatten().enumerate() {
        let (bare, value) = (median(limit, row), median(ours, row));
        let ratio = value / bare;
        let below = !matches!(*name, "boot" | "idle-cpu") && ratio < WANTED;
        let mark = if below { "  below what is wanted" } else { "" };
        println!("{name:<18} {bare:>12.2} {value:>12.2} {ratio:>6.2}{mark}");
        match *name {
            // Seconds to the shell.
            "boot" if ratio <= 2.0 => {}
            "boot" => short.push(format!(
                "boot: {ratio:.2} times bare QEMU's, expected at most 2"
            )),
            // Per cent of a host core.
            "idle-cpu" if value < 10.0 => {}
            "idle-cpu" => short.push(format!(
                "idle: {value:.1} % of a host core, expected less than 10"
            )),
            _ if ratio >= FLOOR => {}
            _ => short.push(format!(
                "{name}: {ratio:.2} of bare QEMU, expected at least {FLOOR}"
            )),
        }
    }
    short
}

/// One round is enough where the answer is clear; on a noisy machine the medians of three decide.
#[test]
fn boots_in_twice_bare_qemus_time_and_keeps_its_share_of_speed() {
    let server = Iperf::start();
    let (mut limit, mut ours) = (Vec::new(), Vec::new());
    let mut short = Vec::new();
    for _ in 0..3 {
        limit.push(round(System::new("linux").bare(), &server));
        ours.push(round(System::new("linux"), &server));
        short = shortfalls(&limit, &ours);
        if short.is_empty() {
            return;
        }
    }
    assert!(short.is_empty(), "{}", short.join("\n"));
}
