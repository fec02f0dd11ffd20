//! A checked system: what the rest of the tool works on.

use super::board::{Board, Controller};
use super::error::{Error, Mistake, Result};
use sel4cp_abi::config::Access;
use std::path::{Path, PathBuf};

/// A system: its machine and its guests.
#[derive(Clone, Debug)]
pub struct System {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) board: Board,
    pub(super) guests: Vec<Guest>,
    pub(super) warnings: Vec<String>,
}

/// Where a guest's kernel, initial RAM disk or root disk comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `"debian"`: the tool assembles it from Debian's packages.
    Debian,
    /// `"none"`: the guest has none.
    None,
    /// A file; a relative path in the system file starts in the system file's folder, this one does not.
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
    /// The core that its vCPUs and its PDs run on.
    pub core: u32,
    /// Its kernel, never [`Source::None`].
    pub kernel: Source,
    /// Its initial RAM disk.
    pub initrd: Source,
    /// The contents of its disk; [`Source::None`] if and only if it has no disk.
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
    /// Its sockets.
    pub vsock: Option<Vsock>,
    /// Where the system file says so.
    pub(super) lines: Lines,
}

/// The lines that a mistake in a guest's files is reported at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub(super) vm: usize,
    pub(super) kernel: usize,
    pub(super) initrd: usize,
    pub(super) root: usize,
    pub(super) memory: usize,
    pub(super) core: usize,
}

/// A guest's console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Columns, at least 1.
    pub columns: u16,
    /// Rows, at least 1.
    pub rows: u16,
}

/// A guest's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The guest must not write.
    pub read_only: bool,
    /// The serial number that the guest sees, at most 20 bytes; if empty, the guest's name.
    pub serial: String,
    /// QEMU's cache mode for the disk's file.
    pub cache: String,
}

/// A guest's network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes.
    pub mtu: u16,
    /// Frames wait for the guest to pause, and go in bulk: for hardware that cuts and joins them. Without a word about it, not.
    pub bulk: Option<bool>,
    /// Ports of the host's loopback address that lead to the guest.
    pub forward: Vec<Forward>,
}

/// A guest's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// Its context id.
    pub cid: u64,
    /// Names of guests that it may talk to, if they name it too.
    pub peers: Vec<String>,
    /// What it may ask the control service.
    pub control: Access,
}

/// A port of the host's loopback address that leads to a guest's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// UDP, else TCP.
    pub udp: bool,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl Guest {
    /// What it may ask the control service.
    pub(super) fn access(&self) -> Access {
        let vsock = self.vsock.as_ref();
        vsock.map_or(Access::None, |vsock| vsock.control)
    }

    /// How many virtIO devices it has: the console, and what it asks for.
    pub(super) fn devices(&self) -> u32 {
        1 + u32::from(self.block.is_some())
            + u32::from(self.net.is_some())
            + u32::from(self.vsock.is_some())
    }
}

impl System {
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
        self.board.name
    }

    /// Whether QEMU plays the board; the bundled kernel runs on no other one.
    pub fn is_qemu(&self) -> bool {
        self.board.is_qemu
    }

    /// The version of its interrupt controller.
    pub fn gic_version(&self) -> u32 {
        match self.board.controller {
            Controller::V2(_) => 2,
            Controller::V3 => 3,
        }
    }

    /// What the file asks for and the board cannot give, or the board lacks for everybody: a line for each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the programs for this board take for granted about the kernel, by the names of the SDK's `gen_config.json`.
    pub fn kernel_needs(&self) -> Vec<(&'static str, &'static str)> {
        let v3 = match self.board.controller {
            Controller::V2(_) => "false",
            Controller::V3 => "true",
        };
        let mut needs = vec![("ARM_GIC_V3_SUPPORT", v3)];
        if self.board.timer.is_some() {
            // The timer driver uses the physical timer.
            needs.push(("EXPORT_PTMR_USER", "true"));
        }
        needs
    }

    /// Checks that `kernel`, which uses so many `cores`, has each guest's.
    ///
    /// # Errors
    /// Every guest that asks for another one, with file and line.
    pub fn check_cores(&self, cores: u32, kernel: &str) -> Result<()> {
        let last = cores.saturating_sub(1);
        let (expected, write) = match last {
            0 => (
                format!("0 ({kernel}, uses one core)"),
                "nothing in its place, or build it with `--kernel sel4 --config smp-release`"
                    .to_owned(),
            ),
            _ => (
                format!("a number from 0 to {last} ({kernel})"),
                format!("`core = {last}`"),
            ),
        };
        let beyond = self.guests.iter().filter(|guest| guest.core > last);
        let mistakes: Vec<_> = beyond
            .map(|guest| Mistake {
                file: self.path.clone(),
                line: Some(guest.lines.core),
                found: format!("`core = {}`", guest.core),
                expected: expected.clone(),
                write: write.clone(),
            })
            .collect();
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Error::Mistakes(mistakes))
        }
    }

    /// Whether any guest may use the control service.
    pub(super) fn has_control(&self) -> bool {
        let may = |guest: &Guest| guest.access() != Access::None;
        self.guests.iter().any(may)
    }

    /// Adds `words` to every guest's command line.
    pub fn append(&mut self, words: &str) {
        for guest in &mut self.guests {
            guest.command_line = format!("{} {words}", guest.command_line);
        }
    }

    /// Says for all network devices whose section does not whether their frames go in bulk.
    pub fn prefer_bulk(&mut self, bulk: bool) {
        for net in self
            .guests
            .iter_mut()
            .filter_map(|guest| guest.net.as_mut())
        {
            net.bulk.get_or_insert(bulk);
        }
    }

    /// The guests, in the file's order.
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }
}
