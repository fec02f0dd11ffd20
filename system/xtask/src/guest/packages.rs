//! Debian's arm64 packages, from the host's own apt sources, with a private state that leaves the host alone.
//!
//! What a first run resolved is written down, so that later runs need neither apt nor a network; a refresh asks again.

use crate::progress::Step;
use crate::repo::make_folder;
use crate::{apt, process};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The kernel: Debian's smaller flavour for virtual machines.
const KERNEL: &str = "linux-image-cloud-arm64";

/// The root file system: a shell, the usual tools, and what the tests and benchmarks run. Their dependencies follow.
const ROOT: &[&str] = &[
    "base-files",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "diffutils",
    "e2fsprogs",
    "ethtool",
    "findutils",
    "fio",
    "grep",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "kexec-tools",
    "kmod",
    "mawk",
    "mount",
    "ncurses-base",
    "netbase",
    "procps",
    "sed",
    "socat",
    "util-linux",
];

/// How long apt may take to answer a question (not: to download).
const QUESTION: Duration = Duration::from_secs(120);

/// The packages of a guest, downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packages {
    /// The kernel's.
    pub(super) kernel: PathBuf,
    /// The root file system's.
    pub(super) root: Vec<PathBuf>,
}

impl Packages {
    /// The files' names, which carry the versions: what the assembled guest depends on.
    pub(super) fn names(&self) -> BTreeSet<String> {
        std::iter::once(&self.kernel)
            .chain(&self.root)
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

/// A private apt state in a folder of the cache.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Archive {
    /// Prepares the folder `apt` in `cache`.
    ///
    /// # Errors
    /// When this is not Debian, or the folder cannot be written.
    pub(super) fn open(cache: &Path) -> Result<Self> {
        if !apt::is_debian() {
            bail!(
                "the guest is made of Debian's packages, which are fetched with apt-get, and this is not Debian: name a kernel, an initrd and a root of your own in the system file"
            );
        }
        let folder = make_folder(cache.join("apt"))?;
        make_folder(folder.join("state/lists/partial"))?;
        make_folder(folder.join("cache/archives/partial"))?;
        // No package is installed. apt-get locks the folder that this file is in: it must be ours.
        let status = folder.join("state/status");
        std::fs::write(&status, "")
            .with_context(|| format!("cannot write {}", status.display()))?;
        let configuration = folder.join("apt.conf");
        std::fs::write(&configuration, configuration_text(&folder, apt::is_root()))
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        Ok(Self {
            folder,
            configuration,
        })
    }

    /// The guest's packages, downloaded if they are not there; `refresh` asks for the newest versions.
    ///
    /// # Errors
    /// When the sources offer no such packages, or a download fails.
    pub(super) fn packages(&self, refresh: bool) -> Result<Packages> {
        if refresh {
            self.update()?;
        } else if let Some(packages) = self.remembered() {
            return Ok(packages);
        } else if !apt::has_lists(&self.folder.join("state/lists")) {
            self.update()?;
        }
        let packages = match self.resolve_and_download() {
            Ok(packages) => packages,
            Err(_) if !refresh => {
                // Old lists name files that the archive no longer has.
                self.update()?;
                self.resolve_and_download()?
            }
            Err(error) => return Err(error),
        };
        self.remember(&packages)?;
        Ok(packages)
    }

    fn update(&self) -> Result<()> {
        let step = Step::new("fetching the lists of Debian's arm64 packages");
        apt::run(apt::apt_get(Some(&self.configuration)).arg("update"), &step)
    }

    fn resolve_and_download(&self) -> Result<Packages> {
        let step = Step::new("downloading Debian's packages for the guest");
        let kernel_package = self.kernel_package()?;
        let archives = self.archives();
        let root = self.file_names(&["install"], ROOT)?;
        let kernel = self
            .file_names(&["download"], &[&kernel_package])?
            .into_iter()
            .next()
            .with_context(|| format!("apt-get names no file for {kernel_package}"))?;
        apt::run(
            apt::apt_get(Some(&self.configuration))
                .args(["--yes", "--download-only", "install"])
                .args(ROOT),
            &step,
        )?;
        if !archives.join(&kernel).is_file() {
            apt::run(
                apt::apt_get(Some(&self.configuration))
                    .args(["download", &kernel_package])
                    .current_dir(&archives),
                &step,
            )?;
        }
        let packages = Packages {
            kernel: archives.join(kernel),
            root: root.into_iter().map(|name| archives.join(name)).collect(),
        };
        match self.missing(&packages) {
            None => Ok(packages),
            Some(path) => bail!("apt-get downloaded everything but {}", path.display()),
        }
    }

    /// The package that Debian's newest kernel of the flavour really is.
    fn kernel_package(&self) -> Result<String> {
        let mut command = Command::new("apt-cache");
        command
            .env("LC_ALL", "C")
            .arg("-c")
            .arg(&self.configuration)
            .args(["depends", KERNEL]);
        let output = process::attempt(&mut command, QUESTION)?;
        kernel_dependency(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
            format!(
                "apt's sources on this machine offer no arm64 package {KERNEL}: expected Debian's own archive without a restriction to another architecture (see `apt-cache policy`)"
            )
        })
    }

    fn file_names(&self, verb: &[&str], packages: &[&str]) -> Result<Vec<String>> {
        let mut command = Command::new("apt-get");
        command
            .env("LC_ALL", "C")
            .arg("-c")
            .arg(&self.configuration)
            .args(["-qq", "--print-uris"])
            .args(verb)
            .args(packages);
        // Files that are there already are not printed: ask as if there were none.
        let nowhere = tempfile::tempdir()?;
        make_folder(nowhere.path().join("partial"))?;
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", nowhere.path().display()))
            .current_dir(nowhere.path());
        let output = process::run(&mut command, QUESTION)?;
        Ok(file_names(&String::from_utf8_lossy(&output.stdout)))
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    fn missing(&self, packages: &Packages) -> Option<PathBuf> {
        std::iter::once(&packages.kernel)
            .chain(&packages.root)
            .find(|path| !path.is_file())
            .cloned()
    }

    fn memory(&self) -> PathBuf {
        self.folder.join("resolved.txt")
    }

    fn remember(&self, packages: &Packages) -> Result<()> {
        std::fs::write(self.memory(), memory_text(packages))
            .with_context(|| format!("cannot write {}", self.memory().display()))
    }

    fn remembered(&self) -> Option<Packages> {
        let text = std::fs::read_to_string(self.memory()).ok()?;
        let packages = parse_memory(&text, &self.archives())?;
        self.missing(&packages).is_none().then_some(packages)
    }
}

/// The private configuration: read after the host's own, whose sources, keys and proxies stay in force.
fn configuration_text(folder: &Path, root: bool) -> String {
    let folder = folder.display();
    let mut text = format!(
        "// Written by cargo xtask: a private state for another architecture.\n\
         #clear APT::Architectures;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Pre-Invoke;\n\
         #clear DPkg::Post-Invoke;\n\
         #clear DPkg::Pre-Install-Pkgs;\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons-small;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons;\n\
         APT::Architecture \"arm64\";\n\
         APT::Architectures {{ \"arm64\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Keep-Downloaded-Packages \"true\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::lists \"{folder}/state/lists\";\n\
         Dir::State::status \"{folder}/state/status\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Cache::archives \"{folder}/cache/archives\";\n"
    );
    if root {
        // apt's own user may not reach the checkout; signatures are checked all the same.
        text.push_str("APT::Sandbox::User \"root\";\n");
    }
    text
}

/// The first dependency in what `apt-cache depends` says about the kernel's metapackage.
fn kernel_dependency(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// The file names in what `apt-get --print-uris` says: the second word of each line, with the colon of an epoch.
fn file_names(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect()
}

fn memory_text(packages: &Packages) -> String {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut text = format!("wanted {KERNEL} {}\n", ROOT.join(" "));
    let _ = writeln!(text, "kernel {}", name(&packages.kernel));
    for path in &packages.root {
        let _ = writeln!(text, "root {}", name(path));
    }
    text
}

/// What was resolved for exactly the packages that are wanted now.
fn parse_memory(text: &str, archives: &Path) -> Option<Packages> {
    let mut lines = text.lines();
    let wanted = format!("wanted {KERNEL} {}", ROOT.join(" "));
    if lines.next()? != wanted {
        return None;
    }
    let kernel = archives.join(lines.next()?.strip_prefix("kernel ")?);
    let root = lines
        .map(|line| line.strip_prefix("root ").map(|name| archives.join(name)))
        .collect::<Option<Vec<_>>>()?;
    Some(Packages { kernel, root })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_real_package_is_found() {
        let text = "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-56-cloud-arm64\n";
        assert_eq!(
            kernel_dependency(text).unwrap(),
            "linux-image-6.1.0-56-cloud-arm64"
        );
        assert_eq!(kernel_dependency(""), None);
    }

    #[test]
    fn file_names_keep_the_epoch_as_apt_writes_it() {
        let text = "'http://a/p/attr/libattr1_2.5.1-4_arm64.deb' libattr1_1%3a2.5.1-4_arm64.deb 21888 MD5Sum:5f\nN: note\n";
        assert_eq!(file_names(text), ["libattr1_1%3a2.5.1-4_arm64.deb"]);
    }

    #[test]
    fn what_was_resolved_is_remembered_until_something_else_is_wanted() {
        let packages = Packages {
            kernel: "/a/kernel_1.deb".into(),
            root: vec!["/a/bash_2.deb".into(), "/a/fio_3.deb".into()],
        };
        let text = memory_text(&packages);
        assert_eq!(parse_memory(&text, Path::new("/a")).unwrap(), packages);
        let other = text.replace("bash ", "zsh ");
        assert_eq!(parse_memory(&other, Path::new("/a")), None);
    }

    #[test]
    fn the_private_state_touches_nothing_of_the_host() {
        let text = configuration_text(Path::new("/cache/apt"), false);
        assert!(text.contains("Dir::State::status \"/cache/apt/state/status\""));
        assert!(!text.contains("Sandbox"));
        for line in text.lines().filter(|line| line.starts_with("Dir::")) {
            assert!(line.contains("\"/cache/apt"), "{line}");
        }
    }
}
