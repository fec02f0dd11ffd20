//! Where things are: the checkout, and the two ignored folders in it that the tool writes to.
//!
//! - `target/`: what cargo builds; `target/pd` for the bare-metal target, so that host builds keep their cache.
//! - `build/<system>/`: what belongs to one system: image, `.system` file, device trees, report, the guests' disks.
//! - `build/cache/`: what was downloaded and assembled from it. Nothing outside the checkout is written.

use crate::progress::Step;
use anyhow::{Context as _, Result, bail};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The checkout.
#[derive(Clone, Debug)]
pub struct Repo {
    root: PathBuf,
}

impl Repo {
    /// The checkout that this tool was built from.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = here.canonicalize().with_context(|| {
            format!(
                "the checkout that this tool was built from is gone: {}",
                here.display()
            )
        })?;
        Ok(Self { root })
    }

    /// Its top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Cargo's folder for the bare-metal target.
    pub fn pd_target(&self) -> PathBuf {
        self.path("target/pd")
    }

    /// What was downloaded and assembled from it; made if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn cache(&self) -> Result<PathBuf> {
        make_folder(self.path("build/cache"))
    }

    /// The folder of the system called `name`; made if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn build(&self, name: &str) -> Result<PathBuf> {
        make_folder(self.path("build").join(name))
    }

    /// `path` as a person in the current folder would write it.
    pub fn shown(&self, path: &Path) -> String {
        let base = std::env::current_dir().unwrap_or_else(|_| self.root.clone());
        path.strip_prefix(&base)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// A folder that belongs to one process at a time, until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else works in `folder`.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn wait(folder: &Path) -> Result<Self> {
        let (path, file) = open(folder, "lock")?;
        let locked = || format!("cannot lock {}", path.display());
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            let _step = Step::new(format!(
                "waiting for another process in {}",
                folder.display()
            ));
            file.lock().with_context(locked)?;
        }
        Ok(Self { _file: file })
    }

    /// Reserves the right to run the system in `folder`.
    ///
    /// # Errors
    /// When it is running already: two machines cannot write to one disk.
    pub fn run(folder: &Path) -> Result<Self> {
        let (path, file) = open(folder, "running")?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "the system in {} is running already, and its disks belong to that run: end it first, or copy the system file to another name",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

fn open(folder: &Path, name: &str) -> Result<(PathBuf, File)> {
    let path = folder.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    Ok((path, file))
}

/// Makes `folder` and all above it.
///
/// # Errors
/// Says which folder could not be made.
pub fn make_folder(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_runs_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::run(folder.path()).unwrap();
        let error = Lock::run(folder.path()).unwrap_err().to_string();
        assert!(error.contains("running already"), "{error}");
        // Building it meanwhile is no problem.
        drop(Lock::wait(folder.path()).unwrap());
        drop(first);
        Lock::run(folder.path()).unwrap();
    }
}
