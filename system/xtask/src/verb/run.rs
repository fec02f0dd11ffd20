//! `cargo xtask run`: a system in QEMU, for a person or for one command.

use super::build::Common;
use crate::assemble::{self, Built};
use crate::process;
use crate::progress::{Step, say};
use crate::qemu;
use crate::qemu::terminal::{Raw, copy_input};
use crate::qemu::{Console, Failure, Machine, Output, Serial};
use crate::repo::{Lock, Repo};
use crate::system::System;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Status when a time limit passed, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// How long a command and the boot before it may take, in seconds, if nothing is said.
const DEFAULT_SECONDS: u64 = 600;
/// How long guests may take to power off after a command.
const POWER_OFF: Duration = Duration::from_secs(60);

/// Builds a system and runs it in QEMU, with its guest's console in this terminal.
///
/// Every key goes to the guest, Ctrl-C too. `Ctrl-a x` ends QEMU, and so does `poweroff` in the (last) guest.
/// `Ctrl-a c` opens QEMU's monitor, `Ctrl-a Ctrl-a` types a Ctrl-a. With several guests each line carries its
/// guest's name, and `Ctrl-]` with a guest's number (or `n`: the next one) chooses which one gets the keys.
///
/// The guest's disk, `build/SYSTEM/GUEST.disk.img`, keeps its changes from run to run. A disk image of your own,
/// named in the system file, is used where it is.
///
/// The status is 1 if a guest was stopped because of an error, or a protection domain faulted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The system: a path, or a name in `system/`.
    #[arg(default_value = assemble::DEFAULT)]
    system: PathBuf,
    /// Run this shell command in the guest instead, print what it prints, power the guest off, and exit with the
    /// command's status.
    ///
    /// It needs a shell for root on the guest's console, with or without a login that asks for no password. The
    /// command's standard output and standard error become the tool's, when it has ended; progress goes to standard
    /// error.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["dry_run"])]
    command: Option<String>,
    /// Seconds that boot and command may take together, 600 if not given; then the status is 124 and the end of the
    /// console is on standard error. Without --command: seconds until QEMU is ended.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// The guest that gets the keys or runs the command, if there are several; the first one if not given.
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// Run the system's only guest on bare QEMU, without VMM: same kernel, disk, devices and command line.
    #[arg(long)]
    bare: bool,
    /// Build everything, and print the QEMU command instead of running it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Builds and runs.
///
/// # Errors
/// Whatever is wrong with the system, the machine, or the code.
pub fn run(repo: &Repo, arguments: Arguments) -> Result<ExitCode> {
    let path = assemble::find(repo, Some(&arguments.system))?;
    let options = arguments.common.options()?;
    // What can be refused is refused before anything is built, or a disk in use replaced.
    let system = System::load_on(&path, options.board.as_deref())?;
    check_board(&system, &repo.shown(&path))?;
    if let Some(name) = &arguments.guest {
        check_guest(&system, &repo.shown(&path), name)?;
    }
    if let (true, count @ 2..) = (arguments.bare, system.guests().len()) {
        let file = repo.shown(&path);
        bail!("{file} has {count} guests; expected one to run on bare QEMU");
    }
    qemu::version::find()?;
    let _running = match arguments.dry_run {
        true => None,
        false => Some(Lock::run(&repo.build(system.name())?)?),
    };
    let built = match arguments.bare {
        true => assemble::describe(repo, &path, &options)?,
        false => assemble::build(repo, &path, &options)?,
    };
    let command = |serial| match arguments.bare {
        true => built.bare(serial),
        false => built.qemu(serial),
    };
    if arguments.dry_run {
        println!("{}", process::shown(&command(Serial::Person)?));
        return Ok(ExitCode::SUCCESS);
    }
    match &arguments.command {
        Some(text) => {
            let seconds = arguments.timeout.unwrap_or(DEFAULT_SECONDS);
            let job = Job {
                text,
                guest: arguments.guest.as_deref(),
                limit: Duration::from_secs(seconds),
            };
            job.run(&built, &command(Serial::Program)?)
        }
        None => interactive(&built, &command(Serial::Person)?, &arguments),
    }
}

fn check_board(system: &System, file: &str) -> Result<()> {
    if !system.is_qemu() {
        let board = system.board();
        bail!(
            "{file} is for the board {board}, which QEMU does not play here; expected qemu_virt_aarch64 (`build` makes the image for {board})"
        );
    }
    Ok(())
}

fn check_guest(system: &System, file: &str, name: &str) -> Result<()> {
    let guests = system.guests().iter();
    let guests: Vec<&str> = guests.map(|guest| guest.name.as_str()).collect();
    if !guests.contains(&name) {
        let there = guests.join(", ");
        bail!("{file} has no guest {name}; expected one of {there}");
    }
    Ok(())
}

/// Gives the terminal to a guest until QEMU ends.
fn interactive(built: &Built, command: &Command, arguments: &Arguments) -> Result<ExitCode> {
    say("Ctrl-a x ends QEMU; poweroff in the guest does too");
    let guests = built.guests();
    let raw = Raw::new()?;
    let machine = Machine::start(command, &guests, Some(Box::new(std::io::stdout())))?;
    let mut console = Console::new(machine, Duration::from_secs(60));
    if let Some(name) = &arguments.guest {
        console.focus(name)?;
    }
    let machine = console.machine_mut();
    copy_input(machine.take_input().context("QEMU has no standard input")?);
    let limit = arguments.timeout.map(Duration::from_secs);
    let result = machine.wait(limit.unwrap_or(Duration::MAX));
    drop(raw);
    if let Some(report) = machine.fault() {
        eprintln!("\n{}", process::tail(&report, 60));
        return Ok(ExitCode::FAILURE);
    }
    match result {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        Ok(status) => bail!("QEMU ended with {status}"),
        Err(_) => {
            let seconds = limit.unwrap_or_default().as_secs();
            eprintln!("\nthe limit of {seconds} s passed");
            Ok(ExitCode::from(TIMED_OUT))
        }
    }
}

/// A command to run in a guest.
struct Job<'a> {
    text: &'a str,
    guest: Option<&'a str>,
    limit: Duration,
}

impl Job<'_> {
    fn run(&self, built: &Built, command: &Command) -> Result<ExitCode> {
        let end = Instant::now() + self.limit;
        let guests = built.guests();
        let machine = Machine::start(command, &guests, None)?;
        let mut console = Console::new(machine, self.limit);
        match self.output(&mut console, end) {
            Ok(output) => {
                std::io::stdout().write_all(&output.stdout)?;
                std::io::stdout().flush()?;
                std::io::stderr().write_all(&output.stderr)?;
                match end_all(&mut console, &guests) {
                    Ok(()) => Ok(ExitCode::from(output.status)),
                    Err(error) => match error.downcast_ref() {
                        Some(Failure::Stopped { report }) => Ok(stopped(report)),
                        _ => {
                            say(format!("warning: the guest did not power off: {error:#}"));
                            Ok(ExitCode::from(output.status))
                        }
                    },
                }
            }
            Err(error) => match error.downcast_ref() {
                Some(Failure::Stopped { report }) => Ok(stopped(report)),
                Some(failure @ Failure::TimedOut { .. }) => {
                    eprintln!("the limit of {} s passed: {failure}", self.limit.as_secs());
                    Ok(ExitCode::from(TIMED_OUT))
                }
                _ => Err(error),
            },
        }
    }

    fn output(&self, console: &mut Console, end: Instant) -> Result<Output> {
        {
            let _step = Step::new("booting the guest");
            if let Some(name) = self.guest {
                console.focus(name)?;
            }
            console.shell()?;
        }
        let _step = Step::new("running the command");
        console.run_within(self.text, end.saturating_duration_since(Instant::now()))
    }
}

/// Powers all guests off, the one that ran the command first.
fn end_all(console: &mut Console, guests: &[String]) -> Result<()> {
    console.set_limit(POWER_OFF);
    let first = console.focused().to_owned();
    console.power_off()?;
    for name in guests.iter().filter(|name| **name != first) {
        console.focus(name)?;
        console.shell()?;
        console.power_off()?;
    }
    console.wait()
}

fn stopped(report: &str) -> ExitCode {
    eprintln!("{}", process::tail(report, 60));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_qemu_does_not_play_is_refused() {
        let repo = Repo::find().unwrap();
        let path = repo.path(assemble::DEFAULT);
        let check = |board| check_board(&System::load_on(&path, Some(board)).unwrap(), "file");
        check("qemu_virt_aarch64").unwrap();
        let error = check("zcu102").unwrap_err().to_string();
        assert!(
            error.contains("zcu102") && error.contains("qemu_virt_aarch64"),
            "{error}"
        );
    }
}
