//! Where the kernel sees physical memory: one to one, from [`WINDOW`] on, itself included.
//!
//! The window lies above every address of a domain, so that a domain's page tables can hold it too: with the host
//! extensions (`host.rs`) kernel and domains share their tables.

use sel4cp_abi::image::GUEST_TOP;

/// Address at which physical address 0 is seen. `kernel.ld` says it too.
pub(super) const WINDOW: u64 = 1 << 47;

const _: () = assert!(GUEST_TOP <= WINDOW);

/// A physical address as a pointer.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
pub(super) fn pointer(physical: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut((WINDOW + physical) as usize)
}

/// Where the registers of a device are seen.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
pub(super) const fn device(physical: usize) -> usize {
    WINDOW as usize + physical
}

/// The physical address of something in the window, which may be made a pointer again.
pub(super) fn physical<T>(seen: *const T) -> u64 {
    seen.expose_provenance() as u64 - WINDOW
}
