//! Plain data as it lies in guest memory: virtIO's `le16`, `le32` and `le64` (virtIO 1.2 §1.4).

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A little-endian 16-bit field without alignment.
pub type Le16 = zerocopy::little_endian::U16;
/// A little-endian 32-bit field without alignment.
pub type Le32 = zerocopy::little_endian::U32;
/// A little-endian 64-bit field without alignment.
pub type Le64 = zerocopy::little_endian::U64;

/// A structure that a guest and a device exchange: any bytes are a valid value, and it has no
/// padding through which our memory could leak.
///
/// Implemented for whatever derives zerocopy's three traits.
pub trait Pod: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Pod for T {}
