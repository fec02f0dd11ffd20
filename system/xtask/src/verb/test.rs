//! `cargo xtask test`: the host tests, then whole systems in QEMU.

mod tally;

use super::build::KernelArguments;
use crate::assemble::{self, Kernel, Options};
use crate::bench::tap::Tap;
use crate::cli::Config;
use crate::progress::{Step, say};
use crate::repo::Repo;
use crate::toolchain::{Toolchain, cargo};
use crate::{apt, guest, process, qemu};
use anyhow::{Result, bail};
use clap::Args;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tally::{Event, Tally};

/// Runs the tests on the host, then whole systems in QEMU.
///
/// On the host: those of every crate, the shared rings in every interleaving (loom), and how many instructions our queue needs (valgrind;
/// skipped where there is none and none can be installed). Whole systems run on the bundled
/// kernel, or with `--kernel sel4` on seL4: in the debug and in the release configuration, if none is named. Without an
/// SDK those are skipped. Tests behind a tap are for root only, and skipped where there is no /dev/net/tun.
///
/// The last line is `N passed, N failed`, with `, N skipped` if tests were skipped; the status is 1 if any failed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Run only tests whose names contain one of these.
    names: Vec<String>,
    /// Only the tests that need no QEMU.
    #[arg(long, conflicts_with = "systems")]
    host: bool,
    /// Only the tests that boot systems in QEMU.
    #[arg(long)]
    systems: bool,
    #[command(flatten)]
    kernel: KernelArguments,
}

/// The package of whole-system tests, and the feature that compiles them.
const SYSTEMS: [&str; 4] = ["-p", "sel4cp-tests", "--features", "qemu"];
/// The crate with models for loom.
const LOOM: (&str, &str) = ("sel4cp-ring", "virtio/ring/tests/loom.rs");

/// The test that counts instructions: its package, program and name.
const INSTRUCTIONS: (&str, &str, &str) = (
    "sel4cp-bench",
    "instructions",
    "our_queue_needs_no_more_instructions_than_the_virtio_queue_crate",
);

/// The test that needs an SDK and no QEMU.
const BOARDS: (&str, &str, &str) = (
    "xtask",
    "sdk",
    "the_sdk_takes_what_is_generated_for_each_of_its_boards",
);

/// Tests, and prints the sum.
///
/// # Errors
/// When tests cannot be run at all; failed tests are no error but a status.
pub fn run(repo: &Repo, arguments: &Arguments) -> Result<ExitCode> {
    let mut tally = Tally::default();
    if !arguments.systems {
        let mut command = cargo(repo, "test");
        command.args(["--workspace", "--no-fail-fast"]);
        run_tests("the host tests", command, &arguments.names, &[], &mut tally)?;
        if repo.path(LOOM.1).is_file() {
            let mut command = cargo(repo, "test");
            command
                .args(["-p", LOOM.0, "--test", "loom", "--release", "--target-dir"])
                .arg(repo.path("target/loom"))
                .env("RUSTFLAGS", "--cfg loom");
            run_tests(
                "the rings in every interleaving",
                command,
                &arguments.names,
                &[],
                &mut tally,
            )?;
        }
    }
    if !arguments.systems {
        instructions(repo, &arguments.names, &mut tally)?;
    }
    if !arguments.host {
        boards(repo, arguments, &mut tally)?;
        systems(repo, arguments, &mut tally)?;
    }
    if !arguments.names.is_empty() && tally.is_empty() {
        let names = arguments.names.join("` or `");
        bail!("no test's name contains `{names}`: nothing was tested");
    }
    println!("{tally}");
    Ok(if tally.good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Counts the instructions of our queue and of another.
fn instructions(repo: &Repo, names: &[String], tally: &mut Tally) -> Result<()> {
    let (package, program, name) = INSTRUCTIONS;
    if !names.is_empty() && !names.iter().any(|part| name.contains(part.as_str())) {
        return Ok(());
    }
    if let Err(reason) = apt::ensure(&[apt::VALGRIND]) {
        println!("  {name}: skipped because {reason:#}");
        tally.skipped();
        return Ok(());
    }
    let mut command = cargo(repo, "test");
    command
        .args(["-p", package, "--features", "callgrind", "--release"])
        .args(["--test", program]);
    run_tests("the instructions of the queue", command, names, &[], tally)
}

/// Has an SDK, if there is one, take what is generated for each of its boards.
fn boards(repo: &Repo, arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let (package, program, name) = BOARDS;
    let names = &arguments.names;
    // Without an SDK, the tests of whole systems say so.
    let Ok(kernel @ Kernel::Sel4 { .. }) = arguments.kernel.choose(Config::Release) else {
        return Ok(());
    };
    if !names.is_empty() && !names.iter().any(|part| name.contains(part.as_str())) {
        return Ok(());
    }
    let mut command = cargo(repo, "test");
    command
        .args(["-p", package, "--test", program])
        .envs(kernel.environment());
    let what = "what is generated for the boards of the SDK";
    run_tests(what, command, names, &["--ignored"], tally)
}

/// The kernels that whole systems are to be tested on; none where there is no SDK.
fn kernels(arguments: &KernelArguments) -> Result<Vec<Kernel>> {
    if !arguments.is_sel4() || arguments.has_config() {
        return Ok(vec![arguments.choose(Config::Release)?]);
    }
    [Config::Debug, Config::Release]
        .into_iter()
        .map(|config| arguments.choose(config))
        .collect()
}

/// The whole-system tests: everything that they need is built first, with its progress visible.
fn systems(repo: &Repo, arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let names = &arguments.names;
    let mut list = cargo(repo, "test");
    list.args(SYSTEMS)
        .args(["--tests", "--", "--list", "--format", "terse"])
        .args(names);
    let output = {
        let _step = Step::new("building the tests of whole systems");
        process::attempt(&mut list, Duration::from_secs(1800))?
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let there: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    if output.status.success() && there.is_empty() {
        return Ok(());
    }
    let kernels = match kernels(&arguments.kernel) {
        Ok(kernels) => kernels,
        Err(reason) if arguments.kernel.is_sel4() => {
            for name in there {
                println!("  {name}: skipped");
                tally.skipped();
            }
            println!("  they were skipped because {reason}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // Tests that need a tap are marked to be ignored.
    let tap = Tap::possible();
    let mut extra = vec!["--test-threads=1"];
    if tap.is_ok() {
        extra.push("--include-ignored");
    }
    let skipped = tally.left_out();
    for kernel in kernels {
        if let Err(error) = prepare(repo, &kernel, arguments.kernel.board()) {
            let error = error.context("the systems for the tests cannot be built");
            crate::progress::report_error(&error);
            tally.broken("the systems for the tests");
            continue;
        }
        let mut command = cargo(repo, "test");
        command
            .args(SYSTEMS)
            .args(["--tests", "--no-fail-fast"])
            .envs(kernel.environment())
            .envs(arguments.kernel.cpu().map(|cpu| (Options::CPU, cpu)))
            .envs(
                arguments
                    .kernel
                    .board()
                    .map(|board| (Options::BOARD, board)),
            );
        // One machine at a time: each takes a processor or two, and some are measured.
        run_tests(
            &format!("whole systems in QEMU ({kernel})"),
            command,
            names,
            &extra,
            tally,
        )?;
    }
    if let (Err(reason), true) = (tap, tally.left_out() > skipped) {
        println!("  some were skipped because {reason}");
    }
    Ok(())
}

fn prepare(repo: &Repo, kernel: &Kernel, board: Option<String>) -> Result<()> {
    apt::ensure(&[apt::QEMU, apt::IPERF3])?;
    qemu::version::find()?;
    Toolchain::ensure()?;
    guest::debian(repo, false)?;
    let options = Options {
        kernel: kernel.clone(),
        board,
        folder: Some("test".to_owned()),
        ..Options::default()
    };
    assemble::build(repo, &assemble::find(repo, None)?, &options)?;
    Ok(())
}

/// Runs one `cargo test` and counts.
fn run_tests(
    what: &str,
    command: Command,
    names: &[String],
    extra: &[&str],
    tally: &mut Tally,
) -> Result<()> {
    let step = Step::new(what);
    let mut command = merged(&command);
    command.arg("--").args(extra).args(names);
    let before = tally.failed();
    let status = process::stream(&mut command, |line| match tally.feed(line) {
        Event::Compiling(name) => step.detail(format!("compiling {name}")),
        Event::Passed(name) => {
            step.detail(format!("{} passed; {name}", tally.passed()));
            if !extra.is_empty() {
                step.line(&format!("  {name}: passed"));
            }
        }
        Event::Failed(name) => step.line(&format!("  {name}: FAILED")),
        Event::Skipped(name) => step.line(&format!("  {name}: skipped")),
        Event::Binary(text) => step.line(&format!("  {text}")),
        Event::Output => {}
    })?;
    if !status.success() {
        say(tally.take_output());
        if tally.failed() == before {
            // It did not even get to the tests.
            tally.broken(what);
        }
    }
    tally.take_output();
    Ok(())
}

/// `command` with its standard error in its standard output, so that lines stay in order.
fn merged(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}
