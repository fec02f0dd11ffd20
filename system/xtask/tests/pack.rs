//! Packs small systems and looks at the images.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use sel4cp_abi::image::{
    BASE, Description, Domain, End, Header, Interrupt, Mapping, NONE, UserCap,
};
use sel4cp_abi::slot::{IPC_BUFFER, STACK_TOP};
use support::{CODE, DATA, Elf, VARIABLES, pack_in};
use tempfile::TempDir;

/// A folder with a kernel and programs, and what was packed from it.
struct Packed {
    folder: TempDir,
    image: Vec<u8>,
    report: String,
}

/// Where the description of [`Elf::kernel`]'s images is.
const DESCRIPTION: u64 = BASE + 0x2000;

fn folder(programs: &[(&str, Elf)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    Elf::kernel().write(&folder.path().join("kernel"));
    for (name, elf) in programs {
        elf.write(&folder.path().join(name));
    }
    folder
}

fn packed(folder: TempDir, sdf: &str) -> Packed {
    pack_in(folder.path(), sdf).unwrap();
    Packed {
        image: std::fs::read(folder.path().join("image")).unwrap(),
        report: std::fs::read_to_string(folder.path().join("report")).unwrap(),
        folder,
    }
}

impl Packed {
    fn at(&self, address: u64) -> &[u8] {
        &self.image[usize::try_from(address - BASE).unwrap()..]
    }

    fn description(&self) -> Description<'_> {
        let description = Description::parse(self.at(DESCRIPTION), DESCRIPTION).unwrap();
        description.check().unwrap();
        description
    }

    /// The physical address of `vaddr` in domain `domain`.
    fn physical(&self, domain: usize, vaddr: u64) -> u64 {
        let description = self.description();
        let space = description.domains[domain].space;
        let mapping = description.mapping_at(space, vaddr).unwrap();
        mapping.paddr + (vaddr - mapping.vaddr)
    }

    fn word(&self, domain: usize, vaddr: u64) -> u64 {
        u64::from_le_bytes(*self.at(self.physical(domain, vaddr)).first_chunk().unwrap())
    }
}

#[test]
fn a_program_is_loaded_with_its_symbols() {
    let folder = folder(&[("hello.elf", Elf::program(&[]))]);
    let packed = packed(
        folder,
        r#"<system><protection_domain name="hello" priority="254" passive="true" stack_size="0x4_000">
            <program_image path="hello.elf"/><irq irq="33" id="3" trigger="edge"/><irq irq="30" id="61"/>
        </protection_domain></system>"#,
    );
    assert_eq!(packed.image[..0x20], [0x15; 0x20]);
    assert_eq!(packed.image.len() % 0x1000, 0);
    let description = packed.description();
    assert_eq!(description.header.flags, Header::DEBUG);
    let [domain] = description.domains else {
        panic!("one domain")
    };
    assert_eq!(Description::text(&domain.name), "hello");
    assert_eq!(
        (domain.entry, domain.priority, domain.parent),
        (CODE, 254, NONE)
    );
    assert_eq!(domain.flags, Domain::PASSIVE | Domain::FPU);
    assert_eq!(
        (domain.stack_top, domain.stack_bottom),
        (STACK_TOP, STACK_TOP - 0x4000)
    );
    assert_eq!((domain.budget, domain.period), (1000, 1000));
    let flags = |vaddr| description.mapping_at(0, vaddr).unwrap().flags;
    let memory = Mapping::READ | Mapping::CACHED;
    assert_eq!(flags(CODE), memory | Mapping::EXECUTE);
    for vaddr in [
        DATA,
        DATA + 0x4fff,
        STACK_TOP - 1,
        STACK_TOP - 0x4000,
        IPC_BUFFER,
    ] {
        assert_eq!(flags(vaddr), memory | Mapping::WRITE, "{vaddr:#x}");
    }
    for vaddr in [CODE - 1, DATA + 0x5000, STACK_TOP, STACK_TOP - 0x4001] {
        assert_eq!(description.mapping_at(0, vaddr), None, "{vaddr:#x}");
    }
    let name = packed.at(packed.physical(0, DATA));
    assert_eq!(name[..8], *b"hello\xff\xff\xff");
    assert_eq!(name[64..66], [1, 0xff]);
    assert_eq!(packed.word(0, DATA + 72), 1 << 3 | 1 << 61);
    assert_eq!(packed.word(0, DATA + 96), 0);
    let triggers: Vec<_> = description
        .interrupts
        .iter()
        .map(|i| (i.number, i.channel, i.trigger))
        .collect();
    assert_eq!(
        triggers,
        [(33, 3, Interrupt::EDGE), (30, 61, Interrupt::LEVEL)]
    );
    assert!(packed.report.contains("hello"), "{}", packed.report);
}

#[test]
fn memory_that_the_image_does_not_carry_is_cleared() {
    let folder = folder(&[("a", Elf::program(&[]))]);
    let packed = packed(
        folder,
        r#"<system><memory_region name="low" size="0x200000" phys_addr="0x40000000"/>
            <memory_region name="high" size="0x1000" phys_addr="0x60001000"/>
            <memory_region name="m" size="0x1000"/>
            <protection_domain name="a"><program_image path="a"/>
              <map mr="low" vaddr="0x40000000"/><map mr="high" vaddr="0x50000000"/><map mr="m" vaddr="0x50001000"/>
            </protection_domain></system>"#,
    );
    let description = packed.description();
    let cleared = |paddr: u64| {
        description
            .clears
            .iter()
            .any(|clear| (clear.paddr..clear.paddr + clear.bytes).contains(&paddr))
    };
    // Memory below 0x60000000 is used by physical address only, and nobody clears it.
    assert_eq!(packed.physical(0, 0x4000_0000), 0x4000_0000);
    assert!(!cleared(0x4000_0000));
    for vaddr in [
        0x5000_0000,
        0x5000_1000,
        DATA + 0x4000,
        STACK_TOP - 8,
        IPC_BUFFER,
    ] {
        assert!(cleared(packed.physical(0, vaddr)), "{vaddr:#x}");
    }
    for vaddr in [CODE, DATA] {
        assert!(!cleared(packed.physical(0, vaddr)), "{vaddr:#x}");
    }
    // 2 MiB pages where size and addresses allow it, unless the file says otherwise.
    assert_ne!(
        description.mapping_at(0, 0x4000_0000).unwrap().flags & Mapping::LARGE,
        0
    );
    assert_eq!(
        description.mapping_at(0, 0x5000_0000).unwrap().flags & Mapping::LARGE,
        0
    );
    // Nothing overlaps, as far as one domain can tell.
    let mut memory: Vec<_> = description
        .mappings
        .iter()
        .map(|m| (m.paddr, m.paddr + m.bytes))
        .collect();
    memory.push((
        description.header.tables_start,
        description.header.tables_end,
    ));
    memory.sort_unstable();
    assert!(
        memory.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{memory:x?}"
    );
}

#[test]
fn setvars_are_set() {
    let names = [
        "at",
        "size",
        "bytes",
        "where",
        "where_file",
        "channel",
        "irq",
        "child",
        "vcpu",
    ];
    let folder = folder(&[("a", Elf::program(&names)), ("b", Elf::program(&[]))]);
    std::fs::write(folder.path().join("data"), [7; 0x1001]).unwrap();
    let packed = packed(
        folder,
        r#"<system><memory_region name="m" size="0x3000"/><memory_region name="f" prefill_path="data" size="0x8000"/>
            <protection_domain name="a" priority="3"><program_image path="a"/>
              <map mr="m" vaddr="0x3000000" perms="r" cached="false" setvar_vaddr="at" setvar_size="size"/>
              <map mr="f" vaddr="0x4000000" perms="rx" setvar_prefill_size="bytes"/>
              <setvar symbol="where" region_paddr="m"/><setvar symbol="where_file" region_paddr="f"/>
              <irq irq="40" id="5" setvar_id="irq"/>
              <virtual_machine name="v"><vcpu id="9" setvar_id="vcpu"/><map mr="m" vaddr="0xfffff000000"/></virtual_machine>
              <protection_domain name="c" id="8" setvar_id="child"><program_image path="b"/></protection_domain>
            </protection_domain>
            <protection_domain name="b" priority="4"><program_image path="b"/></protection_domain>
            <channel><end pd="a" id="7" pp="true" setvar_id="channel"/><end pd="b" id="1" notify="false"/></channel>
        </system>"#
            .replace("0xfffff000000", "0xfffff00000")
            .as_str(),
    );
    let value = |name: &str| {
        let index = names.iter().position(|known| *known == name).unwrap();
        packed.word(0, VARIABLES + 8 * u64::try_from(index).unwrap())
    };
    assert_eq!(
        [value("at"), value("size"), value("bytes")],
        [0x300_0000, 0x3000, 0x1001]
    );
    assert_eq!(
        [
            value("channel"),
            value("irq"),
            value("child"),
            value("vcpu")
        ],
        [7, 5, 8, 9]
    );
    assert_eq!(value("where"), packed.physical(0, 0x300_0000));
    assert_eq!(value("where_file"), packed.physical(0, 0x400_0000));
    assert_eq!(
        packed.at(value("where_file"))[..0x1002],
        [&[7; 0x1001][..], &[0]].concat()
    );
    // A region whose address is known is in one piece.
    assert_eq!(packed.physical(0, 0x400_7000), value("where_file") + 0x7000);

    let description = packed.description();
    let uncached = description.mapping_at(0, 0x300_0000).unwrap();
    assert_eq!(uncached.flags, Mapping::READ);
    let [vcpu] = description.vcpus else {
        panic!("one vCPU")
    };
    assert_eq!((vcpu.id, vcpu.domain, vcpu.priority), (9, 0, 0));
    let shared = description.mapping_at(vcpu.space, 0xff_fff0_0000).unwrap();
    assert_eq!(shared.paddr, value("where"));
    assert_eq!(
        (description.domains[1].parent, description.domains[1].child),
        (0, 8)
    );
    let [channel] = description.channels else {
        panic!("one channel")
    };
    let ends = channel.ends.map(|end| (end.domain, end.id, end.flags));
    assert_eq!(ends, [(0, 7, End::NOTIFY | End::PROTECTED), (2, 1, 0)]);
    assert_eq!(
        [packed.word(0, DATA + 80), packed.word(0, DATA + 88)],
        [1 << 7, 1 << 7]
    );
    assert_eq!(
        [packed.word(2, DATA + 80), packed.word(2, DATA + 88)],
        [0, 0]
    );
}

#[test]
fn a_file_is_in_the_image_once() {
    let folder = folder(&[("a", Elf::program(&[]))]);
    std::fs::write(folder.path().join("kernel.bin"), vec![3; 0x20_0001]).unwrap();
    let packed = packed(
        folder,
        r#"<system><memory_region name="one" prefill_path="kernel.bin" page_size="0x200000" />
            <memory_region name="two" prefill_path="kernel.bin" page_size="0x200000" size="0x800000" />
            <memory_region name="mine" prefill_path="kernel.bin"/>
            <protection_domain name="a"><program_image path="a"/>
              <map mr="one" vaddr="0x1000000" perms="r"/><map mr="mine" vaddr="0x3000000"/></protection_domain>
            <protection_domain name="b"><program_image path="a"/><map mr="two" vaddr="0x1000000" perms="r"/></protection_domain>
        </system>"#,
    );
    let one = packed.physical(0, 0x100_0000);
    assert_eq!(one % 0x20_0000, 0);
    assert_eq!(packed.physical(1, 0x100_0000), one);
    assert_ne!(packed.physical(0, 0x300_0000), one);
    assert_eq!(
        packed.at(one)[..0x20_0002],
        [&vec![3; 0x20_0001][..], &[0]].concat()
    );
    // The zeroes behind a file take no room in the image.
    assert!(packed.physical(1, 0x140_0000) < BASE);
    // Code that nobody writes is shared as well, data is not.
    assert_eq!(packed.physical(0, CODE), packed.physical(1, CODE));
    assert_ne!(packed.physical(0, DATA), packed.physical(1, DATA));
    assert!(
        packed.report.contains(
            "2097153 bytes, in the image 2 times, as somebody writes it, for one, two, mine"
        ),
        "{}",
        packed.report
    );
}

#[test]
fn capabilities_name_their_domains() {
    let folder = folder(&[("a", Elf::program(&[]))]);
    let packed = packed(
        folder,
        r#"<system>
            <protection_domain name="a" smc="true" fpu="false" budget="20" period="1_000"><program_image path="a"/>
              <cspace><cap_tcb slot="1" pd="b"/><cap_sc slot="63" pd="b"/><cap_vspace slot="2" pd="a"/></cspace></protection_domain>
            <protection_domain name="b"><program_image path="a"/></protection_domain></system>"#,
    );
    let description = packed.description();
    let caps: Vec<_> = description
        .user_caps
        .iter()
        .map(|cap| (cap.domain, cap.slot, cap.kind, cap.target))
        .collect();
    assert_eq!(
        caps,
        [
            (0, 1, UserCap::TCB, 1),
            (0, 63, UserCap::SCHED_CONTEXT, 1),
            (0, 2, UserCap::VSPACE, 0)
        ]
    );
    let domain = &description.domains[0];
    assert_eq!(
        (domain.flags, domain.budget, domain.period),
        (Domain::SMC, 20, 1000)
    );
}

#[test]
fn symbols_may_be_in_another_file() {
    let mut stripped = Elf::program(&[]);
    stripped.symbols.clear();
    let folder = folder(&[("a", stripped), ("a.debug", Elf::program(&[]))]);
    let sdf = |path: &str| {
        format!(
            r#"<system><protection_domain name="a"><program_image path="a"{path}/></protection_domain></system>"#
        )
    };
    assert_eq!(
        pack_in(folder.path(), &sdf("")).unwrap_err(),
        "a: found no symbol table, expected .symtab (do not strip programs)"
    );
    let packed = packed(folder, &sdf(r#" path_for_symbols="a.debug""#));
    assert_eq!(packed.at(packed.physical(0, DATA))[..2], *b"a\xff");
    drop(packed.folder);
}

#[test]
fn each_bad_program_has_its_message() {
    let sdf = r#"<system><memory_region name="m" size="0x1000"/><protection_domain name="a"><program_image path="a"/>
        <map mr="m" vaddr="0x300000" setvar_vaddr="at"/></protection_domain></system>"#;
    type Change = fn(&mut Elf);
    let cases: [(Change, &str); 10] = [
        (
            |elf| elf.machine = 62,
            "a: not a program: found an ELF file for machine 62, expected 183 (AArch64)",
        ),
        (
            |elf| elf.segments.clear(),
            "a: not a program: found no segment to load",
        ),
        (
            |elf| elf.entry = DATA,
            "a: found the entry point 0x202000 of a, expected it in an executable segment",
        ),
        (
            |elf| drop(elf.symbols.remove(5)),
            "a: found no symbol microkit_ioports, expected one (is .symtab stripped, or the symbol unused and dropped by the linker?)",
        ),
        (
            |elf| drop(elf.symbols.pop()),
            "a: found no symbol at, expected one (is .symtab stripped, or the symbol unused and dropped by the linker?) (setvar of a, line 2)",
        ),
        (
            |elf| elf.symbols[6].2 = 4,
            "a: found the symbol at with 4 bytes, expected 8: a setvar sets one word (setvar of a, line 2)",
        ),
        (
            |elf| elf.symbols[6].1 = 0x10,
            "a: found the symbol at at 0x10, expected it in a loaded segment (setvar of a, line 2)",
        ),
        (
            |elf| elf.symbols[0].2 = 0,
            "a: found the symbol microkit_name with 0 bytes, expected 1",
        ),
        (
            |elf| elf.symbols.push(("at".into(), 0, 8)),
            "a: found two symbols called at, expected one (setvar of a, line 2)",
        ),
        (
            |elf| elf.segments[1].0 = 0x20_0800,
            "a: found segments at 0x200000 and 0x200800 that share a page, expected each to start on a page of its own",
        ),
    ];
    for (change, expected) in cases {
        let mut elf = Elf::program(&["at"]);
        change(&mut elf);
        let folder = folder(&[("a", elf)]);
        assert_eq!(pack_in(folder.path(), sdf), Err(expected.to_owned()));
    }
    let mut elf = Elf::program(&["at"]);
    elf.segments[1].2 = 0x10_0000;
    let folder = folder(&[("a", elf)]);
    assert_eq!(
        pack_in(folder.path(), sdf).unwrap_err(),
        "a: found the program a at 0x203000..0x302000, which overlaps the region m at 0x300000"
    );
    for (bytes, expected) in [
        (
            &b"#!/bin/sh"[..],
            "a: not a program: expected a 64-bit ELF file",
        ),
        (
            &Elf::program(&["at"]).bytes()[..0x90],
            "a: not a program: Invalid ELF program header size or alignment",
        ),
    ] {
        std::fs::write(folder.path().join("a"), bytes).unwrap();
        assert_eq!(pack_in(folder.path(), sdf), Err(expected.to_owned()));
    }
}

#[test]
fn each_bad_kernel_has_its_message() {
    let sdf = r#"<system><protection_domain name="a"><program_image path="a"/></protection_domain></system>"#;
    type Change = fn(&mut Elf);
    let cases: [(Change, &str); 4] = [
        (
            |elf| elf.entry += 4,
            "kernel: found the kernel's entry point at physical 0x70000004, expected 0x70000000",
        ),
        (
            |elf| elf.symbols[0].0 = "end".into(),
            "kernel: found no symbol __kernel_end, expected one (is .symtab stripped, or the symbol unused and dropped by the linker?)",
        ),
        (
            |elf| elf.symbols[0].1 = BASE - 1,
            "kernel: found __kernel_end at 0x6fffffff, expected it above 0x70000000, by less than 64M",
        ),
        (
            |elf| elf.segments[0].2 = 0x3000,
            "kernel: found a segment at physical 0x70000000 with 0x3000 bytes, expected it in 0x70000000..0x70002000",
        ),
    ];
    for (change, expected) in cases {
        let folder = folder(&[("a", Elf::program(&[]))]);
        let mut kernel = Elf::kernel();
        change(&mut kernel);
        kernel.write(&folder.path().join("kernel"));
        assert_eq!(pack_in(folder.path(), sdf), Err(expected.to_owned()));
    }
}
