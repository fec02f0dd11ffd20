//! Page tables: the kernel's own, and those of the address spaces.
//!
//! A guest's space is of stage 2: 40 bits, which takes two level 1 tables one after the other, two root tables of the
//! paging library, allocated in a row. A domain's is of stage 2 too, or, with the host extensions, of stage 1 from level
//! 0 on. Each space has its own VMID or ASID, so a switch needs no TLB maintenance.

use super::window::{WINDOW, physical, pointer};
use super::{gic, host, uart};
use aarch64_cpu::asm::barrier::{self, dsb};
use aarch64_paging::descriptor::{
    El1Attributes, PagingAttributes, PhysicalAddress, Stage2Attributes,
};
use aarch64_paging::paging::{
    Constraints, El2And0, MemoryRegion, PAGE_SIZE, PageTable, RootTable, Stage2, Translation,
    TranslationRegime, VaRange,
};
use core::cell::{Cell, UnsafeCell};
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::NonNull;
use sel4cp_abi::image::{BASE, Description, Mapping, RAM_END, RAM_START};
use sel4cp_kernel::id::{SpaceId, Table};

/// Pages for the kernel's own tables.
const OWN_PAGES: usize = 16;
/// The level at which stage 1 tables start: 48 bits.
const ROOT_LEVEL: usize = 0;
/// The level at which stage 2 tables start: two of them cover 40 bits.
const STAGE_2_ROOT_LEVEL: usize = 1;
/// Bytes that one level 1 table covers.
const LEVEL_1_BYTES: usize = 1 << 39;
/// Bits of TTBR0_EL2 and VTTBR_EL2 before the ASID or VMID.
const ID_SHIFT: u32 = 48;

/// A stage 1 table.
type Stage1Table<'a> = ManuallyDrop<RootTable<El2And0, &'a Bump>>;

/// Each address space's VTTBR_EL2 or, with the host extensions, a domain's TTBR0_EL2.
pub(crate) type Spaces = Table<SpaceId, u64, { SpaceId::LIMIT }>;

/// Memory for the kernel's own tables.
#[repr(C, align(4096))]
struct Pages(UnsafeCell<[u8; OWN_PAGES * PAGE_SIZE]>);

// SAFETY: only `enable` uses it, once, on the only core.
unsafe impl Sync for Pages {}

static OWN: Pages = Pages(UnsafeCell::new([0; OWN_PAGES * PAGE_SIZE]));

unsafe extern "C" {
    static __rodata_start: u8;
    static __data_start: u8;
    static __stack_guard: u8;
    static __stack_bottom: u8;
}

/// Memory that tables are taken from, page by page: physical addresses.
struct Bump {
    next: Cell<usize>,
    end: usize,
}

impl Bump {
    /// The next page, filled with zeroes.
    fn page(&self) -> usize {
        let page = self.next.get();
        assert!(page < self.end, "no memory for page tables");
        self.next.set(page + PAGE_SIZE);
        // SAFETY: the page is memory that only this allocator hands out, and this one only once.
        unsafe { pointer(page as u64).write_bytes(0, PAGE_SIZE) };
        page
    }

    /// A new root table of stage 1.
    fn stage_1(&self) -> Stage1Table<'_> {
        ManuallyDrop::new(RootTable::with_va_range(
            self,
            ROOT_LEVEL,
            El2And0,
            VaRange::Lower,
        ))
    }
}

impl<A: PagingAttributes> Translation<A> for &Bump {
    fn allocate_table(&mut self) -> (NonNull<PageTable<A>>, PhysicalAddress) {
        let page = self.page();
        (table(page), PhysicalAddress(page))
    }

    unsafe fn deallocate_table(&mut self, _: NonNull<PageTable<A>>) {}

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<A>> {
        table(address.0)
    }
}

/// The table at a physical address.
fn table<A: PagingAttributes>(address: usize) -> NonNull<PageTable<A>> {
    match NonNull::new(pointer(address as u64).cast()) {
        Some(table) => table,
        None => unreachable!(),
    }
}

/// The descriptor of a root table of stage 1 that holds the kernel's window.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
fn window_of(root: &Stage1Table<'_>) -> *mut u64 {
    let index = WINDOW as usize / LEVEL_1_BYTES;
    pointer(root.to_physical().0 as u64)
        .cast::<u64>()
        .wrapping_add(index)
}

/// Maps a range; what the check has accepted can be mapped.
fn map<R: TranslationRegime>(
    root: &mut RootTable<R, &Bump>,
    range: Range<usize>,
    physical: usize,
    attributes: R::Attributes,
) {
    let region = MemoryRegion::new(range.start, range.end);
    let result = root.map_range(
        &region,
        PhysicalAddress(physical),
        attributes,
        Constraints::NO_CONTIGUOUS_HINT,
    );
    assert!(result.is_ok(), "{region} cannot be mapped: {result:?}");
}

/// Leaves the first tables for the kernel's own, and returns what other tables need to hold the window: a descriptor.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
pub(crate) fn enable() -> u64 {
    let address = |symbol: *const u8| physical(symbol) as usize;
    let (rodata, data) = (
        address(&raw const __rodata_start),
        address(&raw const __data_start),
    );
    let (guard, stack) = (
        address(&raw const __stack_guard),
        address(&raw const __stack_bottom),
    );
    let start = address(OWN.0.get().cast());
    let bump = Bump {
        next: Cell::new(start),
        end: start + OWN_PAGES * PAGE_SIZE,
    };
    let mut root = bump.stage_1();
    // Nothing is executed at EL0 (UXN) where EL0 has an access right of its own; elsewhere that bit is XN.
    let el0 = if host::is_on() {
        El1Attributes::UXN
    } else {
        El1Attributes::empty()
    };
    let never = El1Attributes::UXN | El1Attributes::PXN;
    let valid = El1Attributes::VALID | El1Attributes::ACCESSED;
    let device = valid | El1Attributes::ATTRIBUTE_INDEX_0 | never;
    let memory = valid | El1Attributes::ATTRIBUTE_INDEX_1 | El1Attributes::INNER_SHAREABLE;
    let writable = memory | never;
    let constant = writable | El1Attributes::READ_ONLY;
    let code = memory | El1Attributes::READ_ONLY | el0;
    let (ram, end, text) = (RAM_START as usize, RAM_END as usize, BASE as usize);
    let mut see = |range: Range<usize>, attributes| {
        let seen = WINDOW as usize + range.start..WINDOW as usize + range.end;
        map(&mut root, seen, range.start, attributes);
    };
    for range in gic::RANGES {
        see(range, device);
    }
    see(uart::BASE..uart::BASE + PAGE_SIZE, device);
    see(ram..text, writable);
    see(text..rodata, code);
    see(rodata..data, constant);
    see(data..guard, writable);
    see(stack..end, writable);
    // One to one, for the instructions that turn the MMU off and on.
    map(&mut root, text..text + PAGE_SIZE, text, code);
    dsb(barrier::SY);
    // SAFETY: the new tables map the kernel as the first ones did, but for rights that it does not need.
    unsafe { switch_tables(root.to_physical().0 as u64) };
    // SAFETY: a descriptor of the table that was just made.
    unsafe { window_of(&root).read() }
}

unsafe extern "C" {
    /// Uses other page tables, by their physical address.
    fn switch_tables(root: u64);
}

/// Builds the tables of all address spaces in the memory that the packer left for them; `window` is from [`enable`].
pub(crate) fn spaces(description: &Description<'_>, window: u64) -> Spaces {
    let mut spaces = Table::new([0; SpaceId::LIMIT]);
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
    let bump = Bump {
        next: Cell::new(description.header.tables_start as usize),
        end: description.header.tables_end as usize,
    };
    for (number, space) in description.spaces.iter().enumerate() {
        let Some(id) = SpaceId::new(number) else {
            continue;
        };
        let mappings = description.mappings_of(space);
        let is_guest = description
            .vcpus
            .iter()
            .any(|vcpu| vcpu.space as usize == number);
        let root = if is_guest || !host::is_on() {
            stage_2(&bump, mappings)
        } else {
            stage_1(&bump, mappings, window)
        };
        spaces[id] = (number as u64 + 1) << ID_SHIFT | root as u64;
    }
    dsb(barrier::SY);
    spaces
}

/// A mapping's range and physical address.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
fn places(mapping: &Mapping) -> (Range<usize>, usize) {
    let start = mapping.vaddr as usize;
    (
        start..start + mapping.bytes as usize,
        mapping.paddr as usize,
    )
}

/// Builds a domain's tables of stage 1 and returns their physical address.
fn stage_1(bump: &Bump, mappings: &[Mapping], window: u64) -> usize {
    let mut root = bump.stage_1();
    for mapping in mappings {
        let (range, physical) = places(mapping);
        map(
            &mut root,
            range,
            physical,
            stage_1_attributes(mapping.flags),
        );
    }
    // SAFETY: a descriptor of the table that was just made, above all mappings.
    unsafe { window_of(&root).write(window) };
    root.to_physical().0
}

/// Builds tables of stage 2 and returns their physical address.
fn stage_2(bump: &Bump, mappings: &[Mapping]) -> usize {
    if !bump.next.get().is_multiple_of(2 * PAGE_SIZE) {
        bump.page();
    }
    // Each allocates its level 1 table at once: they lie in a row.
    let mut low = ManuallyDrop::new(RootTable::new(bump, STAGE_2_ROOT_LEVEL, Stage2));
    let mut high = ManuallyDrop::new(RootTable::new(bump, STAGE_2_ROOT_LEVEL, Stage2));
    for mapping in mappings {
        let attributes = stage_2_attributes(mapping.flags);
        let (Range { start, end }, physical) = places(mapping);
        let split = LEVEL_1_BYTES.clamp(start, end);
        if start < split {
            map(&mut low, start..split, physical, attributes);
        }
        if split < end {
            let (first, last) = (split - LEVEL_1_BYTES, end - LEVEL_1_BYTES);
            map(
                &mut high,
                first..last,
                physical + (split - start),
                attributes,
            );
        }
    }
    low.to_physical().0
}

/// Stage 1's attributes for a mapping's flags. Without READ there is no mapping. The kernel never runs what EL0 can.
fn stage_1_attributes(flags: u32) -> El1Attributes {
    let has = |flag: u32| flags & flag != 0;
    let mut attributes = El1Attributes::VALID
        | El1Attributes::ACCESSED
        | El1Attributes::NON_GLOBAL
        | El1Attributes::USER
        | El1Attributes::PXN;
    if !has(Mapping::WRITE) {
        attributes |= El1Attributes::READ_ONLY;
    }
    if !has(Mapping::EXECUTE) {
        attributes |= El1Attributes::UXN;
    }
    if has(Mapping::CACHED) {
        attributes |= El1Attributes::ATTRIBUTE_INDEX_1 | El1Attributes::INNER_SHAREABLE;
    }
    attributes
}

/// Stage 2's attributes for a mapping's flags. Without READ there is no mapping.
fn stage_2_attributes(flags: u32) -> Stage2Attributes {
    let has = |flag: u32| flags & flag != 0;
    let mut attributes =
        Stage2Attributes::VALID | Stage2Attributes::ACCESS_FLAG | Stage2Attributes::S2AP_ACCESS_RO;
    if has(Mapping::WRITE) {
        attributes |= Stage2Attributes::S2AP_ACCESS_RW;
    }
    if !has(Mapping::EXECUTE) {
        attributes |= Stage2Attributes::XN;
    }
    if has(Mapping::CACHED) {
        attributes |= Stage2Attributes::MEMATTR_NORMAL_INNER_WB
            | Stage2Attributes::MEMATTR_NORMAL_OUTER_WB
            | Stage2Attributes::SH_INNER;
    }
    attributes
}
