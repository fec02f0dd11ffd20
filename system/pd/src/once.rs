//! Statics that are taken once: large working memory of a program that has no heap and a small stack.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::AcqRel};

/// A value in a static, to be taken once and then used as if it were on a heap.
///
/// ```
/// static BUFFER: sel4cp_pd::Once<[u8; 4096]> = sel4cp_pd::Once::new([0; 4096]);
///
/// let buffer = BUFFER.take().unwrap();
/// buffer[0] = 1;
/// assert!(BUFFER.take().is_none());
/// ```
pub struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `take` gives access to the value to one caller only, which may be on another thread if `T: Send`.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// The value, not taken yet. What is all zero costs no space in the program's file.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, the first time.
    #[expect(clippy::mut_from_ref, reason = "given out once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, AcqRel) {
            return None;
        }
        // SAFETY: the swap lets one caller through, ever, and nothing else touches the value.
        Some(unsafe { &mut *self.value.get() })
    }
}
