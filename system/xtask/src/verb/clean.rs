//! `cargo xtask clean`: removes what the tool made.

use crate::repo::Repo;
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::Path;
use std::process::ExitCode;

/// Removes what was built for systems, but neither the guests' disks nor what was downloaded.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Remove all of `build/`: the guests' disks with all changes on them, and the downloads.
    #[arg(long)]
    all: bool,
}

/// Removes.
///
/// # Errors
/// When something cannot be removed.
pub fn run(repo: &Repo, arguments: &Arguments) -> Result<ExitCode> {
    let build = repo.path("build");
    if build.is_dir() {
        if arguments.all {
            remove(&build)?;
        } else {
            systems(&build)?;
        }
    }
    let programs = repo.pd_target();
    if programs.is_dir() {
        remove(&programs)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes everything in each system's folder but disks.
fn systems(build: &Path) -> Result<()> {
    for folder in std::fs::read_dir(build)?.flatten() {
        if folder.file_name() == "cache" || !folder.path().is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(folder.path())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".disk.img") && !name.ends_with(".disk.origin") {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_downloads_stay() {
        let folder = tempfile::tempdir().unwrap();
        let build = folder.path();
        for name in ["cache/apt", "linux/programs"] {
            std::fs::create_dir_all(build.join(name)).unwrap();
        }
        for name in [
            "cache/apt/x",
            "linux/loader.img",
            "linux/linux.disk.img",
            "linux/linux.disk.origin",
        ] {
            std::fs::write(build.join(name), "").unwrap();
        }
        systems(build).unwrap();
        assert!(build.join("cache/apt/x").exists());
        assert!(build.join("linux/linux.disk.img").exists());
        assert!(build.join("linux/linux.disk.origin").exists());
        assert!(!build.join("linux/loader.img").exists());
        assert!(!build.join("linux/programs").exists());
    }
}
