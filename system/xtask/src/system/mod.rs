//! One file per system: from a checked `system/*.toml` to everything that is generated from it.
//!
//! [`System::load`] reads and checks the file. [`generate`] writes the `.system` file, each PD's configuration
//! and the guests' device trees into a folder, and returns QEMU's device arguments and a picture of the system.

mod board;
mod device_tree;
mod dts;
mod error;
mod files;
mod generate;
mod kernel;
mod limits;
mod model;
mod parse;
mod picture;
mod placement;
mod plan;
mod qemu;
mod reader;
mod sdf;
mod text;
mod wire;

pub use error::{Error, Mistake, Result};
pub use generate::generate;
pub use model::{Block, Console, Forward, Guest, Net, Source, System};

pub(crate) use text::size;

use sel4cp_abi::label::Labels;
use std::path::PathBuf;

/// The files of one guest, in the order of [`System::guests`]: what its sources turned out to be.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// An arm64 `Image`.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// A raw disk image, for a guest that has `[vm.block]`.
    pub root: Option<PathBuf>,
}

/// Which kernel the system is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelKind {
    /// The bundled kernel.
    Bundled,
    /// seL4, through the Microkit SDK.
    Sel4,
}

/// What the generated files depend on besides the system.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kernel's invocation labels.
    pub labels: Labels,
    /// Whether the kernel has DebugPutChar.
    pub debug_put_char: bool,
    /// Which kernel it is.
    pub kernel_kind: KernelKind,
}

/// What [`generate`] made.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The `.system` file: plain SDF, for [`crate::pack::pack`] and for the SDK's `microkit`.
    pub sdf: PathBuf,
    /// QEMU's arguments for the system's devices (drives, network devices); the machine itself is the caller's.
    pub qemu: Vec<String>,
    /// Folders where the files that the `.system` file names are found; the programs' folder is the caller's to add.
    pub search_paths: Vec<PathBuf>,
    /// The system as text: its PDs, channels and memory.
    pub picture: String,
}
