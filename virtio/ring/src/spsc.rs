//! The words that two ends share: indices, event indices, epochs.

use crate::fault::Misfit;
use crate::slot::Slot;
use crate::sync::{AtomicU32, Ordering::Relaxed};

/// The words that one end writes and the other only reads, on a cache line of their own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line {
    /// Entries put in (producer) or taken out (consumer) since the memory was zero, modulo 2³².
    pub(crate) index: AtomicU32,
    /// This end wants a notification when the other's index passes this one.
    pub(crate) event: AtomicU32,
    /// Counts this end's starts.
    pub(crate) epoch: AtomicU32,
}

/// The control words of one ring. All zero is an empty ring that nobody has attached to.
#[derive(Debug)]
#[repr(C)]
pub struct Control {
    pub(crate) producer: Line,
    pub(crate) consumer: Line,
}

impl Control {
    /// The control words of an empty ring, for rings that live in ordinary memory.
    pub fn new() -> Self {
        let line = || Line {
            index: AtomicU32::new(0),
            event: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
        };
        Self {
            producer: line(),
            consumer: line(),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// A ring in memory, before an end is attached to it.
pub struct Ring<T: Slot> {
    pub(crate) control: &'static Control,
    pub(crate) slots: &'static [T::Cell],
}

impl<T: Slot> Clone for Ring<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Slot> Copy for Ring<T> {}

impl<T: Slot> Ring<T> {
    /// A ring of `slots` controlled by `control`.
    ///
    /// # Errors
    /// [`Misfit::Slots`] unless their number is a power of two from 2 to 2³⁰: indices run freely modulo 2³².
    pub fn new(control: &'static Control, slots: &'static [T::Cell]) -> Result<Self, Misfit> {
        let found = slots.len();
        if !(2..=1 << 30).contains(&found) || !found.is_power_of_two() {
            return Err(Misfit::Slots { found });
        }
        Ok(Self { control, slots })
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        // At most 2³⁰, checked when the ring was made.
        u32::try_from(self.slots.len()).unwrap_or(0)
    }

    /// The slot of a free-running index.
    pub(crate) fn slot(&self, index: u32) -> Option<&'static T::Cell> {
        let mask = self.slots.len().wrapping_sub(1);
        self.slots.get(usize::try_from(index).ok()? & mask)
    }
}

impl Line {
    /// Marks a start of this end, so that the other one notices. Zero is left to "never".
    pub(crate) fn begin_epoch(&self) -> u32 {
        let next = match self.epoch.load(Relaxed).wrapping_add(1) {
            0 => 1,
            next => next,
        };
        self.epoch.store(next, Relaxed);
        next
    }
}

/// Whether an index that went from `old` to `new` passed `event` (the rule of virtIO 1.2 §2.7.10).
pub(crate) const fn passed(event: u32, new: u32, old: u32) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::passed;

    #[test]
    fn an_event_is_passed_once() {
        for base in [0, 5, u32::MAX - 1, u32::MAX] {
            let at = |step: u32| base.wrapping_add(step);
            assert!(passed(at(0), at(1), at(0)), "the next entry");
            assert!(!passed(at(1), at(1), at(0)), "armed beyond");
            assert!(passed(at(3), at(8), at(2)), "in the middle of a batch");
            assert!(!passed(at(1), at(8), at(2)), "expired");
            assert!(!passed(at(0), at(0), at(0)), "nothing moved");
        }
    }
}
