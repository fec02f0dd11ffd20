//! Generates systems for guests of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use roxmltree::Document;
use sel4cp_abi::config::{BackendConfig, ServicesConfig, VmmConfig, VsockConfig, Wire};
use support::made::{self, bundled, written};
use support::sdf::Sdf;
use xtask::system::{KernelKind, System};

#[test]
fn a_network_for_bulk_waits_for_its_guest() {
    for (bulk, expected) in [("", ["150", "180"]), ("bulk = true", ["10", "10"])] {
        let (_folder, path) = written(&format!("[[vm]]\nname = \"a\"\n[vm.net]\n{bulk}\n"));
        let made = bundled(&path);
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let sdf = Sdf::new(&document);
        let found = ["a_net", "a_net_driver"].map(|name| sdf.domains[name].attribute("priority"));
        assert_eq!(found, expected.map(Some), "{bulk}");
        // Only who comes before the guest has to be told of its pauses; who tells it does not.
        let pause = sdf.domains.get("a_net_pause");
        let priority = pause.and_then(|pd| pd.attribute("priority"));
        assert_eq!(priority, bulk.is_empty().then_some("10"), "{bulk}");
    }
}

#[test]
fn vcpus_of_a_guest_share_its_time() {
    for (vcpus, budget, timer) in [
        (1, "2000", "0x104"),
        (3, "666", "0x704"),
        (4, "500", "0xf04"),
    ] {
        let (_folder, path) = written(&format!(
            "[[vm]]\nname = \"a\"\nvcpus = {vcpus}\n[vm.block]\n"
        ));
        let made = bundled(&path);
        let vmm: VmmConfig = made.config("a_vmm");
        assert_eq!(vmm.vcpu_count, vcpus);
        let block: BackendConfig = made.config("a_block");
        assert_eq!(u32::from(block.queues), vcpus);
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let named = |tag: &'static str| {
            document
                .descendants()
                .filter(move |node| node.has_tag_name(tag))
        };
        let machine = named("virtual_machine").next().unwrap();
        let slice = ["budget", "period"].map(|name| machine.attribute(name));
        assert_eq!(slice, [Some(budget); 2]);
        let ids: Vec<u32> = named("vcpu")
            .map(|vcpu| vcpu.attribute("id").unwrap().parse().unwrap())
            .collect();
        assert_eq!(ids, (0..vcpus).collect::<Vec<_>>());
        let blob = made.out("a.dtb");
        let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap().to_string();
        for number in 0..4 {
            let cpu = format!("cpu@{number} {{");
            assert_eq!(tree.contains(&cpu), number < vcpus, "{cpu} in {tree}");
        }
        assert!(tree.contains(&format!("<0x01 0x0d {timer} 0x01")), "{tree}");
        made.packed().unwrap();
        // With a GICv3, two frames of a redistributor for each.
        let v3 = made::make(&path, Some("imx8mm_evk"), KernelKind::Sel4);
        let vmm: VmmConfig = v3.config("a_vmm");
        assert_eq!(vmm.redistributors_size, u64::from(vcpus) * 0x2_0000);
        let blob = v3.out("a.dtb");
        let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap().to_string();
        let size = format!("0x00 0x80a0000 0x00 {:#x}>", vcpus * 0x2_0000);
        assert!(tree.contains(&size), "{size} in {tree}");
    }
}

#[test]
fn all_of_a_guest_is_on_its_core() {
    let all = "memory = \"64M\"\n[vm.block]\n[vm.net]\n[vm.vsock]\n";
    let (_folder, path) = written(&format!(
        "[[vm]]\nname = \"a\"\n{all}[[vm]]\nname = \"b\"\ncore = 3\n{all}"
    ));
    let made = made::make(&path, None, KernelKind::Sel4);
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    let placed = sdf.domains.iter().filter(|(_, pd)| pd.has_attribute("cpu"));
    let mut names: Vec<_> = placed
        .map(|(name, pd)| (*name, pd.attribute("cpu")))
        .collect();
    names.sort_unstable();
    let expected = [
        "b_blk_driver",
        "b_block",
        "b_console",
        "b_net",
        "b_net_driver",
        "b_net_pause",
        "b_vmm",
        "b_vsock",
    ];
    assert_eq!(names, expected.map(|name| (name, Some("3"))));
    // Its vCPUs are where their VMM is, if nothing else is said.
    assert!(
        !document
            .descendants()
            .any(|node| node.has_tag_name("vcpu") && node.has_attribute("cpu"))
    );
    let picture = &made.generated.picture;
    assert!(
        picture.contains("b_vmm         vmm, core 3, guest b"),
        "{picture}"
    );
    assert!(!picture.contains("a_vmm         vmm, core"), "{picture}");
    let refused = made.packed().unwrap_err().to_string();
    assert!(
        refused.contains("found cpu 3: the bundled kernel runs on one core"),
        "{refused}"
    );
}

#[test]
fn a_core_that_the_kernel_does_not_use_is_refused() {
    let (_folder, path) = written("[[vm]]\nname = \"a\"\n[[vm]]\nname = \"b\"\ncore = 2\n");
    let system = System::load(&path).unwrap();
    system.check_cores(3, "seL4, smp-release").unwrap();
    let refused = |cores, kernel| {
        let error = system.check_cores(cores, kernel).unwrap_err().to_string();
        let (_, said) = error.split_once(".toml:").unwrap();
        said.to_owned()
    };
    assert_eq!(
        refused(1, "bundled kernel, release"),
        "6: found `core = 2`; expected 0 (bundled kernel, release, uses one core); write nothing in its place, or build it with \
         `--kernel sel4 --config smp-release`"
    );
    assert_eq!(
        refused(2, "seL4, smp-release"),
        "6: found `core = 2`; expected a number from 0 to 1 (seL4, smp-release); write `core = 1`"
    );
}

#[test]
fn a_guest_without_devices_has_a_console() {
    let (_folder, path) = written(
        "[[vm]]\nname = \"small\"\nmemory = \"32M\"\ninitrd = \"none\"\nearlycon = true\n[vm.console]\ncolumns = 132\n",
    );
    let made = bundled(&path);
    let vmm: VmmConfig = made.config("small_vmm");
    assert!(!vmm.initrd.is_some());
    assert_eq!(vmm.device_count, 1);
    assert_eq!((vmm.uart.bus, vmm.uart.size), (0x0900_0000, 0x1000));
    let blob = made.out("small.dtb");
    let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap().to_string();
    for (text, there) in [
        ("stdout-path = \"/pl011@9000000\"", true),
        (
            "bootargs = \"console=hvc0 nokaslr kpti=off arm64.nosve arm64.nopauth earlycon\"",
            true,
        ),
        ("linux,initrd-start", false),
        ("virtio_mmio@a000000", true),
        ("virtio_mmio@a000200", false),
    ] {
        assert_eq!(tree.contains(text), there, "{text} in {tree}");
    }
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    assert_eq!(sdf.domains.len(), 6);
    sdf.check("small_vmm", &vmm.uart, "rw", false);
    assert_eq!(sdf.ring("small_vmm", &vmm.uart_output).0, "serial");
    let console: BackendConfig = made.config("small_console");
    // What a section does not say keeps its default.
    assert_eq!((console.columns, console.rows), (132, 25));
    assert_eq!(
        made.generated.qemu,
        ["-nic", "none", "-global", "virtio-mmio.force-legacy=false"]
    );
    made.packed().unwrap();
}

#[test]
fn as_many_guests_as_there_can_be() {
    let guests: String = (0..8)
        .map(|n| {
            format!(
                "[[vm]]\nname = \"g{n}\"\nmemory = \"{}M\"\nearlycon = true\n{}",
                32 + 2 * n,
                if n < 4 { "[vm.net]\n" } else { "" }
            ) + &sockets(n)
        })
        .collect();
    let (_folder, path) = written(&guests);
    bundled(&path).packed().unwrap();
}

/// The sockets of guest `n`, which may talk to the seven others and look after them.
fn sockets(n: usize) -> String {
    let others = (0..8).filter(|other| *other != n);
    let others: Vec<String> = others.map(|other| format!("\"g{other}\"")).collect();
    format!(
        "[vm.vsock]\ncontrol = \"all\"\npeers = [{}]\n",
        others.join(", ")
    )
}

#[test]
fn wires_lead_to_the_services_and_to_who_is_allowed() {
    let (_folder, path) = written(
        "[[vm]]\nname = \"a\"\nmemory = \"64M\"\n[vm.vsock]\ncid = 77\npeers = [\"b\"]\n\
         [[vm]]\nname = \"b\"\nmemory = \"64M\"\n[vm.vsock]\npeers = [\"a\"]\n\
         [[vm]]\nname = \"c\"\nmemory = \"64M\"\n[vm.vsock]\n\
         [[vm]]\nname = \"d\"\nmemory = \"64M\"\n",
    );
    let made = bundled(&path);
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    // What each end of a wire knows: the other's CID, and which end it is.
    let wires = |pd: &'static str, wires: &[Wire], count: u32| -> Vec<(u64, u32, &str)> {
        let used = wires.iter().take(count.try_into().unwrap());
        used.map(|wire| (wire.cid, wire.first, sdf.ring(pd, &wire.ring).0))
            .collect()
    };
    let guest = |pd: &'static str| {
        let config: VsockConfig = made.config(pd);
        sdf.header(pd, &config.header);
        assert!(sdf.check(pd, &config.ram, "rw", true).is_some());
        assert_eq!(config.ram.bus, 0x4000_0000);
        assert!(sdf.ring(pd, &config.link).0.ends_with("_vmm"));
        (config.cid, wires(pd, &config.wires, config.wire_count))
    };
    assert_eq!(
        guest("a_vsock"),
        (77, vec![(2, 1, "services"), (4, 1, "b_vsock")])
    );
    assert_eq!(
        guest("b_vsock"),
        (4, vec![(2, 1, "services"), (77, 0, "a_vsock")])
    );
    assert_eq!(guest("c_vsock"), (5, vec![(2, 1, "services")]));
    assert!(!sdf.domains.contains_key("d_vsock"));
    let services: ServicesConfig = made.config("services");
    let buffers = sdf.map("services", services.buffers.vaddr);
    assert_eq!(buffers.attribute("perms"), Some("rw"));
    let users = document
        .descendants()
        .filter(|map| map.has_tag_name("map") && map.attribute("mr") == Some("socket_buffers"));
    assert_eq!(users.count(), 1, "they are the services' alone");
    assert!(services.buffers.size >= 3 * 0x14_0000);
    assert_eq!(
        wires("services", &services.wires, services.wire_count),
        [(77, 0, "a_vsock"), (4, 0, "b_vsock"), (5, 0, "c_vsock")]
    );
}
