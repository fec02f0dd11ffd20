//! Memory that the hardware reads and writes: the driver's own, the guest's, and the frames that a net backend makes.
//!
//! All are windows: physically contiguous, mapped at one address. The guest's and the frames are mapped only because the
//! virtio-drivers crate names buffers by pointers; no code here reads or writes a byte of them.

use super::pages::Pages;
use core::cell::{Cell, RefCell};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::AtomicU16;
use sel4cp_abi::config::Region;
use sel4cp_pd::{RegionError, claim, fatal};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// A range of memory and where the hardware finds it.
#[derive(Clone, Copy)]
struct Window {
    start: usize,
    size: usize,
    bus: u64,
}

impl Window {
    const NONE: Self = Self {
        start: 0,
        size: 0,
        bus: 0,
    };

    fn claim(region: &Region) -> Result<Self, RegionError> {
        let memory = claim(region, PAGE_SIZE, PAGE_SIZE)?;
        if region.bus.checked_add(region.size).is_none() || region.bus == 0 {
            return Err(RegionError::Range(*region));
        }
        Ok(Self {
            start: memory.cast::<u8>().as_ptr().expose_provenance(),
            size: memory.len(),
            bus: region.bus,
        })
    }

    /// The piece of `len` bytes at `offset`; `None` unless it has bytes and lies inside.
    fn piece(&self, offset: u64, len: u32) -> Option<Piece> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(usize::try_from(len).ok()?)?;
        (len != 0 && end <= self.size).then_some(Piece {
            address: self.start + offset,
            len,
        })
    }

    /// The hardware's address of `len` bytes at `address`, if they lie inside.
    fn bus_of(&self, address: usize, len: usize) -> Option<u64> {
        let offset = address.checked_sub(self.start)?;
        let end = offset.checked_add(len)?;
        (end <= self.size).then_some(self.bus.checked_add(u64::try_from(offset).ok()?)?)
    }
}

/// Bytes that the hardware may be given: inside one of the windows, and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    address: usize,
    len: u32,
}

impl Piece {
    /// Only fills arrays.
    pub(super) const EMPTY: Self = Self { address: 0, len: 0 };

    /// Its length in bytes, never 0.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Never.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The piece without its first `count` bytes; `None` when nothing is left.
    pub fn skip(&self, count: u32) -> Option<Self> {
        let len = self.len.checked_sub(count).filter(|len| *len != 0)?;
        Some(Self {
            address: self.address + usize::try_from(count).ok()?,
            len,
        })
    }

    /// Where it is mapped.
    pub(super) fn memory(&self) -> NonNull<[u8]> {
        let len = usize::try_from(self.len).unwrap_or(0);
        // The address is inside a window and so not null.
        let start = NonNull::new(with_exposed_provenance_mut(self.address));
        NonNull::slice_from_raw_parts(start.unwrap_or(NonNull::dangling()), len)
    }
}

/// The PD's windows, and which pages of its own are in use.
struct Memory {
    own: Cell<Window>,
    guest: Cell<Window>,
    frames: Cell<Window>,
    pages: RefCell<Pages>,
}

impl Memory {
    const fn new() -> Self {
        Self {
            own: Cell::new(Window::NONE),
            guest: Cell::new(Window::NONE),
            frames: Cell::new(Window::NONE),
            pages: RefCell::new(Pages::new(0)),
        }
    }
}

#[cfg(target_os = "none")]
mod memory {
    use super::Memory;

    struct OneThread(Memory);
    // SAFETY: a PD has one thread.
    unsafe impl Sync for OneThread {}
    static MEMORY: OneThread = OneThread(Memory::new());

    pub(super) fn with<R>(f: impl FnOnce(&Memory) -> R) -> R {
        f(&MEMORY.0)
    }
}

#[cfg(not(target_os = "none"))]
mod memory {
    use super::Memory;

    std::thread_local! {
        static MEMORY: Memory = const { Memory::new() };
    }

    pub(super) fn with<R>(f: impl FnOnce(&Memory) -> R) -> R {
        MEMORY.with(f)
    }
}
use memory::with;

/// Opens the windows: the driver's own memory, the guest's, and that of the backend's frames, if there is such.
///
/// # Errors
/// [`RegionError`] says what does not fit.
pub fn open(own: &Region, guest: &Region, frames: &Region) -> Result<(), RegionError> {
    let (own, guest) = (Window::claim(own)?, Window::claim(guest)?);
    let frames = if frames.is_some() {
        Window::claim(frames)?
    } else {
        Window::NONE
    };
    with(|memory| {
        memory.own.set(own);
        memory.guest.set(guest);
        memory.frames.set(frames);
        memory.pages.replace(Pages::new(own.size / PAGE_SIZE));
    });
    Ok(())
}

/// The guest's memory of `len` bytes at `offset` from its start, `None` unless it has bytes and lies inside.
pub fn guest_piece(offset: u64, len: u32) -> Option<Piece> {
    with(|memory| memory.guest.get().piece(offset, len))
}

/// `len` bytes at `offset` in the memory of the backend's frames, `None` unless there are bytes and they lie inside.
pub fn frames_piece(offset: u64, len: u32) -> Option<Piece> {
    with(|memory| memory.frames.get().piece(offset, len))
}

/// The 16-bit word at `bus` in the driver's own memory, where a queue's rings have their indices; `None` unless it is
/// aligned and lies inside.
pub(super) fn own_word(bus: u64) -> Option<&'static AtomicU16> {
    let own = with(|memory| memory.own.get());
    let offset = usize::try_from(bus.checked_sub(own.bus)?).ok()?;
    let inside = offset.checked_add(size_of::<u16>())? <= own.size;
    let place = NonNull::new(with_exposed_provenance_mut::<AtomicU16>(own.start + offset))?;
    if !inside || !place.is_aligned() {
        return None;
    }
    // SAFETY: aligned and inside the window, which stays mapped as long as the PD runs. The crate and the hardware
    // access these words as atomics too.
    Some(unsafe { place.as_ref() })
}

/// Pages of the driver's own for as long as it runs, zeroed: headers and status bytes of requests.
pub struct Area {
    start: NonNull<u8>,
    size: usize,
    offset: u64,
}

// SAFETY: an area is the only owner of its pages, and accesses them by volatile copies.
unsafe impl Send for Area {}

impl Area {
    /// Takes `pages` pages; `None` when there are not as many.
    pub fn new(pages: usize) -> Option<Self> {
        let first = take_zeroed(pages)?;
        let own = with(|memory| memory.own.get());
        let offset = first * PAGE_SIZE;
        Some(Self {
            start: NonNull::new(with_exposed_provenance_mut(own.start + offset))?,
            size: pages * PAGE_SIZE,
            offset: u64::try_from(offset).ok()?,
        })
    }

    /// Its piece of `len` bytes at `offset`.
    pub fn piece(&self, offset: usize, len: u32) -> Option<Piece> {
        let end = offset.checked_add(usize::try_from(len).ok()?)?;
        let place = self.offset + u64::try_from(offset).ok()?;
        (end <= self.size)
            .then(|| with(|memory| memory.own.get().piece(place, len)))
            .flatten()
    }

    /// Copies `bytes` to `offset`; what does not fit is left out.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (index, byte) in (offset..self.size).zip(bytes) {
            // SAFETY: `index` is below the area's size, so this is inside its pages.
            let place = unsafe { self.start.add(index) };
            // SAFETY: the area owns its pages; volatile because the hardware reads them.
            unsafe { place.write_volatile(*byte) };
        }
    }

    /// The byte at `offset`, 0 outside.
    pub fn read(&self, offset: usize) -> u8 {
        if offset >= self.size {
            return 0;
        }
        // SAFETY: `offset` is below the area's size.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: inside pages that the area owns; volatile because the hardware writes them.
        unsafe { place.read_volatile() }
    }
}

/// Pages of the driver's own memory, zeroed; the number of the first.
fn take_zeroed(pages: usize) -> Option<usize> {
    with(|memory| {
        let first = memory.pages.try_borrow_mut().ok()?.take(pages)?;
        let own = memory.own.get();
        let start = with_exposed_provenance_mut::<u8>(own.start + first * PAGE_SIZE);
        // SAFETY: `Pages` gives numbers of pages inside the window, and these to nobody else.
        unsafe { start.write_bytes(0, pages * PAGE_SIZE) };
        Some(first)
    })
}

/// The windows, as the virtio-drivers crate wants them.
#[derive(Debug)]
pub struct DriverMemory;

// SAFETY: `dma_alloc` returns pages that `Pages` gives out once until they come back, zeroed, mapped for as long
// as the PD runs, and their own address on the bus. There is no other implementation requirement that applies.
unsafe impl Hal for DriverMemory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let none = (0, NonNull::dangling());
        let own = with(|memory| memory.own.get());
        let Some(offset) = take_zeroed(pages).map(|first| first * PAGE_SIZE) else {
            return none;
        };
        match NonNull::new(with_exposed_provenance_mut(own.start + offset)) {
            Some(start) => (own.bus + offset as u64, start),
            None => none,
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        with(|memory| {
            let offset = start.as_ptr().addr().saturating_sub(memory.own.get().start);
            if let Ok(mut all) = memory.pages.try_borrow_mut() {
                all.give_back(offset / PAGE_SIZE, pages);
            }
        });
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        // Only transports on PCI ask for this.
        fatal!("no address {address:#x}: expected a virtio-mmio transport")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let (address, len) = (buffer.cast::<u8>().as_ptr().addr(), buffer.len());
        let found = with(|memory| {
            let guest = memory.guest.get().bus_of(address, len);
            let own = || memory.own.get().bus_of(address, len);
            guest
                .or_else(own)
                .or_else(|| memory.frames.get().bus_of(address, len))
        });
        match found {
            Some(bus) => bus,
            // Requests are made of `Piece`s, which are inside.
            None => fatal!("buffer at {address:#x} is in no window of this driver"),
        }
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_pd::host;

    fn windows() -> (Region, Region) {
        let own = Region {
            bus: 0x6000_0000,
            ..host::region(8 * PAGE_SIZE)
        };
        let guest = Region {
            bus: 0x4000_0000,
            ..host::region(4 * PAGE_SIZE)
        };
        let frames = Region {
            bus: 0x7000_0000,
            ..host::region(2 * PAGE_SIZE)
        };
        open(&own, &guest, &frames).unwrap();
        (own, guest)
    }

    fn shared(piece: Piece) -> u64 {
        // SAFETY: nothing is done with the memory.
        unsafe { DriverMemory::share(piece.memory(), BufferDirection::DriverToDevice) }
    }

    #[test]
    fn guest_memory_is_translated_inside_its_window_only() {
        windows();
        assert_eq!(shared(guest_piece(0x1234, 5).unwrap()), 0x4000_1234);
        assert_eq!(shared(guest_piece(0x3fff, 1).unwrap()), 0x4000_3fff);
        for (offset, len) in [
            (0, 0),
            (0x3fff, 2),
            (0x4000, 1),
            (u64::MAX, 1),
            (u64::MAX - 3, u32::MAX),
            (0, u32::MAX),
        ] {
            assert_eq!(guest_piece(offset, len), None, "{offset:#x} {len:#x}");
        }
    }

    #[test]
    fn the_backends_frames_are_a_window_of_their_own() {
        windows();
        assert_eq!(shared(frames_piece(0x1ffe, 2).unwrap()), 0x7000_1ffe);
        for (offset, len) in [(0, 0), (0x1ffe, 3), (0x2000, 1), (u64::MAX, 1)] {
            assert_eq!(frames_piece(offset, len), None, "{offset:#x} {len:#x}");
        }
        let (own, guest) = (host::region(PAGE_SIZE), host::region(PAGE_SIZE));
        open(&own, &guest, &Region::NONE).unwrap();
        assert_eq!(frames_piece(0, 1), None, "there are none");
    }

    #[test]
    fn a_piece_can_lose_its_start() {
        windows();
        let piece = guest_piece(0x10, 4).unwrap();
        assert_eq!(shared(piece.skip(3).unwrap()), 0x4000_0013);
        assert_eq!(piece.skip(3).unwrap().len(), 1);
        assert_eq!((piece.skip(4), piece.skip(5)), (None, None));
    }

    #[test]
    fn dma_pages_are_zeroed_and_come_back() {
        let (own, _) = windows();
        let (bus, start) = DriverMemory::dma_alloc(8, BufferDirection::Both);
        assert_eq!((bus, start.as_ptr().addr() as u64), (own.bus, own.vaddr));
        // SAFETY: these pages have just been given to us.
        unsafe { start.write_bytes(0xaa, PAGE_SIZE) };
        assert_eq!(DriverMemory::dma_alloc(1, BufferDirection::Both).0, 0);
        // SAFETY: as they were allocated.
        unsafe { DriverMemory::dma_dealloc(bus, start, 8) };
        let area = Area::new(2).unwrap();
        assert_eq!(area.read(0), 0);
        assert_eq!(
            DriverMemory::dma_alloc(6, BufferDirection::Both).0,
            own.bus + 0x2000
        );
        assert!(Area::new(1).is_none());
    }

    #[test]
    fn an_area_stays_inside_its_pages() {
        windows();
        let mut area = Area::new(1).unwrap();
        area.write(0xffe, &[1, 2, 3, 4]);
        assert_eq!(
            [0xffd, 0xffe, 0xfff, 0x1000].map(|at| area.read(at)),
            [0, 1, 2, 0]
        );
        assert_eq!(shared(area.piece(0xff0, 16).unwrap()), 0x6000_0ff0);
        assert_eq!(area.piece(0xff0, 17), None);
        assert_eq!(area.piece(usize::MAX, 1), None);
    }
}
