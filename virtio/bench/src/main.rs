//! Does a number of rounds of one case after the other, for a tool that counts instructions.
//!
//! Each run of [`counted`] is one case on one side: valgrind is told to begin at [`begin`] and to write down what it has at that
//! function's end. Which is which, and how many operations there were, is printed in the same order.
#![forbid(unsafe_code)]

use sel4cp_bench::guest::{CASES, Rings};
use sel4cp_bench::queue::{self, Pair, Result, memory};
use sel4cp_bench::ring::{self, Ends, MOST};
use sel4cp_ring::request::Entry;
use std::hint::black_box;

/// Rounds of a case.
const ROUNDS: u32 = 512;

/// Only a name, for valgrind; each name can mean one thing to it.
#[inline(never)]
fn begin() {
    black_box(());
}

/// Does `round` again and again. The name is what valgrind looks for.
#[inline(never)]
fn counted(round: &mut dyn FnMut() -> Result<u64>) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..ROUNDS {
        sum += round()?;
    }
    black_box(Ok(sum))
}

fn count(name: &str, side: &str, batch: u32, mut round: impl FnMut() -> Result<u64>) -> Result<()> {
    // The first round finds nothing in any cache.
    round()?;
    println!("{name} {side} {}", ROUNDS * batch);
    begin();
    counted(&mut round)?;
    Ok(())
}

fn main() -> Result<()> {
    for case in &CASES {
        let rings = Rings::new(case);
        let memory = memory(&rings)?;
        let mut theirs = queue::Theirs::new(&memory, &rings.config())?;
        let mut ours = queue::Ours::new(rings)?;
        let (name, batch) = (case.name, case.batch);
        count(name, "ours", batch.into(), || {
            Ok(ours.round(black_box(batch))?.bytes)
        })?;
        count(name, "theirs", batch.into(), || {
            Ok(theirs.round(black_box(batch))?.bytes)
        })?;
    }
    for (name, batch) in ring::CASES {
        let mut ours = ring::Ours::new()?;
        let mut theirs = ring::Theirs::new();
        let (from, mut to) = ([Entry::default(); MOST], [Entry::default(); MOST]);
        let from = from.get(..batch).unwrap_or_default();
        let to = to.get_mut(..batch).unwrap_or_default();
        let entries = u32::try_from(batch)?;
        count(name, "ours", entries, || {
            Ok(ours.pass(black_box(from), to)? as u64)
        })?;
        count(name, "theirs", entries, || {
            Ok(theirs.pass(black_box(from), to)? as u64)
        })?;
    }
    Ok(())
}
