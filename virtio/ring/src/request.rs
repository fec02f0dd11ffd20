//! Requests and completions of a device region.
//!
//! A request is a [`Header`] entry followed by [`Header::count`] [`Segment`] entries; the backend publishes whole
//! requests only. A segment names guest memory by its offset in guest RAM, so that the driver checks it against
//! one length and adds one base; nothing in a ring is an address. A completion carries the request's `id` and
//! `tag` back, in any order.
//!
//! Ids belong to the backend, which never has two requests in flight with the same one, and never more requests in
//! flight than the completion ring has slots: so the driver always has room for a completion, and one that has
//! none is looking at a backend that breaks the rules, and may stop serving it.
//!
//! [`RESET`] works for every device: the driver stops, completes or waits for everything it was given before,
//! gives those completions, and then completes the reset itself. After that it holds no guest memory. A backend
//! sends it when it starts and when its guest resets the device; `tag` tells the completions of an earlier life
//! from those of this one.

use crate::consumer::Consumer;
use crate::fault::PeerFault;
use crate::producer::Producer;
use crate::slot::entry;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operation: give back everything. No segments.
pub const RESET: u8 = 0xff;

/// An entry of the request ring: a [`Header`] or a [`Segment`], by its place.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Entry {
    words: [u64; 2],
}

/// What is to be done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Chosen by the backend, comes back in the completion.
    pub id: u16,
    /// Chosen by the backend, comes back in the completion: its life, so that it recognizes strangers.
    pub tag: u16,
    /// [`RESET`] or an operation of [`crate::block`] or [`crate::net`].
    pub op: u8,
    /// Depends on the operation; otherwise 0.
    pub flags: u8,
    /// Number of segments that follow.
    pub count: u16,
    /// Block: the first sector, in units of 512 bytes.
    pub sector: u64,
}

/// A piece of guest memory, or of the memory that a net backend makes frames in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Segment {
    /// Where it starts, in bytes from the start of guest RAM or of the frames. (Block ranges: a sector.)
    pub offset: u64,
    /// Bytes. (Block ranges: sectors.)
    pub len: u32,
    /// [`Segment::DEVICE_WRITES`], [`Segment::FRAMES`] or 0.
    pub flags: u32,
}

impl Segment {
    /// The hardware writes it; otherwise it reads it.
    pub const DEVICE_WRITES: u32 = 1;
    /// It lies in the frames that the backend makes ([`crate::net`]), not in guest RAM; the hardware reads it.
    pub const FRAMES: u32 = 2;

    /// Whether the hardware writes it.
    pub const fn device_writes(&self) -> bool {
        self.flags & Self::DEVICE_WRITES != 0
    }

    /// Its end as an offset, if it lies inside guest RAM of `ram` bytes.
    pub fn end_within(&self, ram: u64) -> Option<u64> {
        self.offset
            .checked_add(u64::from(self.len))
            .filter(|end| *end <= ram)
    }
}

/// What has been done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Completion {
    /// The request's.
    pub id: u16,
    /// The request's.
    pub tag: u16,
    /// [`status`].
    pub status: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// Bytes that the hardware wrote into the segments, from the first one.
    pub len: u32,
    /// Always 0.
    pub reserved_2: u32,
}

/// Values of [`Completion::status`].
pub mod status {
    /// Done.
    pub const OK: u8 = 0;
    /// Failed; the data is undefined.
    pub const ERROR: u8 = 1;
    /// The driver or its hardware does not do that.
    pub const UNSUPPORTED: u8 = 2;
    /// Given back undone, because of a reset or because the driver restarted its hardware.
    pub const CANCELLED: u8 = 3;
}

entry!(Entry, Completion);

impl From<Header> for Entry {
    fn from(header: Header) -> Self {
        zerocopy::transmute!(header)
    }
}

impl From<Segment> for Entry {
    fn from(segment: Segment) -> Self {
        zerocopy::transmute!(segment)
    }
}

impl From<Entry> for Header {
    fn from(entry: Entry) -> Self {
        zerocopy::transmute!(entry)
    }
}

impl From<Entry> for Segment {
    fn from(entry: Entry) -> Self {
        zerocopy::transmute!(entry)
    }
}

impl Completion {
    /// The completion of `header`'s request.
    pub const fn of(header: &Header, status: u8, len: u32) -> Self {
        Self {
            id: header.id,
            tag: header.tag,
            status,
            reserved: [0; 3],
            len,
            reserved_2: 0,
        }
    }
}

impl Producer<Entry> {
    /// Stages a whole request, its `count` set from `segments`; false when the ring has no room for all of it (or
    /// never will, with more than 65,535 segments), and nothing is staged.
    ///
    /// # Errors
    /// As [`Producer::free`].
    pub fn push_request(
        &mut self,
        header: Header,
        segments: &[Segment],
    ) -> Result<bool, PeerFault> {
        let Ok(count) = u16::try_from(segments.len()) else {
            return Ok(false);
        };
        if !self.has_room(u32::from(count) + 1)? {
            return Ok(false);
        }
        self.stage(Header { count, ..header }.into());
        for segment in segments {
            self.stage((*segment).into());
        }
        Ok(true)
    }
}

impl Consumer<Entry> {
    /// Takes the next request: its segments into `segments` from the start, [`Header::count`] of them.
    ///
    /// # Errors
    /// [`PeerFault::Segments`] when there are more than fit, [`PeerFault::Torn`] when not all of it was published;
    /// nothing is taken then. Otherwise as [`Consumer::available`].
    pub fn pop_request(&mut self, segments: &mut [Segment]) -> Result<Option<Header>, PeerFault> {
        let Some(entry) = self.peek(0)? else {
            return Ok(None);
        };
        let header = Header::from(entry);
        let limit = segments.len();
        let Some(wanted) = segments.get_mut(..usize::from(header.count)) else {
            return Err(PeerFault::Segments {
                found: header.count,
                limit,
            });
        };
        let expected = u32::from(header.count) + 1;
        if !self.has(expected)? {
            let found = self.available()?;
            return Err(PeerFault::Torn { expected, found });
        }
        for (offset, segment) in (1..).zip(wanted) {
            if let Some(entry) = self.at(offset) {
                *segment = entry.into();
            }
        }
        self.skip(expected);
        Ok(Some(header))
    }
}
