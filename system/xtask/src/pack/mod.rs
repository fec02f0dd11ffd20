//! Packs a `.system` file and its programs into an image for the bundled kernel.
//!
//! It reads the plain SDF and the same ELF files that the SDK's `microkit` takes.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a system could not be packed; the text says which file, what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A result of packing.
pub type Result<T> = std::result::Result<T, Error>;

/// Which configuration of the bundled kernel the image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// With the debug system calls and the labels of the SDK's `debug`.
    Debug,
    /// Without, and the labels of the SDK's `release`.
    Release,
}

/// Packs the system description `sdf` with `kernel` (the bundled kernel's ELF file) into `out_image`, and writes a
/// report about its memory to `out_report`. Files that `sdf` names are looked for in `search_paths`, in order.
///
/// # Errors
/// The first thing that does not fit.
pub fn pack(
    sdf: &Path,
    search_paths: &[PathBuf],
    kernel: &Path,
    configuration: Configuration,
    out_image: &Path,
    out_report: &Path,
) -> Result<()> {
    let _ = (search_paths, kernel, configuration, out_image, out_report);
    Err(Error(format!(
        "cannot pack {}: not written yet",
        sdf.display()
    )))
}
