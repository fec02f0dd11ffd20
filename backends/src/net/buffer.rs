//! A guest's receive buffer, and lists of them.

use super::merged::place_of_number;
use sel4cp_memory::Span;
use sel4cp_queue::Token;

/// Pieces of a small buffer that are remembered.
pub(super) const PIECES: usize = 2;
/// A buffer that was taken from the queue.
pub(super) struct Buffer {
    pub(super) token: Token,
    pub(super) len: u32,
    /// A small buffer's memory, and that of a buffer that is offered alone and in one piece; of one in more, its two bytes of
    /// `num_buffers`.
    pub(super) pieces: [Span; PIECES],
    /// It was offered as it is.
    pub(super) alone: bool,
    /// It is with the driver, as the first of its offer.
    pub(super) offered: bool,
    /// Segments of that offer.
    pub(super) segments: usize,
    /// The next buffer of the same offer, or of the same list.
    pub(super) next: Option<u16>,
}

impl Buffer {
    /// Where its two bytes of `num_buffers` are.
    pub(super) fn number(&self) -> [Span; PIECES] {
        if self.alone && self.segments != 1 {
            self.pieces
        } else {
            place_of_number(&self.pieces)
        }
    }
}

/// A list of buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    pub(super) first: Option<u16>,
    pub(super) last: Option<u16>,
    /// How many there are; bytes and pieces of all.
    pub(super) count: u16,
    pub(super) bytes: u32,
    pub(super) pieces: usize,
}

impl List {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            last: None,
            count: 0,
            bytes: 0,
            pieces: 0,
        }
    }
}
