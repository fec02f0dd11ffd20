//! The queue: takes chains out of the available ring, and puts them into the used ring.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use sel4cp_memory::{GuestRam, Span};

use crate::chain::{self, Chain};
use crate::fault::GuestFault;
use crate::layout::{AvailableFlags, Config, Features, Layout, MAX_SIZE, UsedFlags};
use crate::notify::need_event;

/// Each queue that is ever made has its own number, so that a token knows where it belongs.
static NEXT_IDENTITY: AtomicU32 = AtomicU32::new(1);

const WORD_BITS: u16 = 64;

/// The device's side of one split virtqueue, from the driver enabling it to the device's reset.
///
/// Reset: every request that is with somebody else still owns its buffers, so the queue must live
/// until [`Queue::out`] is 0; then it is dropped, and the driver's next configuration makes a new
/// one. A token that turns up later is refused as [`StaleToken`].
#[derive(Debug)]
pub struct Queue {
    ram: GuestRam,
    layout: Layout,
    features: Features,
    identity: u32,
    /// The next available entry that we take.
    next_available: u16,
    /// The driver's available index when we last read it: entries before it can be taken without
    /// another look at the shared word.
    seen_available: u16,
    /// The next used entry that we write.
    next_used: u16,
    /// The used index that the driver can see.
    published: u16,
    /// How many chains have been popped and not completed.
    out: u16,
    /// A bit for each descriptor that is the head of one of those.
    heads: [u64; (MAX_SIZE / WORD_BITS) as usize],
}

/// A chain that a device has taken and owes to the guest: to be given to [`Queue::complete`].
///
/// Dropped, it is a request that never ends. Only after a reset that is what is wanted.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the guest waits for its chain until the token is completed"]
pub struct Token {
    queue: u32,
    head: u16,
    position: u16,
    writable: u32,
}

impl Token {
    /// Index of the chain's first descriptor: less than the queue's size, and different from that
    /// of every other chain of this queue that is out.
    #[must_use]
    pub const fn head(&self) -> u16 {
        self.head
    }
}

/// A token that belongs to another queue, for instance to what this one was before a reset.
///
/// Nothing was done with it: the chain's memory belongs to the guest again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleToken {
    /// The chain's first descriptor, in the queue that it came from.
    pub head: u16,
}

impl fmt::Display for StaleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chain {} belongs to another queue, or to this one before a reset",
            self.head
        )
    }
}

impl core::error::Error for StaleToken {}

impl Queue {
    /// Takes over a queue that the driver has just enabled. Both indices start at 0 (§2.7.13).
    ///
    /// # Errors
    /// [`GuestFault`] if the size, or place or alignment of one of the three parts breaks §2.7.
    pub fn new(ram: &GuestRam, config: &Config) -> Result<Self, GuestFault> {
        Ok(Self {
            ram: *ram,
            layout: Layout::new(ram, config)?,
            features: config.features,
            // Only uniqueness matters, so nothing needs to be ordered.
            identity: NEXT_IDENTITY.fetch_add(1, Ordering::Relaxed),
            next_available: 0,
            seen_available: 0,
            next_used: 0,
            published: 0,
            out: 0,
            heads: [0; (MAX_SIZE / WORD_BITS) as usize],
        })
    }

    /// Takes over a queue in which an earlier life of the device has worked, and in which it completed every chain in the order of
    /// the available ring: the next one to take is then the next one to complete. A chain that it had taken and not shown to the
    /// driver is taken again.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn resume(ram: &GuestRam, config: &Config) -> Result<Self, GuestFault> {
        let mut queue = Self::new(ram, config)?;
        // The driver can write it too, and then gets nonsense for it, within the queue.
        let index = ram.load(queue.layout.used_index);
        queue.next_available = index;
        queue.seen_available = index;
        queue.next_used = index;
        queue.published = index;
        Ok(queue)
    }

    /// The number of descriptors.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.layout.size
    }

    /// How many chains the device owes: popped, and not completed.
    #[must_use]
    pub const fn out(&self) -> u16 {
        self.out
    }

    /// Takes the next available chain, if there is one. Its buffers are written to `segments`.
    ///
    /// `segments.len()` is how many descriptors the device takes in one chain. [`MAX_SIZE`] is as
    /// many as any driver has a right to (§2.7.5.3.1: no more than the queue's size); a device that
    /// told the driver a lower limit may bring less.
    ///
    /// The available index is read only when all entries that it once promised have been taken.
    ///
    /// # Errors
    /// [`GuestFault`] for whatever the driver did wrong. No chain has been taken then.
    #[inline]
    pub fn pop<'s>(
        &mut self,
        segments: &'s mut [Span],
    ) -> Result<Option<(Token, Chain<'s>)>, GuestFault> {
        if self.next_available == self.seen_available && !self.look_for_work()? {
            return Ok(None);
        }
        let position = self.next_available;
        let size = self.layout.size;
        let head = self.ram.load(self.layout.available.at(u32::from(position)));
        if head >= size {
            return Err(GuestFault::HeadOutOfRange { head, size });
        }
        if self.is_out(head) {
            return Err(GuestFault::HeadInFlight { head });
        }
        let chain = chain::walk(&self.ram, &self.layout, self.features, head, segments)?;
        self.next_available = position.wrapping_add(1);
        self.mark(head, true);
        let writable = u32::try_from(chain.writable_len()).unwrap_or(u32::MAX);
        let token = Token {
            queue: self.identity,
            head,
            position,
            writable,
        };
        Ok(Some((token, chain)))
    }

    /// Gives a chain back as if it had not been popped: the next [`Queue::pop`] takes it again.
    /// Possible for the chain that was popped last, then for the one before it, and so on.
    ///
    /// # Errors
    /// The token, if it is not the last one or belongs to another queue.
    pub fn put_back(&mut self, token: Token) -> Result<(), Token> {
        let last = self.next_available.wrapping_sub(1);
        if token.queue != self.identity || token.position != last {
            return Err(token);
        }
        self.next_available = last;
        self.mark(token.head, false);
        Ok(())
    }

    /// Returns a chain to the driver. It sees it after the next [`Queue::publish`].
    ///
    /// `written` is how many bytes from the first writable one on the device has written for certain
    /// (§2.7.8.2): fewer than the truth is allowed, more is not, so it is cut to the room there was.
    ///
    /// # Errors
    /// [`StaleToken`] if the chain is not one of this queue.
    #[inline]
    pub fn complete(&mut self, token: Token, written: u32) -> Result<(), StaleToken> {
        if token.queue != self.identity {
            return Err(StaleToken { head: token.head });
        }
        let element = u32::from(self.next_used).wrapping_mul(2);
        let (id, len) = (
            self.layout.used.at(element),
            self.layout.used.at(element | 1),
        );
        self.ram.store(id, u32::from(token.head));
        self.ram.store(len, written.min(token.writable));
        self.next_used = self.next_used.wrapping_add(1);
        self.mark(token.head, false);
        Ok(())
    }

    /// Lets the driver see all chains that have been completed, with one store, and says whether
    /// it wants to be interrupted for one of them (§2.7.7.2). False if there are none.
    #[must_use = "the driver waits for the interrupt"]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_used);
        if old == new {
            return false;
        }
        // Release: the used entries, and the data in the buffers, come before the index (§2.7.14).
        self.ram.store_release(self.layout.used_index, new);
        self.published = new;
        // The driver stores `used_event` (or its flags) and then looks at our index; we store our
        // index and then look at `used_event`. Without a full barrier on both sides each could miss
        // the other's store, and nobody would wake the driver. Release and acquire do not order a
        // store before a later load.
        fence(Ordering::SeqCst);
        if self.features.contains(Features::EVENT_IDX) {
            need_event(self.ram.load(self.layout.used_event), new, old)
        } else {
            let flags = self.ram.load(self.layout.available_flags);
            !AvailableFlags::from_bits_truncate(flags).contains(AvailableFlags::NO_INTERRUPT)
        }
    }

    /// Asks to be notified of the next chain, and looks again: true if there is one already, for
    /// which no notification will come.
    ///
    /// # Errors
    /// [`GuestFault::AvailableJump`] if the index that it finds is impossible.
    #[must_use = "no notification comes for a chain that is already there"]
    pub fn enable_notifications(&mut self) -> Result<bool, GuestFault> {
        self.enable_notifications_after(0)
    }

    /// The same, but of the chain that comes after `more` others: those are for the device to find out about. Without EVENT_IDX a
    /// driver notifies of each, also then.
    ///
    /// # Errors
    /// As [`Queue::enable_notifications`].
    #[must_use = "no notification comes for a chain that is already there"]
    pub fn enable_notifications_after(&mut self, more: u16) -> Result<bool, GuestFault> {
        if self.features.contains(Features::EVENT_IDX) {
            // §2.7.10.2: notify us once the entry with this index is there.
            self.ram.store(
                self.layout.available_event,
                self.next_available.wrapping_add(more),
            );
        } else {
            self.ram
                .store(self.layout.used_flags, UsedFlags::empty().bits());
        }
        // As in `publish`: our store must be visible before we look at the driver's index.
        fence(Ordering::SeqCst);
        self.look_for_work()
    }

    /// Tells the driver that notifications are of no use for now. It may send some all the same.
    pub fn disable_notifications(&mut self) {
        // With EVENT_IDX, `avail_event` stays at an entry that we have already taken: the driver
        // does not pass it again within the next 2¹⁶ entries, and the flags must be 0 (§2.7.10.2).
        if !self.features.contains(Features::EVENT_IDX) {
            self.ram
                .store(self.layout.used_flags, UsedFlags::NO_NOTIFY.bits());
        }
    }

    /// Reads the driver's index. True if there are entries that we have not taken.
    fn look_for_work(&mut self) -> Result<bool, GuestFault> {
        // Acquire: what the driver wrote before it moved the index (ring entries, descriptors,
        // buffers: §2.7.13.3) is visible to the reads that follow.
        let index = self.ram.load_acquire(self.layout.available_index);
        let (next, size) = (self.next_available, self.layout.size);
        if index.wrapping_sub(next) > size {
            return Err(GuestFault::AvailableJump { index, next, size });
        }
        self.seen_available = index;
        Ok(index != next)
    }

    fn is_out(&self, head: u16) -> bool {
        let word = self
            .heads
            .get(usize::from(head / WORD_BITS))
            .copied()
            .unwrap_or_default();
        word >> (head % WORD_BITS) & 1 == 1
    }

    fn mark(&mut self, head: u16, out: bool) {
        if let Some(word) = self.heads.get_mut(usize::from(head / WORD_BITS)) {
            let bit = 1 << (head % WORD_BITS);
            *word = if out { *word | bit } else { *word & !bit };
        }
        // As many as there are bits set, so it neither overflows nor falls below 0.
        self.out = if out {
            self.out.wrapping_add(1)
        } else {
            self.out.wrapping_sub(1)
        };
    }
}
