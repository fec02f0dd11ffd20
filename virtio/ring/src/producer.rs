//! The end that puts entries in.

use crate::fault::PeerFault;
use crate::slot::Slot;
use crate::spsc::{Ring, passed};
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::fence;

/// The producing end of a ring. Entries are staged by `push…` and seen by the peer after [`publish`](Self::publish).
pub struct Producer<T: Slot> {
    ring: Ring<T>,
    /// Where the next entry is staged.
    staged: u32,
    /// What the peer may see; the shared word is written from it and never read back.
    published: u32,
    /// The peer's index when it was last read, checked.
    head: u32,
    peer_epoch: u32,
}

impl<T: Slot> Producer<T> {
    /// Takes the producing end, after a fresh start or a restart: entries that an earlier life published and the
    /// peer has not taken stay in the ring, unless the indices make no sense, in which case the ring restarts empty.
    pub fn attach(ring: Ring<T>) -> Self {
        let mut end = Self {
            ring,
            staged: 0,
            published: ring.control.producer.index.load(Relaxed),
            head: 0,
            peer_epoch: ring.control.consumer.epoch.load(Relaxed),
        };
        end.resynchronize();
        ring.control.producer.begin_epoch();
        end
    }

    /// Gives up what is staged and meets the peer where it is. After a [`PeerFault`], once the peer has restarted.
    pub fn resynchronize(&mut self) {
        let head = self.ring.control.consumer.index.load(Acquire);
        if self.published.wrapping_sub(head) > self.ring.capacity() {
            self.published = head;
        }
        self.head = head;
        self.staged = self.published;
        // Nothing is asked for: an index half the range away is not passed.
        let never = self.published.wrapping_add(1 << 31);
        self.ring.control.producer.event.store(never, Relaxed);
        // Release: as in `publish`.
        self.ring
            .control
            .producer
            .index
            .store(self.published, Release);
        self.peer_epoch = self.ring.control.consumer.epoch.load(Relaxed);
    }

    /// Which of its lives this end is in, never 0; the peer cannot make it lie about an earlier one for long, so it
    /// is good to tell lives apart and not for more.
    pub fn epoch(&self) -> u32 {
        self.ring.control.producer.epoch.load(Relaxed)
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.ring.capacity()
    }

    /// Whether the peer has started again since this end attached, resynchronized or last asked.
    pub fn peer_restarted(&mut self) -> bool {
        let epoch = self.ring.control.consumer.epoch.load(Relaxed);
        core::mem::replace(&mut self.peer_epoch, epoch) != epoch
    }

    /// Entries that can be staged now, after a look at how far the peer has come.
    ///
    /// # Errors
    /// [`PeerFault::Index`] when the peer's index is behind its last one or ahead of what was published.
    pub fn free(&mut self) -> Result<u32, PeerFault> {
        // Acquire: what the peer read from the slots it gives back was read before this.
        let found = self.ring.control.consumer.index.load(Acquire);
        let span = self.published.wrapping_sub(self.head);
        if found.wrapping_sub(self.head) > span {
            return Err(PeerFault::Index {
                found,
                lowest: self.head,
                span,
            });
        }
        self.head = found;
        Ok(self.known_free())
    }

    /// Free slots as of the last look.
    fn known_free(&self) -> u32 {
        self.capacity()
            .wrapping_sub(self.staged.wrapping_sub(self.head))
    }

    /// Whether `count` entries can be staged; looks at the peer only if it must.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn has_room(&mut self, count: u32) -> Result<bool, PeerFault> {
        Ok(self.known_free() >= count || self.free()? >= count)
    }

    /// Stages one entry; false when the ring is full.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn push(&mut self, value: T) -> Result<bool, PeerFault> {
        if !self.has_room(1)? {
            return Ok(false);
        }
        self.stage(value);
        Ok(true)
    }

    /// Stages as many of `values` as fit, from the first; returns how many.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn push_slice(&mut self, values: &[T]) -> Result<usize, PeerFault> {
        let wanted = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let count = if self.has_room(wanted)? {
            wanted
        } else {
            self.known_free()
        };
        let count = usize::try_from(count).unwrap_or(0);
        for value in values.iter().take(count) {
            self.stage(*value);
        }
        Ok(count)
    }

    /// Writes a slot that is known to be free.
    pub(crate) fn stage(&mut self, value: T) {
        if let Some(cell) = self.ring.slot(self.staged) {
            value.store(cell);
        }
        self.staged = self.staged.wrapping_add(1);
    }

    /// Entries staged and not published.
    pub fn staged(&self) -> u32 {
        self.staged.wrapping_sub(self.published)
    }

    /// Forgets what is staged.
    pub fn discard(&mut self) {
        self.staged = self.published;
    }

    /// Shows everything staged to the peer at once. True: the peer asked to be notified about it, notify it.
    #[must_use = "true asks for a notification of the peer"]
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.published, self.staged);
        if old == self.published {
            return false;
        }
        // Release: whoever sees the index sees the slots below it.
        self.ring
            .control
            .producer
            .index
            .store(self.published, Release);
        // The index must be out before the event is read, as the peer arms the event and then reads the index:
        // one of the two sees the other's write (with less than SeqCst both could miss it).
        fence(SeqCst);
        let event = self.ring.control.consumer.event.load(Relaxed);
        passed(event, self.published, old)
    }

    /// Asks to be notified when `count` entries can be staged (at most the capacity). True: they can already,
    /// go on instead of waiting.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn arm(&mut self, count: u32) -> Result<bool, PeerFault> {
        let count = count.clamp(1, self.capacity());
        // The peer's index at which `count` slots are free, less one: passing it is reaching that index.
        let event = self
            .staged
            .wrapping_add(count)
            .wrapping_sub(self.capacity())
            .wrapping_sub(1);
        self.ring.control.producer.event.store(event, Relaxed);
        // Pairs with the fence in `Consumer::release`.
        fence(SeqCst);
        Ok(self.free()? >= count)
    }
}
