//! What a request costs in counts that repeat: instructions, exits, switches.
//!
//! Each side is booted once and runs a script. A load of few requests and one of many are run in turn, and the difference is divided by
//! the difference of their numbers, so that whatever is done once cancels out.

use super::iperf::Iperf;
use super::meter::{Figures, Meter, NAMES};
use super::row::{How, Row, register_command};
use super::table::median;
use super::{LIMIT, Plan, Side};
use crate::qemu::{Console, Machine};
use crate::repo::Repo;
use crate::{apt, process};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The figures of all rows on both sides.
#[derive(Debug)]
pub struct Counts {
    kernel: String,
    counters: bool,
    rows: Vec<Costs>,
}

/// What one request of a row costs, each time that it was measured.
#[derive(Debug)]
struct Costs {
    row: &'static Row,
    bare: Vec<[f64; NAMES.len()]>,
    ours: Vec<[f64; NAMES.len()]>,
}

/// One line of the table.
struct Line {
    row: &'static Row,
    name: &'static str,
    bare: f64,
    ours: f64,
    min: f64,
    max: f64,
}

impl Counts {
    /// Measures `rounds` times on each side; with `counters` exceptions too, which takes longer.
    ///
    /// # Errors
    /// When a side does not boot, a load does not run, or none of the rows can be counted.
    pub fn measure(
        repo: &Repo,
        plan: &Plan,
        server: &Iperf,
        rounds: u32,
        counters: bool,
    ) -> Result<Self> {
        let rows = plan
            .rows
            .iter()
            .filter(|row| row.how.work(1, 0, str::to_owned).is_some());
        let mut counts = Self {
            kernel: plan.name(Side::Ours),
            counters,
            rows: rows
                .map(|row| Costs {
                    row,
                    bare: Vec::new(),
                    ours: Vec::new(),
                })
                .collect(),
        };
        ensure!(
            !counts.rows.is_empty(),
            "none of these rows is a number of requests that can be counted"
        );
        for side in [Side::Bare, Side::Ours] {
            counts
                .side(repo, plan, side, (server, rounds))
                .with_context(|| format!("could not count on {}", plan.name(side)))?;
        }
        Ok(counts)
    }

    /// Boots one side once and measures all rows.
    fn side(
        &mut self,
        repo: &Repo,
        plan: &Plan,
        side: Side,
        (server, rounds): (&Iperf, u32),
    ) -> Result<()> {
        let counters = self.counters;
        let mut ready = plan.prepare(repo, side)?;
        let loads = self.rows.iter().flat_map(|costs| {
            let (few, many) = costs.row.how.amounts(counters);
            let each = [few, many].map(|amount| {
                costs
                    .row
                    .how
                    .work(amount, ready.offset, |text| server.client(text))
            });
            // One more to begin with: what is done once is in memory then.
            std::iter::repeat_n(each, rounds as usize + 1)
                .flatten()
                .flatten()
        });
        write_script(&ready.disk, loads)?;
        let mut meter = Meter::new(counters)?;
        meter.arm(&mut ready.command);
        let machine = Machine::start(&ready.command, &ready.guests, None)?;
        let mut console = Console::new(machine, LIMIT);
        let mut mark = 0;
        let mut next = || -> Result<Figures> {
            let before = console.expect(&format!("<mark {mark}>"))?;
            ensure!(
                !before.contains(FAILED),
                "a load failed:\n{}",
                process::tail(&before, 10)
            );
            mark += 1;
            meter.read()
        };
        let mut last = next()?;
        for costs in &mut self.rows {
            let (few, many) = costs.row.how.amounts(counters);
            for round in 0..=rounds {
                let (half, end) = (next()?, next()?);
                let each = std::array::from_fn(|index| {
                    let at =
                        |figures: &Figures| exact(figures.get(index).copied().unwrap_or_default());
                    (at(&end) - at(&half) - (at(&half) - at(&last))) / f64::from(many - few)
                });
                last = end;
                match side {
                    _ if round == 0 => {}
                    Side::Bare => costs.bare.push(each),
                    Side::Ours => costs.ours.push(each),
                }
            }
        }
        console.wait()
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        // Writing the log takes the host's time, in which a driver that waits in place executes more: those instructions say nothing.
        let (first, shown) = if self.counters {
            (1, NAMES.len())
        } else {
            (0, 1)
        };
        self.rows.iter().flat_map(move |costs| {
            NAMES
                .iter()
                .enumerate()
                .take(shown)
                .skip(first)
                .map(|(index, name)| {
                    let values = |of: &[[f64; NAMES.len()]]| -> Vec<f64> {
                        of.iter()
                            .filter_map(|each| each.get(index).copied())
                            .collect()
                    };
                    let ours = values(&costs.ours);
                    Line {
                        row: costs.row,
                        name,
                        bare: median(&values(&costs.bare)),
                        ours: median(&ours),
                        min: ours.iter().copied().fold(f64::INFINITY, f64::min),
                        max: ours.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    }
                })
        })
    }

    /// The table for a person.
    pub fn text(&self) -> String {
        let mut text = format!(
            "for each request, as QEMU counts under -icount; medians, {}\n",
            self.kernel
        );
        let _ = writeln!(
            text,
            "{:<18} {:>8} {:<18} {:>11} {:>11} {:>23}",
            "row", "request", "", "bare QEMU", "ours", "min to max"
        );
        for Line {
            row,
            name,
            bare,
            ours,
            min,
            max,
        } in self.lines()
        {
            let [bare, ours, min, max] = [bare, ours, min, max].map(hundredths);
            let range = format!("{min:.2} to {max:.2}");
            let request = row.how.request();
            let _ = writeln!(
                text,
                "{:<18} {request:>8} {name:<18} {bare:>11.2} {ours:>11.2} {range:>23}",
                row.name
            );
        }
        text
    }

    /// The figures for a program, in the form of [`super::table::Comparison::json`].
    pub fn json(&self) -> Vec<Value> {
        self.lines()
            .map(|line| {
                json!({
                    "name": line.row.name,
                    "unit": format!("{}/{}", line.name, line.row.how.request()),
                    "limit": line.bare,
                    "ours": line.ours,
                    "ratio": line.bare / line.ours,
                    "min": line.min,
                    "max": line.max,
                })
            })
            .collect()
    }
}

/// Writes a script to the guest's disk that its shell runs before it prompts: nothing is typed, as a QEMU that records gives a UART what is
/// typed without asking whether there is room. Each load comes after a mark, and a pause in which the counters are read.
fn write_script(disk: &Path, loads: impl Iterator<Item = String>) -> Result<()> {
    let mut script = String::new();
    let mut count = 0;
    for load in loads {
        let _ = write!(
            script,
            "echo '<mark {count}>'; sleep {PAUSE}\n{{ {load}\n}} >/run/out 2>&1 || {{ echo '{FAILED}'; tail /run/out; }}\n"
        );
        count += 1;
    }
    let _ = write!(
        script,
        "echo '<mark {count}>'; sleep {PAUSE}\nsync\npoweroff\n"
    );
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), script)?;
    apt::ensure(&[apt::MKE2FS])?;
    let program =
        process::find("debugfs").context("debugfs, which comes with mke2fs, is not there")?;
    let mut command = Command::new(program);
    command
        .args(["-w", "-R"])
        .arg(format!(
            "write {} /root/.bash_profile",
            file.path().display()
        ))
        .arg(disk);
    process::run(&mut command, LIMIT)?;
    Ok(())
}

impl How {
    /// What a request is.
    fn request(self) -> &'static str {
        match self {
            Self::Fio { unit, .. } if unit < SMALL => "4 KiB",
            Self::Fio { .. } => "MiB",
            Self::Iperf { .. } => "MiB",
            Self::Ping => "echo",
            Self::Register { .. } => "access",
            _ => "",
        }
    }

    /// Few and many requests: the difference takes a second or so, and is more than programs differ in starting.
    ///
    /// A log of exceptions is slow, and has nothing to do with how programs start: fewer will do.
    fn amounts(self, counters: bool) -> (u32, u32) {
        let (few, many) = match self {
            Self::Fio { unit, .. } if unit < SMALL => (1000, 17000),
            Self::Fio { .. } => (32, 544),
            Self::Iperf { .. } => (4, 36),
            Self::Register { .. } => (10_000, 210_000),
            _ => (200, 4200),
        };
        match counters {
            true => (few / 4, many / 16),
            false => (few, many),
        }
    }

    /// The command that makes `amount` requests, where a load has requests that can be counted.
    fn work(self, amount: u32, offset: u64, client: impl Fn(&str) -> String) -> Option<String> {
        let counted =
            |arguments: &str| !arguments.contains("numjobs") && !arguments.contains("-u ");
        match self {
            Self::Fio { arguments, unit } if counted(arguments) => {
                let kib = if unit < SMALL { 4 } else { 1024 } * amount;
                Some(format!(
                    "fio --name=row --filename=/dev/vda --allow_mounted_write=1 --offset={offset} --size=64m --io_size={kib}k \
                     --ioengine=libaio --direct=1 {arguments}"
                ))
            }
            Self::Iperf { arguments } if counted(arguments) => {
                Some(client(&format!("-n {amount}M {arguments}")))
            }
            Self::Ping => Some(format!("ping -q -f -c {amount} {}", super::iperf::HOST)),
            Self::Register { write } => Some(register_command(write, amount)),
            _ => None,
        }
    }
}

/// Seconds that the guest leaves for reading the counters.
const PAUSE: &str = "0.5";
/// What the script says of a load that failed.
const FAILED: &str = "<failed>";
/// KiB: what fio's requests of less are counted by.
const SMALL: f64 = 1024.0;

/// Rounded as it is shown, so that there is no -0.00.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0 + 0.0
}

/// A count as a number to divide.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run of seconds are far below 2⁵³"
)]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counters: bool) -> Counts {
        let figures = |first: f64, second: f64| {
            let mut figures = [0.0; NAMES.len()];
            (figures[0], figures[1]) = (first, second);
            figures
        };
        Counts {
            kernel: "bundled kernel, release".to_owned(),
            counters,
            rows: vec![Costs {
                row: Row::named("ping").unwrap(),
                bare: vec![figures(10.0, -0.001)],
                ours: vec![figures(30.0, 2.0), figures(20.0, 2.0), figures(25.0, 2.0)],
            }],
        }
    }

    #[test]
    fn instructions_and_exceptions_are_shown_apart() {
        let text = counts(false).text();
        assert!(
            text.contains("echo instructions") && text.contains("20.00 to 30.00"),
            "{text}"
        );
        assert!(!text.contains("exits"), "{text}");
        let text = counts(true).text();
        assert!(
            text.contains("exits") && text.contains(" 0.00") && !text.contains("-0.00"),
            "{text}"
        );
        assert!(!text.contains("instructions"), "{text}");
        let [row] = counts(false).json().try_into().unwrap();
        assert_eq!(
            (&row["unit"], &row["ours"]),
            (&json!("instructions/echo"), &json!(25.0))
        );
        assert_eq!(row["ratio"], 0.4);
    }

    #[test]
    fn only_loads_with_a_number_of_requests_are_counted() {
        let work = |name: &str| Row::named(name).unwrap().how.work(3, 4096, str::to_owned);
        for name in ["boot", "idle-cpu", "udp-tx", "randread-4k-qd32-jobs4"] {
            assert_eq!(work(name), None, "{name}");
        }
        for (name, part) in [
            ("randread-4k-qd1", "--io_size=12k"),
            ("read-128k-qd32", "--io_size=3072k"),
            ("tcp-rx", "-n 3M -R"),
            ("ping", "-c 3 "),
            ("register-write", "python3 - write 3 "),
        ] {
            let command = work(name).unwrap();
            assert!(command.contains(part), "{command}");
        }
    }
}
