//! What a connection has received: bytes, and where messages end (virtIO 1.2 §5.10.6.6).

use sel4cp_model::vsock::Seq;

/// Bytes of a connection's receive buffer. No message can be longer: a sender has no more credit.
pub const WINDOW: usize = 0x4000;
/// Marks in a byte, a [`Seq`] each.
const MARKS: usize = 4;
/// Bits of a mark.
const BITS: usize = 2;
const _: () = assert!(Seq::all().bits() < 1 << BITS);

/// A receive buffer: too large for a stack.
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

    /// The byte at a place, counted round and round.
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at % WINDOW).copied().unwrap_or(0)
    }

    pub(crate) fn set_byte(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(at % WINDOW) {
            *place = byte;
        }
    }

    /// What ends with the byte at a place.
    pub(crate) fn mark(&self, at: usize) -> Seq {
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
        buffer.set_byte(WINDOW - 1, 7);
        assert_eq!((buffer.byte(WINDOW - 1), buffer.byte(0)), (7, 0));
    }
}
