//! A guest RAM in host memory, for tests of whatever works on one.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::sync::{Mutex, PoisonError};

use crate::{BadRam, GuestAddress, GuestRam};

/// Page-aligned, as a mapping would be.
const ALIGNMENT: usize = 4096;

/// Memory that is in no `HostRam` now: address (its provenance exposed) and size.
///
/// [`GuestRam`] handles have no lifetime, so memory that once was a RAM stays one for ever; it is
/// used again instead of given back.
static POOL: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// A guest's RAM, zeroed, in the memory of a test program.
#[derive(Debug)]
pub struct HostRam {
    memory: *mut u8,
    size: usize,
    ram: GuestRam,
}

// SAFETY: `memory` is only used to give it back to the pool; the RAM itself may be shared.
unsafe impl Send for HostRam {}
// SAFETY: as above.
unsafe impl Sync for HostRam {}

impl HostRam {
    /// A RAM of `len` bytes at guest-physical `start`.
    ///
    /// # Errors
    /// [`BadRam`] if the numbers cannot describe a RAM.
    pub fn new(start: GuestAddress, len: u64) -> Result<Self, BadRam> {
        let bad = BadRam::Length { start, len };
        let size = usize::try_from(len).map_err(|_| bad)?;
        let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| bad)?;
        if size == 0 {
            return Err(bad);
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = pool.iter().position(|&(_, pooled)| pooled == size);
        let memory = if let Some(index) = reused {
            std::ptr::with_exposed_provenance_mut(pool.swap_remove(index).0)
        } else {
            // SAFETY: the size is not 0.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            memory
        };
        drop(pool);
        // SAFETY: `size` bytes at `memory` were allocated, are never freed, and are used by nobody
        // but `GuestRam`s.
        match unsafe { GuestRam::new(memory, start, len) } {
            Ok(ram) => {
                let this = Self { memory, size, ram };
                if reused.is_some() {
                    this.clear();
                }
                Ok(this)
            }
            Err(bad) => {
                give_back(memory, size);
                Err(bad)
            }
        }
    }

    /// The handle that a VMM or a backend would have.
    #[must_use]
    pub const fn ram(&self) -> GuestRam {
        self.ram
    }

    /// Sets all of it to zero.
    pub fn clear(&self) {
        let mut start = Some(self.ram.start());
        let mut left = self.ram.len();
        while let (Some(at), true) = (start, left != 0) {
            let len = u32::try_from(left).unwrap_or(1 << 31);
            if let Ok(span) = self.ram.check(crate::GuestRange::new(at, len)) {
                self.ram.fill(span, 0);
            }
            left -= u64::from(len);
            start = at.checked_add(u64::from(len));
        }
    }
}

impl Drop for HostRam {
    fn drop(&mut self) {
        give_back(self.memory, self.size);
    }
}

fn give_back(memory: *mut u8, size: usize) {
    POOL.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((memory.expose_provenance(), size));
}
