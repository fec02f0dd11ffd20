//! The machines, and what a guest sees: read from the files in `dts/`, where every address is written once.

use super::dts::{self, Node};

/// A kind of machine: name and device tree source.
const BOARDS: [(&str, &str); 1] = [(
    "qemu_virt_aarch64",
    include_str!("../../../../dts/qemu_virt_aarch64.dts"),
)];
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

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) name: &'static str,
    /// Memory that is used by physical address only.
    pub(super) pool: Area,
    pub(super) uart: Hardware,
    /// The physical timer.
    pub(super) timer: Interrupt,
    /// The virtual CPU interface.
    pub(super) virtual_cpu_interface: Area,
    pub(super) transports: Vec<Transport>,
    pub(super) guest: GuestMap,
}

/// What a guest sees where.
#[derive(Clone, Debug)]
pub(super) struct GuestMap {
    /// The tree that the tool completes.
    pub(super) tree: Node,
    pub(super) distributor: Area,
    pub(super) cpu_interface: Area,
    pub(super) uart: Hardware,
    /// The first device's register file and interrupt; the others follow it.
    pub(super) device: Hardware,
    /// Start of RAM.
    pub(super) ram: u64,
}

impl Board {
    /// The boards' names.
    pub(super) const NAMES: &'static [&'static str] = &{
        let [(name, _)] = BOARDS;
        [name]
    };

    /// The board called `name`; an error if its file does not say what is needed.
    pub(super) fn find(name: &str) -> Option<Result<Self, String>> {
        let (name, source) = BOARDS.into_iter().find(|(known, _)| *known == name)?;
        Some(Self::read(name, source))
    }

    /// The board called `name`; lists the boards if there is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Self::find(name).unwrap_or_else(|| {
            let there = Self::NAMES.join(", ");
            Err(format!("there is no board {name}; expected one of {there}"))
        })
    }

    fn read(name: &'static str, source: &str) -> Result<Self, String> {
        let file = |error| format!("dts/{name}.dts: {error}");
        let tree = dts::parse(source).map_err(file)?;
        let machine = || -> Result<Self, String> {
            let transports = tree.child("transports").ok_or("no node transports")?;
            Ok(Self {
                name,
                pool: area(labelled(&tree, "pool")?, 0)?,
                uart: hardware(labelled(&tree, "uart")?)?,
                timer: interrupt(labelled(&tree, "timer")?, 1)?,
                virtual_cpu_interface: area(labelled(&tree, "gic")?, 3)?,
                transports: transports
                    .children
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
            uart: hardware(labelled(&tree, "uart")?)?,
            device: hardware(labelled(&tree, "virtio")?)?,
            ram: area(labelled(&tree, "ram")?, 0)?.start,
            tree,
        })
    }
}

fn labelled<'a>(tree: &'a Node, label: &str) -> Result<&'a Node, String> {
    tree.labelled(label)
        .ok_or_else(|| format!("no node has the label {label}"))
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
        assert_eq!((board.uart.interrupt.number, board.timer.number), (33, 30));
        assert_eq!(board.virtual_cpu_interface.start, 0x0804_0000);
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
}
