//! Every way a guest's driver can break a queue, with the paragraph that it breaks.
//!
//! A fault is the guest's doing, never ours and never a peer's. What to do about all of them is
//! the same: set DEVICE_NEEDS_RESET, and touch the queue no more until the driver resets the device.

use core::fmt;

use sel4cp_memory::{GuestAddress, OutsideRam};

use crate::layout::{Area, Descriptor, MAX_SIZE};

/// Which of a chain's two kinds of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The device reads them.
    Readable,
    /// The device writes them.
    Writable,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readable => "device-readable",
            Self::Writable => "device-writable",
        })
    }
}

/// What a guest did to a queue that the specification forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFault {
    /// The queue's size is 0, not a power of two, or more than [`MAX_SIZE`].
    Size {
        /// What the driver wrote.
        size: u16,
    },
    /// A part of the queue does not have the alignment that it needs.
    AreaMisaligned {
        /// Which part.
        area: Area,
        /// Where the driver put it.
        address: GuestAddress,
    },
    /// A part of the queue is not in RAM.
    AreaOutside {
        /// Which part.
        area: Area,
        /// Where the driver put it.
        outside: OutsideRam,
    },
    /// Two parts of the queue share memory, so that device and driver would both write it.
    AreasOverlap {
        /// Which part.
        one: Area,
        /// And which other.
        other: Area,
    },
    /// The available index is further ahead than the ring is long, or went back.
    AvailableJump {
        /// What the driver wrote.
        index: u16,
        /// The next entry that the device would have taken.
        next: u16,
        /// The queue's size.
        size: u16,
    },
    /// An available entry names a descriptor that does not exist.
    HeadOutOfRange {
        /// What the driver wrote.
        head: u16,
        /// The queue's size.
        size: u16,
    },
    /// A chain was made available again before the device returned it.
    HeadInFlight {
        /// The chain's first descriptor.
        head: u16,
    },
    /// A descriptor's `next` is not in its table.
    NextOutOfRange {
        /// What the driver wrote.
        next: u16,
        /// How many descriptors the table has.
        entries: u32,
    },
    /// A chain visits more descriptors than its table has, so it goes round in a circle.
    ChainLoops {
        /// The chain's first descriptor.
        head: u16,
        /// How many descriptors the table has.
        entries: u32,
    },
    /// A chain has more descriptors than the device can take.
    ChainTooLong {
        /// The chain's first descriptor.
        head: u16,
        /// How many this device takes.
        limit: usize,
    },
    /// A chain's buffers add up to more than 2³² bytes.
    ChainTooLarge {
        /// The chain's first descriptor.
        head: u16,
        /// The sum up to where it became too much.
        bytes: u64,
    },
    /// A device-readable buffer follows a device-writable one.
    ReadableAfterWritable {
        /// The descriptor's index in its table.
        index: u16,
    },
    /// A buffer is not in RAM.
    BufferOutside {
        /// The descriptor's index in its table.
        index: u16,
        /// Which memory the descriptor names.
        outside: OutsideRam,
    },
    /// An indirect descriptor without the feature that allows it.
    IndirectNotNegotiated {
        /// The descriptor's index.
        index: u16,
    },
    /// An indirect descriptor inside an indirect table.
    IndirectNested {
        /// The descriptor's index in the indirect table.
        index: u16,
    },
    /// An indirect descriptor that is followed by another.
    IndirectWithNext {
        /// The descriptor's index.
        index: u16,
    },
    /// An indirect table whose length is 0 or not a multiple of a descriptor's.
    IndirectLength {
        /// The descriptor's index.
        index: u16,
        /// Its length in bytes.
        len: u32,
    },
    /// An indirect table that is not in RAM.
    IndirectOutside {
        /// The descriptor's index.
        index: u16,
        /// Which memory the descriptor names.
        outside: OutsideRam,
    },
    /// A chain has fewer bytes than the device's request format needs.
    BufferTooShort {
        /// Of which kind.
        direction: Direction,
        /// How many bytes were left.
        found: u64,
        /// How many were needed.
        needed: u64,
    },
}

impl GuestFault {
    /// The paragraph of virtIO 1.2 that forbids it.
    #[must_use]
    pub const fn paragraph(&self) -> &'static str {
        match self {
            Self::Size { .. } | Self::AreaOutside { .. } | Self::AreasOverlap { .. } => "2.7",
            Self::AreaMisaligned { .. } => "2.7.1",
            Self::HeadInFlight { .. } => "2.7.13.1",
            Self::AvailableJump { .. } => "2.7.6.1",
            Self::HeadOutOfRange { .. } => "2.7.6",
            Self::NextOutOfRange { .. } | Self::BufferOutside { .. } => "2.7.5",
            Self::ChainLoops { .. } | Self::ChainTooLarge { .. } => "2.7.5.2",
            Self::ChainTooLong { .. } => "2.7.4.1",
            Self::ReadableAfterWritable { .. } => "2.7.4.2",
            Self::IndirectNotNegotiated { .. }
            | Self::IndirectNested { .. }
            | Self::IndirectWithNext { .. } => "2.7.5.3.1",
            Self::IndirectLength { .. } | Self::IndirectOutside { .. } => "2.7.5.3",
            Self::BufferTooShort { .. } => "2.7.4",
        }
    }
}

impl fmt::Display for GuestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size } => {
                write!(
                    f,
                    "queue size {size}; expected a power of two up to {MAX_SIZE}"
                )
            }
            Self::AreaMisaligned { area, address } => {
                write!(
                    f,
                    "{area} at {address}; expected a multiple of {}",
                    area.alignment()
                )
            }
            Self::AreaOutside { area, outside } => write!(f, "{area} at {outside}"),
            Self::AreasOverlap { one, other } => {
                write!(f, "{one} and {other} overlap; expected separate memory")
            }
            Self::AvailableJump { index, next, size } => write!(
                f,
                "available index {index} while the device is at {next}; expected at most {size} more"
            ),
            Self::HeadOutOfRange { head, size } => {
                write!(f, "available descriptor {head}; expected less than {size}")
            }
            Self::HeadInFlight { head } => {
                write!(
                    f,
                    "descriptor {head} made available again; expected it to be used first"
                )
            }
            Self::NextOutOfRange { next, entries } => {
                write!(f, "next descriptor {next}; expected less than {entries}")
            }
            Self::ChainLoops { head, entries } => write!(
                f,
                "chain {head} visits more than its table's {entries} descriptors; expected no loop"
            ),
            Self::ChainTooLong { head, limit } => {
                write!(
                    f,
                    "chain {head} has more descriptors than expected: at most {limit}"
                )
            }
            Self::ChainTooLarge { head, bytes } => {
                write!(
                    f,
                    "chain {head} has {bytes:#x} bytes or more; expected at most 2^32"
                )
            }
            Self::ReadableAfterWritable { index } => write!(
                f,
                "descriptor {index} is device-readable after a device-writable one; expected all \
                 readable ones first"
            ),
            Self::BufferOutside { index, outside } => {
                write!(f, "descriptor {index}'s buffer at {outside}")
            }
            Self::IndirectNotNegotiated { index } => write!(
                f,
                "descriptor {index} is indirect; expected none, INDIRECT_DESC was not negotiated"
            ),
            Self::IndirectNested { index } => write!(
                f,
                "descriptor {index} of an indirect table is indirect; expected a buffer"
            ),
            Self::IndirectWithNext { index } => write!(
                f,
                "descriptor {index} is indirect and has a next one; expected it to be the last"
            ),
            Self::IndirectLength { index, len } => write!(
                f,
                "descriptor {index}'s indirect table has {len} bytes; expected a multiple of {}, \
                 and not 0",
                Descriptor::SIZE
            ),
            Self::IndirectOutside { index, outside } => {
                write!(f, "descriptor {index}'s indirect table at {outside}")
            }
            Self::BufferTooShort {
                direction,
                found,
                needed,
            } => {
                write!(f, "{found} {direction} bytes; expected at least {needed}")
            }
        }?;
        write!(f, " (virtIO 1.2 §{})", self.paragraph())
    }
}

impl core::error::Error for GuestFault {}
