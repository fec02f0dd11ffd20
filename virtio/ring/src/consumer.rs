//! The end that takes entries out.

use crate::fault::PeerFault;
use crate::slot::Slot;
use crate::spsc::{Ring, passed};
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::fence;

/// The consuming end of a ring. Entries are copied out by `pop…` or `peek`, and their slots go back to the peer
/// with [`release`](Self::release).
pub struct Consumer<T: Slot> {
    ring: Ring<T>,
    /// The next entry to take.
    taken: u32,
    /// What the peer knows to be free; the shared word is written from it and never read back.
    released: u32,
    /// The peer's index when it was last read, checked.
    tail: u32,
    peer_epoch: u32,
}

impl<T: Slot> Consumer<T> {
    /// Takes the consuming end, after a fresh start or a restart: entries that are in the ring stay there, unless
    /// the indices make no sense, in which case they are dropped. Nothing is armed by it: [`arm`](Self::arm)
    /// before waiting.
    pub fn attach(ring: Ring<T>) -> Self {
        let mut end = Self {
            ring,
            taken: 0,
            released: ring.control.consumer.index.load(Relaxed),
            tail: 0,
            peer_epoch: ring.control.producer.epoch.load(Relaxed),
        };
        end.resynchronize();
        ring.control.consumer.begin_epoch();
        end
    }

    /// Meets the peer where it is: entries that were not released are there again, unless the peer's index makes
    /// no sense with them. After a [`PeerFault`], once the peer has restarted.
    pub fn resynchronize(&mut self) {
        let tail = self.ring.control.producer.index.load(Acquire);
        if tail.wrapping_sub(self.released) > self.ring.capacity() {
            self.released = tail;
        }
        self.tail = tail;
        self.taken = self.released;
        // Release: as in `release`.
        self.ring
            .control
            .consumer
            .index
            .store(self.released, Release);
        self.peer_epoch = self.ring.control.producer.epoch.load(Relaxed);
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.ring.capacity()
    }

    /// Whether the peer has started again since this end attached, resynchronized or last asked.
    pub fn peer_restarted(&mut self) -> bool {
        let epoch = self.ring.control.producer.epoch.load(Relaxed);
        core::mem::replace(&mut self.peer_epoch, epoch) != epoch
    }

    /// Entries that can be taken now, after a look at how far the peer has come.
    ///
    /// # Errors
    /// [`PeerFault::Index`] when the peer's index is behind its last one or ahead of the free slots.
    pub fn available(&mut self) -> Result<u32, PeerFault> {
        // Acquire: the slots below the index are read after it.
        let found = self.ring.control.producer.index.load(Acquire);
        let span = self
            .capacity()
            .wrapping_sub(self.tail.wrapping_sub(self.released));
        if found.wrapping_sub(self.tail) > span {
            return Err(PeerFault::Index {
                found,
                lowest: self.tail,
                span,
            });
        }
        self.tail = found;
        Ok(self.known_available())
    }

    /// Entries there as of the last look.
    fn known_available(&self) -> u32 {
        self.tail.wrapping_sub(self.taken)
    }

    /// A copy of the entry `offset` after the next one, without taking it.
    ///
    /// # Errors
    /// As [`available`](Self::available), which is called only if the entry was not there at the last look.
    pub fn peek(&mut self, offset: u32) -> Result<Option<T>, PeerFault> {
        let there = self.known_available() > offset || self.available()? > offset;
        Ok(if there { self.at(offset) } else { None })
    }

    /// Whether the next `count` entries are there; looks at the peer only if it must.
    pub(crate) fn has(&mut self, count: u32) -> Result<bool, PeerFault> {
        Ok(self.known_available() >= count || self.available()? >= count)
    }

    /// A copy of the entry `offset` after the next one, which is known to be there.
    pub(crate) fn at(&self, offset: u32) -> Option<T> {
        let cell = self.ring.slot(self.taken.wrapping_add(offset));
        cell.map(T::load)
    }

    /// Takes `count` entries without looking at them; at most those known to be there.
    pub fn skip(&mut self, count: u32) {
        self.taken = self.taken.wrapping_add(count.min(self.known_available()));
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn pop(&mut self) -> Result<Option<T>, PeerFault> {
        let value = self.peek(0)?;
        if value.is_some() {
            self.skip(1);
        }
        Ok(value)
    }

    /// Takes entries into `values` from its start, as many as there are and fit; returns how many.
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn pop_slice(&mut self, values: &mut [T]) -> Result<usize, PeerFault> {
        let wanted = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let there = match self.known_available() {
            known if known < wanted => self.available()?,
            known => known,
        };
        let count = there.min(wanted);
        for (index, value) in (0..count).zip(values) {
            if let Some(cell) = self.ring.slot(self.taken.wrapping_add(index)) {
                *value = T::load(cell);
            }
        }
        self.taken = self.taken.wrapping_add(count);
        let count = usize::try_from(count).unwrap_or(0);
        Ok(count)
    }

    /// Gives the slots of everything taken back to the peer. True: the peer asked to be notified about it, notify it.
    #[must_use = "true asks for a notification of the peer"]
    pub fn release(&mut self) -> bool {
        let old = core::mem::replace(&mut self.released, self.taken);
        if old == self.released {
            return false;
        }
        // Release: the slots were read before the peer sees them free.
        self.ring
            .control
            .consumer
            .index
            .store(self.released, Release);
        // Pairs with the fence in `Producer::arm`, for the reason given in `Producer::publish`.
        fence(SeqCst);
        let event = self.ring.control.producer.event.load(Relaxed);
        passed(event, self.released, old)
    }

    /// Asks to be notified about the next entry. True: entries are there already, go on instead of waiting.
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn arm(&mut self) -> Result<bool, PeerFault> {
        self.ring.control.consumer.event.store(self.tail, Relaxed);
        // Pairs with the fence in `Producer::publish`.
        fence(SeqCst);
        Ok(self.available()? > 0)
    }
}
