//! `cargo xtask bench`: a guest's speed with the VMM, as a share of its speed on bare QEMU.

use super::build::KernelArguments;
use crate::assemble::{self, Kernel, Options};
use crate::bench::count::Counts;
use crate::bench::iperf::Iperf;
use crate::bench::row::{ROWS, Row};
use crate::bench::table::Comparison;
use crate::bench::{Plan, page};
use crate::cli::Config;
use crate::repo::{Repo, make_folder};
use crate::{apt, process, qemu};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Compares a guest's speed with its speed on bare QEMU.
///
/// Each round boots bare QEMU and then the system, with the same kernel, initial RAM disk, disk and command line, and runs the
/// same loads on both: fio, iperf3, ping and accesses to a register. The vsock rows, for which bare QEMU has nobody at the other end,
/// stand beside our own TCP and ping. A table of medians and ratios is printed; a page with bars and each row's history
/// is left in `build/bench/index.html`, every run's figures in `build/bench/history.jsonl`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The system: a path, or a name in `system/`. It must have one guest.
    #[arg(default_value = assemble::DEFAULT)]
    system: PathBuf,
    #[command(flatten)]
    kernel: KernelArguments,
    /// Rounds of both sides.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these rows, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// Seconds that each load runs.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Count instructions for each request instead, under QEMU's `-icount`: figures that repeat. `--seconds` means nothing then.
    #[arg(long)]
    icount: bool,
    /// Count exits, switches, calls and interrupts for each request instead, from QEMU's log of exceptions.
    #[arg(long, conflicts_with = "icount")]
    counters: bool,
    /// A tap in a network namespace instead of QEMU's user-mode network, on both sides; for root only. QEMU offers checksums and
    /// segmentation there, so that a network device is for bulk, unless the system file says otherwise.
    #[arg(long, conflicts_with_all = ["icount", "counters"])]
    tap: bool,
    /// Write the figures to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, prints and writes.
///
/// # Errors
/// When a row does not exist, a side does not boot or a load does not run.
pub fn run(repo: &Repo, arguments: &Arguments) -> Result<ExitCode> {
    let kernel = arguments.kernel.choose(Config::Release)?;
    let plan = Plan {
        system: assemble::find(repo, Some(&arguments.system))?,
        options: Options {
            kernel: kernel.clone(),
            cpu: arguments.kernel.cpu(),
            board: arguments.kernel.board(),
            bulk: arguments.tap,
            ..Options::default()
        },
        rows: rows(&arguments.rows)?,
        seconds: arguments.seconds,
    };
    apt::ensure(&[apt::QEMU, apt::IPERF3])?;
    qemu::version::find()?;
    let server = if arguments.tap {
        Iperf::start_behind_tap()?
    } else {
        Iperf::start()?
    };
    if arguments.icount || arguments.counters {
        return count(repo, arguments, &plan, &server);
    }
    let title = match &plan.options.board {
        Some(board) => format!("{kernel}, {board}, {}", plan.options.cpu()),
        None => format!("{kernel}, {}", plan.options.cpu()),
    };
    let mut comparison = Comparison::new(title, &plan.rows);
    for _ in 0..arguments.rounds {
        plan.round(repo, &server, &mut comparison)?;
    }
    print!("{}", comparison.text());
    let mut figures = comparison.json(&kernel, &commit(repo));
    if let Some(figures) = figures.as_object_mut() {
        figures.insert("cpu".to_owned(), json!(plan.options.cpu()));
        if let Some(board) = &plan.options.board {
            figures.insert("board".to_owned(), json!(board));
        }
        if arguments.tap {
            figures.insert("network".to_owned(), json!("tap"));
        }
    }
    if let Some(path) = &arguments.json {
        write(path, &figures.to_string())?;
    }
    record(repo, &kernel, &comparison, &figures)?;
    Ok(ExitCode::SUCCESS)
}

/// Counts instead of measuring.
fn count(repo: &Repo, arguments: &Arguments, plan: &Plan, server: &Iperf) -> Result<ExitCode> {
    let counts = Counts::measure(repo, plan, server, arguments.rounds, arguments.counters)?;
    print!("{}", counts.text());
    if let Some(path) = &arguments.json {
        let kernel = &plan.options.kernel;
        let figures = json!({
            "kernel": kernel.name(),
            "config": kernel.config(),
            "cpu": plan.options.cpu(),
            "commit": commit(repo),
            "mode": if arguments.counters { "counters" } else { "icount" },
            "rounds": arguments.rounds,
            "rows": counts.json(),
        });
        write(path, &figures.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let named = |name: &String| {
        let there = || {
            ROWS.iter()
                .map(|row| row.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        Row::named(name)
            .with_context(|| format!("there is no row {name}; expected some of {}", there()))
    };
    let mut rows: Vec<&'static Row> = Vec::new();
    for name in names {
        let row = named(name)?;
        for row in row.beside().into_iter().chain([row]) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// The commit that was measured, with a mark if it was changed since.
fn commit(repo: &Repo) -> String {
    let mut command = Command::new("git");
    command
        .args(["describe", "--always", "--dirty"])
        .current_dir(repo.root());
    match process::run(&mut command, Duration::from_secs(20)) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

/// Adds the figures to the record and draws the page.
fn record(repo: &Repo, kernel: &Kernel, comparison: &Comparison, figures: &Value) -> Result<()> {
    let folder = make_folder(repo.path("build/bench"))?;
    let path = folder.join("history.jsonl");
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{figures}")?;
    let text = std::fs::read_to_string(&path)?;
    let history: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|run: &Value| {
            ["kernel", "config", "network"]
                .iter()
                .all(|key| run.get(*key) == figures.get(*key))
        })
        .collect();
    let title = format!("sel4cp-vmm against bare QEMU: {kernel}");
    let path = folder.join("index.html");
    write(
        &path,
        &page::page(&title, &comparison.summaries(), &history),
    )?;
    println!("page  {}", repo.shown(&path));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if path.is_dir() {
        bail!("{} is a folder; expected a file to write", path.display());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name() {
        assert_eq!(rows(&[]).unwrap().len(), ROWS.len());
        let chosen = rows(&["ping".to_owned(), "boot".to_owned()]).unwrap();
        assert_eq!(
            chosen.iter().map(|row| row.name).collect::<Vec<_>>(),
            ["ping", "boot"]
        );
        let chosen = rows(&["vsock-rx".to_owned()]).unwrap();
        assert_eq!(chosen.len(), 2, "with what it is compared with");
        let error = rows(&["pong".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("pong") && error.contains("ping"), "{error}");
    }
}
