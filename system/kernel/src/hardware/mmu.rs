//! Page tables: the kernel's own (stage 1 of EL2, one to one) and those of the address spaces (stage 2).
//!
//! An address space has 40 bits, which takes two level 1 tables one after the other: two root tables of the paging
//! library, allocated in a row. Each space has its own VMID, so a switch needs no TLB maintenance.

use super::{gic, pointer, uart};
use aarch64_cpu::asm::barrier::{self, dsb, isb};
use aarch64_cpu::registers::{MAIR_EL2, ReadWriteable, SCTLR_EL2, TCR_EL2, TTBR0_EL2, Writeable};
use aarch64_paging::descriptor::{
    El23Attributes, PagingAttributes, PhysicalAddress, Stage2Attributes,
};
use aarch64_paging::paging::{
    Constraints, El2, MemoryRegion, PAGE_SIZE, PageTable, RootTable, Stage2, Translation,
    TranslationRegime,
};
use core::cell::{Cell, UnsafeCell};
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::NonNull;
use sel4cp_abi::image::{BASE, Description, Mapping, RAM_END, RAM_START};
use sel4cp_kernel::id::{SpaceId, Table};

/// Pages for the kernel's own tables.
const OWN_PAGES: usize = 16;
/// The level at which both kinds of tables start.
const ROOT_LEVEL: usize = 1;
/// Bytes that one level 1 table covers.
const ROOT_BYTES: usize = 1 << 39;
/// Bits of VTTBR_EL2 before the VMID.
const VMID_SHIFT: u32 = 48;

/// VTTBR_EL2 of each address space.
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

/// Memory that tables are taken from, page by page.
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

/// A table that lies at its physical address.
fn table<A: PagingAttributes>(address: usize) -> NonNull<PageTable<A>> {
    match NonNull::new(pointer(address as u64).cast()) {
        Some(table) => table,
        None => unreachable!(),
    }
}

/// Maps one to one or elsewhere; what the check has accepted can be mapped.
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

/// Turns the kernel's own MMU and caches on.
pub(crate) fn enable() {
    let address = |symbol: *const u8| symbol.addr();
    let (rodata, data) = (
        address(&raw const __rodata_start),
        address(&raw const __data_start),
    );
    let (guard, stack) = (
        address(&raw const __stack_guard),
        address(&raw const __stack_bottom),
    );
    let start = OWN.0.get().expose_provenance();
    let bump = Bump {
        next: Cell::new(start),
        end: start + OWN_PAGES * PAGE_SIZE,
    };
    let mut root = ManuallyDrop::new(RootTable::new(&bump, ROOT_LEVEL, El2));
    let valid = El23Attributes::VALID | El23Attributes::ACCESSED | El23Attributes::USER_RES1;
    let device = valid | El23Attributes::ATTRIBUTE_INDEX_0 | El23Attributes::XN;
    let memory = valid | El23Attributes::ATTRIBUTE_INDEX_1 | El23Attributes::INNER_SHAREABLE;
    let writable = memory | El23Attributes::XN;
    let constant = writable | El23Attributes::READ_ONLY;
    let code = memory | El23Attributes::READ_ONLY;
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
    let (ram, end, text) = (RAM_START as usize, RAM_END as usize, BASE as usize);
    let mut one_to_one = |range: Range<usize>, attributes| {
        let start = range.start;
        map(&mut root, range, start, attributes);
    };
    one_to_one(gic::RANGE, device);
    one_to_one(uart::BASE..uart::BASE + PAGE_SIZE, device);
    one_to_one(ram..text, writable);
    one_to_one(text..rodata, code);
    one_to_one(rodata..data, constant);
    one_to_one(data..guard, writable);
    one_to_one(stack..end, writable);
    // Attribute 0: Device-nGnRnE; attribute 1: Normal, write-back.
    MAIR_EL2.set(0xff00);
    // 39-bit addresses in 4 KiB pages, walked through the caches; 40-bit physical ones.
    TCR_EL2.set(TCR_EL2_RES1);
    TCR_EL2.modify(
        TCR_EL2::PS.val(2)
            + TCR_EL2::TG0::KiB_4
            + TCR_EL2::SH0::Inner
            + TCR_EL2::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL2::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL2::T0SZ.val(25),
    );
    TTBR0_EL2.set(root.to_physical().0 as u64);
    dsb(barrier::SY);
    isb(barrier::SY);
    SCTLR_EL2.modify(SCTLR_EL2::M::Enable + SCTLR_EL2::C::Cacheable + SCTLR_EL2::I::Cacheable);
    isb(barrier::SY);
}

/// Reserved bits of TCR_EL2 that are one.
const TCR_EL2_RES1: u64 = 1 << 31 | 1 << 23;

/// Builds the tables of all address spaces in the memory that the packer left for them.
pub(crate) fn spaces(description: &Description<'_>) -> Spaces {
    let mut spaces = Table::new([0; SpaceId::LIMIT]);
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
    let bump = Bump {
        next: Cell::new((description.header.tables_start as usize).next_multiple_of(2 * PAGE_SIZE)),
        end: description.header.tables_end as usize,
    };
    for (number, space) in description.spaces.iter().enumerate() {
        if let Some(id) = SpaceId::new(number) {
            let root = build(&bump, description.mappings_of(space));
            spaces[id] = (number as u64 + 1) << VMID_SHIFT | root as u64;
        }
    }
    dsb(barrier::SY);
    spaces
}

/// Builds the tables of one space and returns their physical address.
fn build(bump: &Bump, mappings: &[Mapping]) -> usize {
    if !bump.next.get().is_multiple_of(2 * PAGE_SIZE) {
        bump.page();
    }
    // Each allocates its level 1 table at once: they lie in a row.
    let mut low = ManuallyDrop::new(RootTable::new(bump, ROOT_LEVEL, Stage2));
    let mut high = ManuallyDrop::new(RootTable::new(bump, ROOT_LEVEL, Stage2));
    for mapping in mappings {
        let attributes = attributes(mapping.flags);
        #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
        let (start, physical, bytes) = (
            mapping.vaddr as usize,
            mapping.paddr as usize,
            mapping.bytes as usize,
        );
        let end = start + bytes;
        let split = ROOT_BYTES.clamp(start, end);
        if start < split {
            map(&mut low, start..split, physical, attributes);
        }
        if split < end {
            let (first, last) = (split - ROOT_BYTES, end - ROOT_BYTES);
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

/// Stage 2's attributes for a mapping's flags. Without READ there is no mapping.
fn attributes(flags: u32) -> Stage2Attributes {
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
