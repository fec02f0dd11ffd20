//! The machines, and what a guest sees: read from the files in `dts/`, where every address is written once.

use super::dts::{self, Node};
use super::reader::Section;
use super::text::{nearest, one_of};
use sel4cp_abi::uart::UartKind;

/// The machine that QEMU plays.
const QEMU_VIRT: &str = include_str!("../../../../dts/qemu_virt_aarch64.dts");
/// The kinds of machines: name, device tree source, and the label of the interrupt controller. The first is the one that QEMU plays
/// for every kernel.
const BOARDS: [(&str, &str, &str); 6] = [
    ("qemu_virt_aarch64", QEMU_VIRT, "gic"),
    ("qemu_virt_aarch64_gicv3", QEMU_VIRT, "gic_v3"),
    (
        "imx8mm_evk",
        include_str!("../../../../dts/imx8mm_evk.dts"),
        "gic",
    ),
    (
        "maaxboard",
        include_str!("../../../../dts/maaxboard.dts"),
        "gic",
    ),
    (
        "odroidc4",
        include_str!("../../../../dts/odroidc4.dts"),
        "gic",
    ),
    ("zcu102", include_str!("../../../../dts/zcu102.dts"), "gic"),
];
/// The UARTs that there are drivers for, by a name that their nodes are compatible with.
const UARTS: [(&str, UartKind); 4] = [
    ("arm,pl011", UartKind::Pl011),
    ("fsl,imx6q-uart", UartKind::Imx),
    ("amlogic,meson-gx-uart", UartKind::Meson),
    ("cdns,uart-r1p12", UartKind::Cadence),
];
/// The interrupt controllers, by a name that their nodes are compatible with, and whether each is a GICv3.
const CONTROLLERS: [(&str, bool); 3] = [
    ("arm,cortex-a15-gic", false),
    ("arm,gic-400", false),
    ("arm,gic-v3", true),
];
/// What the machine that QEMU plays is compatible with.
const QEMU: &str = "linux,dummy-virt";
/// What a guest sees.
const GUEST: &str = include_str!("../../../../dts/guest.dts");
/// Low bits of an interrupt specifier's flags: an active-high level.
const LEVEL_HIGH: u32 = 4;

/// A range of addresses: start and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) size: u64,
}

impl Area {
    pub(super) fn end(self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// A device's registers and interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hardware {
    pub(super) registers: Area,
    pub(super) interrupt: Interrupt,
}

/// An interrupt of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interrupt {
    /// INTID.
    pub(super) number: u32,
    /// Level-sensitive, else an edge.
    pub(super) level: bool,
}

/// A virtio-mmio transport of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) hardware: Hardware,
    /// QEMU's name of it.
    pub(super) bus: String,
}

/// A machine's interrupt controller, as far as guests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    /// A GICv2, with the registers of its virtual CPU interface.
    V2(Area),
    /// A GICv3, whose virtual CPU interface is system registers.
    V3,
}

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) name: &'static str,
    /// QEMU plays it, without caches, and the bundled kernel knows it.
    pub(super) is_qemu: bool,
    /// Memory that is used by physical address only.
    pub(super) pool: Area,
    pub(super) uart: Hardware,
    pub(super) uart_kind: UartKind,
    /// The physical timer, where the kernel gives it to PDs.
    pub(super) timer: Option<Interrupt>,
    pub(super) controller: Controller,
    /// The hardware behind disks and network devices, none where there is no driver for it.
    pub(super) transports: Vec<Transport>,
    pub(super) guest: GuestMap,
}

/// What a guest sees where.
#[derive(Clone, Debug)]
pub(super) struct GuestMap {
    /// The tree that the tool completes.
    pub(super) tree: Node,
    pub(super) distributor: Area,
    /// Where the machine has a GICv2.
    pub(super) cpu_interface: Area,
    /// Where the machine has a GICv3: one vCPU's, which those of the others follow.
    redistributors: Area,
    pub(super) uart: Hardware,
    /// The first device's register file and interrupt; the others follow it.
    pub(super) device: Hardware,
    /// Start of RAM.
    pub(super) ram: u64,
}

impl Board {
    /// The boards' names.
    pub(super) const NAMES: &'static [&'static str] = &{
        let [(a, ..), (b, ..), (c, ..), (d, ..), (e, ..), (f, ..)] = BOARDS;
        [a, b, c, d, e, f]
    };

    /// The board called `name`; an error if its file does not say what is needed.
    pub(super) fn find(name: &str) -> Option<Result<Self, String>> {
        let (name, source, gic) = BOARDS.into_iter().find(|(known, ..)| *known == name)?;
        Some(Self::read(name, source, gic))
    }

    /// The board called `name`; lists the boards if there is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Self::find(name).unwrap_or_else(|| {
            let there = Self::NAMES.join(", ");
            Err(format!("there is no board {name}; expected one of {there}"))
        })
    }

    /// The board that a system file names.
    pub(super) fn of(root: &Section<'_>) -> Option<Self> {
        root.only(&["board", "vm"]);
        let known = Self::NAMES;
        let example = format!("board = \"{}\"", known.first().copied().unwrap_or_default());
        let Some(name) = root.text("board", &example) else {
            root.missing(
                "board",
                &format!("the machine: {}", one_of(known)),
                &example,
            );
            return None;
        };
        let board = Self::find(&name.value);
        if let Some(Err(error)) = &board {
            root.mistake(
                name.line,
                error,
                "a file that describes the board",
                "a node like the other boards'",
            );
        }
        if board.is_none() {
            let near = nearest(&name.value, known).or(known.first().copied());
            root.mistake(
                name.line,
                format!("the board \"{}\"", name.value),
                one_of(known),
                format!("`board = \"{}\"`", near.unwrap_or_default()),
            );
        }
        board?.ok()
    }

    fn read(name: &'static str, source: &str, gic: &str) -> Result<Self, String> {
        let file = |error| format!("dts/{name}.dts: {error}");
        let tree = dts::parse(source).map_err(file)?;
        let machine = || -> Result<Self, String> {
            let uart = labelled(&tree, "uart")?;
            let gic = labelled(&tree, gic)?;
            let timer = tree.labelled("timer");
            let transports = tree.child("transports");
            Ok(Self {
                name,
                is_qemu: tree.texts("compatible").any(|text| text == QEMU),
                pool: area(labelled(&tree, "pool")?, 0)?,
                uart: hardware(uart)?,
                uart_kind: kind(uart, &UARTS)?,
                timer: timer.map(|timer| interrupt(timer, 1)).transpose()?,
                controller: if kind(gic, &CONTROLLERS)? {
                    Controller::V3
                } else {
                    Controller::V2(area(gic, 3)?)
                },
                transports: transports
                    .map_or(&[][..], |node| node.children.as_slice())
                    .iter()
                    .map(transport)
                    .collect::<Result<_, _>>()?,
                guest: GuestMap::read().map_err(|error| format!("dts/guest.dts: {error}"))?,
            })
        };
        machine().map_err(file)
    }
}

impl GuestMap {
    fn read() -> Result<Self, String> {
        let tree = dts::parse(GUEST)?;
        let gic = labelled(&tree, "gic")?;
        Ok(Self {
            distributor: area(gic, 0)?,
            cpu_interface: area(gic, 1)?,
            redistributors: area(labelled(&tree, "gic_v3")?, 1)?,
            uart: hardware(labelled(&tree, "uart")?)?,
            device: hardware(labelled(&tree, "virtio")?)?,
            ram: area(labelled(&tree, "ram")?, 0)?.start,
            tree,
        })
    }

    /// The redistributors of a guest with so many vCPUs.
    pub(super) fn redistributors_of(&self, vcpus: u32) -> Area {
        let Area { start, size } = self.redistributors;
        Area {
            start,
            size: size.saturating_mul(vcpus.into()),
        }
    }
}

fn labelled<'a>(tree: &'a Node, label: &str) -> Result<&'a Node, String> {
    tree.labelled(label)
        .ok_or_else(|| format!("no node has the label {label}"))
}

/// What `node` is, by the first of `known` that it is compatible with.
fn kind<T: Copy>(node: &Node, known: &[(&str, T)]) -> Result<T, String> {
    let found = node
        .texts("compatible")
        .find_map(|text| known.iter().find(|(name, _)| *name == text));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!(
            "{}: found compatible with {}, expected one of {}",
            node.name,
            node.texts("compatible").collect::<Vec<_>>().join(", "),
            names.join(", ")
        )
    })
}

fn area(node: &Node, index: usize) -> Result<Area, String> {
    let areas = node.reg();
    let &(start, size) = areas
        .get(index)
        .ok_or_else(|| format!("{}: reg has no entry {index}", node.name))?;
    Ok(Area { start, size })
}

fn interrupt(node: &Node, index: usize) -> Result<Interrupt, String> {
    let cells = node.cells("interrupts");
    let (entries, _) = cells.as_chunks();
    let wrong = || {
        format!(
            "{}: interrupts has no entry {index} of three cells",
            node.name
        )
    };
    let &[kind, number, flags] = entries.get(index).ok_or_else(wrong)?;
    // SPIs (kind 0) start at INTID 32, PPIs (kind 1) at 16.
    let first = if kind == 0 { 32 } else { 16 };
    Ok(Interrupt {
        number: first + number,
        level: flags & 0xf == LEVEL_HIGH,
    })
}

fn hardware(node: &Node) -> Result<Hardware, String> {
    Ok(Hardware {
        registers: area(node, 0)?,
        interrupt: interrupt(node, 0)?,
    })
}

fn transport(node: &Node) -> Result<Transport, String> {
    let bus = node.text("qemu-bus");
    Ok(Transport {
        hardware: hardware(node)?,
        bus: bus
            .ok_or_else(|| format!("{}: no qemu-bus", node.name))?
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_can_be_read() {
        for name in Board::NAMES {
            Board::find(name).unwrap().unwrap();
        }
        assert!(Board::find("qemu_virt_riscv64").is_none());
        let error = Board::named("qemu_virt_riscv64").unwrap_err();
        assert!(error.contains("qemu_virt_aarch64"), "{error}");
    }

    #[test]
    fn the_board_is_the_microkits() {
        let board = Board::find("qemu_virt_aarch64").unwrap().unwrap();
        assert_eq!(
            board.pool,
            Area {
                start: 0x4000_0000,
                size: 0x2000_0000
            }
        );
        assert!(board.is_qemu);
        assert_eq!(board.uart_kind, UartKind::Pl011);
        assert_eq!(board.uart.interrupt.number, 33);
        assert_eq!(board.timer.map(|timer| timer.number), Some(30));
        let Controller::V2(interface) = board.controller else {
            panic!("{:?}", board.controller)
        };
        assert_eq!(interface.start, 0x0804_0000);
        let interrupts: Vec<u32> = board
            .transports
            .iter()
            .map(|transport| transport.hardware.interrupt.number)
            .collect();
        assert_eq!(interrupts, [48, 56, 64, 72]);
        for transport in &board.transports {
            // QEMU: transport n is at 0x200 * n and has SPI 16 + n.
            let number = transport.hardware.interrupt.number - 48;
            assert_eq!(
                transport.hardware.registers.start,
                0x0a00_0000 + 0x200 * u64::from(number)
            );
            assert_eq!(transport.bus, format!("virtio-mmio-bus.{number}"));
        }
        assert_eq!(
            (board.guest.ram, board.guest.device.interrupt.number),
            (0x4000_0000, 48)
        );
    }

    #[test]
    fn the_other_boards_have_what_their_manuals_say() {
        use UartKind::{Cadence, Imx, Meson};
        // UART: kind, address, INTID; the virtual CPU interface of a GICv2.
        let expected = [
            ("imx8mm_evk", (Imx, 0x3089_0000, 59), None),
            ("maaxboard", (Imx, 0x3086_0000, 58), None),
            ("odroidc4", (Meson, 0xff80_3000, 225), Some(0xffc0_6000)),
            ("zcu102", (Cadence, 0xff00_0000, 53), Some(0xf906_f000)),
        ];
        for (name, (kind, address, number), interface) in expected {
            let board = Board::find(name).unwrap().unwrap();
            let uart = board.uart;
            assert_eq!(board.uart_kind, kind, "{name}");
            assert_eq!(
                (uart.registers.start, uart.interrupt.number),
                (address, number),
                "{name}"
            );
            // Only the Meson's is an edge.
            assert_eq!(uart.interrupt.level, kind != Meson, "{name}");
            let found = match board.controller {
                Controller::V2(area) => Some(area.start),
                Controller::V3 => None,
            };
            assert_eq!(found, interface, "{name}");
            assert!(!board.is_qemu && board.timer.is_none(), "{name}");
            assert!(board.transports.is_empty(), "{name}");
            assert_eq!(board.pool.size, 0x2000_0000, "{name}");
        }
    }

    #[test]
    fn what_there_is_no_driver_for_is_refused() {
        let source = include_str!("../../../../dts/zcu102.dts");
        let error = Board::read("zcu102", &source.replace("cdns,", "acme,"), "gic").unwrap_err();
        assert!(
            error.starts_with("dts/zcu102.dts: serial@ff000000: found compatible with"),
            "{error}"
        );
        let error = Board::read(
            "zcu102",
            &source.replace("arm,gic-400", "arm,gic-v5"),
            "gic",
        );
        assert!(error.unwrap_err().contains("arm,gic-v5, expected one of"));
    }
}
