//! The information page: what a driver says about its hardware, readable at any time.
//!
//! The driver writes its facts between two steps of a sequence word; the backend copies them out and takes the copy
//! only if the word was even and the same before and after. The driver's starts are counted apart from changes
//! of the facts: a start means that every request in flight is gone, a change means that capacity or link moved.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, fence};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// 64-bit words that facts may have.
pub const WORDS: usize = 32;
/// How often a reader tries again when the writer is at work.
const ATTEMPTS: u32 = 8;

crate::shared! {
    /// The page itself.
    pub struct Info {
        /// 0: nothing published yet; odd: being written; otherwise counts up by 2.
        sequence: AtomicU32,
        /// Counts the driver's starts; 0: never.
        epoch: AtomicU32,
        /// What the facts are about: a virtIO device id.
        kind: AtomicU32,
        /// Keeps the words aligned.
        reserved: AtomicU32,
        /// The facts.
        words: [AtomicU64; WORDS],
    }
}

/// Facts about a kind of hardware: plain data of a multiple of 8 bytes, at most [`WORDS`] words.
pub trait Facts: FromBytes + IntoBytes + Immutable + Copy {
    /// The virtIO device id of what they describe.
    const KIND: u32;
}

/// The driver's end of the page.
pub struct Writer {
    info: &'static Info,
}

impl Writer {
    pub(crate) fn new(info: &'static Info) -> Self {
        Self { info }
    }

    /// Publishes the facts of a driver that has just started. The backend is to be notified.
    pub fn start<F: Facts>(&mut self, facts: &F) {
        let epoch = self.info.epoch.load(Relaxed).wrapping_add(1).max(1);
        self.write(facts, epoch);
    }

    /// Publishes facts that have changed. The backend is to be notified.
    pub fn change<F: Facts>(&mut self, facts: &F) {
        self.write(facts, self.info.epoch.load(Relaxed));
    }

    fn write<F: Facts>(&mut self, facts: &F, epoch: u32) {
        const { assert!(size_of::<F>().is_multiple_of(8) && size_of::<F>() <= WORDS * 8) };
        // From the last even value: an earlier life may have ended in the middle.
        let sequence = self.info.sequence.load(Relaxed) & !1;
        self.info.sequence.store(sequence.wrapping_add(1), Relaxed);
        // The odd value is out before any word: pairs with the reader's fence.
        fence(Release);
        self.info.epoch.store(epoch, Relaxed);
        self.info.kind.store(F::KIND, Relaxed);
        let (chunks, _) = facts.as_bytes().as_chunks::<8>();
        for (word, chunk) in self.info.words.iter().zip(chunks) {
            word.store(u64::from_ne_bytes(*chunk), Relaxed);
        }
        let next = match sequence.wrapping_add(2) {
            0 => 2,
            next => next,
        };
        // Release: the words are out before the even value.
        self.info.sequence.store(next, Release);
    }
}

/// The backend's end of the page.
pub struct Reader {
    info: &'static Info,
    seen: u32,
}

/// A copy of the facts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot<F> {
    /// Which of its lives the driver is in.
    pub epoch: u32,
    /// The facts.
    pub facts: F,
}

impl Reader {
    pub(crate) fn new(info: &'static Info) -> Self {
        Self { info, seen: 0 }
    }

    /// Whether something was published since [`read`](Self::read) last succeeded.
    pub fn changed(&self) -> bool {
        self.info.sequence.load(Relaxed) != self.seen
    }

    /// The facts, or `None` when there are none (yet), when they are about other hardware than `F`, or when the
    /// driver keeps writing; it notifies when it is done.
    pub fn read<F: Facts>(&mut self) -> Option<Snapshot<F>> {
        const { assert!(size_of::<F>().is_multiple_of(8) && size_of::<F>() <= WORDS * 8) };
        for _ in 0..ATTEMPTS {
            // Acquire: the words are read after it.
            let before = self.info.sequence.load(Acquire);
            if before == 0 || before & 1 != 0 {
                continue;
            }
            let mut facts = F::new_zeroed();
            let (chunks, _) = facts.as_mut_bytes().as_chunks_mut::<8>();
            for (chunk, word) in chunks.iter_mut().zip(&self.info.words) {
                *chunk = word.load(Relaxed).to_ne_bytes();
            }
            let epoch = self.info.epoch.load(Relaxed);
            let kind = self.info.kind.load(Relaxed);
            // The words are read before the sequence is looked at again.
            fence(Acquire);
            if self.info.sequence.load(Relaxed) != before {
                continue;
            }
            if kind != F::KIND {
                return None;
            }
            self.seen = before;
            return Some(Snapshot { epoch, facts });
        }
        None
    }
}
