//! What a connection has received: bytes, and where messages end (virtIO 1.2 §5.10.6.6).

use sel4cp_model::vsock::Seq;
use sel4cp_ring::wire::MAX_PAYLOAD;
use zerocopy::FromBytes;

/// Bytes of a connection's receive buffer: the longest packet. No message can be longer: a sender has no more credit.
pub const WINDOW: usize = MAX_PAYLOAD as usize;
/// Marks in a byte, a [`Seq`] each.
const MARKS: usize = 4;
/// Bits of a mark.
const BITS: usize = 2;
const _: () = assert!(Seq::all().bits() < 1 << BITS);

/// A receive buffer: too large for a stack.
#[derive(FromBytes)]
#[repr(C)]
pub struct Buffer {
    bytes: [u8; WINDOW],
    /// For each byte, of which end it is the last one. A mark costs a guest nothing, so there is one for each byte.
    marks: [u8; WINDOW / MARKS],
}

impl Buffer {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; WINDOW],
            marks: [0; WINDOW / MARKS],
        }
    }

    /// Puts bytes at a place, counted round and round.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let (before, after) = self.bytes.split_at_mut(at % WINDOW);
        let (first, rest) = bytes.split_at(bytes.len().min(after.len()));
        copy(after, first);
        copy(before, rest);
    }

    /// The bytes at a place.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        let (before, after) = self.bytes.split_at(at % WINDOW);
        let (first, rest) = to.split_at_mut(to.len().min(after.len()));
        copy(first, after);
        copy(rest, before);
    }

    /// Nothing ends with any of the `count` bytes at a place.
    pub(crate) fn clear_marks(&mut self, at: usize, count: usize) {
        let mut next = at;
        while next < at + count {
            next += match self.marks.get_mut(next % WINDOW / MARKS) {
                Some(four) if next.is_multiple_of(MARKS) && next + MARKS <= at + count => {
                    *four = 0;
                    MARKS
                }
                _ => {
                    self.set_mark(next, Seq::empty());
                    1
                }
            };
        }
    }

    /// The first of the `count` bytes at a place with which something ends, counted from that place, and what.
    pub(crate) fn first_mark(&self, at: usize, count: usize) -> Option<(usize, Seq)> {
        let mut next = at;
        while next < at + count {
            let end = self.mark(next);
            if !end.is_empty() {
                return Some((next - at, end));
            }
            let four = self.marks.get(next % WINDOW / MARKS);
            let none = next.is_multiple_of(MARKS) && four == Some(&0);
            next += if none { MARKS } else { 1 };
        }
        None
    }

    /// What ends with the byte at a place.
    fn mark(&self, at: usize) -> Seq {
        let at = at % WINDOW;
        let four = self.marks.get(at / MARKS).copied().unwrap_or(0);
        Seq::from_bits_truncate(u32::from(four >> (at % MARKS * BITS)))
    }

    pub(crate) fn set_mark(&mut self, at: usize, mark: Seq) {
        let at = at % WINDOW;
        let shift = at % MARKS * BITS;
        let [bits, ..] = mark.bits().to_le_bytes();
        if let Some(four) = self.marks.get_mut(at / MARKS) {
            *four = *four & !(((1 << BITS) - 1) << shift) | bits << shift;
        }
    }
}

/// Copies as much as there is and fits.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_a_mark_of_its_own() {
        let mut buffer = Buffer::new();
        for at in 0..WINDOW {
            buffer.set_mark(at, Seq::all());
        }
        buffer.set_mark(WINDOW + 5, Seq::EOM);
        buffer.set_mark(6, Seq::empty());
        let around: Vec<u32> = (4..8).map(|at| buffer.mark(at).bits()).collect();
        assert_eq!(around, [3, 1, 0, 3]);
    }

    #[test]
    fn bytes_go_round() {
        let mut buffer = Buffer::new();
        let bytes: Vec<u8> = (0..251).cycle().take(WINDOW).collect();
        for (at, count) in [
            (0, WINDOW),
            (WINDOW - 1, 2),
            (3 * WINDOW - 100, 5000),
            (7, 0),
            (9, WINDOW),
        ] {
            let wanted = bytes.get(..count).unwrap();
            buffer.write(at, wanted);
            let mut found = vec![0; count];
            buffer.read(at, &mut found);
            assert_eq!(found, wanted, "{count} at {at}");
        }
        let mut one = [0];
        for (at, byte) in bytes.iter().enumerate() {
            buffer.read(9 + at, &mut one);
            assert_eq!(one, [*byte]);
        }
    }

    #[test]
    fn marks_are_cleared_and_found_wherever_they_begin() {
        for at in [0, 1, 2, 3, WINDOW - 6, WINDOW - 1, 2 * WINDOW + 5] {
            for count in 0..14 {
                let mut buffer = Buffer::new();
                for place in 0..WINDOW {
                    buffer.set_mark(place, Seq::EOM);
                }
                buffer.clear_marks(at, count);
                assert_eq!(buffer.first_mark(at, count), None);
                assert_eq!(buffer.first_mark(at, count + 1), Some((count, Seq::EOM)));
                assert_eq!(buffer.mark(at + WINDOW - 1), Seq::EOM, "the one before");
                let cleared = (0..WINDOW).filter(|place| buffer.mark(*place).is_empty());
                assert_eq!(cleared.count(), count);
            }
        }
    }
}
