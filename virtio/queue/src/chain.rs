//! One chain of descriptors: walked once, proven, and then read and written (virtIO 1.2 §2.7.4,
//! §2.7.5).

use sel4cp_memory::{GuestRam, Span};

use crate::buffer::{Reader, Writer};
use crate::fault::GuestFault;
use crate::layout::{Descriptor, DescriptorFlags, Features, Layout};

/// §2.7.5.2: no chain is longer than this, in bytes.
const MAX_BYTES: u64 = 1 << 32;

/// A request of the driver: the buffers that the device reads, then those that it writes, each
/// proven to lie in the guest's RAM.
///
/// It is our own copy of what the descriptors said: the guest cannot change it any more. (What is
/// *in* the buffers it can still change, so that is copied before it is looked at, too.)
///
/// Nothing says that the buffers of a chain, or of two chains, are apart. Where they overlap, the
/// guest gets the mixture that it asked for, inside its own memory.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'s> {
    ram: GuestRam,
    readable: &'s [Span],
    writable: &'s [Span],
    readable_len: u64,
    writable_len: u64,
}

impl<'s> Chain<'s> {
    /// The buffers that the device reads, none of them empty.
    #[must_use]
    pub const fn readable(&self) -> &'s [Span] {
        self.readable
    }

    /// The buffers that the device writes, none of them empty.
    #[must_use]
    pub const fn writable(&self) -> &'s [Span] {
        self.writable
    }

    /// How many bytes the device may read, at most 2³².
    #[must_use]
    pub const fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// How many bytes the device may write, at most 2³².
    #[must_use]
    pub const fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Reads the device-readable bytes from the first on.
    #[must_use]
    pub const fn reader(&self) -> Reader<'s> {
        Reader::new(self.ram, self.readable, self.readable_len)
    }

    /// Writes the device-writable bytes from the first on.
    #[must_use]
    pub const fn writer(&self) -> Writer<'s> {
        Writer::new(self.ram, self.writable, self.writable_len)
    }
}

/// Follows the chain that starts at `head` and writes its buffers to `segments`.
///
/// Each descriptor is read once. The walk ends after at most `segments.len() + 1` of them, whatever
/// the guest writes meanwhile.
///
/// A descriptor of length 0 is accepted and skipped, wherever it points: the specification has no
/// rule against it, and as no byte of it is ever touched, nothing is to be checked. It counts as a
/// descriptor and for the order of readable and writable ones.
#[inline]
pub(crate) fn walk<'s>(
    ram: &GuestRam,
    layout: &Layout,
    features: Features,
    head: u16,
    segments: &'s mut [Span],
) -> Result<Chain<'s>, GuestFault> {
    let limit = segments.len();
    let mut table = layout.descriptors;
    let mut entries = u32::from(layout.size);
    let mut indirect = false;
    // Descriptors seen in this table, and buffers seen in all.
    let mut steps = 0u32;
    let mut visited = 0usize;
    let mut index = head;

    let mut slots = 0usize;
    let mut readable_slots = None;
    let mut readable_len = 0u64;
    let mut bytes = 0u64;

    loop {
        let place = table.slice(u32::from(index) * Descriptor::SIZE, Descriptor::SIZE);
        let Some(descriptor) = place.and_then(|place| ram.read::<Descriptor>(place)) else {
            return Err(GuestFault::NextOutOfRange {
                next: index,
                entries,
            });
        };
        if steps == entries {
            return Err(GuestFault::ChainLoops { head, entries });
        }
        steps += 1;
        let flags = descriptor.flags();

        if flags.contains(DescriptorFlags::INDIRECT) {
            if !features.contains(Features::INDIRECT_DESC) {
                return Err(GuestFault::IndirectNotNegotiated { index });
            }
            if indirect {
                return Err(GuestFault::IndirectNested { index });
            }
            if flags.contains(DescriptorFlags::NEXT) {
                return Err(GuestFault::IndirectWithNext { index });
            }
            let range = descriptor.range();
            if range.len() == 0 || !range.len().is_multiple_of(Descriptor::SIZE) {
                return Err(GuestFault::IndirectLength {
                    index,
                    len: range.len(),
                });
            }
            // §2.7.5.3.2: WRITE means nothing here.
            table = ram
                .check(range)
                .map_err(|outside| GuestFault::IndirectOutside { index, outside })?;
            entries = range.len() / Descriptor::SIZE;
            indirect = true;
            steps = 0;
            index = 0;
            continue;
        }

        if visited == limit {
            return Err(GuestFault::ChainTooLong { head, limit });
        }
        visited += 1;
        if flags.contains(DescriptorFlags::WRITE) {
            if readable_slots.is_none() {
                readable_slots = Some(slots);
                readable_len = bytes;
            }
        } else if readable_slots.is_some() {
            return Err(GuestFault::ReadableAfterWritable { index });
        }
        let range = descriptor.range();
        if range.len() != 0 {
            let span = ram
                .check(range)
                .map_err(|outside| GuestFault::BufferOutside { index, outside })?;
            // At most `limit` times 2³² before it is refused: no overflow.
            bytes += u64::from(range.len());
            if bytes > MAX_BYTES {
                return Err(GuestFault::ChainTooLarge { head, bytes });
            }
            if let Some(slot) = segments.get_mut(slots) {
                *slot = span;
            }
            slots += 1;
        }
        if !flags.contains(DescriptorFlags::NEXT) {
            break;
        }
        index = descriptor.next.get();
    }

    let segments = segments.get(..slots).unwrap_or_default();
    let at = readable_slots.unwrap_or(slots);
    let (readable, writable) = segments.split_at_checked(at).unwrap_or_default();
    if readable_slots.is_none() {
        readable_len = bytes;
    }
    Ok(Chain {
        ram: *ram,
        readable,
        writable,
        readable_len,
        writable_len: bytes - readable_len,
    })
}
