//! The receive queue: the guest's buffers, offered to the driver and given back with frames.
//!
//! A buffer that holds a whole frame goes to the driver as it is. Without MRG_RXBUF every buffer does, and with it if the hardware
//! merges buffers too ([`super::merged`]). If it does not, a guest may offer smaller ones: then as many as a frame needs are joined into
//! one offer, the frame runs from one into the next, and each comes back with its share; those that the frame did not reach are offered
//! again. So are those whose frame was joined to another's ([`super::run`]).

use super::buffer::{Buffer, List};
use super::merged::{Arrival, Parts, num_buffers, place_of_number, scatter};
use super::run::Run;
use super::{Counters, MAX_SEGMENTS, QUEUE_SIZE, RECEIVE, RECEIVE_ID, counter};
use crate::backend::Trouble;
use crate::port::Port;
use sel4cp_memory::{GuestRam, Span};
use sel4cp_model::net::{ETHERNET_HEADER, Features, Header as NetHeader};
use sel4cp_queue::{Chain, Queue, Token};
use sel4cp_ring::request::{Completion, Header, Segment, status};
use zerocopy::IntoBytes;

/// With as many offers, and room for a frame, the guest need not say that it has more: each frame that arrives makes this domain look.
const ENOUGH: u32 = 96;

/// Who puts a frame into several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// Nobody.
    Nobody,
    /// This domain, which joins them.
    Here,
    /// The hardware.
    Hardware,
}

/// The device's side of the receive queue, with the table last.
#[repr(C)]
pub(super) struct Receive {
    pub(super) ram: GuestRam,
    /// Bytes of the longest frame with its header.
    pub(super) wanted: u32,
    pub(super) merge: Merge,
    /// Offers that are with the driver, their segments, and bytes of their first buffers.
    pub(super) offers: u32,
    segments: usize,
    bytes: u64,
    /// Those of them that it was not shown yet.
    unshown: u32,
    unshown_bytes: u64,
    /// Segments beyond which nothing is offered: more than the hardware holds would wait in the ring, and the frames
    /// to be sent behind them.
    most_segments: usize,
    /// Small buffers that are being joined.
    pub(super) joining: List,
    /// Small buffers that came back unused.
    pub(super) spare: List,
    /// Buffers that came back with a part of a frame.
    pub(super) parts: Parts,
    /// Frames that are being joined, and buffers that this has emptied.
    pub(super) run: Run,
    pub(super) emptied: List,
    /// By the head of their chain.
    pub(super) buffers: [Option<Buffer>; QUEUE_SIZE as usize],
}

impl Receive {
    pub(super) fn new(ram: GuestRam) -> Self {
        Self {
            ram,
            wanted: 0,
            merge: Merge::Nobody,
            buffers: [const { None }; QUEUE_SIZE as usize],
            offers: 0,
            segments: 0,
            bytes: 0,
            unshown: 0,
            unshown_bytes: 0,
            most_segments: usize::MAX,
            joining: List::new(),
            spare: List::new(),
            parts: Parts::default(),
            run: Run::new(),
            emptied: List::new(),
        }
    }

    /// Takes over how many buffers of two segments the hardware holds; 0: unknown.
    pub(super) fn limit(&mut self, buffers: u16) {
        self.most_segments = match usize::from(buffers) {
            0 => usize::MAX,
            // One offer may be begun below the limit and end above it.
            buffers => (2 * buffers).saturating_sub(MAX_SEGMENTS).max(1),
        };
    }

    /// For a guest whose buffers are merged like that; `wanted` is how long a frame can be, with its header. It takes frames that are
    /// joined here, of these kinds.
    pub(super) fn start(&mut self, merge: Merge, wanted: u32, joined: Features) {
        self.merge = merge;
        self.wanted = wanted;
        self.run.start(joined);
    }

    /// From now on only frames of these kinds are joined; none is just now.
    pub(super) fn join_only(&mut self, kinds: Features) {
        self.run.start(kinds);
    }

    /// Forgets what is not with the driver.
    pub(super) fn stop(&mut self) {
        let joining = core::mem::take(&mut self.joining);
        let spare = core::mem::take(&mut self.spare);
        let parts = core::mem::take(&mut self.parts);
        let emptied = core::mem::take(&mut self.emptied);
        let run = self.run.stop();
        for first in [
            joining.first,
            spare.first,
            parts.list.first,
            emptied.first,
            run,
        ] {
            self.give_up(None, first);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.offers == 0
    }

    /// Notes an offer in so many segments, whose first buffer has so many bytes.
    pub(super) fn offered(&mut self, segments: usize, bytes: u32) {
        self.offers += 1;
        self.segments += segments;
        self.bytes += u64::from(bytes);
        self.unshown += 1;
        self.unshown_bytes += u64::from(bytes);
    }

    /// Notes that such an offer has come back.
    fn came_back(&mut self, segments: usize, bytes: u32) {
        self.offers = self.offers.saturating_sub(1);
        self.segments = self.segments.saturating_sub(segments);
        self.bytes = self.bytes.saturating_sub(bytes.into());
    }

    /// Whether the driver need not be shown the latest offers yet: it has three of four, and room for a frame. The next frames that
    /// arrive or are sent take them along.
    pub(super) fn may_wait(&self) -> bool {
        4 * self.unshown <= self.offers
            && self.bytes.saturating_sub(self.unshown_bytes) >= u64::from(self.wanted)
    }

    /// The driver was shown all offers.
    pub(super) fn shown(&mut self) {
        (self.unshown, self.unshown_bytes) = (0, 0);
    }

    pub(super) fn slot(&mut self, head: u16) -> Option<&mut Option<Buffer>> {
        self.buffers.get_mut(usize::from(head))
    }

    pub(super) fn take(&mut self, head: u16) -> Option<Buffer> {
        self.slot(head)?.take()
    }

    /// Appends a buffer to a list.
    #[inline(never)]
    pub(super) fn append(&mut self, list: List, head: u16, buffer: Buffer) -> List {
        if let Some(slot) = self.slot(head) {
            *slot = Some(buffer);
        }
        self.link(list, head)
    }

    /// Appends a buffer to a list that is in the table already.
    pub(super) fn link(&mut self, mut list: List, head: u16) -> List {
        let Some(Some(buffer)) = self.slot(head) else {
            return list;
        };
        buffer.next = None;
        buffer.offered = false;
        list.count += 1;
        list.bytes = list.bytes.saturating_add(buffer.len);
        list.pieces += buffer
            .pieces
            .iter()
            .filter(|piece| !piece.is_empty())
            .count();
        match list.last {
            None => list.first = Some(head),
            Some(last) => {
                if let Some(Some(before)) = self.slot(last) {
                    before.next = Some(head);
                }
            }
        }
        list.last = Some(head);
        list
    }

    /// Offers the guest's buffers to the driver. True: there is more, and nobody will say so.
    pub(super) fn offer(
        &mut self,
        queue: &mut Queue,
        port: &mut Port,
        spans: &mut [Span],
        segments: &mut [Segment],
        counters: &mut Counters,
    ) -> Result<bool, Trouble> {
        if !port.is_open() {
            return Ok(false);
        }
        for _ in 0..2 * queue.size() {
            if self.segments >= self.most_segments {
                // The completion of an offer wakes this domain.
                return Ok(false);
            }
            if self.merge == Merge::Here {
                if self.is_joined(segments.len()) && !self.offer_joined(port, segments)? {
                    counters.add(counter::DELAYED, 1);
                    return Ok(port.wait_for_room(self.joining.pieces)?);
                }
                if let Some((head, buffer)) = self.take_spare() {
                    self.joining = self.append(self.joining, head, buffer);
                    continue;
                }
            }
            if let Some(head) = self.emptied.first {
                if !self.offer_emptied(port, head)? {
                    counters.add(counter::DELAYED, 1);
                    return Ok(port.wait_for_room(1)?);
                }
                continue;
            }
            let Some((token, chain)) = queue.pop(spans)? else {
                if self.offers >= ENOUGH && self.bytes >= u64::from(self.wanted) {
                    queue.disable_notifications();
                    return Ok(false);
                }
                return Ok(queue.enable_notifications()?);
            };
            let len = u32::try_from(chain.writable_len()).unwrap_or(u32::MAX);
            if self.merge == Merge::Here && len < self.wanted {
                self.join(queue, token, &chain, len, counters);
                continue;
            }
            let pieces = chain.writable().len();
            // §5.1.6.3.1: one that can be merged has room for the header at least.
            let least = match self.merge {
                Merge::Hardware => NetHeader::SIZE,
                _ => NetHeader::SIZE + ETHERNET_HEADER,
            };
            if len < least || pieces > segments.len() {
                // No frame fits, or it is in more pieces than an offer can have.
                counters.add(counter::RECEIVE_FAILED, 1);
                let _fresh = queue.complete(token, 0);
                continue;
            }
            if !self.offer_alone(port, &token, &chain, segments)? {
                // It is the last one popped from this queue, so it can be put back.
                let _same = queue.put_back(token);
                counters.add(counter::DELAYED, 1);
                return Ok(port.wait_for_room(pieces)?);
            }
            let head = token.head();
            let buffer = Buffer {
                token,
                len,
                pieces: match chain.writable() {
                    [whole] => [*whole, Span::EMPTY],
                    several => place_of_number(several),
                },
                alone: true,
                offered: true,
                segments: pieces,
                next: None,
            };
            if let Some(slot) = self.slot(head) {
                *slot = Some(buffer);
                self.offered(pieces, len);
            }
        }
        Ok(true)
    }

    /// Submits a buffer as it is; false when there is no room.
    fn offer_alone(
        &mut self,
        port: &mut Port,
        token: &Token,
        chain: &Chain<'_>,
        segments: &mut [Segment],
    ) -> Result<bool, Trouble> {
        let mut count = 0;
        for (place, span) in segments.iter_mut().zip(chain.writable()) {
            *place = segment(*span);
            count += 1;
        }
        let segments = segments.get(..count).unwrap_or_default();
        if self.merge != Merge::Hardware {
            // The header is made before the buffer is the hardware's, which may write one of its own over it.
            let _fits = chain.writer().write_all(header().as_bytes());
        }
        Ok(port.submit_later(offer_header(token.head()), segments)?)
    }

    /// Takes the rest of an offer, or of a list, from `next` on.
    #[inline(never)]
    fn give_up(&mut self, mut queue: Option<&mut Queue>, mut next: Option<u16>) {
        while let Some(buffer) = next.and_then(|head| self.take(head)) {
            next = buffer.next;
            if let Some(queue) = &mut queue {
                let _stale = queue.complete(buffer.token, 0);
            }
        }
    }

    /// Gives everything back without a frame: the driver has forgotten all offers.
    #[cold]
    pub(super) fn abandon(&mut self, mut queue: Option<&mut Queue>, counters: &mut Counters) {
        self.end_run(queue.as_deref_mut(), counters);
        for head in 0..QUEUE_SIZE {
            if matches!(self.slot(head), Some(Some(buffer)) if buffer.offered) {
                counters.add(counter::RECEIVE_FAILED, 1);
                self.give_up(queue.as_deref_mut(), Some(head));
            }
        }
        let parts = core::mem::take(&mut self.parts);
        self.give_up(queue, parts.list.first);
        (self.offers, self.segments, self.bytes) = (0, 0, 0);
        self.shown();
    }

    /// Gives the buffers of an offer back to the guest.
    pub(super) fn completed(
        &mut self,
        mut queue: Option<&mut Queue>,
        first: u16,
        done: &Completion,
        counters: &mut Counters,
    ) -> Arrival {
        if let Some(queue) = queue.as_deref_mut()
            && self.whole(queue, first, done, counters)
        {
            return Arrival::Known;
        }
        self.end_run(queue.as_deref_mut(), counters);
        self.completed_otherwise(queue, first, done, counters)
    }

    /// Gives the buffers of an offer back that holds a frame together with others, a part of one, or none.
    #[inline(never)]
    fn completed_otherwise(
        &mut self,
        queue: Option<&mut Queue>,
        first: u16,
        done: &Completion,
        counters: &mut Counters,
    ) -> Arrival {
        let (segments, len) = match self.slot(first) {
            Some(Some(buffer)) if buffer.offered => (buffer.segments, buffer.len),
            _ => return Arrival::Unknown,
        };
        self.came_back(segments, len);
        if self.merge == Merge::Hardware {
            return self.part(queue, first, done, counters);
        }
        let Some(buffer) = self.take(first) else {
            return Arrival::Unknown;
        };
        let good = done.status == status::OK && done.len >= NetHeader::SIZE + ETHERNET_HEADER;
        let queue = match queue {
            Some(queue) if good => queue,
            mut queue => {
                counters.add(counter::RECEIVE_FAILED, 1);
                if let Some(queue) = &mut queue {
                    let _stale = queue.complete(buffer.token, 0);
                }
                self.give_up(queue, buffer.next);
                return Arrival::Known;
            }
        };
        let number = buffer.number();
        let mut left = done.len;
        let mut filled = 0_u16;
        let mut next = Some((first, buffer));
        while let Some((head, buffer)) = next {
            let after = buffer.next;
            let share = left.min(buffer.len);
            left -= share;
            if share == 0 {
                // The frame ended before it: the buffer is offered again.
                self.spare = self.append(self.spare, head, buffer);
            } else {
                filled += 1;
                let _stale = queue.complete(buffer.token, share);
            }
            next = after.and_then(|head| Some((head, self.take(head)?)));
        }
        // Before the queue is published, so that the guest finds it.
        scatter(&self.ram, number, &filled.to_le_bytes());
        counters.add(counter::RECEIVED, 1);
        let bytes = (done.len - left).saturating_sub(NetHeader::SIZE);
        counters.add(counter::RECEIVED_BYTES, u64::from(bytes));
        Arrival::Known
    }

    /// Gives a buffer back that was offered alone and holds a whole frame, as most do, or keeps it to join it with others. False: it is
    /// something else, and nothing was done.
    #[inline]
    fn whole(
        &mut self,
        queue: &mut Queue,
        first: u16,
        done: &Completion,
        counters: &mut Counters,
    ) -> bool {
        let good = done.status == status::OK && done.len >= NetHeader::SIZE + ETHERNET_HEADER;
        if !good || self.parts.are_expected() {
            return false;
        }
        let Some(slot) = self.buffers.get_mut(usize::from(first)) else {
            return false;
        };
        let is_alone =
            |buffer: &&mut Buffer| buffer.offered && buffer.alone && done.len <= buffer.len;
        let Some(buffer) = slot.as_mut().filter(is_alone) else {
            return false;
        };
        if self.merge == Merge::Hardware {
            if num_buffers(&self.ram, buffer) != 1 {
                return false;
            }
        } else {
            // Before the queue is published, so that the guest finds it.
            scatter(&self.ram, buffer.number(), &1_u16.to_le_bytes());
        }
        let (segments, len) = (buffer.segments, buffer.len);
        self.came_back(segments, len);
        if segments == 1 && self.run.may_have(done.len) {
            self.run_on(queue, first, done.len, counters);
            return true;
        }
        if segments == 1
            && self.run.may_be(done.len)
            && self.acknowledge(queue, first, done.len, counters).is_some()
        {
            return true;
        }
        self.end_run(Some(queue), counters);
        if let Some(buffer) = self.take(first) {
            let _stale = queue.complete(buffer.token, done.len);
        }
        counters.add(counter::RECEIVED, 1);
        counters.add(
            counter::RECEIVED_BYTES,
            u64::from(done.len - NetHeader::SIZE),
        );
        true
    }
}

/// The ring's words for a buffer offered to the driver.
pub(super) fn offer_header(first: u16) -> Header {
    Header {
        id: first | RECEIVE_ID,
        op: RECEIVE,
        ..Header::default()
    }
}

/// A piece of guest memory that the hardware writes.
pub(super) fn segment(span: Span) -> Segment {
    Segment {
        offset: span.offset(),
        len: span.len(),
        flags: Segment::DEVICE_WRITES,
    }
}

/// What precedes a frame: nothing is offloaded, and it is in one buffer until it turns out to be in more.
pub(super) fn header() -> NetHeader {
    NetHeader {
        num_buffers: 1.into(),
        ..NetHeader::default()
    }
}
