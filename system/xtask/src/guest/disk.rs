//! A guest's own disk: a copy of the pristine root disk that survives from run to run.

use crate::process;
use crate::progress::{Step, say};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Far longer than a sparse copy takes.
const LIMIT: Duration = Duration::from_secs(300);

/// What to do with a disk that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Keep it and all that the guest wrote.
    Keep,
    /// Throw it away and start from the pristine one.
    Fresh,
}

/// The disk of `guest` in `folder`: copied from `pristine` (made from `key`) when it is missing or is to be fresh.
///
/// # Errors
/// When it cannot be copied.
pub fn working(
    folder: &Path,
    guest: &str,
    pristine: &Path,
    key: &str,
    disk: Disk,
) -> Result<PathBuf> {
    let path = folder.join(format!("{guest}.disk.img"));
    let origin = folder.join(format!("{guest}.disk.origin"));
    if disk == Disk::Keep && path.is_file() {
        let made_from = std::fs::read_to_string(&origin).unwrap_or_default();
        if made_from.trim() != key {
            say(format!(
                "the Debian guest has changed since {guest}'s disk was made; the disk and all changes on it are kept (--fresh-disk starts again)"
            ));
        }
        return Ok(path);
    }
    let _step = Step::new(format!("copying a fresh root disk for {guest}"));
    // Never a half-written disk under the final name.
    let partial = folder.join(format!("{guest}.disk.partial"));
    copy(pristine, &partial)?;
    std::fs::rename(&partial, &path).with_context(|| format!("cannot make {}", path.display()))?;
    std::fs::write(&origin, key).with_context(|| format!("cannot write {}", origin.display()))?;
    Ok(path)
}

/// Copies a disk image quickly: shared blocks where the file system can, holes where there are zeroes.
///
/// # Errors
/// When `cp` fails.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    process::run(
        Command::new("cp")
            .args(["--reflink=auto", "--sparse=always"])
            .arg(from)
            .arg(to),
        LIMIT,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_its_changes_until_a_fresh_one_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let pristine = folder.path().join("pristine");
        std::fs::write(&pristine, "pristine").unwrap();
        let get = |key, disk| working(folder.path(), "linux", &pristine, key, disk).unwrap();
        let path = get("a", Disk::Keep);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pristine");
        std::fs::write(&path, "changed").unwrap();
        assert_eq!(get("a", Disk::Keep), path);
        assert_eq!(get("b", Disk::Keep), path);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "changed");
        get("b", Disk::Fresh);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pristine");
    }
}
