//! A system as text: its protection domains, who talks to whom, and its memory.

use super::KernelKind;
use super::model::System;
use super::plan::{
    Channel, Contents, GUEST_PRIORITY, Map, Pd, PdId, Plan, Region, STACK_BYTES, program,
};
use super::text::size;
use super::wire::Inputs;
use sel4cp_abi::config::Program;
use std::fmt::Write;

/// The picture.
pub(super) fn picture(
    system: &System,
    plan: &Plan,
    inputs: &[Inputs<'_>],
    kernel: KernelKind,
) -> String {
    let kernel = match kernel {
        KernelKind::Bundled => "the bundled kernel",
        KernelKind::Sel4 => "seL4",
    };
    let mut text = format!("{} on {}, for {kernel}\n", system.name, system.board.name);
    for line in &system.warnings {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("\nProtection domains, the most urgent first\n");
    let mut pds: Vec<&Pd> = plan.pds.iter().collect();
    pds.sort_by_key(|pd| std::cmp::Reverse(pd.priority));
    let widest = pds.iter().map(|pd| pd.name.len()).max().unwrap_or(0);
    for pd in pds {
        let (elf, _) = program(pd.program);
        let _ = write!(text, "  {:>3}  {:widest$}  {elf}", pd.priority, pd.name);
        for (_, interrupt) in &pd.interrupts {
            let kind = if interrupt.number < 32 { "PPI" } else { "SPI" };
            let number = interrupt.number - if interrupt.number < 32 { 16 } else { 32 };
            let _ = write!(text, ", {kind} {number}");
        }
        if pd.core != 0 {
            let _ = write!(text, ", core {}", pd.core);
        }
        if pd.program == Program::Supervisor {
            text.push_str(", parent of all others");
        }
        if let Some(machine) = &pd.machine {
            let _ = write!(
                text,
                ", guest {} at priority {GUEST_PRIORITY}",
                machine.name
            );
        }
        text.push('\n');
    }
    text.push_str("\nChannels and the memory that their ends share\n");
    for channel in &plan.channels {
        line_of_channel(&mut text, plan, channel, widest);
    }
    for (input, pd) in inputs.iter().zip(guests(plan)) {
        guest(&mut text, plan, input, pd);
    }
    text.push_str("\nPhysical memory that is used by address\n");
    let mut physical: Vec<(u64, &Region)> = plan
        .regions
        .iter()
        .filter_map(|region| match region.contents {
            Contents::Physical(address) => Some((address, region)),
            _ => None,
        })
        .collect();
    physical.sort_by_key(|(address, _)| *address);
    for (address, region) in physical {
        row(&mut text, address, region.size, &region.name);
    }
    text.push_str("\nMemory that is placed when the image is made\n");
    let memory = plan
        .regions
        .iter()
        .filter(|region| matches!(region.contents, Contents::Zero));
    let memory: u64 = memory.map(|region| region.size).sum();
    let files = plan
        .regions
        .iter()
        .filter(|region| matches!(region.contents, Contents::File(..)));
    let files: u64 = files.map(|region| region.size).sum();
    let stacks = STACK_BYTES * u64::try_from(plan.pds.len()).unwrap_or(0);
    let _ = writeln!(
        text,
        "  {:>8}  rings, links and register pages",
        size(memory)
    );
    let _ = writeln!(
        text,
        "  {:>8}  kernels, initial RAM disks and configurations",
        size(files)
    );
    let _ = writeln!(text, "  {:>8}  stacks", size(stacks));
    text
}

fn guests(plan: &Plan) -> impl Iterator<Item = &Pd> {
    plan.pds.iter().filter(|pd| pd.machine.is_some())
}

/// `linux_vmm 0 ─── 0 linux_console   linux_console_link 4K`
fn line_of_channel(text: &mut String, plan: &Plan, channel: &Channel, widest: usize) {
    let [a, b] = channel.ends;
    let name = |id: PdId| plan.pd(id).map(|pd| pd.name.as_str()).unwrap_or_default();
    let _ = write!(
        text,
        "  {:>widest$} {:>2} ── {:<2} {:widest$}",
        name(a.pd),
        a.id,
        b.id,
        name(b.pd)
    );
    if let Some(region) = channel.region.and_then(|region| plan.region(region)) {
        let _ = write!(text, "  {} {}", region.name, size(region.size));
    }
    while text.ends_with(' ') {
        text.pop();
    }
    text.push('\n');
}

fn guest(text: &mut String, plan: &Plan, input: &Inputs<'_>, pd: &Pd) {
    let guest = input.guest;
    let vcpus = if guest.vcpus == 1 { "vCPU" } else { "vCPUs" };
    let _ = writeln!(
        text,
        "\nGuest {}: {} {vcpus}, {}; its physical memory\n  \"{}\"",
        guest.name,
        guest.vcpus,
        size(guest.memory),
        guest.command_line
    );
    let mut rows: Vec<(u64, u64, String)> = Vec::new();
    let mut machine: Vec<&Map> = Vec::new();
    if let Some(virtual_machine) = &pd.machine {
        machine.extend(&virtual_machine.maps);
    }
    for map in machine {
        let Some(region) = plan.region(map.region) else {
            continue;
        };
        let rights = map.rights.as_str();
        rows.push((
            map.vaddr,
            region.size,
            format!("{} ({rights})", region.name),
        ));
    }
    let placement = input.checked.placement;
    rows.push((
        placement.kernel_base,
        input.checked.kernel_bytes,
        "  kernel".to_owned(),
    ));
    rows.push((
        placement.device_tree,
        input.device_tree.1,
        "  device tree".to_owned(),
    ));
    if placement.initrd.size != 0 {
        rows.push((
            placement.initrd.start,
            placement.initrd.size,
            "  initial RAM disk".to_owned(),
        ));
    }
    rows.sort_by_key(|(address, size, _)| (*address, std::cmp::Reverse(*size)));
    for (address, bytes, what) in rows {
        row(text, address, bytes, &what);
    }
}

fn row(text: &mut String, address: u64, bytes: u64, what: &str) {
    let _ = writeln!(text, "  {address:#012x}  {:>10}  {what}", size(bytes));
}
