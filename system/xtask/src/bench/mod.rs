//! What a guest gets done with the VMM, as a share of what it gets done on bare QEMU.
//!
//! The machines that this runs on are shared and noisy, so the two sides take turns (A B A B …), each round boots both
//! afresh with the same kernel, initial RAM disk, disk and command line, and what counts is the ratio of medians.

pub mod count;
pub mod iperf;
pub mod meter;
pub mod page;
pub mod row;
pub mod table;
pub mod tap;
pub mod vsock;

use crate::assemble::{self, Options};
use crate::guest::disk::Disk;
use crate::progress::Step;
use crate::qemu::{Console, Machine, Serial};
use crate::repo::Repo;
use anyhow::{Context as _, Result};
use iperf::Iperf;
use row::{How, Row};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use table::Comparison;

/// Room behind the disk's file system that fio works in.
const SPARE: u64 = 96 << 20;
/// What anything may take that is not measured; the usual is a second or two.
const LIMIT: Duration = Duration::from_secs(180);
/// Housekeeping after a boot ends by itself in this time; what is measured as idle is what never does.
const SETTLE: Duration = Duration::from_secs(3);
/// How long an idle guest is watched.
const WATCH: Duration = Duration::from_secs(10);

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The system file; it must have one guest.
    pub system: PathBuf,
    /// Kernel and board of our side.
    pub options: Options,
    /// The rows.
    pub rows: Vec<&'static Row>,
    /// Seconds that each load runs.
    pub seconds: u32,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Bare QEMU: the limit.
    Bare,
    /// The VMM on a kernel.
    Ours,
}

impl Plan {
    /// Measures both sides once more and adds what came out to `comparison`.
    ///
    /// # Errors
    /// When a side does not boot, or a load does not run.
    pub fn round(&self, repo: &Repo, server: &Iperf, comparison: &mut Comparison) -> Result<()> {
        for side in [Side::Bare, Side::Ours] {
            let values = self
                .measure(repo, side, server)
                .with_context(|| format!("could not measure {}", self.name(side)))?;
            comparison.add(side, &values);
        }
        Ok(())
    }

    /// What a person calls a side.
    pub fn name(&self, side: Side) -> String {
        match side {
            Side::Bare => "bare QEMU".to_owned(),
            Side::Ours => self.options.kernel.to_string(),
        }
    }

    /// Boots one side and measures all rows.
    fn measure(&self, repo: &Repo, side: Side, server: &Iperf) -> Result<Vec<f64>> {
        let mut running = self.boot(repo, side, server)?;
        let step = Step::new(self.name(side));
        step.total(self.rows.len() as u64);
        let mut values = Vec::new();
        for row in &self.rows {
            if side == Side::Bare && row.beside().is_some() {
                values.push(f64::NAN);
                continue;
            }
            step.detail(row.name);
            let value = running
                .measure(row, server)
                .with_context(|| format!("row {}", row.name))?;
            values.push(value);
            step.done(values.len() as u64);
        }
        running.console.power_off()?;
        Ok(values)
    }

    /// Boots one side and waits for its shell.
    fn boot(&self, repo: &Repo, side: Side, server: &Iperf) -> Result<Running> {
        let ready = self.prepare(repo, side)?;
        let command = server.place(ready.command);
        let machine = Machine::start(&command, &ready.guests, None)?;
        let mut console = Console::new(machine, LIMIT);
        let boot = console.shell()?;
        if server.is_behind_tap() {
            // Nobody leases an address there: the guest waits for one, and then takes its usual one.
            console.run(tap::ADDRESS)?;
        }
        Ok(Running {
            boot,
            console,
            offset: ready.offset,
            seconds: self.seconds,
        })
    }

    /// Builds one side.
    fn prepare(&self, repo: &Repo, side: Side) -> Result<Ready> {
        let options = Options {
            disk: Disk::Fresh,
            append: Some(row::REGISTER_WORDS.to_owned()),
            folder: Some("bench".to_owned()),
            ..self.options.clone()
        };
        let built = match side {
            Side::Bare => assemble::describe(repo, &self.system, &options)?,
            Side::Ours => assemble::build(repo, &self.system, &options)?,
        };
        let disk = built.files.first().and_then(|files| files.root.clone());
        let disk = disk.context("the guest has no disk; expected one for fio to work on")?;
        Ok(Ready {
            offset: spare_room(&disk)?,
            command: match side {
                Side::Bare => built.bare(Serial::Program)?,
                Side::Ours => built.qemu(Serial::Program)?,
            },
            guests: built.guests(),
            disk,
        })
    }
}

/// A side that can be started.
struct Ready {
    command: Command,
    guests: Vec<String>,
    disk: PathBuf,
    offset: u64,
}

/// Makes room on the guest's disk; where it begins.
fn spare_room(disk: &Path) -> Result<u64> {
    let length = || -> std::io::Result<u64> {
        let file = File::options().write(true).open(disk)?;
        let end = file.metadata()?.len();
        file.set_len(end + SPARE)?;
        Ok(end)
    };
    length().with_context(|| format!("cannot make room on {}", disk.display()))
}

/// A guest at its shell.
struct Running {
    console: Console,
    boot: Duration,
    offset: u64,
    seconds: u32,
}

impl Running {
    fn measure(&mut self, row: &Row, server: &Iperf) -> Result<f64> {
        let limit = LIMIT + 4 * Duration::from_secs(self.seconds.into());
        let text = match row.how {
            How::Boot => return Ok(self.boot.as_secs_f64()),
            How::Idle => return self.idle(),
            How::Fio { .. } | How::Ping | How::Register { .. } | How::Vsock(_) => {
                row.how.command(self.offset, self.seconds)
            }
            How::Iperf { arguments } => {
                server.client(&format!("-J -O 1 -t {} {arguments}", self.seconds))
            }
        };
        let output = self.console.run_within(&text, limit)?;
        let report = output.text();
        row.how.value(&report).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!(
                "`{text}` ended with {} and no figure in what it printed:\n{}{said}",
                output.status,
                crate::process::tail(&report, 10)
            )
        })
    }

    /// How much of a host core QEMU uses while the guest does nothing, in per cent.
    fn idle(&mut self) -> Result<f64> {
        self.console.leave()?;
        thread::sleep(SETTLE);
        let machine = self.console.machine();
        let (start, before) = (Instant::now(), machine.cpu_time()?);
        thread::sleep(WATCH);
        let used = machine.cpu_time()?.saturating_sub(before);
        Ok(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64())
    }
}
