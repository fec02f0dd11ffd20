//! What a `.system` file says, and what follows from it.

use roxmltree::TextPos;
use std::path::PathBuf;
use std::rc::Rc;

/// A system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) regions: Vec<Region>,
    /// The protection domains, parents before their children.
    pub(super) domains: Vec<Domain>,
    pub(super) channels: Vec<[End; 2]>,
}

/// A file's name and contents.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// A memory region.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) size: u64,
    /// Bytes of a page.
    pub(super) page: u64,
    /// The file says how large the pages are.
    pub(super) page_given: bool,
    pub(super) physical: Option<u64>,
    pub(super) contents: Option<Rc<File>>,
    pub(super) place: TextPos,
}

/// A mapping of a region.
#[derive(Debug)]
pub(super) struct Map {
    /// The region's number; [`super::check`] has found it.
    pub(super) region: usize,
    pub(super) vaddr: u64,
    pub(super) write: bool,
    pub(super) execute: bool,
    pub(super) cached: bool,
    pub(super) place: TextPos,
}

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) priority: u32,
    pub(super) budget: u64,
    pub(super) period: u64,
}

/// A protection domain.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) schedule: Schedule,
    pub(super) passive: bool,
    pub(super) smc: bool,
    pub(super) fpu: bool,
    pub(super) stack_size: u64,
    pub(super) program: PathBuf,
    pub(super) program_for_symbols: Option<PathBuf>,
    /// The parent's number, and the id there.
    pub(super) parent: Option<(usize, u32)>,
    pub(super) maps: Vec<Map>,
    pub(super) interrupts: Vec<Interrupt>,
    pub(super) variables: Vec<Variable>,
    pub(super) caps: Vec<Cap>,
    pub(super) machine: Option<Machine>,
    pub(super) place: TextPos,
}

/// An interrupt of a domain.
#[derive(Debug)]
pub(super) struct Interrupt {
    pub(super) number: u32,
    pub(super) id: u32,
    pub(super) level: bool,
    pub(super) place: TextPos,
}

/// A symbol of a program that is given a value.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) symbol: String,
    pub(super) value: Value,
    pub(super) place: TextPos,
}

/// The value that a symbol is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// This number.
    Number(u64),
    /// Bytes of the region with this name.
    Size(String),
    /// Bytes of the file that the region with this name is filled from.
    PrefillSize(String),
    /// The physical address of the region with this name.
    Physical(String),
}

/// A capability of another domain's object.
#[derive(Debug)]
pub(super) struct Cap {
    pub(super) kind: CapKind,
    pub(super) slot: u32,
    pub(super) domain: String,
    pub(super) place: TextPos,
}

/// What a capability is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CapKind {
    Tcb,
    SchedContext,
    VSpace,
}

/// A virtual machine of a domain.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) schedule: Schedule,
    /// The vCPUs' ids.
    pub(super) vcpus: Vec<u32>,
    pub(super) maps: Vec<Map>,
    pub(super) place: TextPos,
}

/// One end of a channel.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) domain: usize,
    pub(super) id: u32,
    pub(super) notify: bool,
    pub(super) protected: bool,
    pub(super) place: TextPos,
}

impl System {
    /// The region called `name`.
    pub(super) fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }
}
