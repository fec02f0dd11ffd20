//! Against the limit: the same kernel, initramfs, disk and command line on bare QEMU, in the same run.
//!
//! The machines that run this are shared and noisy, so every figure is a ratio of two that were taken one after the other.

use sel4cp_tests::Iperf;
use xtask::assemble::{self, Kernel, Options};
use xtask::bench::Plan;
use xtask::bench::row::Row;
use xtask::bench::table::{Comparison, Summary};
use xtask::repo::Repo;

/// The rows, and the ratio below which something has been broken. Each is meant to reach a quarter at least, and does on a
/// machine that has nothing else to do; the rows that need both processors of a small one get much less on a busy day.
const FLOORS: [(&str, f64); 8] = [
    // At most twice bare QEMU's time.
    ("boot", 0.5),
    ("idle-cpu", 0.0),
    ("randread-4k-qd1", 0.12),
    ("randread-4k-qd32", 0.25),
    ("read-128k-qd32", 0.25),
    ("write-128k-qd32", 0.25),
    ("tcp-tx", 0.15),
    ("tcp-rx", 0.15),
];
/// Per cent of a host core that an idle guest may keep busy.
const IDLE: f64 = 10.0;

/// How much of a floor counts: seL4 takes longer for each exit and system call, and with its debug checks longer still.
fn leniency(kernel: &Kernel) -> f64 {
    match kernel {
        Kernel::Bundled(_) => 1.0,
        Kernel::Sel4 { config, .. } if config.ends_with("debug") => 0.2,
        Kernel::Sel4 { .. } => 0.5,
    }
}

/// What falls short of its floor.
fn shortfalls(summaries: &[Summary], leniency: f64) -> Vec<String> {
    let fine = |summary: &Summary, floor: f64| {
        summary.ratio >= floor && (summary.row.name != "idle-cpu" || summary.ours < IDLE)
    };
    summaries
        .iter()
        .zip(FLOORS.map(|(name, floor)| (name, floor * leniency)))
        .filter(|(summary, (_, floor))| !fine(summary, *floor))
        .map(|(summary, (name, floor))| {
            format!(
                "{name}: {:.2} {}, {:.2} of bare QEMU; expected {floor:.2} of it at least",
                summary.ours, summary.row.unit, summary.ratio
            )
        })
        .collect()
}

/// One round is enough where the answer is clear; on a noisy machine the medians of three decide.
#[test]
fn boots_in_twice_bare_qemus_time_and_keeps_its_share_of_speed() {
    let options = Options::from_environment();
    let kernel = options.kernel.clone();
    let rows = FLOORS.map(|(name, _)| Row::named(name).unwrap());
    let (repo, server) = (Repo::find().unwrap(), Iperf::start().unwrap());
    let plan = Plan {
        system: assemble::find(&repo, None).unwrap(),
        options,
        rows: rows.to_vec(),
        seconds: 4,
    };
    let mut comparison = Comparison::new(kernel.to_string(), &plan.rows);
    let mut short = Vec::new();
    for _ in 0..3 {
        plan.round(&repo, &server, &mut comparison).unwrap();
        println!("{}", comparison.text());
        short = shortfalls(&comparison.summaries(), leniency(&kernel));
        if short.is_empty() {
            return;
        }
    }
    assert!(short.is_empty(), "{}", short.join("\n"));
}
