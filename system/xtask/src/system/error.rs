//! Mistakes in a system file: where, what was found, what was expected, what to write.

use std::fmt;
use std::path::{Path, PathBuf};

/// A result of reading or generating a system.
pub type Result<T> = std::result::Result<T, Error>;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// What was found there.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What to write instead.
    pub write: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(
            f,
            " found {}; expected {}; write {}",
            self.found, self.expected, self.write
        )
    }
}

/// Why a system could not be read or generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Mistakes in the system file, all that were found, in the order of their lines.
    Mistakes(Vec<Mistake>),
    /// Anything else, such as a folder that cannot be written.
    Message(String),
}

impl Error {
    /// An error that is not about a place in a system file.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// An error of the operating system about `path`; `what` says what was tried, such as `write`.
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Message(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistakes(mistakes) => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{mistake}")?;
                }
                Ok(())
            }
            Self::Message(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
