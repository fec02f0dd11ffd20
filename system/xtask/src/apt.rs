//! Programs that the host must have, and Debian's packages that bring them.
//!
//! Root on Debian gets missing packages installed; everybody else gets the command to type.

use crate::private::Plan;
use crate::process;
use crate::progress::{Step, say};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long apt-get may wait for another package manager, in seconds.
const LOCK_SECONDS: u32 = 300;

/// How to see whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A program of this name can be found.
    Program(&'static str),
    /// This file exists.
    File(&'static str),
}

/// Something that the host must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// How to see that it is there.
    pub sign: Sign,
    /// Debian's package that brings it.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

impl Need {
    /// Whether it is there.
    pub fn met(&self) -> bool {
        match self.sign {
            Sign::Program(name) => process::find(name).is_some(),
            Sign::File(path) => Path::new(path).exists(),
        }
    }
}

/// The machine emulator.
pub const QEMU: Need = Need {
    sign: Sign::Program("qemu-system-aarch64"),
    package: "qemu-system-arm",
    purpose: "runs the systems",
};
/// Makes the root disk.
pub const MKE2FS: Need = Need {
    sign: Sign::Program("mke2fs"),
    package: "e2fsprogs",
    purpose: "makes the guest's root disk",
};
/// Finds the dependencies of kernel modules.
pub const DEPMOD: Need = Need {
    sign: Sign::Program("depmod"),
    package: "kmod",
    purpose: "finds the dependencies of the guest's kernel modules",
};
/// Unpacks modules of newer kernels.
pub const XZ: Need = Need {
    sign: Sign::Program("xz"),
    package: "xz-utils",
    purpose: "unpacks compressed kernel modules",
};
/// Unpacks modules of newer kernels.
pub const ZSTD: Need = Need {
    sign: Sign::Program("zstd"),
    package: "zstd",
    purpose: "unpacks compressed kernel modules",
};
/// Debian's compiler: the sources next to it are exactly its own.
pub const RUSTC: Need = Need {
    sign: Sign::File("/usr/bin/rustc"),
    package: "rustc-web",
    purpose: "builds for the bare-metal target where rustup cannot fetch it",
};
/// The sources of `core` for [`RUSTC`].
pub const RUST_SRC: Need = Need {
    sign: Sign::File("/usr/lib/rustlib/src/rust/library/core/Cargo.toml"),
    package: "rust-web-src",
    purpose: "the source of `core` for the bare-metal target",
};
/// What the guest's network is measured against.
pub const IPERF3: Need = Need {
    sign: Sign::Program("iperf3"),
    package: "iperf3",
    purpose: "is what the guest talks to in the tests of its network",
};
/// Makes network devices and namespaces.
pub const IP: Need = Need {
    sign: Sign::Program("ip"),
    package: "iproute2",
    purpose: "makes the tap that a benchmark can use",
};
/// Counts instructions.
pub const VALGRIND: Need = Need {
    sign: Sign::Program("valgrind"),
    package: "valgrind",
    purpose: "counts the instructions of our queue and of others",
};
/// A linker for the target.
pub const LLD: Need = Need {
    sign: Sign::Program("ld.lld"),
    package: "lld",
    purpose: "links for the bare-metal target",
};

/// Makes sure that all `needs` are met, installing packages if that is possible.
///
/// # Errors
/// Names the missing packages and the command that installs them.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let manual = manual_command(&packages);
    if !is_debian() {
        let list = missing
            .iter()
            .map(|need| {
                format!(
                    "  {} (Debian: {}): {}",
                    sign(need),
                    need.package,
                    need.purpose
                )
            })
            .collect::<Vec<_>>()
            .join("\n");
        bail!(
            "this machine lacks\n{list}\nit is not Debian, so nothing was installed: get these and try again"
        );
    }
    if !is_root() {
        bail!(
            "missing packages: {}; only root can install them. Type:\n  sudo {manual}",
            packages.join(" ")
        );
    }
    for need in &missing {
        say(format!("{} is missing: it {}", need.package, need.purpose));
    }
    install(&packages)
        .or_else(|error| beside(&missing, &packages, error))
        .with_context(|| format!("could not install packages; by hand: {manual}"))?;
    match missing.iter().find(|need| !need.met()) {
        None => Ok(()),
        Some(need) => bail!(
            "{} is installed, but {} is still not there",
            need.package,
            sign(need)
        ),
    }
}

/// The command that installs `packages`, for a person.
pub fn manual_command(packages: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// What is looked for, for a person.
pub fn sign(need: &Need) -> String {
    match need.sign {
        Sign::Program(name) => name.to_owned(),
        Sign::File(path) => path.to_owned(),
    }
}

/// Whether packages come from apt-get here.
pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && process::find("apt-get").is_some()
}

/// Whether packages may be installed.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn install(packages: &[&str]) -> Result<()> {
    if !has_lists(Path::new("/var/lib/apt/lists")) {
        update()?;
    }
    let attempt = || {
        let step = Step::new(format!("installing {}", packages.join(" ")));
        let mut command = apt_get(None);
        command
            .args(["--yes", "--no-install-recommends", "--no-remove", "install"])
            .args(packages);
        run(&mut command, &step)
    };
    if attempt().is_err() {
        // Old lists name files that the archive no longer has.
        update()?;
        attempt()?;
    }
    Ok(())
}

/// What cannot be installed without removing something else, but is only programs, becomes a copy in the cache.
fn beside(missing: &[&Need], packages: &[&str], error: anyhow::Error) -> Result<()> {
    let programs: Option<Vec<&str>> = missing
        .iter()
        .map(|need| match need.sign {
            Sign::Program(name) => Some(name),
            Sign::File(_) => None,
        })
        .collect();
    match (programs, Plan::of(packages)) {
        (Some(programs), Ok(plan)) if plan.removes() => plan.unpack(packages, &programs),
        _ => Err(error),
    }
}

fn update() -> Result<()> {
    let step = Step::new("updating apt's lists of packages");
    run(apt_get(None).arg("update"), &step)
}

/// Whether apt has any list of packages in `folder`.
pub fn has_lists(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// apt-get without questions, with progress on standard output, and with a configuration of its own if given.
pub fn apt_get(configuration: Option<&PathBuf>) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .args(["-q", "-o", "APT::Status-Fd=1", "-o"])
        .arg(format!("DPkg::Lock::Timeout={LOCK_SECONDS}"));
    if let Some(file) = configuration {
        command.arg("-c").arg(file);
    }
    command
}

/// Runs apt-get, showing its progress in `step`.
///
/// # Errors
/// Repeats what apt-get complained about.
pub fn run(command: &mut Command, step: &Step) -> Result<()> {
    let mut said = Vec::new();
    step.total(100);
    let status = process::stream(command, |line| match Status::parse(line) {
        Some(status) => {
            step.done(status.percent);
            step.detail(status.what);
        }
        None => said.push(line.to_owned()),
    })?;
    if status.success() {
        return Ok(());
    }
    let complaints: Vec<&str> = said
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("E:") || line.starts_with("W:") || line.starts_with("Err:"))
        .collect();
    let told = if complaints.is_empty() {
        process::tail(&said.join("\n"), 15)
    } else {
        complaints.join("\n")
    };
    bail!("`{}` failed: {status}\n{told}", process::shown(command))
}

/// A line that apt-get writes to its status file descriptor.
#[derive(Debug, PartialEq, Eq)]
struct Status<'a> {
    percent: u64,
    what: &'a str,
}

impl<'a> Status<'a> {
    /// Takes `dlstatus:NUMBER:PERCENT:TEXT` and `pmstatus:PACKAGE:PERCENT:TEXT` apart.
    fn parse(line: &'a str) -> Option<Self> {
        let rest = line
            .strip_prefix("dlstatus:")
            .or_else(|| line.strip_prefix("pmstatus:"))?;
        // A package's name may carry an architecture after a colon; the percentage is the first field with a dot.
        let mut fields = rest.split(':');
        let percent = fields.find_map(|field| {
            let (whole, fraction) = field.split_once('.')?;
            fraction.parse::<u32>().ok()?;
            whole.parse::<u64>().ok()
        })?;
        let what = rest.rsplit(':').next().unwrap_or_default();
        Some(Self {
            percent: percent.min(100),
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_downloads_and_installations_is_understood() {
        let download = Status::parse("dlstatus:3:45.6789:Retrieving file 3 of 9").unwrap();
        assert_eq!(
            (download.percent, download.what),
            (45, "Retrieving file 3 of 9")
        );
        let install = Status::parse("pmstatus:lld-14:amd64:80.0000:Configuring lld-14").unwrap();
        assert_eq!((install.percent, install.what), (80, "Configuring lld-14"));
        assert_eq!(Status::parse("Reading package lists..."), None);
    }

    #[test]
    fn the_command_for_a_person_names_every_package() {
        assert_eq!(
            manual_command(&["lld", "kmod"]),
            "apt-get install --no-install-recommends lld kmod"
        );
    }

    #[test]
    fn lists_are_recognised_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_lists(folder.path()));
        std::fs::write(folder.path().join("x_main_binary-arm64_Packages.lz4"), "").unwrap();
        assert!(has_lists(folder.path()));
    }
}
