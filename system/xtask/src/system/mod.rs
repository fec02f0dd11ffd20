//! One file per system: from a checked `system/*.toml` to everything that is generated from it.
//!
//! [`System::load`] reads and checks the file. [`generate`] writes the `.system` file, each PD's configuration
//! and the guests' device trees into a folder, and returns QEMU's device arguments and a picture of the system.
//!
//! | section | key | value | without it |
//! |---|---|---|---|
//! | | `board` | `"qemu_virt_aarch64"`, `"qemu_virt_aarch64_gicv3"`, `"imx8mm_evk"`, `"maaxboard"`, `"odroidc4"`, `"zcu102"` | an error |
//! | `[[vm]]` | `name` | letters a-z, digits and `_` | an error |
//! | | `memory` | a size such as `"256M"`, a multiple of 2M | `"256M"` |
//! | | `vcpus` | 1 to 4, which share one core | 1 |
//! | | `core` | the core that it runs on, with its VMM, its backends and its drivers | 0 |
//! | | `kernel` | `"debian"` or the path of an arm64 Image | `"debian"` |
//! | | `initrd` | `"debian"`, `"none"` or a path | `"debian"` |
//! | | `root` | `"debian"` or the path of a raw disk image; `"none"` without `[vm.block]` | `"debian"` |
//! | | `command_line` | the kernel's | `"console=hvc0 nokaslr kpti=off arm64.nosve arm64.nopauth"` |
//! | | `earlycon` | output from the kernel's first line on | `false` |
//! | `[vm.console]` | `columns`, `rows` | 1 to 65535 | 80, 25 |
//! | `[vm.block]` | `read_only` | the guest must not write | `false` |
//! | | `serial` | at most 20 characters | none |
//! | | `cache` | QEMU's cache mode for the file | `"writeback"` |
//! | `[vm.net]` | `mac` | a unicast address | `52:54:00:00:00:` and the guest's number |
//! | | `mtu` | 68 to 1500 | 1500 |
//! | | `bulk` | frames wait for the guest to pause, and go in bulk: for hardware that cuts and joins them | `false` |
//! | | `forward` | ports of the host's loopback address, `["tcp:2222-22"]` | none |
//! | `[vm.vsock]` | `cid` | 3 to 4294967294, another one for each guest | 2 and the guest's number |
//! | | `peers` | guests that it may talk to, if they name it too, `["other"]` | none |
//!
//! A guest has a disk, a network device or sockets if it has the section, and a console in any case. Paths start in the
//! file's folder. Where the board has no driver for a section's device, the guest goes without it
//! ([`System::warnings`]). A board is a file in `dts/`.

mod board;
mod device_tree;
mod dts;
mod error;
mod files;
mod generate;
mod kernel;
mod lacks;
mod limits;
mod model;
mod parse;
mod picture;
mod placement;
mod plan;
mod qemu;
mod reader;
mod sdf;
mod sockets;
mod text;
mod wire;

pub use error::{Error, Mistake, Result};
pub use generate::generate;
pub use kernel::page_size;
pub use model::{Block, Console, Forward, Guest, Net, Source, System, Vsock};

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
