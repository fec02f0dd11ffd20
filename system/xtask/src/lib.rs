//! The project's tool as a library: describe a system, assemble its guest, build, pack, run and check it.
//!
//! [`system`] turns a `system/*.toml` file into everything that a system is made of; [`pack`] makes an image of it
//! for the bundled kernel.
#![forbid(unsafe_code)]

pub mod pack;
pub mod system;
