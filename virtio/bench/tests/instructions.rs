//! Instructions for each operation, counted by callgrind: no neighbour disturbs that.
//!
//! Needs valgrind, and the release profile to mean something: `cargo xtask test` runs it so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says so by panicking"
)]

use std::path::Path;
use std::process::Command;

/// How many of our ring's instructions there may be for one of the `rtrb` crate's: ours does not believe its peer, and answers whether
/// to notify it.
const RING: f64 = 4.0;

/// What was counted of one case.
#[derive(Debug, Default)]
struct Count {
    name: String,
    ours: f64,
    theirs: f64,
}

/// Runs the program below valgrind. It dumps at the end of each measurement, into a file with that measurement's number.
fn count() -> Vec<Count> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--zero-before=*::begin",
            "--dump-after=*::counted",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env!("CARGO_BIN_EXE_sel4cp-bench"))
        .output()
        .unwrap_or_else(|error| panic!("valgrind does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut counts: Vec<Count> = Vec::new();
    for (line, number) in String::from_utf8_lossy(&output.stdout).lines().zip(1..) {
        let [name, side, operations] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let operations: f64 = operations.parse().unwrap();
        let each = instructions(&out.with_extension(number.to_string())) / operations;
        match side {
            "ours" => counts.push(Count {
                name: name.to_owned(),
                ours: each,
                theirs: 0.0,
            }),
            _ => counts.last_mut().unwrap().theirs = each,
        }
    }
    counts
}

/// The sum in one of callgrind's files.
fn instructions(dump: &Path) -> f64 {
    let text =
        std::fs::read_to_string(dump).unwrap_or_else(|error| panic!("{}: {error}", dump.display()));
    let sum = text.lines().find_map(|line| line.strip_prefix("summary: "));
    sum.and_then(|sum| sum.trim().parse().ok())
        .unwrap_or_else(|| panic!("{} has no sum", dump.display()))
}

#[test]
fn our_queue_needs_no_more_instructions_than_the_virtio_queue_crate() {
    let counts = count();
    assert!(counts.len() > 8, "{counts:?}");
    println!("instructions for each operation: ours, theirs, ratio");
    let mut worse = Vec::new();
    for Count { name, ours, theirs } in &counts {
        println!(
            "{name:<18} {ours:>8.1} {theirs:>8.1} {:>5.2}",
            ours / theirs
        );
        // A loop that was left out by the compiler would need none.
        assert!(*ours > 1.0 && *theirs > 1.0, "{name}: nothing was counted");
        let bound = if name.starts_with("ring") { RING } else { 1.0 };
        if *ours > bound * theirs {
            worse.push(format!("{name}: {ours:.1} of ours, {theirs:.1} of theirs"));
        }
    }
    assert!(worse.is_empty(), "too many instructions: {worse:?}");
}
