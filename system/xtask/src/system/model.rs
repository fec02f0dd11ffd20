//! A checked system: what the rest of the tool works on.

use super::{Error, Result};
use std::path::{Path, PathBuf};

/// A system: its machine and its guests.
#[derive(Clone, Debug)]
pub struct System {
    path: PathBuf,
    name: String,
    board: String,
    guests: Vec<Guest>,
}

/// Where a guest's kernel, initial RAM disk or root disk comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `"debian"`: the tool assembles it from Debian's packages.
    Debian,
    /// `"none"`: the guest has none.
    None,
    /// A file; a relative path is relative to the system file's folder.
    File(PathBuf),
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name, also the first part of its PDs' names.
    pub name: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Its kernel, never [`Source::None`].
    pub kernel: Source,
    /// Its initial RAM disk.
    pub initrd: Source,
    /// The contents of its first disk.
    pub root: Source,
    /// The kernel's command line.
    pub command_line: String,
    /// Whether it has an early PL011.
    pub earlycon: bool,
    /// Its console.
    pub console: Console,
    /// Its disk.
    pub block: Option<Block>,
    /// Its network device.
    pub net: Option<Net>,
}

/// A guest's console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// Columns; 0 when unknown.
    pub columns: u16,
    /// Rows; 0 when unknown.
    pub rows: u16,
}

/// A guest's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The guest must not write.
    pub read_only: bool,
    /// The serial number that the guest sees, at most 20 bytes.
    pub serial: String,
}

/// A guest's network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes.
    pub mtu: u16,
    /// QEMU's port forwarding rules, such as `tcp:127.0.0.1:2222-:22`.
    pub forward: Vec<String>,
}

impl System {
    /// Reads and checks the system file at `path`.
    ///
    /// # Errors
    /// Every mistake that was found, with file and line.
    pub fn load(path: &Path) -> Result<Self> {
        Err(Error::message(format!(
            "cannot read {}: not written yet",
            path.display()
        )))
    }

    /// The system file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name without `.toml`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The board's name, as the SDK spells it.
    pub fn board(&self) -> &str {
        &self.board
    }

    /// The guests, in the file's order.
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }
}
