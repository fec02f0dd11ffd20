//! QEMU's version: too old ones lack something, and say so in ways nobody understands.

use crate::{apt, process};
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The oldest version that the tool runs with: the one whose behaviour the tests know.
pub const OLDEST: Version = Version { major: 7, minor: 0 };

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Finds the version in what `qemu-system-aarch64 --version` says.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("QEMU emulator version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }
}

/// QEMU for AArch64, installed if it is missing and can be.
///
/// # Errors
/// When there is none, or it is older than [`OLDEST`].
pub fn find() -> Result<PathBuf> {
    apt::ensure(&[apt::QEMU])?;
    let program = process::find("qemu-system-aarch64").context("qemu-system-aarch64 is gone")?;
    check(&program)?;
    Ok(program)
}

/// The version of the QEMU at `program`, if it is new enough.
///
/// # Errors
/// When it is too old, or says nothing about its version.
pub fn check(program: &Path) -> Result<Version> {
    let output = process::run(
        Command::new(program).arg("--version"),
        Duration::from_secs(20),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    let version = Version::parse(&text).with_context(|| {
        format!(
            "`{} --version` says `{first}`; expected `QEMU emulator version …`",
            program.display()
        )
    })?;
    if version < OLDEST {
        bail!(
            "{} is QEMU {version}; expected {OLDEST} or newer: Debian 12 and later have it as {}",
            program.display(),
            apt::QEMU.package
        );
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn versions_are_read_and_compared() {
        let text = "QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7)\nCopyright\n";
        let version = Version::parse(text).unwrap();
        assert_eq!(version, Version { major: 7, minor: 2 });
        assert!(version >= OLDEST);
        assert!(Version { major: 6, minor: 9 } < OLDEST);
        assert!(
            Version {
                major: 10,
                minor: 0
            } > OLDEST
        );
        assert_eq!(Version::parse("qemu"), None);
    }

    #[test]
    fn an_old_qemu_is_refused_with_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("qemu");
        std::fs::write(&program, "#!/bin/sh\necho QEMU emulator version 5.2.0\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = check(&program).unwrap_err().to_string();
        assert!(
            error.contains("QEMU 5.2") && error.contains("7.0"),
            "{error}"
        );
    }
}
