//! Where things are: the checkout, and the two ignored folders in it that the tool writes to.
//!
//! - `target/`: what cargo builds; `target/pd` for the bare-metal target, so that host builds keep their cache.
//! - `build/<system>/`: what belongs to one system: image, `.system` file, device trees, report, the guests' disks.
//! - `build/cache/`: what was downloaded and assembled from it. Nothing outside the checkout is written.

use anyhow::{Context as _, Result};
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

/// Makes `folder` and all above it.
///
/// # Errors
/// Says which folder could not be made.
pub fn make_folder(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}
