//! The rules of a description about memory: the header, address spaces, mappings and clears.

use super::{
    BASE, Clear, Description, Domain, GIC_END, GIC_START, GICR_END, GICR_START, GICV_END,
    GUEST_TOP, Header, MAX_SPACES, Mapping, PAGE, RAM_END, RAM_START, Refused, require,
    table_bytes,
};
use crate::slot::{IPC_BUFFER, USER_TOP};
use core::ops::Range;

/// All flags of a mapping.
const MAPPING_FLAGS: u32 =
    Mapping::READ | Mapping::WRITE | Mapping::EXECUTE | Mapping::CACHED | Mapping::LARGE;

const fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Whether `range` lies in `outer`, and is not reversed.
const fn inside(range: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= range.start && range.start <= range.end && range.end <= outer.end
}

const fn is_page(value: u64) -> bool {
    value.is_multiple_of(PAGE)
}

impl Description<'_> {
    /// Where the image's data starts: the first page after the description.
    pub fn data_start(&self) -> u64 {
        let end = self.address.saturating_add(self.header.description_bytes);
        end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
    }

    /// RAM that only the kernel touches: itself with the description, and its page tables.
    fn kernel_memory(&self) -> [Range<u64>; 2] {
        [
            BASE..self.data_start(),
            self.header.tables_start..self.header.tables_end,
        ]
    }

    pub(super) fn check_header(&self) -> Result<(), Refused> {
        let check = |good, reason, found| require(good, "header", 0, reason, found);
        let header = self.header;
        let ram = RAM_START..RAM_END;
        check(
            header.flags & !Header::DEBUG == 0,
            "unknown flags",
            u64::from(header.flags),
        )?;
        check(
            is_page(self.address) && self.address > BASE,
            "the description is not at a page after the kernel",
            self.address,
        )?;
        check(
            is_page(header.image_end) && inside(&(self.data_start()..header.image_end), &ram),
            "image_end is not a page boundary in RAM after the description",
            header.image_end,
        )?;
        let tables = header.tables_start..header.tables_end;
        check(
            is_page(tables.start) && is_page(tables.end) && inside(&tables, &ram),
            "tables_start..tables_end are not pages of RAM",
            tables.start,
        )?;
        check(
            !overlap(&tables, &(BASE..header.image_end)),
            "the memory for page tables overlaps the image",
            tables.start,
        )?;
        let needed = table_bytes(self.spaces.len(), self.mappings);
        check(
            tables.end - tables.start >= needed,
            "the memory for page tables is too small; bytes needed",
            needed,
        )
    }

    pub(super) fn check_spaces(&self) -> Result<(), Refused> {
        let count = self.spaces.len();
        require(
            count <= MAX_SPACES,
            "spaces",
            0,
            "expected at most 127 spaces",
            count as u64,
        )?;
        let mut next = 0;
        for (number, space) in self.spaces.iter().enumerate() {
            let check = |good, reason, found| require(good, "spaces", number, reason, found);
            let first = space.first as usize;
            check(
                first == next,
                "first does not follow the space before",
                u64::from(space.first),
            )?;
            next = first.saturating_add(space.count as usize);
            check(
                next <= self.mappings.len(),
                "more mappings than there are",
                u64::from(space.count),
            )?;
            let mut end = 0;
            for (offset, mapping) in self.mappings_of(space).iter().enumerate() {
                let record = first + offset;
                self.check_mapping(record, mapping)?;
                let reason = "vaddr lies before the end of the mapping before";
                require(
                    mapping.vaddr >= end,
                    "mappings",
                    record,
                    reason,
                    mapping.vaddr,
                )?;
                end = mapping.vaddr + mapping.bytes;
            }
        }
        let all = next == self.mappings.len();
        let reason = "mappings that belong to no space";
        require(all, "mappings", next, reason, self.mappings.len() as u64)
    }

    fn check_mapping(&self, record: usize, mapping: &Mapping) -> Result<(), Refused> {
        let check = |good, reason, found| require(good, "mappings", record, reason, found);
        let Mapping {
            vaddr,
            paddr,
            bytes,
            flags,
            reserved,
        } = *mapping;
        check(
            flags & !MAPPING_FLAGS == 0 && reserved == 0,
            "unknown flags",
            u64::from(flags),
        )?;
        check(flags & Mapping::READ != 0, "not readable", u64::from(flags))?;
        let page = mapping.page();
        check(
            vaddr.is_multiple_of(page),
            "vaddr is not aligned to its page size",
            vaddr,
        )?;
        check(
            paddr.is_multiple_of(page),
            "paddr is not aligned to its page size",
            paddr,
        )?;
        check(
            bytes != 0 && bytes.is_multiple_of(page),
            "bytes is not a multiple of its page size",
            bytes,
        )?;
        check(
            vaddr.checked_add(bytes).is_some_and(|end| end <= GUEST_TOP),
            "vaddr lies above 40 bits",
            vaddr,
        )?;
        let memory = paddr..paddr.saturating_add(bytes);
        check(
            inside(&memory, &(RAM_START..RAM_END)) || inside(&memory, &(0..RAM_START)),
            "paddr is neither RAM nor a device",
            paddr,
        )?;
        check(
            !overlap(&memory, &(GIC_START..GIC_END)) && !overlap(&memory, &(GICR_START..GICR_END)),
            "the interrupt controller is the kernel's",
            paddr,
        )?;
        check(
            !self
                .kernel_memory()
                .iter()
                .any(|kernel| overlap(kernel, &memory)),
            "the memory is the kernel's",
            paddr,
        )
    }

    pub(super) fn check_clears(&self) -> Result<(), Refused> {
        for (record, Clear { paddr, bytes }) in self.clears.iter().enumerate() {
            let check = |good, reason, found| require(good, "clears", record, reason, found);
            let memory = *paddr..paddr.saturating_add(*bytes);
            check(
                is_page(*paddr) && is_page(*bytes) && *bytes != 0,
                "not whole pages",
                *bytes,
            )?;
            check(
                inside(&memory, &(RAM_START..RAM_END)),
                "paddr is not RAM",
                *paddr,
            )?;
            let [_, tables] = self.kernel_memory();
            check(
                !overlap(&memory, &tables) && !overlap(&memory, &(BASE..self.header.image_end)),
                "the memory holds the image or the kernel's page tables",
                *paddr,
            )?;
        }
        Ok(())
    }

    /// Which spaces are a domain's and which a guest's: each has one owner, and only guests see the GICV.
    pub(super) fn check_space_users(&self) -> Result<(), Refused> {
        for (number, space) in self.spaces.iter().enumerate() {
            let is = |used: u32| used as usize == number;
            let domains = self
                .domains
                .iter()
                .filter(|domain| is(domain.space))
                .count();
            let mut guests = self.vcpus.iter().filter(|vcpu| is(vcpu.space));
            let owner = guests.next().map(|vcpu| vcpu.domain);
            let shared = guests.any(|vcpu| Some(vcpu.domain) != owner);
            require(
                domains + usize::from(owner.is_some()) == 1 && !shared,
                "spaces",
                number,
                "expected one domain, or vCPUs of one domain; number of domains",
                domains as u64,
            )?;
            if owner.is_some() {
                continue;
            }
            for (offset, mapping) in self.mappings_of(space).iter().enumerate() {
                let record = space.first as usize + offset;
                let end = mapping.vaddr + mapping.bytes;
                require(
                    end <= USER_TOP,
                    "mappings",
                    record,
                    "ends above the user's top",
                    end,
                )?;
                let memory = mapping.paddr..mapping.paddr + mapping.bytes;
                require(
                    !overlap(&memory, &(GIC_END..GICV_END)),
                    "mappings",
                    record,
                    "the virtual CPU interface is for guests",
                    mapping.paddr,
                )?;
            }
        }
        Ok(())
    }

    /// The mapping of `space` that holds `vaddr`.
    pub fn mapping_at(&self, space: u32, vaddr: u64) -> Option<&Mapping> {
        let space = self.spaces.get(space as usize)?;
        self.mappings_of(space)
            .iter()
            .find(|mapping| vaddr >= mapping.vaddr && vaddr - mapping.vaddr < mapping.bytes)
    }

    /// The flags of the mapping of `space` that holds `vaddr`, 0 when there is none.
    pub(super) fn flags_at(&self, space: u32, vaddr: u64) -> u32 {
        self.mapping_at(space, vaddr)
            .map_or(0, |mapping| mapping.flags)
    }

    /// Physical address of the domain's IPC buffer, if that is RAM.
    pub fn ipc_buffer(&self, domain: &Domain) -> Option<u64> {
        let mapping = self.mapping_at(domain.space, IPC_BUFFER)?;
        let paddr = mapping.paddr.checked_add(IPC_BUFFER - mapping.vaddr)?;
        (paddr >= RAM_START).then_some(paddr)
    }
}
