//! What the hardware does not do to a frame before it sends it is done here: the checksum, and the cutting of what is longer than
//! the link's frames (virtIO 1.2 §5.1.6.2).
//!
//! The guest's data is copied into [`Slots`], frame by frame, and added up on the way. Its chain could go back then; it does so with
//! the last of those frames all the same, because an interrupt of its own would cost the guest more than it gains.
//!
//! A guest may ask for pieces of one byte, 65,000 of them: so one frame is worked on until there is no place or no room in the ring, and
//! goes on when there is. Those behind it wait.

use super::headers::{Headers, Piece};
use super::slots::{SLOT, SLOTS, Slots};
use crate::port::Port;
use sel4cp_memory::{GuestRam, Span, Sum};
use sel4cp_queue::{Reader, Token};
use sel4cp_ring::PeerFault;
use sel4cp_ring::net::{MAX_SEGMENTS, Offload, TRANSMIT};
use sel4cp_ring::request::{Header, Segment};

/// Added to a place's number for an id: neither that of a chain nor that of a receive buffer.
pub(super) const SLOT_ID: u16 = 0x4000;
const _: () = assert!(SLOTS <= SLOT_ID as usize);
/// A frame begins at most so far into its place, so that its data is aligned as it is in guest memory.
pub(super) const ALIGNMENT: u32 = 8;

/// How far a frame was made.
pub(super) enum Progress {
    /// To its end: the place of its last frame ends its chain.
    Done(Token),
    /// Until a place comes back.
    Places,
    /// Until there is room in the ring.
    Room,
}

/// The frame that is being made, and the places for what becomes of it.
pub(super) struct Cut {
    ram: GuestRam,
    pub(super) slots: Slots,
    /// The frame's chain; `None`: there is none.
    token: Option<Token>,
    /// Its memory, and where in it the rest starts: spans before, and bytes of the next.
    spans: [Span; MAX_SEGMENTS],
    done: usize,
    behind: u32,
    /// Bytes of the rest.
    left: u32,
    /// What is to be done to it.
    task: Task,
    headers: Headers,
}

#[derive(Clone, Copy)]
enum Task {
    /// A checksum from here on to the end, which goes so far behind that. The frame starts so far into its place.
    Sum { lead: u32, start: u32, offset: u32 },
    /// Pieces of so many bytes, of which so many have been made, of so many bytes.
    Pieces { size: u32, number: u32, before: u32 },
}

impl Cut {
    /// For frames in `ram`, with places in `memory`, if there is such.
    pub(super) fn new(ram: GuestRam, memory: Option<GuestRam>) -> Self {
        Self {
            ram,
            slots: Slots::new(memory),
            token: None,
            spans: [Span::EMPTY; MAX_SEGMENTS],
            done: 0,
            behind: 0,
            left: 0,
            task: Task::Sum {
                lead: 0,
                start: 0,
                offset: 0,
            },
            headers: Headers::new(),
        }
    }

    /// Whether frames of `bytes` fit.
    pub(super) fn holds(&self, bytes: u32) -> bool {
        self.slots.exist() && bytes <= SLOT - ALIGNMENT
    }

    /// Whether there is a frame to go on with.
    pub(super) const fn is_underway(&self) -> bool {
        self.token.is_some()
    }

    /// Whether there is no frame, and no place is with the driver.
    pub(super) fn is_quiet(&self) -> bool {
        self.token.is_none() && self.slots.in_flight() == 0
    }

    /// Forgets the frame: its queue is no more.
    pub(super) fn stop(&mut self) {
        self.token = None;
    }

    /// Begins with what `reader` has, which [`Offload::fits`], on a link with this `mtu`. The token comes back if it makes no sense.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        token: Token,
        reader: &Reader<'_>,
        offload: &Offload,
        mtu: u32,
    ) -> Result<(), Token> {
        match self.prepare(reader, offload, mtu) {
            Some(()) => {
                self.token = Some(token);
                Ok(())
            }
            None => Err(token),
        }
    }

    fn prepare(&mut self, reader: &Reader<'_>, offload: &Offload, mtu: u32) -> Option<()> {
        let bytes = u32::try_from(reader.remaining()).ok()?;
        let mut places = self.spans.iter_mut();
        let mut before = 0_u64;
        let mut longest = (0, 0);
        for span in reader.spans() {
            *places.next()? = span;
            // It is the one that has to be aligned.
            longest = longest.max((span.len(), rest(span.offset().wrapping_sub(before))));
            before += u64::from(span.len());
        }
        (self.done, self.behind, self.left) = (0, 0, bytes);
        if offload.gso_type == 0 {
            self.task = Task::Sum {
                lead: longest.1,
                start: offload.csum_start.into(),
                offset: offload.csum_offset.into(),
            };
            return self.holds(bytes).then_some(());
        }
        let read = |to: &mut [u8]| reader.clone().read(to);
        self.headers.parse(bytes, offload, read)?;
        let size = u32::from(offload.gso_size);
        let longest = self.headers.packet() + size;
        if size == 0 || longest > mtu || !self.holds(self.headers.len() + size) {
            return None;
        }
        self.skip(self.headers.len());
        self.headers.align(self.start_of(self.headers.len()));
        self.task = Task::Pieces {
            size,
            number: 0,
            before: 0,
        };
        Some(())
    }

    /// Goes on with the frame that is underway, and counts what comes of it in `made`.
    #[inline(never)]
    pub(super) fn go_on(&mut self, port: &mut Port, made: &mut u64) -> Result<Progress, PeerFault> {
        loop {
            if !port.has_room(1)? {
                return Ok(Progress::Room);
            }
            let Some((slot, place, memory)) = self.slots.take() else {
                return Ok(Progress::Places);
            };
            let (frame, is_last) = match self.task {
                Task::Sum {
                    lead,
                    start,
                    offset,
                } => (self.sum(place.skip(lead), &memory, start, offset), true),
                Task::Pieces {
                    size,
                    number,
                    before,
                } => {
                    let len = size.min(self.left);
                    let piece = Piece {
                        number,
                        before,
                        len,
                        is_last: len == self.left,
                        sum: Sum::new(),
                    };
                    self.task = Task::Pieces {
                        size,
                        number: number.wrapping_add(1),
                        before: before.wrapping_add(len),
                    };
                    (self.piece(place, &memory, piece), piece.is_last)
                }
            };
            let segment = Segment {
                offset: frame.offset(),
                len: frame.len(),
                flags: Segment::FRAMES,
            };
            let header = Header {
                id: slot | SLOT_ID,
                op: TRANSMIT,
                ..Header::default()
            };
            if !port.submit(header, &[segment])? {
                // There was room, and this port is open: a frame that was not sent is not one that was made.
                self.slots.give_back(slot);
                return Ok(Progress::Room);
            }
            *made = made.wrapping_add(1);
            if is_last && let Some(token) = self.token.take() {
                self.slots.ends(slot, token.head());
                return Ok(Progress::Done(token));
            }
        }
    }

    /// Copies the whole frame to `place`, and completes its checksum. Where it is.
    fn sum(&mut self, place: Span, memory: &GuestRam, start: u32, offset: u32) -> Span {
        let frame = place.truncate(self.left);
        self.copy(frame.truncate(start), memory);
        let summed = frame.skip(start);
        let sum = self.copy(summed, memory);
        memory.write_bytes(summed.skip(offset), &sum.checksum());
        frame
    }

    /// Makes a piece with its headers in `place`. Where it is.
    fn piece(&mut self, place: Span, memory: &GuestRam, piece: Piece) -> Span {
        let headers = self.headers.len();
        let start = self.start_of(headers);
        let frame = place.skip(start).truncate(headers + piece.len);
        let sum = self.copy(frame.skip(headers), memory);
        let headers = self.headers.of(&Piece { sum, ..piece });
        memory.write_bytes(frame, headers);
        frame
    }

    /// How far into its place a frame starts, so that what follows `before` bytes of it is aligned as in guest memory.
    fn start_of(&self, before: u32) -> u32 {
        let next = self.spans.get(self.done);
        let next = next.map_or(0, |span| span.offset().wrapping_add(self.behind.into()));
        rest(next.wrapping_sub(before.into()))
    }

    /// Copies what comes next to all of `to`, and adds it up.
    fn copy(&mut self, to: Span, memory: &GuestRam) -> Sum {
        let mut to = to;
        let mut sum = Sum::new();
        while !to.is_empty() {
            let Some(next) = self.next(to.len()) else {
                break;
            };
            sum = sum.then(self.ram.copy_sum(next, memory, to));
            to = to.skip(next.len());
        }
        sum
    }

    /// Steps over `bytes`.
    fn skip(&mut self, bytes: u32) {
        let mut left = bytes;
        while let Some(next) = self.next(left) {
            left -= next.len();
        }
    }

    /// What comes next and is in one piece, at most `most` bytes, not none.
    fn next(&mut self, most: u32) -> Option<Span> {
        let span = self.spans.get(self.done)?;
        let next = span.skip(self.behind).truncate(most.min(self.left));
        self.behind += next.len();
        self.left = self.left.saturating_sub(next.len());
        if self.behind >= span.len() {
            (self.done, self.behind) = (self.done + 1, 0);
        }
        (!next.is_empty()).then_some(next)
    }
}

/// `offset` modulo [`ALIGNMENT`].
const fn rest(offset: u64) -> u32 {
    let [low, ..] = offset.to_le_bytes();
    low as u32 % ALIGNMENT
}
