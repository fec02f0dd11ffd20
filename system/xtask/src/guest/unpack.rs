//! Unpacks Debian packages into a folder, and compressed modules into memory.

use crate::progress::Step;
use crate::{apt, process};
use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Far longer than any package takes.
const LIMIT: Duration = Duration::from_secs(300);

/// Top folders that are links into `usr` on a merged system.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// Unpacks `packages` into `root`, then merges the old top folders into `usr`.
///
/// # Errors
/// When a package is damaged, or the folder cannot be written.
pub(super) fn packages(packages: &[PathBuf], root: &Path, step: &Step) -> Result<()> {
    step.total(packages.len() as u64);
    for (index, package) in packages.iter().enumerate() {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        step.detail(name.split('_').next().unwrap_or_default().to_owned());
        process::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package)
                .arg(root),
            LIMIT,
        )?;
        step.done(index as u64 + 1);
    }
    for name in MERGED {
        merge(root, name)?;
    }
    Ok(())
}

/// Moves what is in `root/name` to `root/usr/name` and leaves a link.
fn merge(root: &Path, name: &str) -> Result<()> {
    let old = root.join(name);
    let new = root.join("usr").join(name);
    std::fs::create_dir_all(&new)?;
    if old.symlink_metadata().is_ok_and(|data| data.is_dir()) {
        move_into(&old, &new).with_context(|| format!("cannot merge {}", old.display()))?;
        std::fs::remove_dir(&old)?;
    }
    if old.symlink_metadata().is_err() {
        std::os::unix::fs::symlink(Path::new("usr").join(name), &old)?;
    }
    Ok(())
}

/// Moves every file in `from` to the same place in `to`; what is in `to` already stays.
fn move_into(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let there = target.symlink_metadata();
        if entry.file_type()?.is_dir() && there.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
            move_into(&entry.path(), &target)?;
            std::fs::remove_dir(entry.path())?;
        } else if there.is_ok() {
            std::fs::remove_file(entry.path())?;
        } else {
            std::fs::rename(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Reads a kernel module, unpacked if it is packed.
///
/// # Errors
/// When it cannot be read, or the program that unpacks it is missing.
pub(super) fn read_module(path: &Path) -> Result<Vec<u8>> {
    let failed = || format!("cannot read the kernel module {}", path.display());
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => with_program(apt::XZ, "xz", path).with_context(failed),
        Some("zst") => with_program(apt::ZSTD, "zstd", path).with_context(failed),
        Some("gz") => {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).with_context(failed)?;
            flate2::read::GzDecoder::new(file)
                .read_to_end(&mut bytes)
                .with_context(failed)?;
            Ok(bytes)
        }
        _ => std::fs::read(path).with_context(failed),
    }
}

fn with_program(need: apt::Need, program: &str, path: &Path) -> Result<Vec<u8>> {
    apt::ensure(&[need])?;
    let mut command = Command::new(program);
    command.args(["-d", "-c"]).arg(path);
    Ok(process::run(&mut command, LIMIT)?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_top_folders_are_merged_into_usr() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("usr/lib/a")).unwrap();
        std::fs::create_dir_all(root.join("lib/a")).unwrap();
        std::fs::write(root.join("bin/sh"), "shell").unwrap();
        std::fs::write(root.join("lib/a/one"), "1").unwrap();
        std::fs::write(root.join("usr/lib/a/two"), "2").unwrap();
        for name in MERGED {
            merge(root, name).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(root.join("usr/bin/sh")).unwrap(),
            "shell"
        );
        assert_eq!(
            std::fs::read_to_string(root.join("lib/a/one")).unwrap(),
            "1"
        );
        assert_eq!(
            std::fs::read_to_string(root.join("lib/a/two")).unwrap(),
            "2"
        );
        assert_eq!(
            std::fs::read_link(root.join("bin")).unwrap(),
            Path::new("usr/bin")
        );
        // Once more changes nothing.
        merge(root, "bin").unwrap();
        assert_eq!(
            std::fs::read_to_string(root.join("bin/sh")).unwrap(),
            "shell"
        );
    }

    #[test]
    fn a_packed_module_is_unpacked() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ko.gz");
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(b"module").unwrap();
        encoder.finish().unwrap();
        assert_eq!(read_module(&path).unwrap(), b"module");
    }
}
