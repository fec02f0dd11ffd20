//! What may travel through a ring, and how it lies in shared memory.
//!
//! A slot is made of atomics that are loaded and stored relaxed. The peer may write it at any time, against the
//! rules; with atomics that is a wrong value and never undefined behaviour. The order between a slot and the
//! index that publishes it comes from the index.

use crate::sync::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Plain data that a ring carries: any bit pattern is a value.
pub trait Slot: Copy + 'static {
    /// Its place in shared memory: atomics of the same size, valid for any bit pattern.
    type Cell: SlotCell + Sync + 'static;
    /// A copy of what is in `cell`.
    fn load(cell: &Self::Cell) -> Self;
    /// Puts the value into `cell`.
    fn store(self, cell: &Self::Cell);
}

mod sealed {
    pub trait Sealed {}
}

/// The cells that shared memory may be read as. Sealed: the cast of a region to cells depends on it.
pub trait SlotCell: sealed::Sealed {}

impl sealed::Sealed for AtomicU8 {}
impl SlotCell for AtomicU8 {}
impl sealed::Sealed for [AtomicU64; 2] {}
impl SlotCell for [AtomicU64; 2] {}

impl Slot for u8 {
    type Cell = AtomicU8;
    fn load(cell: &AtomicU8) -> Self {
        cell.load(Relaxed)
    }
    fn store(self, cell: &AtomicU8) {
        cell.store(self, Relaxed);
    }
}

/// 16 bytes, the entry of the device rings.
impl Slot for [u64; 2] {
    type Cell = [AtomicU64; 2];
    fn load(cell: &Self::Cell) -> Self {
        let [low, high] = cell;
        [low.load(Relaxed), high.load(Relaxed)]
    }
    fn store(self, cell: &Self::Cell) {
        let [low, high] = cell;
        low.store(self[0], Relaxed);
        high.store(self[1], Relaxed);
    }
}

/// Makes 16-byte plain data a [`Slot`].
macro_rules! entry {
    ($($type:ty),*) => { $(
        impl $crate::Slot for $type {
            type Cell = <[u64; 2] as $crate::Slot>::Cell;
            fn load(cell: &Self::Cell) -> Self {
                let words = <[u64; 2] as $crate::Slot>::load(cell);
                zerocopy::transmute!(words)
            }
            fn store(self, cell: &Self::Cell) {
                let words: [u64; 2] = zerocopy::transmute!(self);
                $crate::Slot::store(words, cell);
            }
        }
    )* };
}
pub(crate) use entry;
