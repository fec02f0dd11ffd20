//! Why a system could not be packed.

use std::fmt;
use std::path::Path;

/// Why a system could not be packed; the text says which file, what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// A result of packing.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An error in the file at `path`.
    pub(super) fn file(path: &Path, text: impl fmt::Display) -> Self {
        Self(format!("{}: {text}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
