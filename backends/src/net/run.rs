//! TCP segments that arrive one after another, given to the guest as one long segment, and acknowledgements, of which it gets the last: for
//! a guest that takes segments that were joined (virtIO 1.2 §5.1.3.1, GUEST_TSO4 and GUEST_TSO6) and merges buffers, behind hardware that
//! does not join them.
//!
//! What has arrived when this domain looks is joined, and nothing waits for more. The guest's network stack then runs once for all, and
//! sums up nothing: the checksums are looked at here. Joined is only what can be cut again into the very frames that came, and left out
//! only what a later acknowledgement says too ([`super::acknowledgement`]): anything else goes to the guest as it is, in its order.
//!
//! A frame's data is moved behind that of those before it, from one of the guest's buffers to another, and buffers that are empty then
//! are offered to the driver again.

use super::acknowledgement::Acknowledgement;
use super::buffer::List;
use super::receive::{Merge, Receive, header, offer_header, segment};
use super::segment::{LONGEST, Segment};
use super::{Counters, counter};
use crate::backend::Trouble;
use crate::port::Port;
use sel4cp_memory::Span;
use sel4cp_model::net::{Features, Header as NetHeader};
use sel4cp_queue::Queue;
use zerocopy::IntoBytes;

/// Bytes of the shortest frame with its header that may begin or continue a run: to join shorter ones gains nothing.
const LEAST: u32 = 256;
/// Bytes of the longest acknowledgement with its header: all of it is looked at.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const MOST: u32 = LONGEST as u32;

/// The frames that are being joined, or one that may be the first of such.
pub(super) struct Run {
    /// What is joined: GUEST_TSO4, GUEST_TSO6.
    takes: Features,
    /// How many there are.
    count: u32,
    /// Their buffers, all full but the last, which has so many bytes in it.
    list: List,
    used: u32,
    /// Bytes of data of all.
    bytes: u32,
    /// None may follow; and the last one asked for its data to be passed on.
    ended: bool,
    pushes: bool,
    /// What precedes their data.
    first: Segment,
    /// Instead of such frames there is this.
    acknowledgement: Option<Acknowledgement>,
}

impl Run {
    pub(super) const fn new() -> Self {
        Self {
            takes: Features::empty(),
            count: 0,
            list: List::new(),
            used: 0,
            bytes: 0,
            ended: false,
            pushes: false,
            first: Segment::new(),
            acknowledgement: None,
        }
    }

    /// For a guest that takes such segments.
    pub(super) fn start(&mut self, takes: Features) {
        self.takes = takes & Features::LONG;
    }

    /// Forgets the frames: the first of their buffers.
    pub(super) fn stop(&mut self) -> Option<u16> {
        self.count = 0;
        self.acknowledgement = None;
        core::mem::take(&mut self.list).first
    }

    /// Whether a frame of `len` bytes, with its header, may be in one.
    pub(super) const fn may_have(&self, len: u32) -> bool {
        len >= LEAST && !self.takes.is_empty()
    }

    /// Whether a frame of `len` bytes, with its header, may be an acknowledgement.
    pub(super) const fn may_be(&self, len: u32) -> bool {
        len <= MOST && !self.takes.is_empty()
    }
}

impl Receive {
    /// Takes the whole frame of `len` bytes that is in this buffer, in one piece, and is the guest's: now, or at the end of the run.
    pub(super) fn run_on(
        &mut self,
        queue: &mut Queue,
        head: u16,
        len: u32,
        counters: &mut Counters,
    ) {
        if self.run.count != 0 {
            if self.extend(head, len).is_some() {
                counters.add(counter::JOINED, 1);
                return;
            }
            self.end_run(Some(queue), counters);
        }
        self.begin(head, len);
    }

    /// Takes the frame of `len` bytes that is in this buffer, in one piece, and is the guest's, if it is an acknowledgement: the guest
    /// gets it at the end of the run, unless a later one says as much.
    pub(super) fn acknowledge(
        &mut self,
        queue: &mut Queue,
        head: u16,
        len: u32,
        counters: &mut Counters,
    ) -> Option<()> {
        let (ram, place) = (self.ram, self.place(head)?);
        let read = |to: &mut [u8]| ram.read_bytes(place, to);
        let later = Acknowledgement::parse(len, self.run.takes, read)?;
        let earlier = self.run.acknowledgement.as_ref();
        if earlier.is_some_and(|earlier| later.supersedes(earlier)) {
            counters.add(counter::JOINED, 1);
            if let Some(empty) = self.run.stop() {
                self.emptied = self.link(self.emptied, empty);
            }
        } else {
            self.end_run(Some(queue), counters);
        }
        self.begin(head, len);
        self.run.acknowledgement = Some(later);
        Some(())
    }

    /// Begins a run with a frame of `len` bytes.
    fn begin(&mut self, head: u16, len: u32) {
        self.run.list = self.link(List::new(), head);
        self.run.count = 1;
        self.run.used = len;
    }

    /// Adds a frame to those before it. `None`: it does not belong to them, and nothing was done.
    fn extend(&mut self, head: u16, len: u32) -> Option<()> {
        let ram = self.ram;
        if self.run.count == 1 {
            if self.run.acknowledgement.is_some() {
                return None;
            }
            self.examine()?;
        }
        let own = self.place(head)?;
        let last = self.place(self.run.list.last?)?;
        let run = &mut self.run;
        if run.ended {
            return None;
        }
        let read = |to: &mut [u8]| ram.read_bytes(own, to);
        let next = run.first.goes_on(len, run.count, run.bytes, read)?;
        let data = own.slice(run.first.headers(), next.payload)?;
        let room = last.skip(run.used);
        let (here, rest) = (data.truncate(room.len()), data.skip(room.len()));
        // What does not fit goes to a buffer that is empty, or if there is none to the beginning of its own.
        let empty = match self.emptied.first {
            Some(empty) if !rest.is_empty() => self.place(empty)?,
            _ => Span::EMPTY,
        };
        let leaves = empty.len() >= rest.len();
        let move_to = |place| {
            let sum = ram.copy_sum(here, &ram, room);
            sum.then(ram.copy_sum(rest, &ram, place))
        };
        // Its own buffer is written when nothing can go wrong any more.
        let sum = if leaves {
            move_to(empty)
        } else {
            ram.sum(data)
        };
        if !self.run.first.is_intact(&next, sum) {
            return None;
        }
        if !leaves {
            move_to(own);
        }
        let run = &mut self.run;
        run.count += 1;
        run.bytes += next.payload;
        run.pushes = next.pushes;
        run.ended = next.pushes || next.payload < run.first.size();
        if rest.is_empty() {
            run.used += here.len();
        } else {
            run.used = rest.len();
            let used = if leaves { self.pop_emptied()? } else { head };
            self.run.list = self.link(self.run.list, used);
        }
        if leaves {
            self.emptied = self.link(self.emptied, head);
        }
        Some(())
    }

    /// Looks at the only frame that there is. `None`: no other can follow.
    fn examine(&mut self) -> Option<()> {
        let ram = self.ram;
        let place = self.place(self.run.list.first?)?;
        let run = &mut self.run;
        let read = |to: &mut [u8]| ram.read_bytes(place, to);
        let own = run.first.parse(run.used, run.takes, read)?;
        let data = place.slice(run.first.headers(), own.payload)?;
        (run.bytes, run.ended) = (own.payload, false);
        run.first.is_intact(&own, ram.sum(data)).then_some(())
    }

    /// Where a buffer is that is in one piece.
    fn place(&self, head: u16) -> Option<Span> {
        let buffer = self.buffers.get(usize::from(head))?.as_ref()?;
        let [place, _] = buffer.pieces;
        Some(place)
    }

    fn pop_emptied(&mut self) -> Option<u16> {
        let head = self.emptied.first?;
        let buffer = self.buffers.get_mut(usize::from(head))?.as_mut()?;
        // It leaves the list: those behind it are not of its offer.
        self.emptied.first = buffer.next.take();
        if self.emptied.first.is_none() {
            self.emptied = List::new();
        }
        Some(head)
    }

    /// Offers the first of the buffers that are empty again; false when there is no room.
    #[inline(never)]
    pub(super) fn offer_emptied(&mut self, port: &mut Port, head: u16) -> Result<bool, Trouble> {
        let Some(Some(buffer)) = self.buffers.get_mut(usize::from(head)) else {
            return Ok(true);
        };
        let [whole, _] = buffer.pieces;
        if self.merge != Merge::Hardware {
            // As before its first offer.
            self.ram.write_bytes(whole, header().as_bytes());
        }
        if !port.submit_later(offer_header(head), &[segment(whole)])? {
            return Ok(false);
        }
        self.pop_emptied();
        if let Some(Some(buffer)) = self.buffers.get_mut(usize::from(head)) {
            buffer.offered = true;
        }
        self.offered(1, whole.len());
        Ok(true)
    }

    /// Gives the guest what has been joined.
    #[inline]
    pub(super) fn end_run(&mut self, queue: Option<&mut Queue>, counters: &mut Counters) {
        if self.run.count != 0 {
            self.give_run(queue, counters);
        }
    }

    #[inline(never)]
    fn give_run(&mut self, mut queue: Option<&mut Queue>, counters: &mut Counters) {
        let place = self.run.list.first.and_then(|first| self.place(first));
        let run = &mut self.run;
        let count = core::mem::take(&mut run.count);
        let list = core::mem::take(&mut run.list);
        run.acknowledgement = None;
        let mut len = run.used;
        if count > 1 {
            len = run.first.headers() + run.bytes;
            let headers = run.first.join(run.bytes, run.pushes, list.count);
            self.ram.write_bytes(place.unwrap_or(Span::EMPTY), headers);
        }
        counters.add(counter::RECEIVED, 1);
        counters.add(
            counter::RECEIVED_BYTES,
            u64::from(len.saturating_sub(NetHeader::SIZE)),
        );
        let mut next = list.first;
        while let Some(buffer) = next.and_then(|head| self.take(head)) {
            next = buffer.next;
            let used = if next.is_none() {
                self.run.used
            } else {
                buffer.len
            };
            if let Some(queue) = &mut queue {
                let _stale = queue.complete(buffer.token, used);
            }
        }
    }
}
