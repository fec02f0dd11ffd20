//! Regions in ordinary memory, to run both ends of a ring in one process: for host tests of whoever uses rings.

extern crate std;

use crate::fault::Misfit;
use crate::layout::{BytePair, DeviceRegion, WIRE_SIZE, WirePair};
use crate::wire::{Block, Header, Wire};
use core::alloc::Layout;

/// Zeroed memory at a page boundary that lives until the process ends.
fn pages(size: usize) -> Result<*mut u8, Misfit> {
    let too_much = Misfit::Size {
        found: size,
        expected: 1,
    };
    let layout = Layout::from_size_align(size.max(1), 0x1000).map_err(|_| too_much)?;
    // SAFETY: the layout's size is not zero.
    let base = unsafe { std::alloc::alloc_zeroed(layout) };
    if base.is_null() {
        return Err(too_much);
    }
    Ok(base)
}

/// A byte pair of `size` bytes.
///
/// # Errors
/// As [`BytePair::new`].
pub fn byte_pair(size: usize) -> Result<BytePair, Misfit> {
    let base = pages(size)?;
    // SAFETY: fresh memory that is never freed, zero, and known to nobody else.
    unsafe { BytePair::new(base, size) }
}

/// A device region of `size` bytes.
///
/// # Errors
/// As [`DeviceRegion::new`].
pub fn device(size: usize) -> Result<DeviceRegion, Misfit> {
    let base = pages(size)?;
    // SAFETY: fresh memory that is never freed, zero, and known to nobody else.
    unsafe { DeviceRegion::new(base, size) }
}

/// A wire of the usual size.
///
/// # Errors
/// As [`WirePair::new`].
pub fn wire() -> Result<WirePair, Misfit> {
    let base = pages(WIRE_SIZE)?;
    // SAFETY: fresh memory that is never freed, zero, and known to nobody else.
    unsafe { WirePair::new(base, WIRE_SIZE) }
}

/// Stages a header alone on `wire`, whatever it says and with no payload: a peer that breaks the rules.
pub fn lie(wire: &mut Wire, header: &Header) {
    let head: [Block; 2] = zerocopy::transmute!(*header);
    let _count = wire.out.push_slice(&head);
}
