//! The command line: its help text is the manual.

use crate::assemble::Kernel;
use crate::pack::Configuration;
use crate::repo::Repo;
use crate::sdk;
use crate::verb::{bench, build, check, clean, doctor, run, test};
use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::Path;
use std::process::ExitCode;

/// Builds, runs, tests, measures and checks systems with virtual machines on the seL4 Microkit.
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
    Bench(bench::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Clean(clean::Arguments),
}

/// Which kernel a system is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelName {
    /// The small one in this repository: nothing else is needed.
    Bundled,
    /// seL4, from a Microkit SDK.
    Sel4,
}

/// Which configuration of the kernel a system is built for. The bundled kernel has the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Config {
    /// With the kernel's debug system calls, so that PDs can print without the serial driver.
    Debug,
    /// Without: what systems are deployed with.
    Release,
    /// The release configuration with its counters.
    Benchmark,
    /// Debug on several processors.
    SmpDebug,
    /// Release on several processors.
    SmpRelease,
}

/// The kernel that `name`, `sdk` and `config` choose.
///
/// # Errors
/// When they do not go together, or no SDK is named where one is needed.
pub fn kernel(name: KernelName, sdk: Option<&Path>, config: Config) -> Result<Kernel> {
    match (name, config) {
        (KernelName::Sel4, config) => Ok(Kernel::Sel4 {
            sdk: sdk::folder(sdk)?,
            config: spelling(config),
        }),
        (KernelName::Bundled, _) if sdk.is_some() => {
            bail!("--sdk is for seL4; expected --kernel sel4 with it")
        }
        (KernelName::Bundled, Config::Debug) => Ok(Kernel::Bundled(Configuration::Debug)),
        (KernelName::Bundled, Config::Release) => Ok(Kernel::Bundled(Configuration::Release)),
        (KernelName::Bundled, other) => bail!(
            "the bundled kernel has no configuration {}; expected debug or release (or --kernel sel4)",
            spelling(other)
        ),
    }
}

/// A configuration as the command line and the SDK spell it.
fn spelling(config: Config) -> String {
    let value = config.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
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
            Verb::Bench(arguments) => bench::run(&repo, &arguments),
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
        assert!(parse("xtask run --kernel sel4 --sdk /sdk --config smp-release").is_ok());
        assert!(parse("xtask run --kernel linux").is_err());
    }

    #[test]
    fn kernels_have_their_own_configurations() {
        let sdk = Some(Path::new("/sdk"));
        let sel4 = kernel(KernelName::Sel4, sdk, Config::SmpDebug).unwrap();
        assert_eq!(sel4.to_string(), "seL4, smp-debug");
        let error = kernel(KernelName::Bundled, None, Config::Benchmark).unwrap_err();
        assert!(error.to_string().contains("benchmark"), "{error}");
        assert!(kernel(KernelName::Bundled, sdk, Config::Debug).is_err());
    }
}
