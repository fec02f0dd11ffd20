//! Cache maintenance of ranges of the PD's own address space.
//!
//! Ranges are first address and one past the last. [`flush`] needs no system call; the others are the kernel's.

use crate::message::invoke;
use crate::state::with;
use crate::{Error, sys};
use sel4cp_abi::slot;

macro_rules! operations {
    ($($(#[$meta:meta])* $name:ident: $label:ident;)*) => { $(
        $(#[$meta])*
        ///
        /// # Errors
        /// The kernel's, if the range is not one of the PD's.
        pub fn $name(start: u64, end: u64) -> Result<(), Error> {
            invoke(slot::VSPACE, with(|state| state.labels.get().$label), &[start, end])
        }
    )* };
}

operations! {
    /// Writes cached data back to memory.
    clean: arm_vspace_clean_data;
    /// Forgets cached data.
    invalidate: arm_vspace_invalidate_data;
    /// Writes cached data back to memory and forgets it.
    clean_invalidate: arm_vspace_clean_invalidate_data;
    /// Makes data visible to instruction fetches.
    unify: arm_vspace_unify_instruction;
}

/// Writes cached data back to memory and forgets it, by instructions that a PD may use itself (DC CIVAC): for
/// memory that a guest reads with its caches off.
pub fn flush(start: u64, end: u64) {
    sys::clean_invalidate(start, end);
}
