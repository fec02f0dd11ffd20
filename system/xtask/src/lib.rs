//! The project's tool as a library: describe a system, assemble its guest, build, pack, run and check it.
//!
//! [`system`] turns a `system/*.toml` file into everything that a system is made of; [`pack`] makes an image of it
//! for the bundled kernel; [`guest`] assembles Debian's kernel, an initial RAM disk and a root disk; [`toolchain`]
//! builds for the bare-metal target; [`assemble`] does all of that for one system; [`qemu`] runs the result, for a
//! person or for a test. [`verb`] has one file for each of the tool's verbs.
#![forbid(unsafe_code)]

pub mod apt;
pub mod assemble;
pub mod bench;
pub mod check;
pub mod cli;
pub mod guest;
pub mod pack;
pub mod private;
pub mod process;
pub mod progress;
pub mod qemu;
pub mod repo;
pub mod sdk;
pub mod system;
pub mod toolchain;
pub mod verb;
