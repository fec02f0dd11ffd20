//! The parts of a system and how they are wired: memory regions, protection domains, mappings and channels.
//!
//! [`super::wire`] fills a plan for a system; the `.system` file, the picture and the configurations are read off it,
//! so that none of them can disagree with another.

use super::board::{Area, Interrupt};
use sel4cp_abi::config::{self, Program};
use sel4cp_abi::image::{LARGE_PAGE, PAGE};
use sel4cp_abi::slot::MAX_PRIORITY;
use std::path::PathBuf;

/// Where the first small region is mapped in a PD; programs end far below.
const SMALL_BASE: u64 = 0x1000_0000;
/// Where the first region of large pages is mapped in a PD.
const LARGE_BASE: u64 = 0x1_0000_0000;

/// A region of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegionId(usize);

/// A protection domain of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PdId(usize);

/// A system's parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) regions: Vec<Region>,
    pub(super) pds: Vec<Pd>,
    pub(super) channels: Vec<Channel>,
}

/// A memory region.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) name: String,
    /// Bytes, a multiple of the page size.
    pub(super) size: u64,
    /// Pages of 2 MiB.
    pub(super) large: bool,
    pub(super) contents: Contents,
}

/// What is in a region when the system starts.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    /// Zeroes.
    Zero,
    /// The registers of a device, or memory whose physical address matters.
    Physical(u64),
    /// A file of so many bytes, and zeroes behind it.
    File(PathBuf, u64),
}

/// A mapping of a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub(super) region: RegionId,
    pub(super) vaddr: u64,
    pub(super) rights: Rights,
    pub(super) cached: bool,
    /// The symbol that gets the address.
    pub(super) symbol: Option<&'static str>,
}

/// What a mapping allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    Read,
    ReadWrite,
    /// Guest RAM in a guest.
    All,
}

/// A protection domain.
#[derive(Clone, Debug)]
pub(super) struct Pd {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) priority: u8,
    /// Where it runs, and its virtual machine.
    pub(super) core: u32,
    pub(super) maps: Vec<Map>,
    /// Channel id and interrupt.
    pub(super) interrupts: Vec<(u32, Interrupt)>,
    pub(super) machine: Option<Machine>,
    next_channel: u32,
    next_small: u64,
    next_large: u64,
}

/// A virtual machine of a PD.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) vcpus: u32,
    pub(super) maps: Vec<Map>,
}

/// A channel, and the memory that its ends share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) ends: [End; 2],
    pub(super) region: Option<RegionId>,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) pd: PdId,
    pub(super) id: u32,
}

impl Rights {
    /// As the `.system` file spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::ReadWrite => "rw",
            Self::All => "rwx",
        }
    }
}

impl Plan {
    /// Adds memory of `size` bytes; in large pages if it fills one.
    pub(super) fn memory(&mut self, name: String, size: u64) -> RegionId {
        self.add(name, size, size >= LARGE_PAGE, Contents::Zero)
    }

    /// Adds memory or registers at a known physical address; large pages if the address and size allow it.
    pub(super) fn physical(&mut self, name: String, area: Area) -> RegionId {
        let large = (area.start | area.size).is_multiple_of(LARGE_PAGE);
        self.add(name, area.size, large, Contents::Physical(area.start))
    }

    /// Adds a region with the contents of a file of `bytes` bytes; large pages if it fills one.
    pub(super) fn file(&mut self, name: String, path: PathBuf, bytes: u64) -> RegionId {
        let large = bytes >= LARGE_PAGE;
        self.add(name, bytes, large, Contents::File(path, bytes))
    }

    fn add(&mut self, name: String, size: u64, large: bool, contents: Contents) -> RegionId {
        let page = if large { LARGE_PAGE } else { PAGE };
        self.regions.push(Region {
            name,
            size: size.next_multiple_of(page),
            large,
            contents,
        });
        RegionId(self.regions.len() - 1)
    }

    /// Adds a protection domain.
    pub(super) fn domain(&mut self, name: String, program: Program) -> PdId {
        self.pds.push(Pd {
            name,
            program,
            priority: self::program(program).1,
            core: 0,
            maps: Vec::new(),
            interrupts: Vec::new(),
            machine: None,
            next_channel: 0,
            next_small: SMALL_BASE,
            next_large: LARGE_BASE,
        });
        PdId(self.pds.len() - 1)
    }

    /// Has a protection domain wait for its guest to pause.
    pub(super) fn lower(&mut self, pd: PdId) {
        if let Some(pd) = self.pds.get_mut(pd.0) {
            pd.priority = GUEST_PRIORITY;
        }
    }

    /// Has all protection domains but the first `count` run on `core`.
    pub(super) fn settle(&mut self, count: usize, core: u32) {
        for pd in self.pds.iter_mut().skip(count) {
            pd.core = core;
        }
    }

    /// The region called `name`.
    pub(super) fn find(&self, name: &str) -> Option<RegionId> {
        let index = self.regions.iter().position(|region| region.name == name);
        index.map(RegionId)
    }

    /// The region `id`.
    pub(super) fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(id.0)
    }

    /// The protection domain `id`.
    pub(super) fn pd(&self, id: PdId) -> Option<&Pd> {
        self.pds.get(id.0)
    }

    /// The supervisor's children, which are all other PDs; their ids count from 0.
    pub(super) fn children(&self) -> impl Iterator<Item = &Pd> {
        let is_child = |pd: &&Pd| pd.program != Program::Supervisor;
        self.pds.iter().filter(is_child)
    }

    /// Maps `region` into `pd` at an address that is chosen here, and says it as the PD's configuration does; `bus`
    /// is the memory's address on its other side.
    pub(super) fn map(
        &mut self,
        pd: PdId,
        region: RegionId,
        rights: Rights,
        cached: bool,
        bus: u64,
    ) -> config::Region {
        let Some(memory) = self.regions.get(region.0) else {
            return config::Region::NONE;
        };
        let size = match memory.contents {
            Contents::File(_, bytes) => bytes,
            _ => memory.size,
        };
        let Some(pd) = self.pds.get_mut(pd.0) else {
            return config::Region::NONE;
        };
        let next = if memory.large {
            &mut pd.next_large
        } else {
            &mut pd.next_small
        };
        let vaddr = *next;
        // A page between two regions belongs to neither: what runs over the end of one faults.
        *next += memory.size + if memory.large { LARGE_PAGE } else { PAGE };
        pd.maps.push(Map {
            region,
            vaddr,
            rights,
            cached,
            symbol: None,
        });
        config::Region { vaddr, size, bus }
    }

    /// Makes the address of `pd`'s latest mapping the value of `symbol`.
    pub(super) fn name_latest(&mut self, pd: PdId, symbol: &'static str) {
        let maps = self.pds.get_mut(pd.0).map(|pd| &mut pd.maps);
        if let Some(map) = maps.and_then(|maps| maps.last_mut()) {
            map.symbol = Some(symbol);
        }
    }

    /// Gives `pd` a virtual machine.
    pub(super) fn machine(&mut self, pd: PdId, name: String, vcpus: u32) {
        if let Some(pd) = self.pds.get_mut(pd.0) {
            pd.machine = Some(Machine {
                name,
                vcpus,
                maps: Vec::new(),
            });
        }
    }

    /// Maps `region` into `pd`'s virtual machine.
    pub(super) fn map_guest(
        &mut self,
        pd: PdId,
        region: RegionId,
        address: u64,
        rights: Rights,
        cached: bool,
    ) {
        let machine = self.pds.get_mut(pd.0).and_then(|pd| pd.machine.as_mut());
        if let Some(machine) = machine {
            machine.maps.push(Map {
                region,
                vaddr: address,
                rights,
                cached,
                symbol: None,
            });
        }
    }

    /// Connects two PDs, which share `region` if there is one; the ids of the channel on each side.
    pub(super) fn channel(&mut self, a: PdId, b: PdId, region: Option<RegionId>) -> (u32, u32) {
        let ids = (self.next_channel(a), self.next_channel(b));
        let ends = [End { pd: a, id: ids.0 }, End { pd: b, id: ids.1 }];
        self.channels.push(Channel { ends, region });
        ids
    }

    /// Gives `pd` an interrupt; its channel id.
    pub(super) fn interrupt(&mut self, pd: PdId, interrupt: Interrupt) -> u32 {
        let id = self.next_channel(pd);
        if let Some(pd) = self.pds.get_mut(pd.0) {
            pd.interrupts.push((id, interrupt));
        }
        id
    }

    fn next_channel(&mut self, pd: PdId) -> u32 {
        let Some(pd) = self.pds.get_mut(pd.0) else {
            return config::NO_CHANNEL;
        };
        let id = pd.next_channel;
        pd.next_channel += 1;
        id
    }

    /// What breaks a rule of the kernel's: at most 62 channels of a PD, 63 PDs, names that differ.
    pub(super) fn check(&self) -> Result<(), String> {
        use sel4cp_abi::slot::{CHANNELS, MAX_PDS};
        if self.pds.len() > MAX_PDS {
            return Err(format!(
                "found {} PDs, expected at most {MAX_PDS}",
                self.pds.len()
            ));
        }
        for pd in &self.pds {
            if usize::try_from(pd.next_channel).unwrap_or(usize::MAX) > CHANNELS {
                return Err(format!(
                    "{}: found {} channels, expected at most {CHANNELS}",
                    pd.name, pd.next_channel
                ));
            }
        }
        let names = self.pds.iter().map(|pd| &pd.name);
        let regions = self.regions.iter().map(|region| &region.name);
        for mut all in [names.collect::<Vec<_>>(), regions.collect()] {
            all.sort();
            let twice = all.windows(2).find_map(|pair| match pair {
                [a, b] if a == b => Some(a),
                _ => None,
            });
            if let Some(twice) = twice {
                return Err(format!("found {twice} twice, expected names that differ"));
            }
        }
        Ok(())
    }
}

/// The facts about a program: its ELF file's name and its priority.
pub(super) fn program(program: Program) -> (&'static str, u8) {
    match program {
        // Before all others: what it reports comes before what follows from it.
        Program::Supervisor => ("supervisor", MAX_PRIORITY),
        Program::Timer => ("timer", 250),
        Program::Serial => ("serial", 200),
        Program::Vmm => ("vmm", 100),
        Program::VirtioBlk => ("virtio_blk", GUEST_PRIORITY),
        Program::VirtioNet => ("virtio_net", 180),
        Program::Console => ("console", GUEST_PRIORITY),
        Program::Net => ("net", 150),
        Program::Block => ("block", GUEST_PRIORITY),
        Program::Vsock => ("vsock", GUEST_PRIORITY),
        Program::Services => ("services", GUEST_PRIORITY),
        Program::Pause => ("pause", GUEST_PRIORITY),
        // Below the guests, so that everything else is done when it turns the machine off.
        Program::Power => ("power", 1),
    }
}

/// Priority of vCPUs, of a guest's disk and console, and of who tells its network backend of its pauses.
///
/// What a guest notifies runs at once, because what is woken comes first in the queue of its priority. But what
/// interrupts a guest that is busy waits for its time slice to end, or for it to have nothing to do: meanwhile it asks for
/// more, and all of that is done in one go. Each switch of address spaces, and each entry of the guest, then serves many
/// requests. Above the guest, a fast disk would answer every request before the guest could make the next one.
///
/// A network's other end waits for answers before it sends more, so that frames had better not wait: its PDs are above. With
/// hardware that cuts and joins frames (`bulk` in the system file), each is worth a switch less than 40 small ones are, and they
/// wait too.
pub(super) const GUEST_PRIORITY: u8 = 10;
/// How long a PD may run before others of its priority do, in microseconds.
///
/// A guest's disk works for it in many short pieces. A slice that ends in one of them puts the disk behind the guest, which
/// then runs in vain until it waits for the disk: two more switches, for one request in ten with seL4's usual millisecond.
pub(super) const PD_SLICE: u32 = 10_000;

/// The same of all vCPUs of a guest together: what the disk answers to a guest that is busy waits for no more than that, and guests get the
/// same time, however many they have. One that waits in a loop for what another one holds, while that has no turn, does so until its
/// own is over.
pub(super) const VCPU_SLICE: u32 = 2_000;

/// How many frames a network's backend makes of its guest's before it lets others of the guest's priority have their turns, where there are
/// other guests: they take about as long as a vCPU's turn, and may all be of one frame that took its guest no time. It costs a flow of
/// TCP some hundredths.
pub(super) const MOST_MADE: u32 = 1024;

/// How far a VMM keeps the physical timer ahead on seL4 under QEMU, in microseconds.
///
/// seL4 sets its own timer, for the end of the slice, at each change from one to another. If QEMU has no timer that is due earlier, it
/// wakes its main loop to wait anew, by a system call, and the loop then takes the lock that the vCPU needs for its next
/// exception. A timer that is due before the slices end, whoever has it and for whatever, spares all that, and is
/// itself set once in this time.
pub(super) const TIMER_AHEAD: u32 = 500;

/// Bytes of each PD's stack.
pub(super) const STACK_BYTES: u64 = 0x4_0000;
