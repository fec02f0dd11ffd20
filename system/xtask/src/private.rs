//! Programs whose packages would push others off the machine: unpacked into the cache instead of installed.
//!
//! A machine may have, say, a newer qemu-utils than the archive's emulator goes with. Its owner wants that one kept, so the
//! emulator and the libraries that it lacks become a folder of the checkout's cache, and a small script starts it from there.

use crate::progress::{Step, say};
use crate::repo::{Repo, make_folder};
use crate::{apt, process};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a question to apt or one package may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The script that starts the program `name` from the cache, if it was unpacked.
pub fn find(name: &str) -> Option<PathBuf> {
    let script = folder(&Repo::find().ok()?).join("bin").join(name);
    script.is_file().then_some(script)
}

fn folder(repo: &Repo) -> PathBuf {
    repo.path("build/cache/host")
}

/// What apt-get would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `name=version` of each package that is not there.
    install: Vec<String>,
    /// Names of those that would go.
    remove: Vec<String>,
}

impl Plan {
    /// What installing `packages` would do.
    ///
    /// # Errors
    /// When apt-get cannot tell.
    pub(crate) fn of(packages: &[&str]) -> Result<Self> {
        let mut command = apt::apt_get(None);
        command
            .args(["--simulate", "--no-install-recommends", "install"])
            .args(packages);
        let output = process::run(&mut command, LIMIT)?;
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Takes the lines `Inst NAME [OLD] (NEW …)` and `Remv NAME [OLD]` out of what a simulation says.
    fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Inst"), Some(name)) => {
                    let version = words.find_map(|word| word.strip_prefix('('));
                    let version = version.map(|version| format!("={version}"));
                    plan.install
                        .push(format!("{name}{}", version.unwrap_or_default()));
                }
                (Some("Remv"), Some(name)) => plan.remove.push(name.to_owned()),
                _ => {}
            }
        }
        plan
    }

    /// Whether something would have to go.
    pub(crate) fn removes(&self) -> bool {
        !self.remove.is_empty()
    }

    /// Unpacks what `packages` need into the cache, with a script for each of `programs`.
    ///
    /// # Errors
    /// When a package cannot be downloaded or unpacked, or brings no such program.
    pub(crate) fn unpack(&self, packages: &[&str], programs: &[&str]) -> Result<()> {
        let repo = Repo::find()?;
        say(format!(
            "installing {} would remove {} from this machine: unpacking it into {} instead",
            packages.join(" "),
            self.remove.join(" "),
            repo.shown(&folder(&repo))
        ));
        let home = make_folder(folder(&repo))?;
        let downloads = tempfile::tempdir_in(&home)?;
        let step = Step::new(format!("downloading {}", packages.join(" ")));
        let mut download = apt::apt_get(None);
        download
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(&self.install)
            .current_dir(downloads.path());
        apt::run(&mut download, &step)?;
        drop(step);
        let root = home.join(packages.join("+"));
        if root.exists() {
            std::fs::remove_dir_all(&root)
                .with_context(|| format!("cannot replace {}", root.display()))?;
        }
        make_folder(root.clone())?;
        let step = Step::new(format!("unpacking {}", packages.join(" ")));
        for entry in std::fs::read_dir(downloads.path())? {
            let package = entry?.path();
            step.detail(package.file_name().unwrap_or_default().to_string_lossy());
            let mut extract = Command::new("dpkg-deb");
            extract.arg("--extract").arg(&package).arg(&root);
            process::run(&mut extract, LIMIT)?;
        }
        for program in programs {
            write_script(&home, &root, program)?;
        }
        Ok(())
    }
}

/// Writes the script that starts `program`, unpacked in `root`, with the libraries beside it.
fn write_script(home: &Path, root: &Path, program: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let places = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|place| root.join(place).join(program));
    let Some(file) = places.iter().find(|file| file.is_file()) else {
        bail!("no package in {} brings {program}", root.display());
    };
    let libraries: Vec<String> = library_folders(root)?
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    let script = make_folder(home.join("bin"))?.join(program);
    let text = format!(
        "#!/bin/sh\n# Starts {program} from packages that are not installed.\nLD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec {} \"$@\"\n",
        process::quote(&libraries.join(":")),
        process::quote(&file.display().to_string())
    );
    std::fs::write(&script, text)
        .and_then(|()| std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", script.display()))
}

/// The folders below `root` that hold shared libraries.
fn library_folders(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left: Vec<PathBuf> = ["lib", "usr/lib"].map(|name| root.join(name)).into();
    while let Some(folder) = left.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else if name.starts_with("lib") && name.contains(".so") {
                found.insert(folder.clone());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_tells_what_comes_and_what_goes() {
        let text = "Reading package lists...\nThe following packages will be REMOVED:\n  qemu-utils\n\
            Remv qemu-utils [1:10.0.2+ds-2]\nInst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
            Inst kmod [29-1] (30-1 Debian:12 [amd64])\nConf libfdt1 (1.6.1-4+b1 Debian:12.15 [amd64])\n";
        let plan = Plan::parse(text);
        assert_eq!(plan.install, ["libfdt1=1.6.1-4+b1", "kmod=30-1"]);
        assert_eq!(plan.remove, ["qemu-utils"]);
        assert!(plan.removes());
        assert!(!Plan::parse("0 upgraded, 0 newly installed\n").removes());
    }

    #[test]
    fn a_script_starts_the_unpacked_program_with_its_libraries() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("a package");
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.join("usr/lib/some-arch")).unwrap();
        std::fs::write(root.join("usr/lib/some-arch/libx.so.1"), "").unwrap();
        let program = root.join("usr/bin/hello");
        std::fs::write(
            &program,
            "#!/bin/sh\necho \"$1 $LD_LIBRARY_PATH\"; exit 3\n",
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        write_script(home.path(), &root, "hello").unwrap();
        let mut command = Command::new(home.path().join("bin/hello"));
        let output = process::attempt(command.arg("it's").env_remove("LD_LIBRARY_PATH"), LIMIT);
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(3));
        let expected = format!("it's {}\n", root.join("usr/lib/some-arch").display());
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        let missing = write_script(home.path(), &root, "bye").unwrap_err();
        assert!(missing.to_string().contains("brings bye"), "{missing}");
    }
}
