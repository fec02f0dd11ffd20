//! Fills memory with zeroes at boot, as the description says.

use super::window::pointer;
use sel4cp_abi::image::Clear;

/// Clears these ranges.
pub(crate) fn memory(clears: &[Clear]) {
    for Clear { paddr, bytes } in clears {
        #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
        let length = *bytes as usize;
        // SAFETY: the check has shown that the range is RAM that holds neither the image nor page tables; no
        // thread runs yet, and the kernel has no reference into it.
        unsafe { pointer(*paddr).write_bytes(0, length) };
    }
}
