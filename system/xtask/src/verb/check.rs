//! `cargo xtask check`: everything that can be said about the sources without running them.

use crate::apt;
use crate::check::{dependencies, tidy};
use crate::process;
use crate::progress::Step;
use crate::repo::Repo;
use crate::toolchain::{Metadata, PACKAGES, Toolchain, cargo};
use anyhow::Result;
use clap::Args;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Checks the sources without running them, and lists every failure.
///
/// Format, lints for the host and for the bare-metal target, the repository's own rules (every file says what it is and
/// is short, packages have a description and the licence, unsafe code only where it has a budget, who may depend on
/// whom), and the documentation.
///
/// It runs all checks and lists every failure; the status is 1 if there is one.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Longer than any compiler takes here.
const LIMIT: Duration = Duration::from_secs(3600);
/// After clippy's other arguments: a line for each complaint, all of them, and each is a failure.
const STRICTLY: [&str; 6] = [
    "--message-format",
    "short",
    "--keep-going",
    "--",
    "-D",
    "warnings",
];
/// Debian's clippy, which fits Debian's compiler.
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// A check: what it finds.
type Check<'a> = &'a dyn Fn() -> Result<Vec<String>>;

/// Checks everything.
///
/// # Errors
/// When a check cannot be run at all.
pub fn run(repo: &Repo, _: &Arguments) -> Result<ExitCode> {
    let metadata = Metadata::load(repo)?;
    let checks: [(&str, Check<'_>); 8] = [
        ("tidy", &|| tidy::check(repo.root(), &metadata)),
        ("dependencies", &|| Ok(dependencies::check(&metadata))),
        ("format", &|| format(repo)),
        ("lints for the host", &|| host_lints(repo)),
        ("lints of tests behind features", &|| feature_lints(repo)),
        ("lints of fuzz targets", &|| fuzz_lints(repo)),
        ("lints for the bare-metal target", &|| target_lints(repo)),
        ("documentation", &|| documentation(repo)),
    ];
    let mut failures = Vec::new();
    for (name, check) in checks {
        let found = {
            let _step = Step::new(name);
            check().unwrap_or_else(|error| vec![format!("{error:#}")])
        };
        failures.extend(found.into_iter().map(|text| format!("{name}: {text}")));
    }
    for failure in &failures {
        println!("{failure}");
    }
    match failures.len() {
        0 => println!("all checks passed"),
        count => println!("{count} failures"),
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn format(repo: &Repo) -> Result<Vec<String>> {
    let mut command = cargo(repo, "fmt");
    command.args(["--all", "--check", "--", "--files-with-diff"]);
    let output = process::attempt(&mut command, LIMIT)?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|file| format!("{}: `cargo fmt` changes it", repo.shown(Path::new(file))))
        .collect();
    if files.is_empty() {
        files.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(files)
}

fn host_lints(repo: &Repo) -> Result<Vec<String>> {
    let mut command = cargo(repo, "clippy");
    command
        .args(["--workspace", "--all-targets"])
        .args(STRICTLY);
    lints(&mut command)
}

fn feature_lints(repo: &Repo) -> Result<Vec<String>> {
    let mut command = cargo(repo, "clippy");
    command
        .args(["-p", "sel4cp-tests", "-p", "sel4cp-bench", "--all-targets"])
        .args(["--features", "sel4cp-tests/qemu,sel4cp-bench/callgrind"])
        .args(STRICTLY);
    lints(&mut command)
}

/// The fuzz targets are a workspace of their own.
fn fuzz_lints(repo: &Repo) -> Result<Vec<String>> {
    let mut command = cargo(repo, "clippy");
    command
        .args(["--manifest-path", "virtio/fuzz/Cargo.toml", "--locked"])
        .args(["--target-dir", "target/fuzz"])
        .args(STRICTLY)
        // Nothing is linked here, so that what would be need not be compiled: that takes a compiler for C++.
        .env("CUSTOM_LIBFUZZER_PATH", "./libfuzzer.a");
    lints(&mut command)
}

fn target_lints(repo: &Repo) -> Result<Vec<String>> {
    let mut command = match Toolchain::ensure()? {
        Toolchain::Rustup => {
            let mut command = Toolchain::Rustup.cargo(repo, "clippy");
            command.args(packages());
            command.args(STRICTLY);
            command
        }
        Toolchain::Debian => {
            // rustup's clippy cannot read what Debian's compiler made: lints are Debian's too, if there.
            let mut command = Toolchain::Debian.cargo(repo, "check");
            command.args(packages());
            command.args(["--message-format", "short", "--keep-going"]);
            if Path::new(DEBIAN_CLIPPY).exists() {
                command.env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY).env(
                    "CLIPPY_ARGS",
                    "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
                );
            } else {
                eprintln!(
                    "  only the compiler's own warnings: Debian's clippy is not installed ({})",
                    apt::manual_command(&["rust-web-clippy"])
                );
            }
            command
        }
    };
    lints(&mut command)
}

fn packages() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().flat_map(|package| ["-p", package])
}

fn documentation(repo: &Repo) -> Result<Vec<String>> {
    let mut command = cargo(repo, "doc");
    command
        .args(["--workspace", "--no-deps", "--keep-going"])
        .args(["--message-format", "short"])
        .env("RUSTDOCFLAGS", "-D warnings");
    lints(&mut command)
}

/// Runs a compiler and returns its complaints, one a line.
fn lints(command: &mut Command) -> Result<Vec<String>> {
    let output = process::attempt(command, LIMIT)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut found = complaints(&text);
    if !output.status.success() && found.is_empty() {
        found.push(format!(
            "`{}` failed:\n{}",
            process::shown(command),
            process::tail(&text, 30)
        ));
    }
    Ok(found)
}

/// The lines `FILE:LINE:COLUMN: error: …` in what a compiler says, each once.
fn complaints(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let place = line.split(": ").next().unwrap_or_default();
        let located = place.matches(':').count() >= 2;
        let complaint = line.contains(": error") || line.contains(": warning");
        if located && complaint && !found.iter().any(|have| have == line) {
            found.push(line.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_the_located_lines() {
        let text = "\
    Checking sel4cp-abi v0.1.0
system/abi/src/lib.rs:3:1: error: missing documentation
system/abi/src/lib.rs:3:1: error: missing documentation
error: could not compile `sel4cp-abi` (lib) due to 1 previous error
vmm/src/main.rs:9:5: error[E0425]: cannot find value
";
        assert_eq!(
            complaints(text),
            [
                "system/abi/src/lib.rs:3:1: error: missing documentation",
                "vmm/src/main.rs:9:5: error[E0425]: cannot find value",
            ]
        );
    }
}
