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
    BackendConfig, NO_CHANNEL, PauseConfig, PowerConfig, SerialConfig, SupervisorConfig,
    TimerConfig, VirtioDriverConfig, VmmConfig,
};
use sel4cp_abi::label::Labels;
use sel4cp_abi::slot::STACK_TOP;
use support::image;
use support::made::{Made, bundled, project};
use support::sdf::Sdf;
use tempfile::TempDir;
use xtask::system::{GuestFiles, KernelKind, System, Target, generate};

#[test]
fn the_configurations_agree_with_the_system_file() {
    for (file, guests) in [
        ("linux.toml", &["linux"][..]),
        ("two.toml", &["one", "two"]),
    ] {
        let made = bundled(&project(file));
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
    let made = bundled(&project("two.toml"));
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
    let made = bundled(&project("two.toml"));
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
fn the_packer_takes_what_is_generated() {
    for file in ["linux.toml", "two.toml"] {
        let report = bundled(&project(file)).packed().unwrap();
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
    let made = bundled(&project("linux.toml"));
    let root = made.folder.path().join("root");
    let expected = format!(
        "-nic none -global virtio-mmio.force-legacy=false \
         -drive file={},format=raw,if=none,id=linux_block,cache=writeback,discard=unmap,werror=report \
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
    let made = bundled(&project("linux.toml"));
    let blob = made.out("linux.dtb");
    let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap();
    assert_eq!(tree.to_string(), include_str!("linux.dts"));
}

#[test]
fn generating_twice_changes_nothing() {
    let made = bundled(&project("linux.toml"));
    let before = made.sdf();
    let again = bundled(&project("linux.toml"));
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
