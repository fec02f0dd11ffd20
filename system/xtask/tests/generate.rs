//! Generates the project's systems, and holds the generated files against each other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use roxmltree::Document;
use sel4cp_abi::config::{
    BackendConfig, NO_CHANNEL, PauseConfig, PowerConfig, SerialConfig, ServicesConfig,
    SupervisorConfig, TimerConfig, VirtioDriverConfig, VmmConfig, VsockConfig, Wire,
};
use sel4cp_abi::label::Labels;
use sel4cp_abi::slot::STACK_TOP;
use std::path::{Path, PathBuf};
use support::made::{self, Made, project};
use support::sdf::Sdf;
use support::{Elf, image};
use tempfile::TempDir;
use xtask::pack::{Configuration, pack};
use xtask::system::{GuestFiles, KernelKind, System, Target, generate};

fn make(toml: &Path) -> Made {
    made::make(toml, None, KernelKind::Bundled)
}

/// A system file with `text`.
fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, format!("board = \"qemu_virt_aarch64\"\n{text}")).unwrap();
    (folder, path)
}

/// Packs the system with made-up programs; the packer's report.
fn packed(made: &Made) -> Result<String, String> {
    let programs = made.folder.path().join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    support::programs(&programs);
    let kernel = Elf::kernel().write(&programs.join("kernel"));
    let mut paths = made.generated.search_paths.clone();
    paths.push(programs);
    let path = |name: &str| made.folder.path().join(name);
    pack(
        &made.generated.sdf,
        &paths,
        &kernel,
        Configuration::Release,
        &path("image"),
        &path("report"),
    )
    .map_err(|error| error.to_string())?;
    Ok(std::fs::read_to_string(path("report")).unwrap())
}

#[test]
fn the_configurations_agree_with_the_system_file() {
    for (file, guests) in [
        ("linux.toml", &["linux"][..]),
        ("two.toml", &["one", "two"]),
    ] {
        let made = make(&project(file));
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let sdf = Sdf::new(&document);
        assert_eq!(sdf.domains.len(), 5 + 8 * guests.len());
        let mut ram = 0x4000_0000;
        let mut frames = std::collections::BTreeSet::new();
        for name in guests {
            let pd = |role: &str| {
                *sdf.domains
                    .get_key_value(format!("{name}_{role}").as_str())
                    .unwrap()
                    .0
            };
            let vmm: VmmConfig = made.config(pd("vmm"));
            sdf.header(pd("vmm"), &vmm.header);
            assert_eq!(vmm.guest.as_str(), *name);
            assert_eq!(sdf.check(pd("vmm"), &vmm.ram, "rw", true), Some(ram));
            assert_eq!(vmm.ram.bus, 0x4000_0000);
            for region in [&vmm.kernel, &vmm.device_tree, &vmm.initrd] {
                assert_eq!(sdf.check(pd("vmm"), region, "r", true), None);
            }
            assert_eq!(vmm.kernel.bus, 0x4000_0000);
            assert_eq!(
                (vmm.device_tree.bus, vmm.initrd.bus),
                (0x4020_0000, 0x4040_0000)
            );
            sdf.check(pd("vmm"), &vmm.registers, "rw", false);
            assert_eq!(vmm.registers.bus, 0x0a00_0000);
            assert!(!vmm.uart.is_some());
            assert_eq!(vmm.uart_output.channel, NO_CHANNEL);
            assert_eq!(
                (vmm.distributor, vmm.distributor_size),
                (0x0800_0000, 0x1_0000)
            );
            assert_eq!(sdf.ring(pd("vmm"), &vmm.timer).0, "timer");
            let power = sdf.channels[&(pd("vmm"), vmm.power_channel)];
            assert_eq!(power.0, "power");
            let power_config: PowerConfig = made.config("power");
            let mut channels = power_config.guests.iter().map(|guest| guest.channel);
            assert!(channels.any(|channel| channel == power.1));
            let devices: Vec<_> = vmm
                .devices
                .iter()
                .take(4)
                .map(|d| (d.kind, d.interrupt, d.offset))
                .collect();
            assert_eq!((vmm.device_count, vmm.vcpu_count), (4, 1));
            assert_eq!(
                devices,
                [(3, 48, 0), (2, 49, 0x200), (1, 50, 0x400), (19, 51, 0x600)]
            );
            for (device, role) in vmm.devices.iter().zip(["console", "block", "net"]) {
                assert_eq!(sdf.ring(pd("vmm"), &device.link).0, pd(role));
                let backend: BackendConfig = made.config(pd(role));
                sdf.header(pd(role), &backend.header);
                assert_eq!(
                    sdf.channels[&(pd(role), backend.link.channel)],
                    (pd("vmm"), device.link.channel)
                );
                sdf.ring(pd(role), &backend.link);
                assert_eq!(sdf.check(pd(role), &backend.ram, "rw", true), Some(ram));
                let driver = sdf.ring(pd(role), &backend.ring).0;
                assert_eq!(
                    driver,
                    match role {
                        "console" => "serial",
                        "block" => pd("blk_driver"),
                        _ => pd("net_driver"),
                    }
                );
                if driver == "serial" {
                    assert_eq!((backend.columns, backend.rows), (80, 25));
                    continue;
                }
                let config: VirtioDriverConfig = made.config(driver);
                sdf.header(driver, &config.header);
                assert_eq!(sdf.ring(driver, &config.ring).0, pd(role));
                assert_eq!(sdf.check(driver, &config.ram, "rw", true), Some(ram));
                assert_eq!(config.ram.bus, ram);
                assert_eq!(config.frames.is_some(), role == "net");
                if role == "net" {
                    let physical = Some(config.frames.bus);
                    assert_eq!(sdf.check(driver, &config.frames, "r", true), physical);
                    assert_eq!(sdf.check(pd(role), &backend.frames, "rw", true), physical);
                    assert!(frames.insert(config.frames.bus) && frames.insert(config.dma.bus));
                    assert_eq!(backend.most_made != 0, guests.len() > 1);
                    let pause = sdf.ring(pd(role), &backend.pause).0;
                    assert_eq!(pause, pd("net_pause"));
                    let told: PauseConfig = made.config(pause);
                    sdf.header(pause, &told.header);
                    assert_eq!(sdf.ring(pause, &told.backend).0, pd(role));
                } else {
                    assert_eq!(backend.pause.channel, NO_CHANNEL);
                }
                assert_eq!(
                    sdf.check(driver, &config.dma, "rw", true),
                    Some(config.dma.bus)
                );
                assert_eq!(
                    sdf.check(driver, &config.registers, "rw", false),
                    Some(config.registers.bus)
                );
                let irq = sdf.domains[driver]
                    .children()
                    .find(|node| node.has_tag_name("irq"))
                    .unwrap();
                assert_eq!(
                    irq.attribute("id").unwrap(),
                    config.interrupt_channel.to_string()
                );
                let transport = config.registers.bus + u64::from(config.registers_offset);
                let number: u64 = irq.attribute("irq").unwrap().parse().unwrap();
                assert_eq!(transport, 0x0a00_0000 + 0x200 * (number - 48));
            }
            ram += vmm.ram.size;
        }
    }
}

#[test]
fn the_shared_drivers_know_their_clients() {
    let made = make(&project("two.toml"));
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    let serial: SerialConfig = made.config("serial");
    assert!(!serial.header.log.region.is_some());
    assert_eq!((serial.guest_count, serial.focus), (2, 0));
    assert_eq!(
        sdf.check("serial", &serial.registers, "rw", false),
        Some(0x0900_0000)
    );
    assert_eq!(sdf.ring("serial", &serial.state).0, "power");
    assert_eq!(sdf.ring("serial", &serial.timer).0, "timer");
    let clients = serial
        .clients
        .iter()
        .take(serial.client_count.try_into().unwrap());
    let found: Vec<(String, u32, u32, &str)> = clients
        .map(|client| {
            (
                client.name.to_string(),
                client.kind,
                client.guest,
                sdf.ring("serial", &client.ring).0,
            )
        })
        .collect();
    let consoles: Vec<_> = found
        .iter()
        .filter(|client| client.1 == 0)
        .cloned()
        .collect();
    assert_eq!(
        consoles,
        [
            ("one".to_owned(), 0, 0, "one_console"),
            ("two".to_owned(), 0, 1, "two_console")
        ]
    );
    let logs = found.iter().filter(|client| client.1 == 2);
    assert_eq!(logs.clone().count(), 20);
    assert!(logs.clone().all(|client| client.0 == client.3), "{found:?}");
    let timer: TimerConfig = made.config("timer");
    let clients = timer
        .clients
        .iter()
        .take(timer.client_count.try_into().unwrap());
    let clients: Vec<&str> = clients.map(|client| sdf.ring("timer", client).0).collect();
    assert_eq!(clients, ["one_vmm", "two_vmm", "serial"]);
    let power: PowerConfig = made.config("power");
    assert_eq!(sdf.ring("power", &power.serial).0, "serial");
    assert_eq!(power.guest_count, 2);
    assert!(power.guests.iter().all(|guest| !guest.region.is_some()));
}

#[test]
fn every_other_domain_is_a_child_of_the_supervisor_which_knows_its_name() {
    let made = make(&project("two.toml"));
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    let config: SupervisorConfig = made.config("supervisor");
    sdf.header("supervisor", &config.header);
    let count = usize::try_from(config.child_count).unwrap();
    assert_eq!(count, sdf.domains.len() - 1);
    let parent = sdf.domains["supervisor"];
    assert_eq!(parent.attribute("priority"), Some("254"));
    for (name, domain) in sdf
        .domains
        .iter()
        .filter(|(name, _)| **name != "supervisor")
    {
        assert_eq!(domain.parent(), Some(parent), "{name}");
        let id: usize = domain.attribute("id").unwrap().parse().unwrap();
        assert_eq!(config.children[..count][id].as_str(), *name);
        let priority: u8 = domain.attribute("priority").unwrap().parse().unwrap();
        assert!(priority < 254, "{name}");
        let stack = domain.attribute("stack_size").unwrap();
        let stack = u64::from_str_radix(stack.trim_start_matches("0x"), 16).unwrap();
        assert_eq!(config.stack_bottom, STACK_TOP - stack, "{name}");
    }
    let serial = usize::try_from(config.serial).unwrap();
    assert_eq!(config.children[serial].as_str(), "serial");
}

#[test]
fn a_network_for_bulk_waits_for_its_guest() {
    for (bulk, expected) in [("", ["150", "180"]), ("bulk = true", ["10", "10"])] {
        let (_folder, path) = written(&format!("[[vm]]\nname = \"a\"\n[vm.net]\n{bulk}\n"));
        let made = make(&path);
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
fn the_packer_takes_what_is_generated() {
    for file in ["linux.toml", "two.toml"] {
        let report = packed(&make(&project(file))).unwrap();
        let kernel = report
            .lines()
            .find(|line| line.contains("/Image: "))
            .unwrap();
        assert!(
            kernel.contains("65536 bytes, in the image once, for "),
            "{kernel}"
        );
    }
}

#[test]
fn devices_are_where_the_drivers_look() {
    let made = make(&project("linux.toml"));
    let root = made.folder.path().join("root");
    let expected = format!(
        "-nic none -global virtio-mmio.force-legacy=false \
         -drive file={},format=raw,if=none,id=linux_block,cache=writeback,discard=unmap \
         -device virtio-blk-device,drive=linux_block,bus=virtio-mmio-bus.0 \
         -netdev user,id=linux_net \
         -device virtio-net-device,netdev=linux_net,mac=52:54:00:00:00:01,bus=virtio-mmio-bus.8",
        root.display()
    );
    assert_eq!(made.generated.qemu.join(" "), expected);
    assert!(
        made.generated.picture.contains("linux_vmm"),
        "{}",
        made.generated.picture
    );
}

#[test]
fn the_device_tree_says_what_is_there() {
    let made = make(&project("linux.toml"));
    let blob = made.out("linux.dtb");
    let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap();
    assert_eq!(tree.to_string(), include_str!("linux.dts"));
}

#[test]
fn vcpus_of_a_guest_share_its_time() {
    for (vcpus, budget, timer) in [
        (1, "2000", "0x104"),
        (3, "666", "0x704"),
        (4, "500", "0xf04"),
    ] {
        let (_folder, path) = written(&format!("[[vm]]\nname = \"a\"\nvcpus = {vcpus}\n"));
        let made = make(&path);
        let vmm: VmmConfig = made.config("a_vmm");
        assert_eq!(vmm.vcpu_count, vcpus);
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
        packed(&made).unwrap();
    }
}

#[test]
fn a_guest_without_devices_has_a_console() {
    let (_folder, path) = written(
        "[[vm]]\nname = \"small\"\nmemory = \"32M\"\ninitrd = \"none\"\nearlycon = true\n[vm.console]\ncolumns = 132\n",
    );
    let made = make(&path);
    let vmm: VmmConfig = made.config("small_vmm");
    assert!(!vmm.initrd.is_some());
    assert_eq!(vmm.device_count, 1);
    assert_eq!((vmm.uart.bus, vmm.uart.size), (0x0900_0000, 0x1000));
    let blob = made.out("small.dtb");
    let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap().to_string();
    for (text, there) in [
        ("stdout-path = \"/pl011@9000000\"", true),
        (
            "bootargs = \"console=hvc0 nokaslr kpti=off earlycon\"",
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
    packed(&made).unwrap();
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
    packed(&make(&path)).unwrap();
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
    let made = make(&path);
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
    assert_eq!(
        wires("services", &services.wires, services.wire_count),
        [(77, 0, "a_vsock"), (4, 0, "b_vsock"), (5, 0, "c_vsock")]
    );
}

#[test]
fn generating_twice_changes_nothing() {
    let made = make(&project("linux.toml"));
    let before = made.sdf();
    let again = make(&project("linux.toml"));
    let normal =
        |made: &Made, text: &str| text.replace(&made.folder.path().display().to_string(), "");
    assert_eq!(normal(&made, &before), normal(&again, &again.sdf()));
    for file in ["linux.dtb", "linux_vmm.config", "serial.config"] {
        assert_eq!(made.out(file), again.out(file));
    }
}

#[test]
fn a_wrong_file_of_a_guest_is_reported_at_its_line() {
    let system = System::load(&project("linux.toml")).unwrap();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("Image"), image(0x1000, 0x1000)).unwrap();
    std::fs::write(path("disk"), [0; 100]).unwrap();
    let files = GuestFiles {
        kernel: path("Image"),
        initrd: Some(path("missing")),
        root: Some(path("disk")),
    };
    let target = Target {
        labels: Labels::RELEASE,
        debug_put_char: false,
        kernel_kind: KernelKind::Sel4,
    };
    let error = generate(&system, &[files], &target, &path("out"))
        .unwrap_err()
        .to_string();
    let lines: Vec<&str> = error.lines().collect();
    let [initrd, root] = lines[..] else {
        panic!("{error}")
    };
    assert!(
        initrd.contains("linux.toml:8: found the initial RAM disk "),
        "{initrd}"
    );
    assert!(
        root.contains("linux.toml:9: found a disk image of 100 bytes"),
        "{root}"
    );
    let error = generate(&system, &[], &target, &path("out"))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "found files of 0 guests, expected those of 1");
}
