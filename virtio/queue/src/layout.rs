//! Where the three parts of a split virtqueue lie, and what they look like (virtIO 1.2 §2.7).
//!
//! ```text
//!   descriptor table  16 × size      addr:64 len:32 flags:16 next:16   written by the driver
//!   available ring    6 + 2 × size   flags idx ring[size] used_event   written by the driver
//!   used ring         6 + 8 × size   flags idx ring[size] avail_event  written by the device
//! ```

use core::fmt;

use sel4cp_memory::{GuestAddress, GuestRam, GuestRange, Le16, Le32, Le64, Span, Word, Words};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::fault::GuestFault;

/// The largest queue that this crate serves: 1024 descriptors.
pub const MAX_SIZE: u16 = 1024;

bitflags::bitflags! {
    /// The feature bits that change how a queue works (§6), at their places in a device's features:
    /// `Features::from_bits_truncate` of what the driver accepted is what a queue wants.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Descriptors may refer to a table of descriptors (§2.7.5.3).
        #[doc(alias = "VIRTIO_F_INDIRECT_DESC")]
        const INDIRECT_DESC = 1 << 28;
        /// `used_event` and `avail_event` say when to notify (§2.7.7, §2.7.10).
        #[doc(alias = "VIRTIO_F_EVENT_IDX")]
        const EVENT_IDX = 1 << 29;
    }

    /// A descriptor's flags (§2.7.5).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DescriptorFlags: u16 {
        /// The chain goes on at `next`.
        #[doc(alias = "VIRTQ_DESC_F_NEXT")]
        const NEXT = 1;
        /// The device writes the buffer; otherwise it reads it.
        #[doc(alias = "VIRTQ_DESC_F_WRITE")]
        const WRITE = 2;
        /// The buffer is a table of descriptors.
        #[doc(alias = "VIRTQ_DESC_F_INDIRECT")]
        const INDIRECT = 4;
    }

    /// The available ring's flags (§2.7.6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AvailableFlags: u16 {
        /// The driver does not want to be interrupted.
        #[doc(alias = "VIRTQ_AVAIL_F_NO_INTERRUPT")]
        const NO_INTERRUPT = 1;
    }

    /// The used ring's flags (§2.7.8).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UsedFlags: u16 {
        /// The device does not want to be notified.
        #[doc(alias = "VIRTQ_USED_F_NO_NOTIFY")]
        const NO_NOTIFY = 1;
    }
}

/// One descriptor, as it lies in guest memory (§2.7.5).
#[doc(alias = "virtq_desc")]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub address: Le64,
    /// Length of the buffer in bytes.
    pub len: Le32,
    /// [`DescriptorFlags`].
    pub flags: Le16,
    /// Index of the chain's next descriptor, if the flags say that there is one.
    pub next: Le16,
}

impl Descriptor {
    /// Size in guest memory.
    pub const SIZE: u32 = 16;

    /// The flags, without bits that the specification does not define.
    #[must_use]
    pub fn flags(&self) -> DescriptorFlags {
        DescriptorFlags::from_bits_truncate(self.flags.get())
    }

    /// The buffer, as claimed.
    #[must_use]
    pub fn range(&self) -> GuestRange {
        GuestRange::new(GuestAddress::new(self.address.get()), self.len.get())
    }
}

/// One element of the used ring (§2.7.8).
#[doc(alias = "virtq_used_elem")]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UsedElement {
    /// Index of the chain's first descriptor.
    pub id: Le32,
    /// How many bytes the device wrote into the chain's buffers.
    pub len: Le32,
}

/// One of a queue's three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// The descriptor table, or Descriptor Area.
    Descriptors,
    /// The available ring, or Driver Area.
    Available,
    /// The used ring, or Device Area.
    Used,
}

impl Area {
    /// Required alignment in bytes (§2.7).
    #[must_use]
    pub const fn alignment(self) -> u64 {
        match self {
            Self::Descriptors => 16,
            Self::Available => 2,
            Self::Used => 4,
        }
    }

    /// Size in bytes for a queue of `size` descriptors (§2.7). The event words count even if
    /// EVENT_IDX has not been negotiated.
    #[must_use]
    pub const fn bytes(self, size: u16) -> u32 {
        let size = size as u32;
        match self {
            Self::Descriptors => Descriptor::SIZE * size,
            Self::Available => 6 + 2 * size,
            Self::Used => 6 + 8 * size,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "descriptor table",
            Self::Available => "available ring",
            Self::Used => "used ring",
        })
    }
}

/// A queue as the driver has configured it: claims, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of descriptors; must be a power of two, at most [`MAX_SIZE`].
    pub size: u16,
    /// Where the descriptor table is (QueueDesc).
    pub descriptors: GuestAddress,
    /// Where the available ring is (QueueDriver).
    pub driver: GuestAddress,
    /// Where the used ring is (QueueDevice).
    pub device: GuestAddress,
    /// What the driver accepted; bits that are no business of a queue are not in the type.
    pub features: Features,
}

/// A queue's parts, proven to be in RAM, aligned and apart from each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) size: u16,
    pub(crate) descriptors: Span,
    pub(crate) available_flags: Word<u16>,
    pub(crate) available_index: Word<u16>,
    pub(crate) available: Words<u16>,
    pub(crate) used_event: Word<u16>,
    pub(crate) used_flags: Word<u16>,
    pub(crate) used_index: Word<u16>,
    /// Twice as many words as elements: id, len, id, len …
    pub(crate) used: Words<u32>,
    pub(crate) available_event: Word<u16>,
}

impl Layout {
    pub(crate) fn new(ram: &GuestRam, config: &Config) -> Result<Self, GuestFault> {
        let size = config.size;
        if !size.is_power_of_two() || size > MAX_SIZE {
            return Err(GuestFault::Size { size });
        }
        let prove = |area: Area, address: GuestAddress| {
            if !address.is_aligned_to(area.alignment()) {
                return Err(GuestFault::AreaMisaligned { area, address });
            }
            ram.check(GuestRange::new(address, area.bytes(size)))
                .map_err(|outside| GuestFault::AreaOutside { area, outside })
        };
        let descriptors = prove(Area::Descriptors, config.descriptors)?;
        let available = prove(Area::Available, config.driver)?;
        let used = prove(Area::Used, config.device)?;
        let parts = [
            (Area::Descriptors, descriptors),
            (Area::Available, available),
            (Area::Used, used),
        ];
        for ((one, a), (other, b)) in [
            (parts[0], parts[1]),
            (parts[0], parts[2]),
            (parts[1], parts[2]),
        ] {
            if a.overlaps(b) {
                return Err(GuestFault::AreasOverlap { one, other });
            }
        }
        // All words are inside and aligned now, so that none of these is `None`; if one were, the
        // truth would be that the area cannot be used as one.
        let count = u32::from(size);
        let words = || {
            Some(Self {
                size,
                descriptors,
                available_flags: ram.word(available, 0)?,
                available_index: ram.word(available, 2)?,
                available: ram.words(available, 4, count)?,
                used_event: ram.word(available, 4 + 2 * count)?,
                used_flags: ram.word(used, 0)?,
                used_index: ram.word(used, 2)?,
                used: ram.words(used, 4, 2 * count)?,
                available_event: ram.word(used, 4 + 8 * count)?,
            })
        };
        words().ok_or(GuestFault::Size { size })
    }
}
