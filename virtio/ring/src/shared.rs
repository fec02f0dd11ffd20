//! Pages of atomics that two protection domains share.
//!
//! A structure whose every field is an atomic may be mapped into two protection domains as it is: any bit pattern
//! is a value, and a peer that writes at the wrong moment gives a wrong value and nothing worse. [`shared!`](macro@crate::shared)
//! declares such a structure and is the only way to implement [`Shared`]; it refuses a field that is not
//! atomic, so the crates that use it need no unsafe code. Memory that is all zero is every structure's beginning.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// A structure of atomics only.
///
/// # Safety
/// Every byte belongs to an atomic or is padding, every bit pattern is valid, and nothing in it is a pointer.
/// Implement it with [`shared!`](macro@crate::shared)(crate::shared!).
pub unsafe trait Shared: Sync + 'static {}

// SAFETY: an atomic integer, valid for any bits.
unsafe impl Shared for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU16 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array of what is shared has no other bytes.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Declares structures of atomics in C layout and implements [`Shared`](crate::shared::Shared) and `Default` (all zero)
/// for them.
///
/// ```
/// # use core::sync::atomic::AtomicU32;
/// sel4cp_ring::shared! {
///     /// A page with one word.
///     pub struct State {
///         /// Nonzero while something is going on.
///         pub busy: AtomicU32,
///     }
/// }
/// ```
/// A field that is not atomic does not compile:
/// ```compile_fail
/// sel4cp_ring::shared! {
///     /// Not all values of a `bool` are valid.
///     pub struct State {
///         /// Refused.
///         pub busy: bool,
///     }
/// }
/// ```
#[macro_export]
macro_rules! shared {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),* $(,)?
    })*) => { $(
        $(#[$meta])*
        #[derive(Debug)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        // SAFETY: the function below compiles only if every field is `Shared`.
        unsafe impl $crate::shared::Shared for $name {}

        impl $name {
            #[doc(hidden)]
            #[allow(dead_code, reason = "its compilation is the check")]
            const fn every_field_is_shared() {
                const fn is_shared<T: $crate::shared::Shared>() {}
                $(is_shared::<$type>();)*
            }
        }

        impl $crate::shared::Zero for $name {
            const ZERO: Self = Self { $($field: $crate::shared::Zero::ZERO,)* };
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::shared::Zero::ZERO
            }
        }
    )* };
}

/// The beginning of a shared structure.
pub trait Zero {
    /// All zero.
    const ZERO: Self;
}

macro_rules! zero {
    ($($type:ty),*) => { $(
        impl Zero for $type {
            const ZERO: Self = Self::new(0);
        }
    )* };
}
zero!(AtomicU8, AtomicU16, AtomicU32, AtomicU64);

impl<T: Zero, const N: usize> Zero for [T; N] {
    const ZERO: Self = [const { T::ZERO }; N];
}

shared! {
    /// Between a VMM (or the serial driver) and the timer driver.
    pub struct TimerPage {
        /// When the client wants a notification, in ticks of CNTPCT; 0: never. The client stores it and then
        /// notifies the driver; when it has passed, the driver sets it to 0 (unless the client has stored
        /// another one) and notifies. A deadline moved further away, or removed, needs no notification.
        pub deadline: AtomicU64,
    }

    /// Between a network backend and the domain that tells it of its guest's pauses.
    pub struct PausePage {
        /// Counts how often the backend has asked: it is told when the guest pauses after the last time. It notifies only if it
        /// has been told since it last did.
        pub asked: AtomicU32,
    }

    /// Between the serial driver and the power driver.
    pub struct SerialState {
        /// Nonzero while output is waiting in the serial driver or in its hardware. The power driver that finds
        /// it so notifies the serial driver, which notifies back when the word has become 0.
        pub pending: AtomicU32,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{PausePage, SerialState, Shared, TimerPage};
    use core::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn structures_begin_with_zero() {
        fn is_shared<T: Shared>(_: &T) {}
        let (timer, serial) = (TimerPage::default(), SerialState::default());
        let pause = PausePage::default();
        is_shared(&timer);
        is_shared(&serial);
        is_shared(&pause);
        assert_eq!(pause.asked.load(Ordering::Relaxed), 0);
        assert_eq!(timer.deadline.load(Ordering::Relaxed), 0);
        assert_eq!(serial.pending.load(Ordering::Relaxed), 0);
    }

    shared! {
        /// Private to this test.
        struct Nested {
            words: [AtomicU32; 3],
        }
    }

    #[test]
    fn arrays_and_private_structures_work() {
        let nested = Nested::default();
        assert!(
            nested
                .words
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
    }
}
