//! `cargo xtask <verb>`: see `cargo xtask help`.
#![forbid(unsafe_code)]

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match xtask::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            xtask::progress::report_error(&error);
            ExitCode::FAILURE
        }
    }
}
