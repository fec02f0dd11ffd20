//! The command line: its help text is the manual.

use crate::pack::Configuration;
use crate::repo::Repo;
use crate::verb::{build, check, clean, doctor, run, test};
use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;

/// Builds, runs, tests and checks systems with virtual machines on the seL4 Microkit.
///
/// Everything that it makes is in the checkout: `target/` is cargo's, `build/SYSTEM/` has what belongs to a system,
/// `build/cache/` what was downloaded. Both folders are ignored by git, and either may be deleted; a guest's disk
/// (`build/SYSTEM/GUEST.disk.img`) goes with its folder.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Build(build::Arguments),
    Test(test::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Clean(clean::Arguments),
}

/// Which configuration of the kernel a system is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Config {
    /// With the kernel's debug system calls, so that PDs can print without the serial driver.
    Debug,
    /// Without: what systems are deployed with.
    Release,
}

impl From<Config> for Configuration {
    fn from(config: Config) -> Self {
        match config {
            Config::Debug => Self::Debug,
            Config::Release => Self::Release,
        }
    }
}

impl Cli {
    /// Does it; the result is the tool's status.
    ///
    /// # Errors
    /// Whatever went wrong, for a person.
    pub fn run(self) -> Result<ExitCode> {
        let repo = Repo::find()?;
        match self.verb {
            Verb::Run(arguments) => run::run(&repo, arguments),
            Verb::Build(arguments) => build::run(&repo, arguments),
            Verb::Test(arguments) => test::run(&repo, &arguments),
            Verb::Check(arguments) => check::run(&repo, &arguments),
            Verb::Doctor(arguments) => doctor::run(&repo, &arguments),
            Verb::Clean(arguments) => clean::run(&repo, &arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("xtask run").is_ok());
        assert!(parse("xtask run two --guest one --command true --timeout 5").is_ok());
        assert!(parse("xtask run --config slow").is_err());
        assert!(parse("xtask run --dry-run --command true").is_err());
        assert!(parse("xtask run --timeout 0").is_err());
        assert!(parse("xtask test one two").is_ok());
        assert!(parse("xtask test --host --systems").is_err());
        assert!(parse("xtask fly").is_err());
    }
}
