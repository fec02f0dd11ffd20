//! Generates the project's systems for every board, and holds the generated files against what the board has.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use roxmltree::{Document, Node};
use sel4cp_abi::config::{BackendConfig, NO_CHANNEL, SerialConfig, VmmConfig};
use sel4cp_abi::uart::UartKind;
use support::made::{self, Made, project};
use support::sdf::Sdf;
use xtask::system::{KernelKind, Source};

/// A board that QEMU does not play.
struct Board {
    name: &'static str,
    uart: (UartKind, u64, &'static str, &'static str),
    /// Of a GICv2: where the virtual CPU interface is.
    interface: Option<u64>,
    ram: u64,
}

const BOARDS: [Board; 4] = [
    Board {
        name: "imx8mm_evk",
        uart: (UartKind::Imx, 0x3089_0000, "59", "level"),
        interface: None,
        ram: 0x8000_0000,
    },
    Board {
        name: "maaxboard",
        uart: (UartKind::Imx, 0x3086_0000, "58", "level"),
        interface: None,
        ram: 0x8000_0000,
    },
    Board {
        name: "odroidc4",
        uart: (UartKind::Meson, 0xff80_3000, "225", "edge"),
        interface: Some(0xffc0_6000),
        ram: 0x8000_0000,
    },
    Board {
        name: "zcu102",
        uart: (UartKind::Cadence, 0xff00_0000, "53", "level"),
        interface: Some(0xf906_f000),
        ram: 0x2000_0000,
    },
];

fn make(file: &str, board: &str) -> Made {
    made::make(&project(file), Some(board), KernelKind::Sel4)
}

#[test]
fn a_guest_goes_without_what_the_board_lacks_and_somebody_is_told() {
    for board in &BOARDS {
        let made = make("two.toml", board.name);
        for guest in made.system.guests() {
            assert!(guest.block.is_none() && guest.net.is_none());
            assert_eq!(guest.root, Source::None);
            assert!(!guest.command_line.contains("root="));
            let vmm: VmmConfig = made.config(&format!("{}_vmm", guest.name));
            assert_eq!(vmm.device_count, 2, "the console and the sockets");
            assert_eq!(vmm.caches, 1);
            for device in ["block", "net"] {
                let line = format!(
                    "guest {} gets no [vm.{device}] on {}",
                    guest.name, board.name
                );
                let said = |text: &String| text.starts_with(&line);
                assert!(made.system.warnings().iter().any(said), "{line}");
                assert!(made.generated.picture.contains(&line));
            }
        }
        assert_eq!(made.system.warnings().len(), 5, "and the timer");
        assert!(!made.generated.picture.contains("virtio_blk"));
    }
    let made = make("two.toml", "qemu_virt_aarch64");
    assert!(made.system.warnings().is_empty());
}

#[test]
fn without_a_timer_there_is_no_timer_driver() {
    for board in &BOARDS {
        let made = make("linux.toml", board.name);
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let sdf = Sdf::new(&document);
        assert!(!sdf.domains.contains_key("timer"), "{}", board.name);
        let vmm: VmmConfig = made.config("linux_vmm");
        let serial: SerialConfig = made.config("serial");
        for timer in [vmm.timer, serial.timer] {
            assert_eq!((timer.channel, timer.region.size), (NO_CHANNEL, 0));
        }
        let needs = made.system.kernel_needs();
        assert!(!needs.iter().any(|(name, _)| *name == "EXPORT_PTMR_USER"));
    }
    // And nothing is kept ahead of seL4's timer where QEMU is not, or of the bundled kernel's.
    let ahead = |made: Made| made.config::<VmmConfig>("linux_vmm").timer_ahead;
    let qemu = "qemu_virt_aarch64";
    let bundled = made::make(&project("linux.toml"), Some(qemu), KernelKind::Bundled);
    assert_eq!(ahead(bundled), 0);
    assert_ne!(ahead(make("linux.toml", qemu)), 0);
    for board in &BOARDS {
        assert_eq!(ahead(make("linux.toml", board.name)), 0);
    }
    let needs = make("linux.toml", qemu).system.kernel_needs();
    assert!(needs.contains(&("EXPORT_PTMR_USER", "true")));
}

#[test]
fn the_serial_driver_is_told_which_uart_it_has() {
    for board in &BOARDS {
        let made = make("linux.toml", board.name);
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let sdf = Sdf::new(&document);
        let serial: SerialConfig = made.config("serial");
        let (kind, address, number, trigger) = board.uart;
        assert_eq!(serial.uart, kind as u32, "{}", board.name);
        let found = sdf.check("serial", &serial.registers, "rw", false);
        assert_eq!(found, Some(address), "{}", board.name);
        let mut irq = sdf.domains["serial"].children();
        let irq = irq.find(|node| node.has_tag_name("irq")).unwrap();
        assert_eq!(irq.attribute("irq"), Some(number));
        assert_eq!(irq.attribute("trigger"), Some(trigger));
        let console: BackendConfig = made.config("linux_console");
        assert_eq!(sdf.ring("linux_console", &console.ring).0, "serial");
    }
}

#[test]
fn a_guest_has_the_boards_interrupt_controller() {
    for board in &BOARDS {
        let made = make("linux.toml", board.name);
        let text = made.sdf();
        let document = Document::parse(&text).unwrap();
        let sdf = Sdf::new(&document);
        let vmm: VmmConfig = made.config("linux_vmm");
        assert_eq!(
            sdf.check("linux_vmm", &vmm.ram, "rw", true),
            Some(board.ram)
        );
        let interface: Option<Node<'_, '_>> = sdf.regions.get("gic_virtual_cpu_interface").copied();
        let address = interface.and_then(|region| region.attribute("phys_addr"));
        let expected = board.interface.map(|address| format!("{address:#x}"));
        assert_eq!(address, expected.as_deref(), "{}", board.name);
        let blob = made.out("linux.dtb");
        let tree = dtoolkit::fdt::Fdt::new(&blob).unwrap().to_string();
        let v3 = board.interface.is_none();
        let redistributors = if v3 { (0x080a_0000, 0x2_0000) } else { (0, 0) };
        assert_eq!(
            (vmm.redistributors, vmm.redistributors_size),
            redistributors
        );
        for (text, there) in [
            ("compatible = \"arm,gic-v3\"", v3),
            ("compatible = \"arm,cortex-a15-gic\"", !v3),
            (
                "reg = <0x00 0x8000000 0x00 0x10000 0x00 0x80a0000 0x00 0x20000>",
                v3,
            ),
            ("interrupt-controller@8000000 {", true),
            ("interrupt-controller-v3", false),
        ] {
            assert_eq!(tree.contains(text), there, "{text} in {tree}");
        }
        let needs = made.system.kernel_needs();
        let support = if v3 { "true" } else { "false" };
        assert!(needs.contains(&("ARM_GIC_V3_SUPPORT", support)));
    }
}
