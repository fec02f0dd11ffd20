//! One bad `.system` file for each message of the packer.

#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use support::{Elf, pack_in};
use tempfile::TempDir;

/// A whole domain, for systems whose mistake is elsewhere.
const A: &str = r#"<protection_domain name="a"><program_image path="a"/></protection_domain>"#;

/// Packs each system, and compares the message.
fn check(cases: &[(&str, &str)]) {
    let folder = TempDir::new().unwrap();
    Elf::kernel().write(&folder.path().join("kernel"));
    Elf::program(&["x"]).write(&folder.path().join("a"));
    std::fs::write(folder.path().join("empty"), "").unwrap();
    std::fs::write(folder.path().join("file"), [1; 0x1001]).unwrap();
    let mut wrong = Vec::new();
    for (body, expected) in cases {
        let sdf = if body.starts_with("<system") || body.starts_with("<other") {
            (*body).to_owned()
        } else {
            format!("<system>\n{body}\n</system>")
        };
        let found = pack_in(folder.path(), &sdf.replace("{A}", A))
            .err()
            .unwrap_or_default();
        if found != *expected {
            wrong.push(format!("{body}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A domain with these attributes.
fn domain(attributes: &str) -> String {
    format!(
        r#"<protection_domain name="a" {attributes}><program_image path="a"/></protection_domain>"#
    )
}

/// A domain with these elements.
fn with(elements: &str) -> String {
    format!(
        r#"<protection_domain name="a"><program_image path="a"/>{elements}</protection_domain>"#
    )
}

#[test]
fn the_file() {
    check(&[
        (
            "<system>",
            "a.system: the root node was opened but never closed",
        ),
        ("<other/>", "a.system:1:1: found <other>, expected <system>"),
        (
            "{A} text",
            "a.system:2:74: found the text \"text\", expected elements only",
        ),
        (
            "",
            "a.system:1:1: found 0 protection domains, expected 1 to 63",
        ),
        (
            "<thing/>",
            "a.system:2:1: found <thing> in <system>, expected protection_domain, channel or memory_region",
        ),
        (
            "<virtual_machine/>",
            "a.system:2:1: found <virtual_machine> in <system>, expected it in a <protection_domain>",
        ),
        (
            "<domains/>",
            "a.system:2:1: found <domains>: the bundled kernel has no domain scheduler; use the SDK's kernel",
        ),
        (
            "<io_address_space/>",
            "a.system:2:1: found <io_address_space>: the board has no IOMMU",
        ),
    ]);
    let many: String = (0..64)
        .map(|n| {
            format!(
                "<protection_domain name=\"p{n}\"><program_image path=\"a\"/></protection_domain>\n"
            )
        })
        .collect();
    check(&[(
        &many,
        "a.system:65:1: found 64 protection domains, expected 1 to 63",
    )]);
}

#[test]
fn regions() {
    check(&[
        (
            r#"{A}<memory_region size="0x1000"/>"#,
            "a.system:2:74: found <memory_region> without name, expected name=\"…\"",
        ),
        (
            r#"<memory_region name="m" size="4K"/>"#,
            "a.system:2:1: found size=\"4K\", expected a decimal number, or a hexadecimal one after 0x",
        ),
        (
            r#"<memory_region name="m" colour="red"/>"#,
            "a.system:2:25: found the attribute colour on <memory_region>, expected only name, size, page_size, phys_addr, prefill_path, prefill_bootinfo",
        ),
        (
            r#"<memory_region name="m"/>"#,
            "a.system:2:1: found no size of region m, expected size=\"…\" or prefill_path=\"…\"",
        ),
        (
            r#"<memory_region name="m" size="0x1800"/>"#,
            "a.system:2:1: found size 0x1800, expected a multiple of the page size 0x1000",
        ),
        (
            r#"<memory_region name="m" size="0"/>"#,
            "a.system:2:1: found size 0x0, expected a multiple of the page size 0x1000",
        ),
        (
            r#"<memory_region name="m" size="0x4000" page_size="0x4000"/>"#,
            "a.system:2:1: found page_size 0x4000, expected 0x1000 or 0x200000",
        ),
        (
            r#"<memory_region name="m" size="0x1000" phys_addr="0x800"/>"#,
            "a.system:2:1: found phys_addr 0x800, expected a multiple of the page size 0x1000",
        ),
        (
            r#"<memory_region name="m" size="0x2000" phys_addr="0xfffffffffffff000"/>"#,
            "a.system:2:1: found a region that ends above 64 bits",
        ),
        (
            r#"<memory_region name="m" prefill_path="none"/>"#,
            "a.system:2:1: found no file none, expected it in FOLDER",
        ),
        (
            r#"<memory_region name="m" prefill_path="empty"/>"#,
            "a.system:2:1: found the empty file empty, expected contents",
        ),
        (
            r#"<memory_region name="m" prefill_path="file" size="0x1000"/>"#,
            "a.system:2:1: found size 0x1000, expected at least the 0x1001 bytes of its file",
        ),
        (
            r#"<memory_region name="m" prefill_path="file" phys_addr="0x40000000"/>"#,
            "a.system:2:1: found phys_addr and prefill_path: the bundled kernel fills no region at a given address; leave out phys_addr",
        ),
        (
            r#"<memory_region name="m" size="0x1000" prefill_bootinfo="fdt"/>"#,
            "a.system:2:1: found prefill_bootinfo: the bundled kernel gives no boot information",
        ),
        (
            r#"<memory_region name="m" size="0x1000"/><memory_region name="m" size="0x1000"/>"#,
            "a.system:2:40: found a second region m",
        ),
        (
            r#"{A}<memory_region name="m" size="0x2000" phys_addr="0x40000000"/><memory_region name="n" size="0x1000" phys_addr="0x40001000"/>"#,
            "a.system:2:136: found n at physical 0x40001000..0x40002000, which overlaps m at 0x40000000..0x40002000",
        ),
        (
            r#"{A}<memory_region name="m" size="0x1000" phys_addr="0x70000000"/>"#,
            "found the region m at physical 0x70000000..0x70001000, which overlaps the image at 0x70000000..0x70005000",
        ),
        (
            r#"{A}<memory_region name="m" size="0x1000" phys_addr="0xc0000000"/>"#,
            "found the region m at physical 0xc0000000..0xc0001000, expected it to end at 0xc0000000 or below",
        ),
        (
            r#"{A}<memory_region name="m" size="0x60000000"/>"#,
            "found no room for the region m: 0x60000000 bytes, and 0x5fffb000 are free in 0x60000000..0xc0000000",
        ),
    ]);
}

#[test]
fn mappings() {
    let map = |attributes: &str| {
        with(&format!("<map {attributes}/>"))
            + r#"<memory_region name="m" size="0x2000"/><memory_region name="n" size="0x1000"/>"#
    };
    check(&[
        (
            &map(r#"mr="o" vaddr="0x1000""#),
            "a.system:2:54: found mr=\"o\", expected the name of a <memory_region>",
        ),
        (
            &map(r#"mr="m""#),
            "a.system:2:54: found <map> without vaddr, expected vaddr=\"…\"",
        ),
        (
            &map(r#"mr="m" vaddr="0x1800""#),
            "a.system:2:54: found vaddr 0x1800, expected a multiple of the page size 0x1000",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000" perms="w""#),
            "a.system:2:54: found perms=\"w\", expected letters of r, w and x, and not w alone",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000" perms="rq""#),
            "a.system:2:54: found perms=\"rq\", expected letters of r, w and x, and not w alone",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000" cached="yes""#),
            "a.system:2:54: found cached=\"yes\", expected true or false",
        ),
        (
            &map(r#"mr="m" vaddr="0xffffffb000""#),
            "a.system:2:54: found m at 0xffffffb000 with 0x2000 bytes, expected it to end at 0xffffffc000 or below",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000" setvar_prefill_size="x""#),
            "a.system:2:54: found setvar_prefill_size, expected m to have a prefill_path",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000" setvar_vaddr="x" setvar_size="x""#),
            "a.system:2:54: found a second value for the symbol x",
        ),
        (
            &map(r#"mr="m" vaddr="0x1000"/><map mr="n" vaddr="0x2000""#),
            "a.system:2:82: found n at 0x2000..0x3000 in a, which overlaps m at 0x1000..0x3000",
        ),
        (
            &map(r#"mr="m" vaddr="0x1ff000""#),
            "a: found the region m at 0x1ff000..0x201000, which overlaps the program a at 0x200000",
        ),
        (
            &with(r#"<setvar symbol="x" region_paddr="m"/>"#),
            "a.system:2:54: found region_paddr=\"m\", expected the name of a <memory_region>",
        ),
        (
            &(with(r#"<map mr="g" vaddr="0x1000"/>"#)
                + r#"<memory_region name="g" size="0x1000" phys_addr="0x8010000"/>"#),
            "the kernel would refuse this system: mappings 0: the interrupt controller is the kernel's (found 0x8010000)",
        ),
    ]);
}

#[test]
fn domains() {
    check(&[
        (
            "<protection_domain/>",
            "a.system:2:1: found <protection_domain> without name, expected name=\"…\"",
        ),
        (
            r#"<protection_domain name="a"/>"#,
            "a.system:2:1: found no <program_image>, expected one",
        ),
        (
            r#"<protection_domain name="a"><program_image path="b"/></protection_domain>"#,
            "a.system:2:1: found no file b, expected it in FOLDER (the program of a)",
        ),
        (
            &with(r#"<program_image path="a"/>"#),
            "a.system:2:54: found a second <program_image>, expected one",
        ),
        (
            &with("<thing/>"),
            "a.system:2:54: found <thing> in <protection_domain>, expected program_image, map, irq, setvar, protection_domain, virtual_machine or cspace",
        ),
        (
            &with(r#"<ioport id="1"/>"#),
            "a.system:2:54: found <ioport>: only x86 has I/O ports",
        ),
        (
            &domain(r#"priority="255""#),
            "a.system:2:1: found priority 255, expected at most 254",
        ),
        (
            &domain(r#"id="1""#),
            "a.system:2:29: found the attribute id on <protection_domain>, expected only name, priority, budget, period, passive, stack_size, smc, cpu, domain, fpu",
        ),
        (
            &domain(r#"budget="10""#),
            "a.system:2:1: found budget 10, expected at least 20 microseconds",
        ),
        (
            &domain(r#"period="900""#),
            "a.system:2:1: found budget 1000 and period 900, expected a budget that is not larger",
        ),
        (
            &domain(r#"period="3600000001""#),
            "a.system:2:1: found period 3600000001, expected at most 3600000000 microseconds",
        ),
        (
            &domain(r#"passive="1""#),
            "a.system:2:1: found passive=\"1\", expected true or false",
        ),
        (
            &domain(r#"stack_size="0x1800""#),
            "a.system:2:1: found stack_size 0x1800, expected a multiple of 0x1000 up to 0x1000000",
        ),
        (
            &domain(r#"stack_size="0x1001000""#),
            "a.system:2:1: found stack_size 0x1001000, expected a multiple of 0x1000 up to 0x1000000",
        ),
        (
            &domain(r#"cpu="1""#),
            "a.system:2:1: found cpu 1: the bundled kernel runs on one core, expected 0",
        ),
        (
            &domain(r#"domain="d""#),
            "a.system:2:1: found domain=\"…\": the bundled kernel has no domain scheduler; use the SDK's kernel",
        ),
        (
            "{A}{A}",
            "a.system:2:74: found a second protection domain a; the first is in line 2",
        ),
        (
            &A.replace("name=\"a\"", "name=\"monitor\""),
            "a.system:2:1: found the name \"monitor\", which is the Microkit's own",
        ),
        (
            &A.replace("name=\"a\"", "name=\"ä\""),
            "a.system:2:1: found the name \"ä\", expected 1 to 64 ASCII characters",
        ),
        (
            &with(r#"<protection_domain name="b"><program_image path="a"/></protection_domain>"#),
            "a.system:2:54: found <protection_domain> without id, expected id=\"…\"",
        ),
        (
            &with(
                r#"<protection_domain name="b" id="62"><program_image path="a"/></protection_domain>"#,
            ),
            "a.system:2:54: found id=\"62\", expected at most 61",
        ),
        (
            &with(
                r#"<virtual_machine name="v"><vcpu id="1"/></virtual_machine><protection_domain name="b" id="1"><program_image path="a"/></protection_domain>"#,
            ),
            "a.system:2:112: found id 1 of the child b, which another child or vCPU of a has",
        ),
    ]);
}

#[test]
fn interrupts_and_capabilities() {
    check(&[
        (
            &with(r#"<irq irq="33"/>"#),
            "a.system:2:54: found <irq> without id, expected id=\"…\"",
        ),
        (
            &with(r#"<irq id="1"/>"#),
            "a.system:2:54: found <irq> without irq, expected irq=\"…\"",
        ),
        (
            &with(r#"<irq id="1" pin="3"/>"#),
            "a.system:2:54: found pin: only x86 has such interrupts, expected irq=\"…\"",
        ),
        (
            &with(r#"<irq id="1" irq="27"/>"#),
            "a.system:2:54: found irq 27, expected 30 (the physical timer) or 32 to 1019",
        ),
        (
            &with(r#"<irq id="1" irq="1020"/>"#),
            "a.system:2:54: found irq=\"1020\", expected at most 1019",
        ),
        (
            &with(r#"<irq id="1" irq="33" trigger="up"/>"#),
            "a.system:2:54: found trigger=\"up\", expected level or edge",
        ),
        (
            &with(r#"<irq id="1" irq="33"/><irq id="2" irq="33"/>"#),
            "a.system:2:76: found irq 33 a second time; a has it",
        ),
        (
            &with(r#"<irq id="1" irq="33"/><irq id="1" irq="34"/>"#),
            "a.system:2:76: found id 1 of a a second time; the first is in line 2",
        ),
        (
            &with("<cspace/><cspace/>"),
            "a.system:2:63: found a second <cspace>, expected one",
        ),
        (
            &with(r#"<cspace><cap_frame slot="1"/></cspace>"#),
            "a.system:2:62: found <cap_frame> in <cspace>, expected cap_tcb, cap_sc or cap_vspace",
        ),
        (
            &with(r#"<cspace><cap_tcb slot="0" pd="a"/></cspace>"#),
            "a.system:2:62: found slot 0, which is the Microkit's own; expected 1 to 63",
        ),
        (
            &with(r#"<cspace><cap_tcb slot="64" pd="a"/></cspace>"#),
            "a.system:2:62: found slot=\"64\", expected at most 63",
        ),
        (
            &with(r#"<cspace><cap_tcb slot="1" pd="a"/><cap_sc slot="1" pd="a"/></cspace>"#),
            "a.system:2:88: found a second capability for slot 1",
        ),
        (
            &with(r#"<cspace><cap_tcb slot="1" pd="b"/></cspace>"#),
            "a.system:2:62: found pd=\"b\", expected the name of a <protection_domain>",
        ),
    ]);
}

#[test]
fn machines() {
    let machine = |elements: &str| {
        with(&format!(
            "<virtual_machine name=\"v\">{elements}</virtual_machine>"
        ))
    };
    check(&[
        (
            &machine(""),
            "a.system:2:54: found no <vcpu>, expected at least one",
        ),
        (
            &machine(r#"<vcpu id="1"/><vcpu id="1"/>"#),
            "a.system:2:94: found a second vCPU with id 1",
        ),
        (
            &machine(r#"<vcpu id="1" cpu="2"/>"#),
            "a.system:2:80: found cpu 2: the bundled kernel runs on one core, expected 0",
        ),
        (
            &machine(r#"<vcpu id="1"/><irq/>"#),
            "a.system:2:94: found <irq> in <virtual_machine>, expected vcpu or map",
        ),
        (
            &(machine(r#"<vcpu id="1"/><map mr="m" vaddr="0x10000000000"/>"#)
                + r#"<memory_region name="m" size="0x1000"/>"#),
            "a.system:2:94: found m at 0x10000000000 with 0x1000 bytes, expected it to end at 0x10000000000 or below",
        ),
        (
            &(machine(r#"<vcpu id="1"/><map mr="m" vaddr="0x1000" setvar_vaddr="x"/>"#)
                + r#"<memory_region name="m" size="0x1000"/>"#),
            "a.system:2:121: found the attribute setvar_vaddr on <map>, expected only mr, vaddr, perms, cached",
        ),
    ]);
}

#[test]
fn channels() {
    let channel = |a: &str, b: &str| {
        format!(
            r#"{{A}}<protection_domain name="b" priority="1"><program_image path="a"/></protection_domain>
<channel><end pd="a" {a}/>
<end pd="b" {b}/></channel>"#
        )
    };
    check(&[
        (
            "{A}<channel/>",
            "a.system:2:74: found a channel with 0 ends, expected 2",
        ),
        (
            "{A}<channel><side/></channel>",
            "a.system:2:83: found <side> in <channel>, expected end",
        ),
        (
            "{A}<channel><end pd=\"b\" id=\"1\"/></channel>",
            "a.system:2:83: found pd=\"b\", expected the name of a <protection_domain>",
        ),
        (
            &channel("", r#"id="1""#),
            "a.system:3:10: found <end> without id, expected id=\"…\"",
        ),
        (
            &channel(r#"id="62""#, r#"id="1""#),
            "a.system:3:10: found id=\"62\", expected at most 61",
        ),
        (
            &channel(r#"id="1" pp="yes""#, r#"id="1""#),
            "a.system:3:10: found pp=\"yes\", expected true or false",
        ),
        (
            &channel(r#"id="1" pp="true""#, r#"id="1" pp="true""#),
            "a.system:4:1: found pp=\"true\" at both ends, expected it at one: calls go one way",
        ),
        (
            &channel(r#"id="1""#, r#"id="1" pp="true""#),
            "a.system:4:1: found a protected call from b (priority 1) to a (priority 0), expected a higher priority there",
        ),
        (
            &format!(
                "{}{}",
                channel(r#"id="1""#, r#"id="1""#),
                r#"<channel><end pd="a" id="2"/><end pd="b" id="1"/></channel>"#
            ),
            "a.system:4:60: found id 1 of b a second time; the first is in line 4",
        ),
        (
            r#"{A}<channel><end pd="a" id="1"/><end pd="a" id="2"/></channel>"#,
            "a.system:2:103: found a channel from a domain to itself, expected two domains",
        ),
    ]);
}
