//! Guest-physical addresses and ranges as a guest claims them, and spans that have been proven.

use core::fmt;

/// A guest-physical address, as claimed: it may point anywhere.
///
/// It has no operators on purpose: `a + b` on a number that a guest chose is an overflow waiting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestAddress(u64);

impl GuestAddress {
    /// Wraps an address that nobody has checked.
    #[must_use]
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The bare number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The address `bytes` further up, or `None` past the end of the 64-bit space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How many bytes this address lies above `base`, or `None` if it lies below.
    #[must_use]
    pub const fn checked_offset_from(self, base: Self) -> Option<u64> {
        self.0.checked_sub(base.0)
    }

    /// Whether the address is a multiple of `alignment`. Nothing is a multiple of 0.
    #[must_use]
    pub const fn is_aligned_to(self, alignment: u64) -> bool {
        match self.0.checked_rem(alignment) {
            Some(rest) => rest == 0,
            None => false,
        }
    }
}

impl From<u64> for GuestAddress {
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for GuestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A range of guest memory, as claimed: it may lie anywhere and wrap around.
///
/// Its length has 32 bits because a descriptor's has (virtIO 1.2 §2.7.5), and no other range that
/// a guest names is longer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GuestRange {
    start: GuestAddress,
    len: u32,
}

impl GuestRange {
    /// A claimed range of `len` bytes from `start`.
    #[must_use]
    pub const fn new(start: GuestAddress, len: u32) -> Self {
        Self { start, len }
    }

    /// The first byte's address.
    #[must_use]
    pub const fn start(self) -> GuestAddress {
        self.start
    }

    /// Length in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a claim's emptiness decides nothing"
    )]
    pub const fn len(self) -> u32 {
        self.len
    }
}

impl fmt::Display for GuestRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + {:#x}", self.start, self.len)
    }
}

impl fmt::Debug for GuestRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A piece of a guest's RAM that has been proven to lie inside it: `len` bytes at `offset` from
/// the RAM's first byte.
///
/// Only [`GuestRam::check`](crate::GuestRam::check) makes one out of a claim, and everything else
/// only makes smaller ones. The offset is what a ring to a driver carries, and what a driver turns
/// into a DMA address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    offset: u64,
    len: u32,
}

impl Span {
    /// No bytes at all: what a scratch table is filled with.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };

    /// To be called with what has just been proven.
    pub(crate) const fn proven(offset: u64, len: u32) -> Self {
        Self { offset, len }
    }

    /// Distance in bytes from the first byte of the RAM.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.len
    }

    /// Whether there are no bytes in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The first `at` bytes and the rest, or `None` if there are fewer than `at`.
    #[must_use]
    pub const fn split_at(self, at: u32) -> Option<(Self, Self)> {
        match self.len.checked_sub(at) {
            // Inside a span `offset + at` cannot overflow: it is at most the end of the RAM.
            Some(rest) => Some((
                Self::proven(self.offset, at),
                Self::proven(self.offset.wrapping_add(at as u64), rest),
            )),
            None => None,
        }
    }

    /// `len` bytes from the `from`th, or `None` if the span does not have them.
    #[must_use]
    pub const fn slice(self, from: u32, len: u32) -> Option<Self> {
        match self.split_at(from) {
            Some((_, rest)) => match rest.split_at(len) {
                Some((wanted, _)) => Some(wanted),
                None => None,
            },
            None => None,
        }
    }

    /// The span without its first `bytes` bytes; empty if it has no more than those.
    #[must_use]
    pub const fn skip(self, bytes: u32) -> Self {
        let skipped = if bytes < self.len { bytes } else { self.len };
        Self::proven(
            self.offset.wrapping_add(skipped as u64),
            self.len.wrapping_sub(skipped),
        )
    }

    /// The span's first `bytes` bytes, or all of it if it has fewer.
    #[must_use]
    pub const fn truncate(self, bytes: u32) -> Self {
        Self::proven(self.offset, if bytes < self.len { bytes } else { self.len })
    }

    /// Whether the two share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        // Ends of spans are at most the end of a RAM, which `GuestRam::new` keeps below 2^63.
        let (end, other_end) = (
            self.offset.wrapping_add(self.len as u64),
            other.offset.wrapping_add(other.len as u64),
        );
        self.len != 0 && other.len != 0 && self.offset < other_end && other.offset < end
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RAM + {:#x}, {:#x} bytes", self.offset, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arithmetic_on_claims_never_wraps() {
        let top = GuestAddress::new(u64::MAX);
        assert_eq!(top.checked_add(1), None);
        assert_eq!(top.checked_add(0), Some(top));
        assert_eq!(
            GuestAddress::new(4).checked_offset_from(GuestAddress::new(5)),
            None
        );
        assert_eq!(
            GuestAddress::new(9).checked_offset_from(GuestAddress::new(5)),
            Some(4)
        );
    }

    #[test]
    fn nothing_is_aligned_to_zero() {
        assert!(!GuestAddress::new(0).is_aligned_to(0));
        assert!(GuestAddress::new(0x1000).is_aligned_to(16));
        assert!(!GuestAddress::new(0x1008).is_aligned_to(16));
    }

    #[test]
    fn claims_print_in_hex() {
        let range = GuestRange::new(GuestAddress::new(0x4000_1000), 0x200);
        assert_eq!(range.to_string(), "0x40001000 + 0x200");
        assert_eq!(format!("{range:?}"), range.to_string());
    }

    proptest! {
        #[test]
        fn parts_of_a_span_stay_in_it(offset in 0u64..1 << 41, len: u32, from: u32, part: u32) {
            let span = Span::proven(offset, len);
            let inside = |s: Span| s.offset >= offset
                && s.offset + u64::from(s.len) <= offset + u64::from(len);
            prop_assert!(inside(span.skip(from)));
            prop_assert!(inside(span.truncate(part)));
            prop_assert_eq!(span.skip(from).len(), len.saturating_sub(from));
            match span.slice(from, part) {
                Some(s) => prop_assert!(
                    inside(s) && s.len == part && s.offset == offset + u64::from(from)
                ),
                None => prop_assert!(u64::from(from) + u64::from(part) > u64::from(len)),
            }
        }

        #[test]
        fn overlap_is_sharing_a_byte(a in 0u64..12, b in 0u32..6, c in 0u64..12, d in 0u32..6) {
            let shared = (a..a + u64::from(b)).any(|byte| (c..c + u64::from(d)).contains(&byte));
            prop_assert_eq!(Span::proven(a, b).overlaps(Span::proven(c, d)), shared);
        }
    }
}
