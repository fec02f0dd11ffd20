//! Builds for the bare-metal target: the programs of the protection domains, and the bundled kernel.
//!
//! Two ways, tried in this order: the target's `core` that rustup installs; or Debian's compiler, whose package of
//! sources is exactly its own, so that cargo can build `core` itself. The environment variable
//! `SEL4CP_TOOLCHAIN=rustup` or `=debian` chooses one.

use crate::progress::{Step, say};
use crate::repo::Repo;
use crate::{apt, process};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The target of PDs and kernel: no floating point anywhere.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
/// The packages that are built for it.
pub const PACKAGES: &[&str] = &[
    "sel4cp-vmm",
    "sel4cp-backends",
    "sel4cp-drivers",
    "sel4cp-services",
    "sel4cp-kernel",
];
/// The package of the bundled kernel, which has one program.
const KERNEL: &str = "sel4cp-kernel";
/// Which way to take, for those who want to choose.
const VARIABLE: &str = "SEL4CP_TOOLCHAIN";
/// How long rustup may try: without a network it would try for long.
const RUSTUP: Duration = Duration::from_secs(120);

/// A way to build for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// rustc as it is: it has the target's `core`.
    Rustup,
    /// Debian's rustc, with `core` built from its sources.
    Debian,
}

/// What Debian's way needs.
pub const DEBIAN: &[apt::Need] = &[apt::RUSTC, apt::RUST_SRC, apt::LLD];

impl Toolchain {
    /// The way that works now, without installing anything.
    pub fn find() -> Option<Self> {
        if has_target() {
            return Some(Self::Rustup);
        }
        DEBIAN.iter().all(apt::Need::met).then_some(Self::Debian)
    }

    /// A way that works, installing what is missing if that is possible.
    ///
    /// # Errors
    /// Says what to install.
    pub fn ensure() -> Result<Self> {
        match std::env::var(VARIABLE).ok().as_deref() {
            Some("debian") => {
                apt::ensure(DEBIAN)?;
                return Ok(Self::Debian);
            }
            Some("rustup") => {
                return match has_target() || add_target() {
                    true => Ok(Self::Rustup),
                    false => bail!("{VARIABLE}=rustup, but `rustup target add {TARGET}` fails"),
                };
            }
            Some("") | None => {}
            Some(other) => bail!("{VARIABLE}={other}: expected `rustup` or `debian`"),
        }
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if add_target() {
            return Ok(Self::Rustup);
        }
        say(format!(
            "rustup cannot fetch the target {TARGET} here: taking Debian's compiler instead"
        ));
        apt::ensure(DEBIAN).with_context(|| {
            format!("nothing here builds for {TARGET}: `rustup target add {TARGET}` would do, or Debian's compiler with its sources")
        })?;
        Ok(Self::Debian)
    }

    /// `cargo VERB` for the target, in its own folder, so that host builds keep theirs.
    pub fn cargo(self, repo: &Repo, verb: &str) -> Command {
        let mut command = cargo(repo, verb);
        command
            .args(["--target", TARGET, "--target-dir"])
            .arg(repo.pd_target());
        if self == Self::Debian {
            command
                .args(["-Zbuild-std=core,compiler_builtins"])
                .args(["-Zbuild-std-features=compiler-builtins-mem"])
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER",
                    "ld.lld",
                );
        }
        command
    }

    /// Builds all programs.
    ///
    /// # Errors
    /// Repeats what the compiler says.
    pub fn build(self, repo: &Repo) -> Result<Programs> {
        let step = Step::new("building the programs and the kernel");
        let mut command = self.cargo(repo, "build");
        command
            .args(["--release", "--bins"])
            .env("CARGO_ENCODED_RUSTFLAGS", flags(repo));
        for package in PACKAGES {
            command.args(["-p", package]);
        }
        run_cargo(&mut command, &step)?;
        let folder = repo.pd_target().join(TARGET).join("release");
        let metadata = Metadata::load(repo)?;
        let kernel = metadata.programs(&[KERNEL]).next();
        let kernel = folder.join(kernel.with_context(|| format!("{KERNEL} has no program"))?);
        let files: BTreeMap<String, PathBuf> = metadata
            .programs(&[
                "sel4cp-vmm",
                "sel4cp-backends",
                "sel4cp-drivers",
                "sel4cp-services",
            ])
            .map(|name| (name.to_owned(), folder.join(name)))
            .collect();
        Ok(Programs { kernel, files })
    }
}

/// The compiler's flags, in cargo's encoding: the user's, and paths that do not depend on where the checkout and
/// cargo's folder are, so that everybody's programs are the same.
fn flags(repo: &Repo) -> String {
    let mut flags: Vec<String> = match std::env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(encoded) => encoded.split('\x1f').map(str::to_owned).collect(),
        Err(_) => std::env::var("RUSTFLAGS")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    };
    flags.retain(|flag| !flag.is_empty());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let folders = [(Some(repo.root().to_owned()), "."), (home, "cargo")];
    for (folder, name) in folders {
        if let Some(folder) = folder {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
    }
    flags.join("\x1f")
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The bundled kernel's ELF file.
    pub kernel: PathBuf,
    /// The programs of the protection domains: name → ELF file.
    pub files: BTreeMap<String, PathBuf>,
}

impl Programs {
    /// Copies the programs into `folder`, for the packer and for the SDK's `microkit`.
    ///
    /// # Errors
    /// When a program is missing or `folder` cannot be written.
    pub fn copy_to(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, file) in &self.files {
            let to = folder.join(name);
            std::fs::copy(file, &to)
                .with_context(|| format!("cannot copy {} to {}", file.display(), to.display()))?;
        }
        Ok(())
    }
}

/// `cargo VERB` in the checkout: the cargo that runs the tool, if one does.
pub fn cargo(repo: &Repo, verb: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.arg(verb).current_dir(repo.root());
    // What `cargo run` tells the tool about itself is not for other packages.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Runs cargo with its progress in `step`.
///
/// # Errors
/// Repeats everything that cargo said, in colour if this is a terminal.
pub fn run_cargo(command: &mut Command, step: &Step) -> Result<()> {
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    let mut said = Vec::new();
    let status = process::stream(command, |line| {
        if let Some(at) = line.find("Compiling ") {
            let name = line.get(at + 10..).unwrap_or_default();
            let clean = name.trim_start_matches(|c: char| !c.is_alphanumeric());
            step.detail(clean.split(' ').next().unwrap_or_default().to_owned());
        }
        said.push(line.to_owned());
    })?;
    if !status.success() {
        bail!("`{}` failed:\n{}", process::shown(command), said.join("\n"));
    }
    Ok(())
}

/// Whether rustc has the target's `core`.
fn has_target() -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let Ok(output) = process::run(&mut command, Duration::from_secs(20)) else {
        return false;
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Asks rustup for the target; whether it is there afterwards.
fn add_target() -> bool {
    if process::find("rustup").is_none() {
        return false;
    }
    let _step = Step::new(format!("asking rustup for {TARGET}"));
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]);
    process::run(&mut command, RUSTUP).is_ok() && has_target()
}

/// What cargo knows about the workspace.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Metadata {
    /// The workspace's packages.
    pub packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What it is, in a few words.
    pub description: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Its crates.
    pub targets: Vec<CrateTarget>,
}

/// A dependency of a package.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Dependency {
    /// The other package's name.
    pub name: String,
    /// `dev` or `build`; nothing for an ordinary one.
    pub kind: Option<String>,
}

/// A crate of a package.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct CrateTarget {
    /// `lib`, `bin`, `test`, `bench`, `example`, `custom-build`.
    pub kind: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its first file.
    pub src_path: PathBuf,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// When the workspace is broken.
    pub fn load(repo: &Repo) -> Result<Self> {
        let mut command = cargo(repo, "metadata");
        command.args(["--format-version", "1", "--no-deps"]);
        let output = process::run(&mut command, Duration::from_secs(120))?;
        serde_json::from_slice(&output.stdout).context("cannot read what `cargo metadata` says")
    }

    /// The names of the programs of these packages.
    pub fn programs<'a>(&'a self, packages: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.packages
            .iter()
            .filter(|package| packages.contains(&package.name.as_str()))
            .flat_map(|package| &package.targets)
            .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
            .map(|target| target.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_way_builds_core_with_debians_compiler() {
        let repo = Repo::find().unwrap();
        let command = Toolchain::Debian.cargo(&repo, "build");
        let shown = process::shown(&command);
        assert!(
            shown.contains("-Zbuild-std=core,compiler_builtins"),
            "{shown}"
        );
        let rustc = command.get_envs().find(|(name, _)| *name == "RUSTC");
        assert_eq!(
            rustc.and_then(|(_, value)| value),
            Some("/usr/bin/rustc".as_ref())
        );
        let plain = process::shown(&Toolchain::Rustup.cargo(&repo, "build"));
        assert!(!plain.contains("-Z") && plain.contains(TARGET), "{plain}");
    }

    #[test]
    fn the_packages_for_the_target_exist() {
        let metadata = Metadata::load(&Repo::find().unwrap()).unwrap();
        for name in PACKAGES {
            assert!(
                metadata
                    .packages
                    .iter()
                    .any(|package| package.name == *name),
                "{name}"
            );
        }
    }
}
