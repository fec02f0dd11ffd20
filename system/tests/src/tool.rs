//! The tool as its users call it.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What one call of `cargo xtask` gave.
#[derive(Debug)]
pub struct Tool {
    /// Its exit status; −1 when a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Tool {
    /// Runs `cargo xtask` with `arguments` in the checkout.
    pub fn run(arguments: &[&str]) -> Self {
        let output = Command::new("cargo")
            .arg("xtask")
            .args(arguments)
            .current_dir(checkout())
            .stdin(Stdio::null())
            .output()
            .expect("cargo runs: it runs this test");
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// The root of the checkout.
pub(crate) fn checkout() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
