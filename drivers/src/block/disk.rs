//! The hardware: what it is (§5.2.4), and its one queue.

use crate::virtio::queue::{MAX_PIECES, Queue};
use crate::virtio::transport::{Trouble, field8, field16, field32, negotiate};
use core::mem::offset_of;
use sel4cp_model::block::{Config, Features, REQUESTQ};
use sel4cp_model::features::Features as Common;
use sel4cp_ring::block::{Disk as Facts, MAX_SEGMENTS};
use virtio_drivers::transport::Transport;

/// Most ranges of a discard or write-zeroes that fit into a request's own memory.
pub const MAX_RANGES: u32 = 2;
/// Descriptors of the queue: as many as QEMU allows.
pub const QUEUE_SIZE: usize = 1024;

/// What is used of the hardware, if it has it.
const WANTED: Features = Features::SIZE_MAX
    .union(Features::SEG_MAX)
    .union(Features::RO)
    .union(Features::BLK_SIZE)
    .union(Features::FLUSH)
    .union(Features::TOPOLOGY)
    .union(Features::DISCARD)
    .union(Features::WRITE_ZEROES);

/// A disk.
pub struct Disk<T> {
    pub(super) transport: T,
    features: Features,
    /// What the backend is told.
    facts: Facts,
}

impl<T: Transport> Disk<T> {
    /// Resets the disk behind `transport` and sets it up with `queue`.
    ///
    /// # Errors
    /// [`Trouble`] says why it cannot be used.
    pub fn start<R>(transport: T, queue: &mut Queue<R, QUEUE_SIZE>) -> Result<Self, Trouble> {
        let mut disk = Self {
            transport,
            features: Features::empty(),
            facts: Facts::default(),
        };
        disk.set_up(queue)?;
        Ok(disk)
    }

    /// Resets the disk and sets it up with `queue`, which must have nothing in flight.
    ///
    /// # Errors
    /// [`Trouble`] says why it cannot be used.
    pub fn set_up<R>(&mut self, queue: &mut Queue<R, QUEUE_SIZE>) -> Result<(), Trouble> {
        let agreed = negotiate(&mut self.transport, WANTED.bits())?;
        let event_idx = agreed & Common::EVENT_IDX.bits() != 0;
        queue.set_up(&mut self.transport, REQUESTQ, event_idx)?;
        self.transport.finish_init();
        self.features = Features::from_bits_truncate(agreed);
        self.facts = self.read_facts()?;
        Ok(())
    }

    /// What the backend is told.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads the configuration space again; true if something has changed.
    ///
    /// # Errors
    /// The configuration space is too small.
    pub fn refresh(&mut self) -> Result<bool, Trouble> {
        let facts = self.read_facts()?;
        let old = core::mem::replace(&mut self.facts, facts);
        Ok(old != facts)
    }

    fn read_facts(&self) -> Result<Facts, Trouble> {
        let transport = &self.transport;
        let mut facts = transport.read_consistent(|| self.read_once())?;
        // Header and status have a descriptor each.
        let most = u32::try_from(MAX_SEGMENTS.min(MAX_PIECES - 2)).unwrap_or(1);
        facts.max_segments = match facts.max_segments {
            0 => most,
            limit => limit.min(most),
        };
        facts.max_discard_ranges = facts.max_discard_ranges.min(MAX_RANGES);
        facts.max_write_zeroes_ranges = facts.max_write_zeroes_ranges.min(MAX_RANGES);
        Ok(facts)
    }

    /// The configuration space's fields, those that the features make valid.
    fn read_once(&self) -> virtio_drivers::Result<Facts> {
        let transport = &self.transport;
        let with = |feature| self.features.contains(feature);
        let capacity = offset_of!(Config, capacity);
        let low = field32(transport, capacity)?;
        let high = field32(transport, capacity + 4)?;
        let mut facts = Facts {
            capacity: u64::from(high) << 32 | u64::from(low),
            block_size: 512,
            ..Facts::default()
        };
        if with(Features::SIZE_MAX) {
            facts.max_segment_size = field32(transport, offset_of!(Config, size_max))?;
        }
        if with(Features::SEG_MAX) {
            facts.max_segments = field32(transport, offset_of!(Config, seg_max))?;
        }
        if with(Features::BLK_SIZE) {
            facts.block_size = field32(transport, offset_of!(Config, blk_size))?;
        }
        if with(Features::TOPOLOGY) {
            facts.physical_block_exponent =
                field8(transport, offset_of!(Config, physical_block_exp))?;
            facts.alignment_offset = field8(transport, offset_of!(Config, alignment_offset))?;
            facts.min_io_size = field16(transport, offset_of!(Config, min_io_size))?;
            facts.opt_io_size = field32(transport, offset_of!(Config, opt_io_size))?;
        }
        if with(Features::RO) {
            facts.features |= Facts::READ_ONLY;
        }
        if with(Features::FLUSH) {
            facts.features |= Facts::FLUSH;
        }
        if with(Features::DISCARD) {
            facts.features |= Facts::DISCARD;
            facts.max_discard_sectors =
                field32(transport, offset_of!(Config, max_discard_sectors))?;
            facts.max_discard_ranges = field32(transport, offset_of!(Config, max_discard_seg))?;
            facts.discard_alignment =
                field32(transport, offset_of!(Config, discard_sector_alignment))?;
        }
        if with(Features::WRITE_ZEROES) {
            facts.features |= Facts::WRITE_ZEROES;
            facts.max_write_zeroes_sectors =
                field32(transport, offset_of!(Config, max_write_zeroes_sectors))?;
            facts.max_write_zeroes_ranges =
                field32(transport, offset_of!(Config, max_write_zeroes_seg))?;
            if field8(transport, offset_of!(Config, write_zeroes_may_unmap))? == 1 {
                facts.features |= Facts::WRITE_ZEROES_UNMAPS;
            }
        }
        Ok(facts)
    }
}
