//! Puts a guest's kernel, device tree and initial RAM disk into its RAM, at its first start and at each restart.

use crate::image::{self, Image};
use core::fmt;
use sel4cp_abi::config::Region;
use sel4cp_memory::{GuestAddress, GuestRam, GuestRange};
use sel4cp_pd::cache;

/// First bytes of a device tree blob.
const DEVICE_TREE_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// Sizes of pages that RAM may be mapped with.
const LARGE_PAGE: u64 = 0x20_0000;
const PAGE: u64 = 0x1000;

/// A file that the system brings along, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its bytes; the region that they are in may have zeros after them.
    pub bytes: &'static [u8],
    /// Guest-physical address; for the kernel, the base that its own offset counts from.
    pub address: u64,
}

/// What a guest starts with.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// The kernel, an arm64 Image.
    pub kernel: File,
    /// The device tree blob.
    pub device_tree: File,
    /// The initial RAM disk; no bytes: none.
    pub initrd: File,
}

/// Where a guest starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The kernel's first instruction.
    pub entry: u64,
    /// The device tree.
    pub device_tree: u64,
}

/// Why a guest cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel.
    Kernel(image::Refused),
    /// The device tree has another magic number: the bytes found.
    DeviceTree([u8; 4]),
    /// A file does not fit into RAM: which, its address and size, RAM's start and size.
    Outside(&'static str, u64, u64, u64, u64),
    /// A file overlaps another one: which, its address, the other, its address.
    Overlap(&'static str, u64, &'static str, u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(refused) => refused.fmt(f),
            Self::DeviceTree(found) => write!(
                f,
                "device tree starts with {found:02x?}, expected {DEVICE_TREE_MAGIC:02x?}"
            ),
            Self::Outside(name, address, size, start, len) => write!(
                f,
                "{name} needs {size:#x} bytes at {address:#x}, expected that inside RAM, {len:#x} bytes at {start:#x}"
            ),
            Self::Overlap(name, address, other, at) => write!(
                f,
                "{name} at {address:#x} overlaps the {other} at {at:#x}, expected them apart"
            ),
        }
    }
}

impl core::error::Error for Refused {}

/// Part of RAM.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    address: u64,
    size: u64,
}

impl Place {
    fn overlaps(&self, other: &Self) -> bool {
        let ends_before = |a: &Self, b: &Self| a.address.saturating_add(a.size) <= b.address;
        !ends_before(self, other) && !ends_before(other, self)
    }
}

/// Copies `files` into `ram`, which is mapped as `region` says, so that a guest sees them that starts with its caches
/// off. Nothing is copied unless everything fits.
///
/// # Errors
/// [`Refused`] says what does not fit.
pub fn load(files: &Files, ram: &GuestRam, region: &Region) -> Result<Start, Refused> {
    // The region that a file is in has zeros after it, to its last page.
    let end = files.kernel.bytes.iter().rposition(|byte| *byte != 0);
    let kernel_size = end.map_or(0, |end| end as u64 + 1);
    let limits = (ram.start().value(), ram.len());
    let image = Image::check(
        files.kernel.bytes,
        kernel_size,
        files.kernel.address,
        limits,
    )
    .map_err(Refused::Kernel)?;
    if let Some(found) = files.device_tree.bytes.first_chunk::<4>()
        && *found != DEVICE_TREE_MAGIC
    {
        return Err(Refused::DeviceTree(*found));
    }
    let places = [
        Place {
            name: "kernel",
            address: image.entry,
            size: image.size,
        },
        Place {
            name: "device tree",
            address: files.device_tree.address,
            size: length(files.device_tree.bytes),
        },
        Place {
            name: "initial RAM disk",
            address: files.initrd.address,
            size: length(files.initrd.bytes),
        },
    ];
    check(&places, limits)?;
    let kernel = usize::try_from(image.size)
        .ok()
        .and_then(|size| files.kernel.bytes.get(..size))
        .unwrap_or(files.kernel.bytes);
    copy(kernel, image.entry, ram, region);
    copy(
        files.device_tree.bytes,
        files.device_tree.address,
        ram,
        region,
    );
    copy(files.initrd.bytes, files.initrd.address, ram, region);
    unify(image.entry, length(kernel), region);
    Ok(Start {
        entry: image.entry,
        device_tree: files.device_tree.address,
    })
}

fn check(places: &[Place], (start, len): (u64, u64)) -> Result<(), Refused> {
    for (index, place) in places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.size != 0)
    {
        let Place {
            name,
            address,
            size,
        } = *place;
        let offset = address.checked_sub(start).filter(|offset| *offset <= len);
        if offset.is_none_or(|offset| size > len - offset) {
            return Err(Refused::Outside(name, address, size, start, len));
        }
        let earlier = places.iter().take(index).filter(|other| other.size != 0);
        for other in earlier {
            if place.overlaps(other) {
                return Err(Refused::Overlap(name, address, other.name, other.address));
            }
        }
    }
    Ok(())
}

/// Copies to a guest-physical address in RAM, and on to memory.
pub fn copy(bytes: &[u8], address: u64, ram: &GuestRam, region: &Region) {
    let Ok(len) = u32::try_from(bytes.len()) else {
        return;
    };
    let Ok(span) = ram.check(GuestRange::new(GuestAddress::new(address), len)) else {
        return;
    };
    ram.write_bytes(span, bytes);
    let start = region.vaddr.wrapping_add(span.offset());
    cache::flush(start, start.wrapping_add(len.into()));
}

/// Makes code visible to instruction fetches.
pub fn unify(address: u64, size: u64, region: &Region) {
    let start = region.vaddr.wrapping_add(address.wrapping_sub(region.bus));
    pieces(start, size, LARGE_PAGE, |start, end| {
        if cache::unify(start, end).is_err() {
            // A kernel maintains no more than one page at a time, and RAM may be mapped with small ones.
            pieces(start, end.wrapping_sub(start), PAGE, |start, end| {
                // What cannot be maintained at all is not cached.
                let _ = cache::unify(start, end);
            });
        }
    });
}

/// Calls `each` with the parts of a range that lie in one page of `size` each.
fn pieces(start: u64, len: u64, size: u64, mut each: impl FnMut(u64, u64)) {
    let end = start.saturating_add(len);
    let mut at = start;
    while at < end {
        let next = (at | (size - 1)).saturating_add(1).min(end);
        each(at, next);
        at = next;
    }
}

fn length(bytes: &[u8]) -> u64 {
    // A slice is never longer than an address.
    bytes.len() as u64
}
