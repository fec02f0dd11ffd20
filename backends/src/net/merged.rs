//! Frames that the hardware has put into several buffers (virtIO 1.2 §5.1.6.4, MRG_RXBUF).
//!
//! Each of the guest's buffers goes to the driver as it is, and comes back with its part of a frame, in order. The first one's header,
//! which hardware and guest can write, says how many there are: what is read there is believed as far as it fits what came back. Then the
//! guest gets them all at once. When it does not fit, nobody knows where the next frame begins, before a reset.

use super::buffer::{Buffer, List, PIECES};
use super::receive::Receive;
use super::{Counters, counter};
use sel4cp_memory::{GuestRam, Span};
use sel4cp_model::net::{ETHERNET_HEADER, Header as NetHeader};
use sel4cp_queue::Queue;
use sel4cp_ring::request::{Completion, status};

/// Where `num_buffers` is in the header.
const NUM_BUFFERS: u32 = NetHeader::LEGACY_SIZE;

/// What a completion was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// That of an offer.
    Known,
    /// That of nothing.
    Unknown,
    /// That of an offer, and it does not fit those before: the hardware needs a reset.
    Astray,
}

/// A frame of which some buffers have come back.
#[derive(Default)]
pub(super) struct Parts {
    /// Those that have, all full.
    pub(super) list: List,
    /// How many are yet to come.
    missing: u16,
    /// A frame did not fit: what comes back before the reset means nothing.
    pub(super) astray: bool,
}

impl Parts {
    /// Whether what comes back next belongs to a frame that has begun, or to none.
    pub(super) const fn are_expected(&self) -> bool {
        self.missing != 0 || self.astray
    }
}

impl Receive {
    /// Takes a buffer back with a part of a frame, and gives it to the guest with the others when it is the last.
    #[inline(never)]
    pub(super) fn part(
        &mut self,
        mut queue: Option<&mut Queue>,
        head: u16,
        done: &Completion,
        counters: &mut Counters,
    ) -> Arrival {
        let ram = self.ram;
        let Some(Some(buffer)) = self.slot(head) else {
            return Arrival::Unknown;
        };
        let len = buffer.len;
        let first = buffer.number();
        let counts = done.status == status::OK && queue.is_some() && !self.parts.astray;
        let missing = match self.parts.missing {
            0 if counts => read_number(&ram, first),
            missing => missing,
        };
        let fits = match missing.checked_sub(1) {
            Some(0) => done.len <= len,
            // §5.1.6.4.1: all but the last are full. The others came back with this one, so the driver still had them.
            Some(others) => done.len == len && u32::from(others) <= self.offers,
            None => false,
        };
        self.parts.list = self.link(self.parts.list, head);
        if counts && fits && missing > 1 {
            self.parts.missing = missing - 1;
            return Arrival::Known;
        }
        let parts = core::mem::take(&mut self.parts.list);
        self.parts.missing = 0;
        let bytes = parts.bytes.saturating_sub(len).saturating_add(done.len);
        let good = counts && fits && bytes >= NetHeader::SIZE + ETHERNET_HEADER;
        let mut next = parts.first;
        while let Some(part) = next.and_then(|head| self.take(head)) {
            next = part.next;
            // All are full but the last, or there is nothing in them.
            let len = match next {
                _ if !good => 0,
                Some(_) => part.len,
                None => done.len,
            };
            if let Some(queue) = &mut queue {
                let _stale = queue.complete(part.token, len);
            }
        }
        if good {
            counters.add(counter::RECEIVED, 1);
            let bytes = bytes.saturating_sub(NetHeader::SIZE);
            counters.add(counter::RECEIVED_BYTES, u64::from(bytes));
        } else {
            counters.add(counter::RECEIVE_FAILED, 1);
        }
        if counts && !fits {
            self.parts.astray = true;
            return Arrival::Astray;
        }
        Arrival::Known
    }
}

/// Where the two bytes of `num_buffers` are, in a buffer that consists of `spans`.
pub(super) fn place_of_number(spans: &[Span]) -> [Span; PIECES] {
    if let Some(first) = spans.first().and_then(|first| first.slice(NUM_BUFFERS, 2)) {
        return [first, Span::EMPTY];
    }
    let mut found = [Span::EMPTY; PIECES];
    let mut places = found.iter_mut();
    let (mut before, mut missing) = (NUM_BUFFERS, 2);
    for span in spans {
        let piece = span.skip(before).truncate(missing);
        before = before.saturating_sub(span.len());
        if piece.is_empty() {
            continue;
        }
        missing -= piece.len();
        if let Some(place) = places.next() {
            *place = piece;
        }
        if missing == 0 {
            break;
        }
    }
    found
}

/// How many buffers the frame is in that begins in this one, which was offered alone.
pub(super) fn num_buffers(ram: &GuestRam, buffer: &Buffer) -> u16 {
    read_number(ram, buffer.number())
}

/// The number in these two bytes.
fn read_number(ram: &GuestRam, place: [Span; PIECES]) -> u16 {
    let mut number = [0; 2];
    let mut places = number.as_mut_slice();
    for piece in place {
        let read = ram.read_bytes(piece, places);
        places = places.get_mut(read..).unwrap_or_default();
        if places.is_empty() {
            break;
        }
    }
    u16::from_le_bytes(number)
}

/// Writes `bytes` over `spans`, from the first on, as far as they go.
pub(super) fn scatter(ram: &GuestRam, spans: [Span; PIECES], bytes: &[u8]) {
    let mut bytes = bytes;
    for span in spans {
        let written = ram.write_bytes(span, bytes);
        bytes = bytes.get(written..).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
    }
}
