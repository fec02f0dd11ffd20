//! What a block backend and a block driver say to each other.

use crate::info::Facts;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operation: read from [`sector`](crate::request::Header::sector) into the segments, which the device writes.
/// Their lengths are multiples of 512 only in sum.
pub const READ: u8 = 1;
/// Operation: write the segments from [`sector`](crate::request::Header::sector) on.
pub const WRITE: u8 = 2;
/// Operation: everything completed before is durable when this completes. No segments.
pub const FLUSH: u8 = 3;
/// Operation: the contents of the ranges are no longer needed. Each segment is a range on the disk: `offset` its
/// first sector, `len` its number of sectors, `flags` 0.
pub const DISCARD: u8 = 4;
/// Operation: the ranges read as zero afterwards. Segments as for [`DISCARD`]; `flags` bit 0: may be unmapped.
pub const WRITE_ZEROES: u8 = 5;
/// Most segments of a request, of any operation.
pub const MAX_SEGMENTS: usize = 256;
/// Flag of a [`WRITE_ZEROES`] range: the device may deallocate it.
pub const UNMAP: u32 = 1;

/// What a disk is and can do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Disk {
    /// Operations beyond reading and writing: [`Disk::FLUSH`] and so on.
    pub features: u64,
    /// Size in units of 512 bytes.
    pub capacity: u64,
    /// Logical block in bytes; 0: 512.
    pub block_size: u32,
    /// Most segments of a read or write that the hardware takes; 0: [`MAX_SEGMENTS`].
    pub max_segments: u32,
    /// Most bytes of one segment; 0: no limit.
    pub max_segment_size: u32,
    /// Logical blocks in a physical one, as a power of two.
    pub physical_block_exponent: u8,
    /// Logical blocks from the start of the disk to the first aligned one.
    pub alignment_offset: u8,
    /// Smallest good request in logical blocks; 0: unknown.
    pub min_io_size: u16,
    /// Best request in logical blocks; 0: unknown.
    pub opt_io_size: u32,
    /// Most sectors of one [`DISCARD`] range.
    pub max_discard_sectors: u32,
    /// Most ranges of one [`DISCARD`].
    pub max_discard_ranges: u32,
    /// Granularity of [`DISCARD`] in sectors.
    pub discard_alignment: u32,
    /// Most sectors of one [`WRITE_ZEROES`] range.
    pub max_write_zeroes_sectors: u32,
    /// Most ranges of one [`WRITE_ZEROES`].
    pub max_write_zeroes_ranges: u32,
}

impl Disk {
    /// [`FLUSH`] reaches the medium. Without it, a write is durable when it completes.
    pub const FLUSH: u64 = 1;
    /// The disk refuses writes.
    pub const READ_ONLY: u64 = 1 << 1;
    /// [`DISCARD`] works.
    pub const DISCARD: u64 = 1 << 2;
    /// [`WRITE_ZEROES`] works.
    pub const WRITE_ZEROES: u64 = 1 << 3;
    /// [`WRITE_ZEROES`] may deallocate when asked with [`UNMAP`].
    pub const WRITE_ZEROES_UNMAPS: u64 = 1 << 4;
}

impl Facts for Disk {
    const KIND: u32 = 2;
}
