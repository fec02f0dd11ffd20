//! What can be wrong with a peer, and with a region.

use core::fmt;

/// The other end of a ring broke its rules. Nothing was taken from or given to it; the ring stays usable for
/// as long as the peer's words make sense again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The peer's index left the range that this end allows.
    Index {
        /// What the peer published.
        found: u32,
        /// The lowest index it could have.
        lowest: u32,
        /// How far above that it could be.
        span: u32,
    },
    /// A request says it has more segments than were published with it.
    Torn {
        /// Entries that belong to the request, its header included.
        expected: u32,
        /// Entries that are there.
        found: u32,
    },
    /// A request has more segments than this end takes.
    Segments {
        /// Segments of the request.
        found: u16,
        /// Most that are accepted.
        limit: usize,
    },
    /// A packet has more payload than a packet may.
    Payload {
        /// Bytes that it says it has.
        found: u32,
        /// Most bytes.
        limit: u32,
    },
    /// A completion is for a request that is not in flight.
    Unexpected {
        /// The id it carries.
        id: u16,
    },
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index {
                found,
                lowest,
                span,
            } => write!(
                f,
                "peer's ring index is {found:#x}, expected {lowest:#x} or at most {span} above"
            ),
            Self::Torn { expected, found } => write!(
                f,
                "peer published {found} ring entries of a request that has {expected}"
            ),
            Self::Segments { found, limit } => write!(
                f,
                "peer's request has {found} segments, expected at most {limit}"
            ),
            Self::Payload { found, limit } => write!(
                f,
                "peer's packet has {found} bytes of payload, expected at most {limit}"
            ),
            Self::Unexpected { id } => {
                write!(f, "peer completed request {id}, which is not in flight")
            }
        }
    }
}

impl core::error::Error for PeerFault {}

/// A region that cannot hold the rings it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The region is smaller than the smallest layout.
    Size {
        /// Bytes of the region.
        found: usize,
        /// Fewest bytes that will do.
        expected: usize,
    },
    /// The region does not start at a page.
    Alignment {
        /// Its address.
        found: usize,
    },
    /// The number of slots is not a power of two between 2 and 2³⁰.
    Slots {
        /// Number of slots.
        found: usize,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { found, expected } => write!(
                f,
                "ring region has {found:#x} bytes, expected at least {expected:#x}"
            ),
            Self::Alignment { found } => {
                write!(
                    f,
                    "ring region is at {found:#x}, expected a multiple of 0x1000"
                )
            }
            Self::Slots { found } => {
                write!(
                    f,
                    "ring has {found} slots, expected a power of two from 2 to 2^30"
                )
            }
        }
    }
}

impl core::error::Error for Misfit {}
