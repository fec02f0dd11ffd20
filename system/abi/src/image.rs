//! The format of the bundled kernel's image: what the packer writes and the kernel reads.
//!
//! The image is a raw file that is loaded at [`BASE`] and used in place:
//!
//! ```text
//! BASE          kernel, a flat binary, entry at offset 0
//! __kernel_end  description: a Header, then its tables in the order of Header::tables, without gaps
//!               (a symbol of the kernel's ELF file, 4 KiB aligned, after the kernel's .bss; the file has zeroes there)
//! next page     data: whole pages that Mappings name by physical address (segments of PDs, prefilled regions)
//! image_end     end of the file
//! ```
//!
//! Memory that the file does not carry (stacks, IPC buffers, `.bss`, regions) lies elsewhere in RAM; the packer
//! chose every physical address, and [`Clear`] records say what the kernel fills with zeroes. The kernel takes
//! `tables_start..tables_end` for its page tables; [`table_bytes`] says how much that must be.
//!
//! [`Description::parse`] finds the tables, [`Description::check`] holds every field against the rules. The
//! packer calls both on what it is about to write, the kernel on what it finds.

mod memory;
mod objects;
mod record;
#[cfg(test)]
mod tests;

use crate::slot::NAME_LENGTH;
use core::fmt;
pub use record::{
    Channel, Clear, Domain, End, Header, Interrupt, Mapping, Space, Tables, UserCap, Vcpu,
};
use zerocopy::{FromBytes, Immutable};

/// Where the image is loaded.
pub const BASE: u64 = 0x7000_0000;
/// First bytes of the description.
pub const MAGIC: [u8; 8] = *b"sel4cpk\x01";
/// Version of the format.
pub const VERSION: u32 = 1;
/// First address of RAM.
pub const RAM_START: u64 = 0x4000_0000;
/// One past the last address of RAM.
pub const RAM_END: u64 = 0xc000_0000;
/// First address of the interrupt controller's registers that only the kernel uses (distributor, CPU interface,
/// virtual interface control).
pub const GIC_START: u64 = 0x0800_0000;
/// One past the last of them. The virtual CPU interface (GICV) follows, which only guests may map.
pub const GIC_END: u64 = 0x0804_0000;
/// One past the virtual CPU interface.
pub const GICV_END: u64 = 0x0805_0000;
/// First address of a GICv3's redistributor, which only the kernel uses.
pub const GICR_START: u64 = 0x080a_0000;
/// One past its last one: it has two frames of 64 KiB.
pub const GICR_END: u64 = 0x080c_0000;
/// Bytes of a small page, and the alignment of everything.
pub const PAGE: u64 = 0x1000;
/// Bytes of a large page.
pub const LARGE_PAGE: u64 = 0x20_0000;
/// One past the highest guest-physical address.
pub const GUEST_TOP: u64 = 1 << 40;
/// Most vCPUs of a system.
pub const MAX_VCPUS: usize = 64;
/// Most address spaces of a system: a VMID each.
pub const MAX_SPACES: usize = 127;
/// No domain: a root PD's parent.
pub const NONE: u32 = u32::MAX;

/// Bytes of a space's level 0 and level 1 tables, with their alignment: two level 1 tables cover 40 bits.
const ROOT_TABLE_BYTES: u64 = 3 * PAGE;

/// `text` as a name of an image, or `None` if it has more than 64 bytes.
pub fn name(text: &str) -> Option<[u8; NAME_LENGTH]> {
    let mut bytes = [0; NAME_LENGTH];
    bytes
        .get_mut(..text.len())?
        .copy_from_slice(text.as_bytes());
    Some(bytes)
}

/// Bytes of page tables that spaces with these mappings take at most: each level 3 table covers 2 MiB, each
/// level 2 table 1 GiB, and the tables above are 12 KiB.
pub fn table_bytes(spaces: usize, mappings: &[Mapping]) -> u64 {
    let spanned = |mapping: &Mapping, unit: u64| {
        let last = mapping
            .vaddr
            .saturating_add(mapping.bytes.saturating_sub(1));
        last / unit - mapping.vaddr / unit + 1
    };
    mappings.iter().fold(
        ROOT_TABLE_BYTES.saturating_mul(spaces as u64 + 1),
        |sum, mapping| {
            let small = if mapping.flags & Mapping::LARGE == 0 {
                spanned(mapping, LARGE_PAGE)
            } else {
                0
            };
            sum.saturating_add(PAGE.saturating_mul(small + spanned(mapping, 1 << 30)))
        },
    )
}

/// Why an image was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The table it was found in, or the header.
    pub table: &'static str,
    /// Number of the record in its table.
    pub record: usize,
    /// What is wrong, and what was expected.
    pub reason: &'static str,
    /// The value found.
    pub found: u64,
}

impl Refused {
    const fn header(reason: &'static str, found: u64) -> Self {
        Self {
            table: "header",
            record: 0,
            reason,
            found,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            record,
            reason,
            found,
        } = self;
        write!(f, "{table} {record}: {reason} (found {found:#x})")
    }
}

/// A description, its tables found.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the tables' names")]
pub struct Description<'a> {
    /// Physical address of the description: the kernel's end.
    pub address: u64,
    pub header: &'a Header,
    pub domains: &'a [Domain],
    pub vcpus: &'a [Vcpu],
    pub spaces: &'a [Space],
    pub mappings: &'a [Mapping],
    pub clears: &'a [Clear],
    pub interrupts: &'a [Interrupt],
    pub channels: &'a [Channel],
    pub user_caps: &'a [UserCap],
}

impl<'a> Description<'a> {
    /// Finds header and tables in `bytes`, which start with the header and may be longer than the description;
    /// `address` is where they lie in physical memory.
    ///
    /// # Errors
    /// [`Refused`] when the header does not fit `bytes` or itself; the records are not looked at.
    pub fn parse(bytes: &'a [u8], address: u64) -> Result<Self, Refused> {
        let short = Refused::header("there are too few bytes for the header", bytes.len() as u64);
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| short)?;
        if header.magic != MAGIC {
            let found = u64::from_be_bytes(header.magic);
            return Err(Refused::header(
                "expected the magic \"sel4cpk\\x01\"",
                found,
            ));
        }
        if header.version != VERSION {
            let found = u64::from(header.version);
            return Err(Refused::header("expected version 1", found));
        }
        if header.description_bytes != header.tables.description_bytes() {
            return Err(Refused::header(
                "description_bytes differs from the sum of the tables",
                header.description_bytes,
            ));
        }
        let tables = header.tables;
        let (domains, rest) = table(rest, tables.domains, "domains")?;
        let (vcpus, rest) = table(rest, tables.vcpus, "vcpus")?;
        let (spaces, rest) = table(rest, tables.spaces, "spaces")?;
        let (mappings, rest) = table(rest, tables.mappings, "mappings")?;
        let (clears, rest) = table(rest, tables.clears, "clears")?;
        let (interrupts, rest) = table(rest, tables.interrupts, "interrupts")?;
        let (channels, rest) = table(rest, tables.channels, "channels")?;
        let (user_caps, _) = table(rest, tables.user_caps, "user_caps")?;
        Ok(Self {
            address,
            header,
            domains,
            vcpus,
            spaces,
            mappings,
            clears,
            interrupts,
            channels,
            user_caps,
        })
    }

    /// Holds every field against the rules.
    ///
    /// # Errors
    /// [`Refused`] names the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Refused> {
        self.check_header()?;
        self.check_spaces()?;
        self.check_clears()?;
        self.check_domains()?;
        self.check_vcpus()?;
        self.check_space_users()?;
        self.check_channels()?;
        self.check_user_caps()
    }

    /// The mappings of `space`; none when the numbers do not fit.
    pub fn mappings_of(&self, space: &Space) -> &'a [Mapping] {
        let first = space.first as usize;
        let end = first.saturating_add(space.count as usize);
        self.mappings.get(first..end).unwrap_or_default()
    }

    /// The name in `bytes`, as far as it is text.
    pub fn text(bytes: &[u8; NAME_LENGTH]) -> &str {
        let end = bytes.iter().position(|byte| *byte == 0);
        let used = bytes.get(..end.unwrap_or(NAME_LENGTH)).unwrap_or_default();
        core::str::from_utf8(used).unwrap_or("?")
    }

    /// Whether `domain` receives on an endpoint (it has children, a vCPU, or serves protected calls), not on its notification.
    pub fn has_endpoint(&self, domain: u32) -> bool {
        let serves = |channel: &Channel| {
            let [a, b] = channel.ends;
            (a.domain == domain && b.flags & End::PROTECTED != 0)
                || (b.domain == domain && a.flags & End::PROTECTED != 0)
        };
        self.domains.iter().any(|child| child.parent == domain)
            || self.vcpus.iter().any(|vcpu| vcpu.domain == domain)
            || self.channels.iter().any(serves)
    }
}

/// Refuses a record of `table` unless `good`.
const fn require(
    good: bool,
    table: &'static str,
    record: usize,
    reason: &'static str,
    found: u64,
) -> Result<(), Refused> {
    if good {
        return Ok(());
    }
    Err(Refused {
        table,
        record,
        reason,
        found,
    })
}

/// A table's records and the bytes after them.
type Split<'a, T> = (&'a [T], &'a [u8]);

/// The `count` records at the start of `bytes`, and the bytes after them.
fn table<'a, T: FromBytes + Immutable>(
    bytes: &'a [u8],
    count: u32,
    name: &'static str,
) -> Result<Split<'a, T>, Refused> {
    <[T]>::ref_from_prefix_with_elems(bytes, count as usize).map_err(|_| Refused {
        table: name,
        record: 0,
        reason: "the table does not fit the image",
        found: u64::from(count),
    })
}
