//! Lays out every address space of a system: programs, stacks, IPC buffers, regions.

use super::blocks::{Blocks, Contents, Part};
use super::elf::{Program, Segment};
use super::error::{Error, Result};
use super::sdf::{Domain, Map, System, Value};
use sel4cp_abi::image::{LARGE_PAGE, Mapping, PAGE};
use sel4cp_abi::slot::{IPC_BUFFER, NAME_LENGTH, STACK_TOP};
use std::collections::HashMap;

/// A run of pages in a space that is one block.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) vaddr: u64,
    pub(super) part: Part,
    /// Flags of a [`Mapping`].
    pub(super) flags: u32,
    pub(super) what: What,
}

/// What a run is, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Code,
    ReadOnly,
    Data,
    Stack,
    IpcBuffer,
    Region,
}

/// Every space of a system: the domains' first, then the machines'.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) blocks: Blocks,
    /// The parts of each region, in the order of their addresses.
    pub(super) regions: Vec<Vec<Part>>,
    /// The runs of each space, in ascending order.
    pub(super) spaces: Vec<Vec<Run>>,
    /// The space of each domain's machine.
    pub(super) machines: Vec<Option<usize>>,
}

/// Lays out `system`, whose domains have these programs, patched.
pub(super) fn lay_out(system: &System, programs: &[Program]) -> Result<Layout> {
    let mut blocks = Blocks::default();
    let regions = (0..system.regions.len())
        .map(|number| region(&mut blocks, system, number))
        .collect::<Vec<_>>();
    let mut spaces = Vec::new();
    for (domain, program) in system.domains.iter().zip(programs) {
        let mut runs = Vec::new();
        maps(&mut runs, system, &regions, &domain.maps);
        program.check_pages()?;
        for segment in &program.segments {
            self::segment(&mut runs, &mut blocks, domain, program, segment)?;
        }
        let anonymous = |blocks: &mut Blocks, what: &str, bytes| {
            blocks.add(
                format!("{} {what}", domain.name),
                bytes,
                PAGE,
                Contents::Zero,
            )
        };
        let flags = Mapping::READ | Mapping::WRITE | Mapping::CACHED;
        runs.push(Run {
            vaddr: STACK_TOP - domain.stack_size,
            part: anonymous(&mut blocks, "stack", domain.stack_size),
            flags,
            what: What::Stack,
        });
        runs.push(Run {
            vaddr: IPC_BUFFER,
            part: anonymous(&mut blocks, "IPC buffer", PAGE),
            flags,
            what: What::IpcBuffer,
        });
        apart(system, domain, &mut runs)?;
        entry(domain, program, &runs)?;
        spaces.push(runs);
    }
    let mut machines = Vec::new();
    for domain in &system.domains {
        machines.push(domain.machine.as_ref().map(|machine| {
            let mut runs = Vec::new();
            maps(&mut runs, system, &regions, &machine.maps);
            runs.sort_by_key(|run| run.vaddr);
            spaces.push(runs);
            spaces.len() - 1
        }));
    }
    Ok(Layout {
        blocks,
        regions,
        spaces,
        machines,
    })
}

/// Gives the symbols of domain `number` their values: the Microkit's own, and those of setvars. `addresses` are the
/// physical addresses of regions, as far as they are known yet.
pub(super) fn patch(
    system: &System,
    number: usize,
    program: &mut Program,
    addresses: &HashMap<&str, u64>,
) -> Result<()> {
    let Some(domain) = system.domains.get(number) else {
        return Ok(());
    };
    let name = domain.name.as_bytes();
    program.patch("microkit_name", name.get(..NAME_LENGTH).unwrap_or(name))?;
    program.patch("microkit_passive", &[u8::from(domain.passive)])?;
    let interrupts = domain
        .interrupts
        .iter()
        .fold(0, |bits, interrupt| bits | 1 << interrupt.id);
    let ends = || {
        system
            .channels
            .iter()
            .flatten()
            .filter(|end| end.domain == number)
    };
    let notifications = ends()
        .filter(|end| end.notify)
        .fold(0, |bits, end| bits | 1 << end.id);
    let calls = ends()
        .filter(|end| end.protected)
        .fold(0, |bits, end| bits | 1 << end.id);
    for (symbol, bits) in [
        ("microkit_irqs", interrupts),
        ("microkit_notifications", notifications),
        ("microkit_pps", calls),
        ("microkit_ioports", 0_u64),
    ] {
        program.patch(symbol, &bits.to_le_bytes())?;
    }
    for variable in &domain.variables {
        let file = |name: &str| Some(system.region(name)?.contents.as_ref()?.bytes.len());
        let value = match &variable.value {
            Value::Number(number) => *number,
            Value::Size(name) => system.region(name).map_or(0, |region| region.size),
            Value::PrefillSize(name) => file(name)
                .and_then(|length| u64::try_from(length).ok())
                .unwrap_or(0),
            Value::Physical(name) => addresses.get(name.as_str()).copied().unwrap_or(0),
        };
        program
            .patch_word(&variable.symbol, value)
            .map_err(|error| {
                Error::new(format!(
                    "{error} (setvar of {}, line {})",
                    domain.name, variable.place.row
                ))
            })?;
    }
    Ok(())
}

/// Whether somebody wants to know the physical address of the region called `name`.
fn wants_address(system: &System, name: &str) -> bool {
    let variables = system.domains.iter().flat_map(|domain| &domain.variables);
    variables
        .into_iter()
        .any(|variable| matches!(&variable.value, Value::Physical(region) if region == name))
}

fn region(blocks: &mut Blocks, system: &System, number: usize) -> Vec<Part> {
    let Some(region) = system.regions.get(number) else {
        return Vec::new();
    };
    let what = format!("region {}", region.name);
    if let Some(address) = region.physical {
        return vec![blocks.given(what, region.size, region.page, address)];
    }
    let Some(file) = &region.contents else {
        return vec![blocks.add(what, region.size, region.page, Contents::Zero)];
    };
    let contents = Contents::File(std::rc::Rc::clone(file));
    if wants_address(system, &region.name) {
        // A device may be given the address, and finds the region in one piece.
        return vec![blocks.add(what, region.size, region.page, contents)];
    }
    let machines = system
        .domains
        .iter()
        .filter_map(|domain| domain.machine.as_ref());
    let maps = system.domains.iter().flat_map(|domain| &domain.maps);
    let mut maps = maps.chain(machines.flat_map(|machine| &machine.maps));
    let read_only = !maps.any(|map| map.region == number && map.write);
    blocks.filled(&what, contents, region.size, region.page, read_only)
}

fn maps(runs: &mut Vec<Run>, system: &System, regions: &[Vec<Part>], maps: &[Map]) {
    for map in maps {
        let page = system
            .regions
            .get(map.region)
            .map_or(PAGE, |region| region.page);
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = Mapping::READ
            | flag(map.write, Mapping::WRITE)
            | flag(map.execute, Mapping::EXECUTE)
            | flag(map.cached, Mapping::CACHED)
            | flag(page == LARGE_PAGE, Mapping::LARGE);
        let mut vaddr = map.vaddr;
        for part in regions.get(map.region).into_iter().flatten() {
            runs.push(Run {
                vaddr,
                part: *part,
                flags,
                what: What::Region,
            });
            vaddr += part.bytes;
        }
    }
}

fn segment(
    runs: &mut Vec<Run>,
    blocks: &mut Blocks,
    domain: &Domain,
    program: &Program,
    segment: &Segment,
) -> Result<()> {
    let top = STACK_TOP - domain.stack_size;
    if segment.end() > top {
        let text = format!(
            "found a segment at {:#x}, expected it to end at {top:#x} or below",
            segment.vaddr
        );
        return Err(Error::file(&program.path, text));
    }
    let start = segment.vaddr / PAGE * PAGE;
    let total = segment.end().next_multiple_of(PAGE) - start;
    let before =
        usize::try_from(segment.vaddr - start).map_err(|error| Error::new(error.to_string()))?;
    let mut bytes = vec![0; before];
    bytes.extend(&segment.bytes);
    // Physical addresses are patched in after a first layout, which they must not change.
    let changes = domain
        .variables
        .iter()
        .any(|variable| matches!(variable.value, Value::Physical(_)));
    if !changes {
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(used);
    }
    let (what, flag) = match (segment.write, segment.execute) {
        (_, true) => (What::Code, Mapping::EXECUTE),
        (true, false) => (What::Data, 0),
        (false, false) => (What::ReadOnly, 0),
    };
    let write = if segment.write { Mapping::WRITE } else { 0 };
    let name = match what {
        What::Code => "code",
        What::Data => "data",
        _ => "read-only data",
    };
    let name = format!("{} {name}", domain.name);
    let mut vaddr = start;
    for part in blocks.filled(
        &name,
        Contents::Bytes(bytes),
        total,
        PAGE,
        !segment.write && !changes,
    ) {
        runs.push(Run {
            vaddr,
            part,
            flags: Mapping::READ | Mapping::CACHED | flag | write,
            what,
        });
        vaddr += part.bytes;
    }
    Ok(())
}

/// Sorts the runs, and finds two that overlap: the program and a region, as nothing else can.
fn apart(system: &System, domain: &Domain, runs: &mut [Run]) -> Result<()> {
    runs.sort_by_key(|run| run.vaddr);
    for pair in runs.windows(2) {
        if let [low, high] = pair
            && low.vaddr + low.part.bytes > high.vaddr
        {
            let region = |run: &Run| {
                let map = domain.maps.iter().rfind(|map| map.vaddr <= run.vaddr);
                let region = map.and_then(|map| system.regions.get(map.region));
                match (run.what, region) {
                    (What::Region, Some(region)) => format!("region {}", region.name),
                    _ => format!("program {}", domain.program.display()),
                }
            };
            return Err(Error::new(format!(
                "{}: found the {} at {:#x}..{:#x}, which overlaps the {} at {:#x}",
                domain.name,
                region(low),
                low.vaddr,
                low.vaddr + low.part.bytes,
                region(high),
                high.vaddr
            )));
        }
    }
    Ok(())
}

fn entry(domain: &Domain, program: &Program, runs: &[Run]) -> Result<()> {
    let entry = program.entry;
    let code = runs.iter().any(|run| {
        run.flags & Mapping::EXECUTE != 0
            && (run.vaddr..run.vaddr + run.part.bytes).contains(&entry)
    });
    if code {
        return Ok(());
    }
    let text = format!(
        "found the entry point {entry:#x} of {}, expected it in an executable segment",
        domain.name
    );
    Err(Error::file(&program.path, text))
}
