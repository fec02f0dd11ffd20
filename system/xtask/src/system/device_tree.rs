//! A guest's device tree: `dts/guest.dts`, completed for the guest.

use super::board::{Area, Board, Controller};
use super::dts::{Node, Value, wide};
use super::model::Guest;
use super::placement::{DEVICE_TREE_BYTES, Placement};
use vm_fdt::{FdtWriter, FdtWriterNode};

/// The blob for `guest`.
///
/// # Errors
/// What is missing in `dts/guest.dts`, or that the tree is too large for Linux.
pub(super) fn blob(
    board: &Board,
    guest: &Guest,
    ram: Area,
    placement: &Placement,
) -> Result<Vec<u8>, String> {
    let mut tree = board.guest.tree.clone();
    complete(&mut tree, board, guest, ram, placement)?;
    let labels = labels(&tree);
    let blob = write(&tree, &labels)?;
    let size = u64::try_from(blob.len()).unwrap_or(u64::MAX);
    if size > DEVICE_TREE_BYTES {
        return Err(format!(
            "the device tree has {size} bytes, expected at most {DEVICE_TREE_BYTES}"
        ));
    }
    Ok(blob)
}

fn complete(
    tree: &mut Node,
    board: &Board,
    guest: &Guest,
    ram: Area,
    placement: &Placement,
) -> Result<(), String> {
    let v3 = take(tree, "gic_v3")?;
    if board.controller == Controller::V3 {
        interrupt_controller(tree, v3, board, guest)?;
    }
    let uart = tree.labelled("uart").map(|node| format!("/{}", node.name));
    let cpu = take(tree, "cpu")?;
    let cpus = tree.children.iter_mut().find(|node| node.name == "cpus");
    let cpus = cpus.ok_or("dts/guest.dts: no node cpus")?;
    for number in 0..guest.vcpus {
        let mut cpu = cpu.clone();
        cpu.name = format!("cpu@{number:x}");
        cpu.set("reg", vec![Value::Cell(number)]);
        cpus.children.push(cpu);
    }
    private_interrupts(labelled(tree, "timer")?, guest.vcpus);
    let first = board.guest.device;
    let device = take(tree, "virtio")?;
    for number in 0..guest.devices() {
        let mut device = device.clone();
        let address = first.registers.start + first.registers.size * u64::from(number);
        device.name = format!("virtio_mmio@{address:x}");
        device.label = None;
        device.set(
            "reg",
            reg(Area {
                start: address,
                ..first.registers
            }),
        );
        // The specifier of an SPI counts from INTID 32.
        let [kind, spi, flags] = <[u32; 3]>::try_from(device.cells("interrupts"))
            .map_err(|_| "dts/guest.dts: virtio_mmio: expected interrupts of three cells")?;
        device.set(
            "interrupts",
            [kind, spi + number, flags].map(Value::Cell).to_vec(),
        );
        tree.children.push(device);
    }
    if !guest.earlycon {
        take(tree, "uart")?;
    }
    let memory = labelled(tree, "ram")?;
    memory.set("reg", reg(ram));
    let chosen = labelled(tree, "chosen")?;
    chosen.set("bootargs", vec![Value::Text(guest.command_line.clone())]);
    if let (true, Some(uart)) = (guest.earlycon, uart) {
        chosen.set("stdout-path", vec![Value::Text(uart)]);
    }
    if placement.initrd.size != 0 {
        chosen.set("linux,initrd-start", wide(placement.initrd.start).to_vec());
        chosen.set("linux,initrd-end", wide(placement.initrd.end()).to_vec());
    }
    Ok(())
}

/// Puts the GICv3 `v3` where the GICv2 is in `tree`, under its name and label.
fn interrupt_controller(
    tree: &mut Node,
    mut v3: Node,
    board: &Board,
    guest: &Guest,
) -> Result<(), String> {
    let v2 = labelled(tree, "gic")?;
    let redistributors = board.guest.redistributors_of(guest.vcpus);
    let ranges = [board.guest.distributor, redistributors];
    v3.set("reg", ranges.into_iter().flat_map(reg).collect());
    v3.label = v2.label.take();
    v3.name = std::mem::take(&mut v2.name);
    *v2 = v3;
    Ok(())
}

/// Says that the interrupts of `node`, which are private ones, are those of so many vCPUs.
fn private_interrupts(node: &mut Node, vcpus: u32) {
    const FIRST: u32 = 1 << 8;
    let all = FIRST.wrapping_shl(vcpus).wrapping_sub(FIRST);
    let mut cells = node.cells("interrupts");
    for flags in cells.iter_mut().skip(2).step_by(3) {
        *flags |= all;
    }
    node.set("interrupts", cells.into_iter().map(Value::Cell).collect());
}

fn reg(area: Area) -> Vec<Value> {
    let (start, size) = (wide(area.start), wide(area.size));
    start.into_iter().chain(size).collect()
}

fn labelled<'a>(node: &'a mut Node, label: &str) -> Result<&'a mut Node, String> {
    let child = node
        .children
        .iter_mut()
        .find(|child| child.label.as_deref() == Some(label));
    child.ok_or_else(|| format!("dts/guest.dts: no node with the label {label}"))
}

/// Takes the node with `label` out of the tree below `node`.
fn take(node: &mut Node, label: &str) -> Result<Node, String> {
    fn find(node: &mut Node, label: &str) -> Option<Node> {
        let here = node
            .children
            .iter()
            .position(|child| child.label.as_deref() == Some(label));
        match here {
            Some(index) => Some(node.children.remove(index)),
            None => node
                .children
                .iter_mut()
                .find_map(|child| find(child, label)),
        }
    }
    find(node, label).ok_or_else(|| format!("dts/guest.dts: no node with the label {label}"))
}

/// The labels that are referred to; a label's phandle is its place here, from 1.
fn labels(node: &Node) -> Vec<String> {
    let mut labels = Vec::new();
    let values = node.properties.iter().flat_map(|property| &property.values);
    for value in values {
        if let Value::Reference(label) = value {
            labels.push(label.clone());
        }
    }
    for child in &node.children {
        labels.extend(self::labels(child));
    }
    labels.sort();
    labels.dedup();
    labels
}

fn phandle(labels: &[String], label: &str) -> Option<u32> {
    let index = labels.iter().position(|known| known == label)?;
    u32::try_from(index + 1).ok()
}

fn write(tree: &Node, labels: &[String]) -> Result<Vec<u8>, String> {
    let failed = |error: vm_fdt::Error| format!("the device tree cannot be written: {error}");
    let mut writer = FdtWriter::new().map_err(failed)?;
    node(&mut writer, tree, labels)?;
    writer.finish().map_err(failed)
}

fn node(writer: &mut FdtWriter, node: &Node, labels: &[String]) -> Result<(), String> {
    let failed = |error: vm_fdt::Error| format!("the device tree's node {}: {error}", node.name);
    let open: FdtWriterNode = writer.begin_node(&node.name).map_err(failed)?;
    for property in &node.properties {
        let mut bytes = Vec::new();
        for value in &property.values {
            match value {
                Value::Text(text) => {
                    bytes.extend(text.bytes());
                    bytes.push(0);
                }
                Value::Cell(cell) => bytes.extend(cell.to_be_bytes()),
                Value::Reference(label) => {
                    let phandle =
                        phandle(labels, label).ok_or_else(|| format!("no label {label}"))?;
                    bytes.extend(phandle.to_be_bytes());
                }
            }
        }
        writer.property(&property.name, &bytes).map_err(failed)?;
    }
    if let Some(phandle) = node
        .label
        .as_deref()
        .and_then(|label| phandle(labels, label))
    {
        writer.property_phandle(phandle).map_err(failed)?;
    }
    for child in &node.children {
        self::node(writer, child, labels)?;
    }
    writer.end_node(open).map_err(failed)
}
