//! Reading and writing the bytes of a chain, wherever its buffers begin and end.
//!
//! §2.7.4: a device makes no assumption about how a request is cut into descriptors. So a header
//! may be spread over many of them, and these two hide it.

use sel4cp_memory::{GuestRam, Pod, Span};

use crate::fault::{Direction, GuestFault};

/// A place in a list of spans, and how far from there one may go.
#[derive(Clone, Copy, Debug)]
struct Cursor<'s> {
    ram: GuestRam,
    segments: &'s [Span],
    /// How much of the first segment is behind us.
    behind: u32,
    remaining: u64,
}

impl Cursor<'_> {
    /// The next bytes that lie in one piece, at most `max` of them. `None` at the end.
    #[inline]
    fn peek(&self, max: u64) -> Option<Span> {
        let first = self.segments.first()?;
        let len = self.remaining.min(max);
        let piece = first.skip(self.behind);
        let piece = u32::try_from(len).map_or(piece, |len| piece.truncate(len));
        (!piece.is_empty()).then_some(piece)
    }

    /// Steps over `len` bytes, which [`Cursor::peek`] has just returned.
    #[inline]
    fn step(&mut self, len: u32) {
        self.remaining = self.remaining.saturating_sub(u64::from(len));
        self.behind = self.behind.saturating_add(len);
        if self
            .segments
            .first()
            .is_none_or(|first| self.behind >= first.len())
        {
            self.segments = self.segments.get(1..).unwrap_or_default();
            self.behind = 0;
        }
    }

    #[inline]
    fn next(&mut self, max: u64) -> Option<Span> {
        let piece = self.peek(max)?;
        self.step(piece.len());
        Some(piece)
    }

    fn skip(&mut self, mut bytes: u64) {
        while let Some(piece) = self.next(bytes) {
            bytes -= u64::from(piece.len());
        }
    }

    fn need(&self, needed: u64, direction: Direction) -> Result<(), GuestFault> {
        if self.remaining < needed {
            return Err(GuestFault::BufferTooShort {
                direction,
                found: self.remaining,
                needed,
            });
        }
        Ok(())
    }

    fn split_at(mut self, at: u64, direction: Direction) -> Result<(Self, Self), GuestFault> {
        self.need(at, direction)?;
        let first = Self {
            remaining: at,
            ..self
        };
        self.skip(at);
        Ok((first, self))
    }
}

/// The pieces of guest memory that a [`Reader`] or [`Writer`] has before it, in order, none empty.
#[derive(Clone, Debug)]
pub struct Spans<'s>(Cursor<'s>);

impl Iterator for Spans<'_> {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        self.0.next(u64::MAX)
    }
}

/// Reads a chain's device-readable bytes, from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'s>(Cursor<'s>);

impl<'s> Reader<'s> {
    pub(crate) const fn new(ram: GuestRam, segments: &'s [Span], remaining: u64) -> Self {
        Self(Cursor {
            ram,
            segments,
            behind: 0,
            remaining,
        })
    }

    /// How many bytes there are left to read.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.0.remaining
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there is not enough left; nothing has been read then.
    #[inline]
    pub fn read_obj<T: Pod>(&mut self) -> Result<T, GuestFault> {
        if let Some(piece) = self.0.peek(size_of::<T>() as u64)
            && let Some(value) = self.0.ram.read::<T>(piece)
        {
            self.0.step(piece.len());
            return Ok(value);
        }
        let mut value = T::new_zeroed();
        self.read_exact(value.as_mut_bytes())?;
        Ok(value)
    }

    /// Fills all of `to`.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there is not enough left; nothing has been read then.
    pub fn read_exact(&mut self, to: &mut [u8]) -> Result<(), GuestFault> {
        self.0.need(to.len() as u64, Direction::Readable)?;
        self.read(to);
        Ok(())
    }

    /// Reads as much as there is left and `to` has room for. Returns how much.
    #[inline]
    pub fn read(&mut self, to: &mut [u8]) -> usize {
        let room = to.len();
        let mut to = to;
        while let Some(piece) = self.0.next(to.len() as u64) {
            let copied = self.0.ram.read_bytes(piece, to);
            to = to.get_mut(copied..).unwrap_or_default();
        }
        room - to.len()
    }

    /// Steps over `bytes` bytes, or over all that are left if they are fewer.
    pub fn skip(&mut self, bytes: u64) {
        self.0.skip(bytes);
    }

    /// A reader for the next `at` bytes and one for those after them.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there are fewer than `at` left.
    pub fn split_at(self, at: u64) -> Result<(Self, Self), GuestFault> {
        let (first, second) = self.0.split_at(at, Direction::Readable)?;
        Ok((Self(first), Self(second)))
    }

    /// The memory that is left to read, for somebody else to read it: DMA.
    #[must_use]
    pub fn spans(&self) -> Spans<'s> {
        Spans(self.0)
    }
}

/// Writes a chain's device-writable bytes, from front to back.
#[derive(Debug)]
pub struct Writer<'s> {
    cursor: Cursor<'s>,
    written: u32,
}

impl<'s> Writer<'s> {
    pub(crate) const fn new(ram: GuestRam, segments: &'s [Span], remaining: u64) -> Self {
        Self {
            cursor: Cursor {
                ram,
                segments,
                behind: 0,
                remaining,
            },
            written: 0,
        }
    }

    /// How many bytes there is room for.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.cursor.remaining
    }

    /// How many bytes this writer has written.
    #[must_use]
    pub const fn written(&self) -> u32 {
        self.written
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there is not enough room; nothing has been written then.
    #[inline]
    pub fn write_obj<T: Pod>(&mut self, value: &T) -> Result<(), GuestFault> {
        self.write_all(value.as_bytes())
    }

    /// Writes all of `from`.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there is not enough room; nothing has been written then.
    #[inline]
    pub fn write_all(&mut self, from: &[u8]) -> Result<(), GuestFault> {
        self.cursor.need(from.len() as u64, Direction::Writable)?;
        self.write(from);
        Ok(())
    }

    /// Writes as much of `from` as there is room for. Returns how much.
    #[inline]
    pub fn write(&mut self, from: &[u8]) -> usize {
        let all = from.len();
        let mut from = from;
        while let Some(piece) = self.cursor.next(from.len() as u64) {
            let copied = self.cursor.ram.write_bytes(piece, from);
            self.written = self.written.saturating_add(piece.len());
            from = from.get(copied..).unwrap_or_default();
        }
        all - from.len()
    }

    /// Writes `bytes` times `value`, or as often as there is room. Returns how often.
    pub fn fill(&mut self, value: u8, bytes: u64) -> u64 {
        let mut left = bytes;
        while let Some(piece) = self.cursor.next(left) {
            self.cursor.ram.fill(piece, value);
            self.written = self.written.saturating_add(piece.len());
            left -= u64::from(piece.len());
        }
        bytes - left
    }

    /// A writer for the next `at` bytes and one for those after them. The second has written
    /// nothing yet; the first keeps what this one has written.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there are fewer than `at` left.
    pub fn split_at(self, at: u64) -> Result<(Self, Self), GuestFault> {
        let (first, second) = self.cursor.split_at(at, Direction::Writable)?;
        Ok((
            Self {
                cursor: first,
                ..self
            },
            Self {
                cursor: second,
                written: 0,
            },
        ))
    }

    /// A writer for all but the last `bytes` bytes and one for those: a status at the end.
    ///
    /// # Errors
    /// [`GuestFault::BufferTooShort`] if there are fewer than `bytes` left.
    pub fn split_last(self, bytes: u64) -> Result<(Self, Self), GuestFault> {
        self.cursor.need(bytes, Direction::Writable)?;
        let at = self.cursor.remaining - bytes;
        self.split_at(at)
    }

    /// The memory that is left to write, for somebody else to write it: DMA.
    #[must_use]
    pub fn spans(&self) -> Spans<'s> {
        Spans(self.cursor)
    }
}
