//! Where the rings lie in a region that two protection domains share.
//!
//! ```text
//! byte pair:   0x0000  control words of both rings          device:  0x0000  information page (driver → backend)
//!              0x1000  slots, client → driver                        0x1000  control words of both rings
//!              …       slots, driver → client                        0x2000  request slots (backend → driver)
//!                                                                    …       completion slots, half as many
//! ```
//! The number of slots follows from the region's size: the largest power of two that fits. Both sides compute it
//! from the same size, so no number crosses the region.

use crate::consumer::Consumer;
use crate::fault::Misfit;
use crate::info::{Info, Reader, Writer};
use crate::producer::Producer;
use crate::request::{Completion, Entry};
use crate::slot::Slot;
use crate::spsc::{Control, Ring};
use crate::wire::{Block, Wire};

/// Granule of regions.
const PAGE: usize = 0x1000;
/// Bytes of one entry of a device region's rings.
const ENTRY: usize = size_of::<Entry>();

/// Bytes of a byte-pair region with `slots` bytes each way (a power of two, at least a page).
pub const fn byte_pair_size(slots: usize) -> usize {
    PAGE + 2 * slots
}

/// Bytes of a device region with `requests` request entries and half as many completions (a power of two, at
/// least 2048: the longest request must fit, and a completion for everything that can be in flight).
pub const fn device_size(requests: usize) -> usize {
    2 * PAGE + (requests + requests / 2) * ENTRY
}

/// Bytes of a wire's region with `slots` slots each way (a power of two, at least 8192: the longest packet must fit
/// beside what it leaves free).
pub const fn wire_size(slots: usize) -> usize {
    PAGE + 2 * slots * size_of::<Block>()
}

/// The usual size of a console's or log's region: 32 KiB each way.
pub const BYTE_PAIR_SIZE: usize = byte_pair_size(0x8000);
/// The usual size of a block or net device's region: 4096 request entries, 2048 completions.
pub const DEVICE_SIZE: usize = device_size(4096);

/// The usual size of a wire's region: 128 KiB each way.
pub const WIRE_SIZE: usize = wire_size(0x2000);

/// Two byte rings: a client's (console backend, VMM, log) and the serial driver's.
#[derive(Clone, Copy)]
pub struct BytePair {
    to_driver: Ring<u8>,
    from_driver: Ring<u8>,
}

impl BytePair {
    /// The rings in `size` bytes at `base`.
    ///
    /// # Errors
    /// [`Misfit`] when the region does not start at a page or is too small.
    ///
    /// # Safety
    /// `base` points to `size` bytes that stay mapped, readable and writable, for the rest of the program and that
    /// this program accesses in no other way than through rings of this layout.
    pub unsafe fn new(base: *mut u8, size: usize) -> Result<Self, Misfit> {
        let expected = byte_pair_size(2);
        let slots = slots(size, PAGE, 2, expected)?;
        check_alignment(base)?;
        // SAFETY: the caller vouches for the region, `slots` was computed to fit into it after the control page.
        let to_driver = unsafe { ring(base, 0, PAGE, slots) }?;
        // SAFETY: as above; the second ring follows the first one's slots.
        let from_driver = unsafe { ring(base, size_of::<Control>(), PAGE + slots, slots) }?;
        Ok(Self {
            to_driver,
            from_driver,
        })
    }

    /// The client's ends: to the driver, from the driver.
    pub fn client(self) -> (Producer<u8>, Consumer<u8>) {
        (
            Producer::attach(self.to_driver),
            Consumer::attach(self.from_driver),
        )
    }

    /// The driver's ends: from the client, to the client.
    pub fn driver(self) -> (Consumer<u8>, Producer<u8>) {
        (
            Consumer::attach(self.to_driver),
            Producer::attach(self.from_driver),
        )
    }
}

/// Information page, request ring and completion ring of a block or net device.
#[derive(Clone, Copy)]
pub struct DeviceRegion {
    info: &'static Info,
    requests: Ring<Entry>,
    completions: Ring<Completion>,
}

/// What the backend holds of a device region.
pub struct BackendEnds {
    /// What the driver says about the hardware.
    pub info: Reader,
    /// Requests to the driver.
    pub requests: Producer<Entry>,
    /// Their completions.
    pub completions: Consumer<Completion>,
}

/// What the driver holds of a device region.
pub struct DriverEnds {
    /// What to tell about the hardware.
    pub info: Writer,
    /// Requests from the backend.
    pub requests: Consumer<Entry>,
    /// Their completions.
    pub completions: Producer<Completion>,
}

impl DeviceRegion {
    /// The rings in `size` bytes at `base`.
    ///
    /// # Errors
    /// [`Misfit`] when the region does not start at a page or is too small.
    ///
    /// # Safety
    /// As for [`BytePair::new`].
    pub unsafe fn new(base: *mut u8, size: usize) -> Result<Self, Misfit> {
        const { assert!(size_of::<Info>() <= PAGE) };
        let expected = device_size(2048);
        // In units of one completion and two requests.
        let completions = slots(size, 2 * PAGE, 3 * ENTRY, expected)?;
        let requests = 2 * completions;
        check_alignment(base)?;
        // SAFETY: the caller vouches for the region, whose first page is the information page: all atomics, any
        // bits are valid, and page alignment is enough.
        let info = unsafe { &*base.cast::<Info>() };
        let request_slots = 2 * PAGE;
        // SAFETY: the caller vouches for the region, `slots` made both rings fit after the first two pages.
        let request_ring = unsafe { ring(base, PAGE, request_slots, requests) }?;
        let completion_slots = request_slots + requests * ENTRY;
        // SAFETY: as above; the second ring follows the first one's slots.
        let completion_ring = unsafe {
            ring(
                base,
                PAGE + size_of::<Control>(),
                completion_slots,
                completions,
            )
        }?;
        Ok(Self {
            info,
            requests: request_ring,
            completions: completion_ring,
        })
    }

    /// The backend's ends.
    pub fn backend(self) -> BackendEnds {
        BackendEnds {
            info: Reader::new(self.info),
            requests: Producer::attach(self.requests),
            completions: Consumer::attach(self.completions),
        }
    }

    /// The driver's ends.
    pub fn driver(self) -> DriverEnds {
        DriverEnds {
            info: Writer::new(self.info),
            requests: Consumer::attach(self.requests),
            completions: Producer::attach(self.completions),
        }
    }
}

/// The two rings of a wire.
#[derive(Clone, Copy)]
pub struct WirePair {
    forward: Ring<Block>,
    backward: Ring<Block>,
}

impl WirePair {
    /// The rings in `size` bytes at `base`.
    ///
    /// # Errors
    /// [`Misfit`] when the region does not start at a page or is too small.
    ///
    /// # Safety
    /// As for [`BytePair::new`].
    pub unsafe fn new(base: *mut u8, size: usize) -> Result<Self, Misfit> {
        let slots = slots(size, PAGE, 2 * size_of::<Block>(), WIRE_SIZE)?;
        check_alignment(base)?;
        // SAFETY: the caller vouches for the region, `slots` was computed to fit into it after the control page.
        let forward = unsafe { ring(base, 0, PAGE, slots) }?;
        let second = PAGE + slots * size_of::<Block>();
        // SAFETY: as above; the second ring follows the first one's slots.
        let backward = unsafe { ring(base, size_of::<Control>(), second, slots) }?;
        Ok(Self { forward, backward })
    }

    /// The end of the PD that comes first in the system.
    pub fn first(self) -> Wire {
        Wire::new((
            Producer::attach(self.forward),
            Consumer::attach(self.backward),
        ))
    }

    /// The other end.
    pub fn second(self) -> Wire {
        Wire::new((
            Producer::attach(self.backward),
            Consumer::attach(self.forward),
        ))
    }
}

/// The largest power of two of units that fit after `before` bytes.
fn slots(size: usize, before: usize, unit: usize, expected: usize) -> Result<usize, Misfit> {
    if size < expected {
        return Err(Misfit::Size {
            found: size,
            expected,
        });
    }
    let fit = (size - before) / unit;
    // `fit` is at least 2, and its highest bit is a power of two that fits.
    Ok(1 << fit.ilog2())
}

/// Refuses a region that does not start at a page.
fn check_alignment(base: *mut u8) -> Result<(), Misfit> {
    let found = base.addr();
    if found == 0 || found & (PAGE - 1) != 0 {
        return Err(Misfit::Alignment { found });
    }
    Ok(())
}

/// The ring with its control words at offset `control` and `count` slots at offset `slots` of `base`.
///
/// # Safety
/// `base` is aligned to a page and points to shared memory as described at [`BytePair::new`], in which the control
/// words and the slots lie, at multiples of 64 bytes.
unsafe fn ring<T: Slot>(
    base: *mut u8,
    control: usize,
    slots: usize,
    count: usize,
) -> Result<Ring<T>, Misfit> {
    // SAFETY: the offset is inside the region, says the caller.
    let control = unsafe { base.add(control) };
    // SAFETY: as above.
    let slots = unsafe { base.add(slots) };
    // SAFETY: aligned and in bounds, says the caller; all its fields are atomics, for which any bits are valid and
    // writes from elsewhere are allowed; it lives as long as the program.
    let control = unsafe { &*control.cast::<Control>() };
    // SAFETY: as above; the sealed trait `SlotCell` admits only atomics and arrays of them.
    let slots = unsafe { core::slice::from_raw_parts(slots.cast::<T::Cell>(), count) };
    Ring::new(control, slots)
}
