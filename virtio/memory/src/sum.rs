//! The checksum of the Internet protocols (RFC 1071): a ones' complement sum of 16-bit words.
//!
//! Words are added as they lie in memory, little-endian. That gives the sum of big-endian words with its two bytes exchanged, and
//! stored the same way it is the right one (RFC 1071 §2 (B)).

/// A ones' complement sum of bytes, taken as 16-bit words from the first one on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Congruent to the sum modulo 2¹⁶ − 1, as are its 64 bits taken as four words. Below 2⁴³.
    words: u64,
    /// An odd number of bytes: the next one is the second of its word.
    odd: bool,
}

impl Sum {
    /// The sum of no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: 0,
            odd: false,
        }
    }

    /// The sum of `len` bytes, of which `words` is one modulo 2¹⁶ − 1.
    pub(crate) const fn of(words: u64, len: usize) -> Self {
        Self {
            words: fold(words),
            odd: !len.is_multiple_of(2),
        }
    }

    /// The sum of these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut words = 0_u64;
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            words = words.wrapping_add(fold(u64::from_le_bytes(*eight)));
        }
        let (fours, rest) = rest.as_chunks::<4>();
        for four in fours {
            words = words.wrapping_add(u32::from_le_bytes(*four).into());
        }
        let (twos, rest) = rest.as_chunks::<2>();
        for two in twos {
            words = words.wrapping_add(u16::from_le_bytes(*two).into());
        }
        for last in rest {
            words = words.wrapping_add((*last).into());
        }
        Self::of(words, bytes.len())
    }

    /// The sum of these bytes, and then of others.
    #[must_use]
    pub const fn then(self, others: Self) -> Self {
        // A shift by eight bits exchanges the bytes of each word, modulo 2¹⁶ − 1.
        let shift = if self.odd { 8 } else { 0 };
        Self {
            words: fold(self.words) + (fold(others.words) << shift),
            odd: self.odd != others.odd,
        }
    }

    /// With a big-endian word that lies at an even place.
    #[must_use]
    pub const fn with_u16(self, word: u16) -> Self {
        // As the upper one of two words, the other of which is 0.
        self.with_u32((word as u32) << 16)
    }

    /// With two big-endian words that lie at an even place.
    #[must_use]
    pub const fn with_u32(self, words: u32) -> Self {
        Self {
            words: fold(self.words) + u32::from_le_bytes(words.to_be_bytes()) as u64,
            odd: self.odd,
        }
    }

    /// What goes into a checksum field, as bytes. Never 0, which says in UDP that there is no checksum: 0xffff means the same
    /// number.
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        match !self.folded() {
            0 => [0xff; 2],
            sum => sum.to_le_bytes(),
        }
    }

    /// What goes into a checksum field that is to be completed, as bytes (virtIO 1.2 §5.1.6.2): the sum itself.
    #[must_use]
    pub const fn partial(self) -> [u8; 2] {
        self.folded().to_le_bytes()
    }

    /// In 16 bits.
    const fn folded(self) -> u16 {
        let folded = fold(self.words);
        let folded = (folded & 0xffff) + (folded >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        #[expect(clippy::cast_possible_truncation, reason = "the carries are in")]
        let folded = folded as u16;
        folded
    }
}

/// The same modulo 2¹⁶ − 1, in 33 bits.
const fn fold(words: u64) -> u64 {
    (words & 0xffff_ffff) + (words >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RFC 1071 §4.1 does it.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match !u16::try_from(sum).unwrap() {
            0 => 0xffff,
            sum => sum,
        }
    }

    #[test]
    fn known_sums() {
        // RFC 1071 §3: the sum is 0xddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of_bytes(&bytes).checksum(), [!0xdd, !0xf2]);
        // An IPv4 header, from RFC 791's fields: its checksum is 0xb861.
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00,
            0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(Sum::of_bytes(&header).checksum(), [0xb8, 0x61]);
        assert_eq!(Sum::new().checksum(), [0xff, 0xff]);
        assert_eq!(Sum::of_bytes(&[0xff, 0xff]).checksum(), [0xff, 0xff]);
        assert_eq!(Sum::of(u64::MAX, 0).checksum(), [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn parts_add_up(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..40)) {
            let mut sum = Sum::new();
            for part in &parts {
                sum = sum.then(Sum::of_bytes(part));
            }
            prop_assert_eq!(sum.checksum(), naive(&parts.concat()).to_be_bytes());
        }

        #[test]
        fn words_can_come_last(bytes in prop::collection::vec(any::<u8>(), 0..20), a: u16, b: u32) {
            let sum = Sum::of_bytes(&bytes).with_u16(a).with_u32(b);
            let all = [&a.to_be_bytes()[..], &b.to_be_bytes(), &bytes].concat();
            prop_assert_eq!(sum.checksum(), naive(&all).to_be_bytes());
        }

        #[test]
        fn the_largest_sums_do_not_overflow(words: u64, odd: bool) {
            let mut sum = Sum::of(words, usize::from(odd));
            let part = sum;
            for _ in 0..1000 {
                sum = sum.then(part).with_u32(u32::MAX);
            }
            prop_assert!(sum.words < 1 << 43);
        }
    }
}
