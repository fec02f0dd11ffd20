//! Whole systems in QEMU, for tests that read like prose.
//!
//! [`System`] says what to boot ([`Mistake`]: with a program that breaks), [`Machine`] is one that runs, [`Iperf`] and [`EchoServer`] are what a guest talks to, [`Tap`] is
//! another network than QEMU's own,
//! [`Tool`] is `cargo xtask` as its users call it. Everything waits for what must come, with a limit far
//! above the usual time, and a machine that fails shows the end of its console.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test states what must hold, and this crate is nothing but tests"
)]

mod broken;
mod machine;
mod servers;
mod system;
mod tool;

pub use broken::Mistake;
pub use machine::Machine;
pub use servers::EchoServer;
pub use system::System;
pub use tool::Tool;
pub use xtask::bench::iperf::{self, Iperf};
pub use xtask::bench::tap::{self, Tap};

use sha2::{Digest as _, Sha256};

/// One MiB in bytes.
pub const MIB: u64 = 1 << 20;

/// The SHA-256 of `bytes` in hexadecimal, as `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `length` bytes that look random and are the same for the same `seed`.
pub fn pattern(length: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            // xorshift64: a pattern that no fill value and no shifted copy can be mistaken for.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn no_whole_system_is_among_the_host_tests() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for file in std::fs::read_dir(folder.join("tests")).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let entry = format!("name = \"{name}\"\nrequired-features = [\"qemu\"]");
            assert!(manifest.contains(&entry), "expected in Cargo.toml: {entry}");
        }
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        assert!(sha256(b"").starts_with("e3b0c44298fc1c14"));
        assert_ne!(pattern(64, 1), pattern(64, 2));
        assert_eq!(pattern(64, 1), pattern(64, 1));
    }
}
