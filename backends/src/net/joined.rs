//! Buffers that are smaller than a frame, joined into one offer: for a guest that has them merged, with hardware that does not merge.

use super::buffer::{Buffer, List, PIECES};
use super::merged::scatter;
use super::receive::{Receive, header, offer_header, segment};
use super::{Counters, counter};
use crate::backend::Trouble;
use crate::port::Port;
use sel4cp_memory::Span;
use sel4cp_model::net::Header as NetHeader;
use sel4cp_queue::{Chain, Queue, Token};
use sel4cp_ring::request::Segment;
use zerocopy::IntoBytes;

impl Receive {
    /// Takes the first buffer off the spare ones.
    #[inline(never)]
    pub(super) fn take_spare(&mut self) -> Option<(u16, Buffer)> {
        let head = self.spare.first?;
        let buffer = self.take(head)?;
        self.spare.first = buffer.next;
        if buffer.next.is_none() {
            self.spare = List::default();
        }
        Some((head, buffer))
    }

    /// Adds a small buffer to those that are being joined.
    #[inline(never)]
    pub(super) fn join(
        &mut self,
        queue: &mut Queue,
        token: Token,
        chain: &Chain<'_>,
        len: u32,
        counters: &mut Counters,
    ) {
        let mut pieces = [Span::EMPTY; PIECES];
        // §5.1.6.3.1: a buffer has room for the header.
        if len < NetHeader::SIZE || chain.writable().len() > PIECES {
            counters.add(counter::RECEIVE_FAILED, 1);
            let _fresh = queue.complete(token, 0);
            return;
        }
        for (place, span) in pieces.iter_mut().zip(chain.writable()) {
            *place = *span;
        }
        let head = token.head();
        let buffer = Buffer {
            token,
            len,
            pieces,
            alone: false,
            offered: false,
            segments: 0,
            next: None,
        };
        self.joining = self.append(self.joining, head, buffer);
    }

    /// Whether the joined buffers hold a frame, or as much as an offer can have.
    pub(super) fn is_joined(&self, segments: usize) -> bool {
        self.joining.bytes >= self.wanted || self.joining.pieces + PIECES > segments
    }

    /// Submits the joined buffers; false when there is no room.
    #[inline(never)]
    pub(super) fn offer_joined(
        &mut self,
        port: &mut Port,
        segments: &mut [Segment],
    ) -> Result<bool, Trouble> {
        let Some(first) = self.joining.first else {
            return Ok(true);
        };
        let mut count = 0;
        let mut next = Some(first);
        while let Some(Some(buffer)) = next.and_then(|head| self.slot(head)) {
            for piece in buffer.pieces.iter().filter(|piece| !piece.is_empty()) {
                if let Some(place) = segments.get_mut(count) {
                    *place = segment(*piece);
                    count += 1;
                }
            }
            next = buffer.next;
        }
        if let Some(Some(buffer)) = self.slot(first) {
            let pieces = buffer.pieces;
            scatter(&self.ram, pieces, header().as_bytes());
        }
        let segments = segments.get(..count).unwrap_or_default();
        if !port.submit_later(offer_header(first), segments)? {
            return Ok(false);
        }
        self.joining = List::default();
        if let Some(Some(buffer)) = self.slot(first) {
            buffer.offered = true;
            buffer.segments = count;
            let len = buffer.len;
            self.offered(count, len);
        }
        Ok(true)
    }
}
