//! Memory regions of the configuration, each handed out once and in a form that suits who writes it.

use crate::state::with;
use crate::sys;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use sel4cp_abi::config::Region;
use sel4cp_memory::{GuestAddress, GuestRam};
use sel4cp_ring::Misfit;
use sel4cp_ring::layout::{BytePair, DeviceRegion, WirePair};
use sel4cp_ring::shared::Shared;
use zerocopy::FromBytes;

/// What regions are made of.
const PAGE: usize = 0x1000;

/// Why a region was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// The system has no such region.
    Missing,
    /// The region does not come from the configuration.
    Foreign,
    /// The region, or a part of it, has been handed out already.
    Taken(Region),
    /// The region is too small.
    Small {
        /// The region.
        region: Region,
        /// Fewest bytes expected.
        expected: usize,
    },
    /// The region's address is not aligned.
    Unaligned {
        /// The region.
        region: Region,
        /// The alignment expected, in bytes.
        expected: usize,
    },
    /// The region's address or size is not one that memory can have.
    Range(Region),
    /// The region cannot hold the rings it should.
    Misfit(Misfit),
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the configuration has no such region"),
            Self::Foreign => f.write_str("the region is not a part of the configuration"),
            Self::Taken(region) => write!(
                f,
                "region at {:#x} is in use already, expected to be taken once",
                region.vaddr
            ),
            Self::Small { region, expected } => write!(
                f,
                "region at {:#x} has {:#x} bytes, expected at least {expected:#x}",
                region.vaddr, region.size
            ),
            Self::Unaligned { region, expected } => write!(
                f,
                "region is at {:#x}, expected a multiple of {expected:#x}",
                region.vaddr
            ),
            Self::Range(region) => write!(
                f,
                "region at {:#x} with {:#x} bytes, expected an address range of this machine",
                region.vaddr, region.size
            ),
            Self::Misfit(misfit) => misfit.fmt(f),
        }
    }
}

impl core::error::Error for RegionError {}

/// Takes `region` as raw memory of at least `size` bytes at a multiple of `align`: for device registers and DMA
/// memory, and for the accessors here. Reading or writing through the pointer is the caller's unsafe business.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn claim(region: &Region, size: usize, align: usize) -> Result<NonNull<[u8]>, RegionError> {
    let memory = check(region, size, align)?;
    if with(|state| state.claim(region.vaddr, region.size)) {
        Ok(memory)
    } else {
        Err(RegionError::Taken(*region))
    }
}

fn check(region: &Region, size: usize, align: usize) -> Result<NonNull<[u8]>, RegionError> {
    if !region.is_some() {
        return Err(RegionError::Missing);
    }
    let range = RegionError::Range(*region);
    let address = usize::try_from(region.vaddr).map_err(|_| range)?;
    let length = usize::try_from(region.size).map_err(|_| range)?;
    address.checked_add(length).ok_or(range)?;
    if length < size {
        return Err(RegionError::Small {
            region: *region,
            expected: size,
        });
    }
    if !address.is_multiple_of(align.max(1)) {
        return Err(RegionError::Unaligned {
            region: *region,
            expected: align,
        });
    }
    let start = sys::region_pointer(region).ok_or(RegionError::Foreign)?;
    Ok(NonNull::slice_from_raw_parts(start, length))
}

/// A page of atomics that is shared with another PD.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn shared<T: Shared>(region: &Region) -> Result<&'static T, RegionError> {
    let memory = claim(region, size_of::<T>(), align_of::<T>())?;
    // SAFETY: the region is mapped for as long as the PD runs (`check`), large enough and aligned for `T`, and
    // handed out only here. `T: Shared` is valid for every bit pattern and consists of atomics, so that the PD
    // on the other side may write it at any time.
    Ok(unsafe { memory.cast::<T>().as_ref() })
}

/// The two byte rings of a region: a console's, or a log's.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn byte_rings(region: &Region) -> Result<BytePair, RegionError> {
    let memory = claim(region, 0, PAGE)?;
    // SAFETY: the region is mapped for as long as the PD runs (`check`), and handed out only here.
    let rings = unsafe { BytePair::new(memory.cast().as_ptr(), memory.len()) };
    rings.map_err(RegionError::Misfit)
}

/// The rings and the information page of a device's region.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn device_rings(region: &Region) -> Result<DeviceRegion, RegionError> {
    let memory = claim(region, 0, PAGE)?;
    // SAFETY: the region is mapped for as long as the PD runs (`check`), and handed out only here.
    let rings = unsafe { DeviceRegion::new(memory.cast().as_ptr(), memory.len()) };
    rings.map_err(RegionError::Misfit)
}

/// The two rings of a wire's region.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn wire_rings(region: &Region) -> Result<WirePair, RegionError> {
    let memory = claim(region, 0, PAGE)?;
    // SAFETY: the region is mapped for as long as the PD runs (`check`), and handed out only here.
    let rings = unsafe { WirePair::new(memory.cast().as_ptr(), memory.len()) };
    rings.map_err(RegionError::Misfit)
}

/// A guest's memory, at the guest-physical address `region.bus`; or other memory whose bytes are moved like a guest's, because
/// hardware looks at it at any time.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn guest_ram(region: &Region) -> Result<GuestRam, RegionError> {
    let memory = claim(region, 0, PAGE)?;
    let start = GuestAddress::new(region.bus);
    // SAFETY: the region is mapped for as long as the PD runs (`check`), and handed out only here: the PD touches
    // it through the returned value alone.
    let ram = unsafe { GuestRam::new(memory.cast().as_ptr(), start, region.size) };
    ram.map_err(|_| RegionError::Range(*region))
}

/// A region as 32-bit words, for register pages that somebody else reads or writes at any time.
///
/// The region may be mapped uncached: load and store, but do not read-modify-write such words.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn words(region: &Region) -> Result<&'static [AtomicU32], RegionError> {
    let memory = claim(region, 0, align_of::<AtomicU32>())?;
    let count = memory.len() / size_of::<AtomicU32>();
    let words = NonNull::slice_from_raw_parts(memory.cast::<AtomicU32>(), count);
    // SAFETY: the region is mapped for as long as the PD runs (`check`), holds `count` aligned words and is handed
    // out only here. Atomics are valid for every bit pattern and may be written by others at any time.
    Ok(unsafe { words.as_ref() })
}

/// A region that the tool has filled and that nobody writes: a kernel, a device tree, an initial RAM disk.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn bytes(region: &Region) -> Result<&'static [u8], RegionError> {
    let memory = claim(region, 0, 1)?;
    // SAFETY: the region is mapped for as long as the PD runs (`check`). The configuration's prefilled regions are
    // mapped read-only and into this PD alone (the tool's rule), so that the bytes never change.
    Ok(unsafe { memory.as_ref() })
}

/// Memory of this PD alone, as many `T`s as fit: zeroes at first, and what an earlier life left there in a later one.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn own<T: FromBytes>(region: &Region) -> Result<&'static mut [T], RegionError> {
    let memory = claim(region, 0, align_of::<T>())?;
    let count = memory.len().checked_div(size_of::<T>()).unwrap_or(0);
    let mut all = NonNull::slice_from_raw_parts(memory.cast::<T>(), count);
    // SAFETY: the region is mapped for as long as the PD runs (`check`), holds `count` aligned `T`s and is handed out only here. It is
    // mapped read-write, and into this PD alone (the tool's rule). `T: FromBytes` is valid for every bit pattern.
    Ok(unsafe { all.as_mut() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;
    use core::sync::atomic::Ordering;

    #[test]
    fn a_region_is_handed_out_once() {
        let region = host::region(0x1000);
        let all = words(&region).unwrap();
        assert_eq!(all.len(), 0x400);
        all[3].store(7, Ordering::Relaxed);
        assert_eq!(bytes(&region), Err(RegionError::Taken(region)));
    }

    #[test]
    fn own_memory_is_as_many_as_fit() {
        let region = host::region(0x1000);
        let all = own::<[u64; 100]>(&region).unwrap();
        assert_eq!(all, [[0; 100]; 5]);
        all[4][99] = 7;
        assert_eq!(bytes(&region), Err(RegionError::Taken(region)));
        let region = host::region(0x1000);
        assert_eq!(own::<[u64; 1000]>(&region).unwrap().len(), 0);
        assert!(own::<u64>(&Region::NONE).is_err());
    }

    #[test]
    fn a_region_that_does_not_fit_is_refused() {
        let region = host::region(0x1000);
        assert_eq!(claim(&Region::NONE, 0, 1), Err(RegionError::Missing));
        let small = claim(&region, 0x1001, 1);
        assert!(matches!(
            small,
            Err(RegionError::Small {
                expected: 0x1001,
                ..
            })
        ));
        let odd = Region {
            vaddr: region.vaddr + 2,
            ..region
        };
        assert!(matches!(
            claim(&odd, 0, 4),
            Err(RegionError::Unaligned { .. })
        ));
        let huge = Region {
            vaddr: u64::MAX,
            ..region
        };
        assert_eq!(claim(&huge, 0, 1), Err(RegionError::Range(huge)));
        let foreign = Region {
            vaddr: 0x10_0000,
            ..region
        };
        assert_eq!(claim(&foreign, 0, 1), Err(RegionError::Foreign));
        assert!(claim(&region, 0x1000, 0x1000).is_ok());
    }
}
