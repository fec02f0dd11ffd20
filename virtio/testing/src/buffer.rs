//! What a test puts into a chain.

use sel4cp_memory::{GuestAddress, Pod};

/// One buffer of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// For the device to read: these bytes, which the guest allocates memory for.
    Readable(Vec<u8>),
    /// For the device to write: that many bytes, which the guest allocates memory for and fills
    /// with a pattern.
    Writable(u32),
    /// Any place at all: nothing is allocated, nothing is checked.
    At {
        /// Where.
        address: GuestAddress,
        /// How many bytes.
        len: u32,
        /// Whether the device is to write it.
        writable: bool,
    },
}

impl Buffer {
    /// Whether the device is to write it.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        matches!(self, Self::Writable(_) | Self::At { writable: true, .. })
    }
}

/// Bytes for the device to read.
#[must_use]
pub fn readable(bytes: impl AsRef<[u8]>) -> Buffer {
    Buffer::Readable(bytes.as_ref().to_vec())
}

/// A structure for the device to read.
#[must_use]
pub fn readable_obj<T: Pod>(object: &T) -> Buffer {
    readable(object.as_bytes())
}

/// Room for the device to write `len` bytes.
#[must_use]
pub const fn writable(len: u32) -> Buffer {
    Buffer::Writable(len)
}
