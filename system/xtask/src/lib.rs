//! The project's tool as a library: describe a system, assemble its guest, build, pack, run and check it.
//!
//! [`system`] turns a `system/*.toml` file into everything that a system is made of; [`pack`] makes an image of it
//! for the bundled kernel; [`guest`] assembles Debian's kernel, an initial RAM disk and a root disk.
#![forbid(unsafe_code)]

pub mod apt;
pub mod guest;
pub mod pack;
pub mod process;
pub mod progress;
pub mod qemu;
pub mod repo;
pub mod system;
