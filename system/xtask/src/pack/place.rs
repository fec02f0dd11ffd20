//! Gives every block its physical address, and makes the tables that the kernel reads.

use super::blocks::{Block, Contents};
use super::error::{Error, Result};
use super::layout::Layout;
use super::memory::Memory;
use super::sdf::{CapKind, Domain, Schedule, System};
use sel4cp_abi::image::{
    BASE, Channel, Clear, Domain as DomainRecord, End, Header, Interrupt, Mapping, NONE, PAGE,
    RAM_END, Space, Tables, UserCap, Vcpu, name, table_bytes,
};
use sel4cp_abi::slot::{NAME_LENGTH, STACK_TOP};
use std::ops::Range;
use zerocopy::IntoBytes;

/// Where memory of the kernel and the PDs starts; what is below is used by physical address only.
const MEMORY_START: u64 = 0x6000_0000;

/// A system whose memory has addresses.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where the description starts.
    pub(super) description: Range<u64>,
    /// One past the image.
    pub(super) image_end: u64,
    /// The kernel's page tables.
    pub(super) tables: Range<u64>,
    /// Bytes that nobody has.
    pub(super) free: u64,
    pub(super) records: Records,
}

/// The tables of a description.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) domains: Vec<DomainRecord>,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) spaces: Vec<Space>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) clears: Vec<Clear>,
    pub(super) interrupts: Vec<Interrupt>,
    pub(super) channels: Vec<Channel>,
    pub(super) user_caps: Vec<UserCap>,
}

/// Places the blocks of `layout` behind a kernel that ends at `kernel_end`.
pub(super) fn place(
    system: &System,
    layout: &mut Layout,
    kernel_end: u64,
    programs: &[u64],
) -> Result<Placed> {
    let mut records = records(system, layout, programs)?;
    // Every block's size is known, so the tables' sizes are, whatever the addresses will be.
    records.mappings = mappings(layout);
    records.clears = clears(layout);
    let start = kernel_end.next_multiple_of(PAGE);
    let tables = records.tables()?;
    let description = start..start + tables.description_bytes();
    let image_end = place_contents(layout, description.end.next_multiple_of(PAGE))?;
    let mut memory = Memory::new(MEMORY_START..RAM_END);
    memory.take(&(BASE..image_end));
    check_given(layout, BASE..image_end)?;
    for block in given(&layout.blocks.all) {
        memory.take(&(block.address..block.address.saturating_add(block.bytes)));
    }
    let bytes = table_bytes(records.spaces.len(), &records.mappings).next_multiple_of(PAGE);
    place_zeroes(layout, &mut memory)?;
    let out = || Error::new(format!("found no room for {bytes:#x} bytes of page tables"));
    let tables = memory.allocate(bytes, PAGE).ok_or_else(out)?;
    records.mappings = mappings(layout);
    records.clears = clears(layout);
    Ok(Placed {
        description,
        image_end,
        tables: tables..tables + bytes,
        free: memory.available(),
        records,
    })
}

/// Physical addresses that a region may not have.
fn check_given(layout: &Layout, image: Range<u64>) -> Result<()> {
    for block in given(&layout.blocks.all) {
        let end = block.address.saturating_add(block.bytes);
        if block.address < image.end && image.start < end {
            return Err(Error::new(format!(
                "found the {} at physical {:#x}..{end:#x}, which overlaps the image at {:#x}..{:#x}",
                block.what, block.address, image.start, image.end
            )));
        }
        if end > RAM_END {
            return Err(Error::new(format!(
                "found the {} at physical {:#x}..{end:#x}, expected it to end at {RAM_END:#x} or below",
                block.what, block.address
            )));
        }
    }
    Ok(())
}

fn given(blocks: &[Block]) -> impl Iterator<Item = &Block> {
    blocks
        .iter()
        .filter(|block| matches!(block.contents, Contents::Given))
}

/// Places what the image carries from `start`; the image's end. Large pages come last, behind one gap.
fn place_contents(layout: &mut Layout, start: u64) -> Result<u64> {
    let mut blocks: Vec<&mut Block> = layout
        .blocks
        .all
        .iter_mut()
        .filter(|block| block.contents.in_image())
        .collect();
    blocks.sort_by_key(|block| block.align);
    let mut next = start;
    for block in blocks {
        block.address = next.next_multiple_of(block.align);
        next = block.address.saturating_add(block.bytes);
        if next > RAM_END {
            let text = format!(
                "found an image that ends above {RAM_END:#x} with the {}",
                block.what
            );
            return Err(Error::new(text));
        }
    }
    Ok(next)
}

/// Places what the image does not carry; large pages first, so that they find room.
fn place_zeroes(layout: &mut Layout, memory: &mut Memory) -> Result<()> {
    let zero = |block: &&mut Block| matches!(block.contents, Contents::Zero);
    let mut blocks: Vec<&mut Block> = layout.blocks.all.iter_mut().filter(zero).collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.align));
    for block in blocks {
        let found = memory.allocate(block.bytes, block.align);
        block.address = found.ok_or_else(|| {
            Error::new(format!(
                "found no room for the {}: {:#x} bytes, and {:#x} are free in {MEMORY_START:#x}..{RAM_END:#x}",
                block.what,
                block.bytes,
                memory.available()
            ))
        })?;
    }
    Ok(())
}

/// What the kernel fills with zeroes: what we placed, and what was given in the PDs' memory.
fn clears(layout: &Layout) -> Vec<Clear> {
    let cleared = |block: &&Block| match block.contents {
        Contents::Zero => true,
        Contents::Given => block.address >= MEMORY_START,
        Contents::Bytes(_) | Contents::File(_) => false,
    };
    let blocks = layout.blocks.all.iter().filter(cleared);
    blocks
        .map(|block| Clear {
            paddr: block.address,
            bytes: block.bytes,
        })
        .collect()
}

fn mappings(layout: &Layout) -> Vec<Mapping> {
    let runs = layout.spaces.iter().flatten();
    runs.map(|run| Mapping {
        vaddr: run.vaddr,
        paddr: layout
            .blocks
            .all
            .get(run.part.block)
            .map_or(0, |block| block.address),
        bytes: run.part.bytes,
        flags: run.flags,
        reserved: 0,
    })
    .collect()
}

fn number<T: TryInto<u32>>(number: T) -> Result<u32> {
    number
        .try_into()
        .map_err(|_| Error::new("found more records than an image can have"))
}

/// The records that do not depend on addresses; `programs` are the entry points.
fn records(system: &System, layout: &Layout, programs: &[u64]) -> Result<Records> {
    let mut records = Records::default();
    let mut first = 0;
    for runs in &layout.spaces {
        let count = number(runs.len())?;
        records.spaces.push(Space { first, count });
        first += count;
    }
    for (index, domain) in system.domains.iter().enumerate() {
        let entry = programs.get(index).copied().unwrap_or(0);
        records.domains.push(domain_record(index, domain, entry)?);
        if let (Some(machine), Some(Some(space))) = (&domain.machine, layout.machines.get(index)) {
            let Schedule {
                priority,
                budget,
                period,
            } = machine.schedule;
            for id in &machine.vcpus {
                records.vcpus.push(Vcpu {
                    name: padded(&machine.name),
                    budget,
                    period,
                    priority,
                    domain: number(index)?,
                    id: *id,
                    space: number(*space)?,
                });
            }
        }
        for interrupt in &domain.interrupts {
            records.interrupts.push(Interrupt {
                domain: number(index)?,
                channel: interrupt.id,
                number: interrupt.number,
                trigger: if interrupt.level {
                    Interrupt::LEVEL
                } else {
                    Interrupt::EDGE
                },
            });
        }
        for cap in &domain.caps {
            let target = system
                .domains
                .iter()
                .position(|target| target.name == cap.domain);
            records.user_caps.push(UserCap {
                domain: number(index)?,
                slot: cap.slot,
                kind: match cap.kind {
                    CapKind::Tcb => UserCap::TCB,
                    CapKind::SchedContext => UserCap::SCHED_CONTEXT,
                    CapKind::VSpace => UserCap::VSPACE,
                },
                target: number(target.unwrap_or(usize::MAX))?,
            });
        }
    }
    for ends in &system.channels {
        let [a, b] = ends;
        let end = |end: &super::sdf::End| -> Result<End> {
            let notify = if end.notify { End::NOTIFY } else { 0 };
            let protected = if end.protected { End::PROTECTED } else { 0 };
            Ok(End {
                domain: number(end.domain)?,
                id: end.id,
                flags: notify | protected,
                reserved: 0,
            })
        };
        records.channels.push(Channel {
            ends: [end(a)?, end(b)?],
        });
    }
    Ok(records)
}

fn domain_record(index: usize, domain: &Domain, entry: u64) -> Result<DomainRecord> {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let (parent, child) = match domain.parent {
        Some((parent, child)) => (number(parent)?, child),
        None => (NONE, 0),
    };
    let Schedule {
        priority,
        budget,
        period,
    } = domain.schedule;
    Ok(DomainRecord {
        name: padded(&domain.name),
        entry,
        stack_top: STACK_TOP,
        stack_bottom: STACK_TOP - domain.stack_size,
        budget,
        period,
        priority,
        flags: flag(domain.passive, DomainRecord::PASSIVE)
            | flag(domain.smc, DomainRecord::SMC)
            | flag(domain.fpu, DomainRecord::FPU),
        parent,
        child,
        space: number(index)?,
        reserved: 0,
    })
}

fn padded(text: &str) -> [u8; NAME_LENGTH] {
    name(text).unwrap_or([b'?'; NAME_LENGTH])
}

impl Records {
    /// The number of records in each table.
    pub(super) fn tables(&self) -> Result<Tables> {
        Ok(Tables {
            domains: number(self.domains.len())?,
            vcpus: number(self.vcpus.len())?,
            spaces: number(self.spaces.len())?,
            mappings: number(self.mappings.len())?,
            clears: number(self.clears.len())?,
            interrupts: number(self.interrupts.len())?,
            channels: number(self.channels.len())?,
            user_caps: number(self.user_caps.len())?,
        })
    }

    /// The description: `header` and the tables behind it.
    pub(super) fn to_bytes(&self, header: &Header) -> Vec<u8> {
        [
            header.as_bytes(),
            self.domains.as_bytes(),
            self.vcpus.as_bytes(),
            self.spaces.as_bytes(),
            self.mappings.as_bytes(),
            self.clears.as_bytes(),
            self.interrupts.as_bytes(),
            self.channels.as_bytes(),
            self.user_caps.as_bytes(),
        ]
        .concat()
    }
}
