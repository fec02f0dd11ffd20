//! Reads protection domains and virtual machines.

use super::error::Result;
use super::parse::{last_id, map, variable};
use super::sdf::{
    Cap, CapKind, Domain, Interrupt, Machine, Map, Region, Schedule, Value, Variable,
};
use super::xml::Xml;
use roxmltree::Node;
use sel4cp_abi::image::{GUEST_TOP, PAGE};
use sel4cp_abi::slot::{DEFAULT_STACK_SIZE, MAX_PRIORITY, STACK_TOP};
use std::path::PathBuf;

/// Most bytes of a stack.
const MAX_STACK_SIZE: u64 = 16 << 20;
/// Budget in microseconds of a thread that does not say.
const DEFAULT_BUDGET: u64 = 1000;
/// Least budget in microseconds: below, a thread would run for less than it takes to switch to it.
const MIN_BUDGET: u64 = 20;
/// Longest period in microseconds: an hour.
const MAX_PERIOD: u64 = 3_600_000_000;
/// Last slot of `<cspace>`: a CPtr has six bits for it.
const LAST_SLOT: u32 = 63;
/// The one private interrupt that a PD can have (the physical timer), and the shared ones.
const PHYSICAL_TIMER: u32 = 30;
const FIRST_SHARED: u32 = 32;
const LAST_INTERRUPT: u32 = 1019;

/// Reads the domain at `node` and its children, and adds them to `domains`; `parent` is its parent's number.
pub(super) fn parse<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    parent: Option<usize>,
    regions: &[Region],
    domains: &mut Vec<Domain>,
) -> Result<()> {
    let mut known = vec![
        "name",
        "priority",
        "budget",
        "period",
        "passive",
        "stack_size",
        "smc",
        "cpu",
        "domain",
        "fpu",
    ];
    if parent.is_some() {
        known.extend(["id", "setvar_id"]);
    }
    xml.attributes(node, &known)?;
    let name = xml.required(node, "name")?.to_owned();
    let parent = match parent {
        Some(parent) => Some((parent, child_id(xml, node, parent, domains)?)),
        None => None,
    };
    if node.attribute("domain").is_some() {
        return Err(xml.error(
            node,
            "found domain=\"…\": the bundled kernel has no domain scheduler; use the SDK's kernel",
        ));
    }
    one_core(xml, node)?;
    let stack_size = xml
        .number(node, "stack_size")?
        .unwrap_or(DEFAULT_STACK_SIZE);
    if !(PAGE..=MAX_STACK_SIZE).contains(&stack_size) || !stack_size.is_multiple_of(PAGE) {
        let text = format!(
            "found stack_size {stack_size:#x}, expected a multiple of {PAGE:#x} up to {MAX_STACK_SIZE:#x}"
        );
        return Err(xml.error(node, text));
    }
    let number = domains.len();
    domains.push(Domain {
        schedule: schedule(xml, node)?,
        passive: xml.boolean(node, "passive", false)?,
        smc: xml.boolean(node, "smc", false)?,
        fpu: xml.boolean(node, "fpu", true)?,
        stack_size,
        program: PathBuf::new(),
        program_for_symbols: None,
        parent,
        maps: Vec::new(),
        interrupts: Vec::new(),
        variables: Vec::new(),
        caps: Vec::new(),
        machine: None,
        place: xml.place(node),
        name,
    });
    let parts = parts(xml, node, number, stack_size, regions, domains)?;
    let Some((program, program_for_symbols)) = parts.program else {
        return Err(xml.error(node, "found no <program_image>, expected one"));
    };
    if let Some(domain) = domains.get_mut(number) {
        domain.program = program;
        domain.program_for_symbols = program_for_symbols;
        domain.maps = parts.maps;
        domain.interrupts = parts.interrupts;
        // Children have added theirs meanwhile.
        domain.variables.extend(parts.variables);
        domain.caps = parts.caps.unwrap_or_default();
        domain.machine = parts.machine;
    }
    Ok(())
}

/// The id of the child `node` at its parent, whose variable for it is set.
fn child_id<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    parent: usize,
    domains: &mut [Domain],
) -> Result<u32> {
    let id = xml.limited(node, "id", last_id())?;
    if let (Some(symbol), Some(parent)) = (node.attribute("setvar_id"), domains.get_mut(parent)) {
        variable(
            xml,
            node,
            &mut parent.variables,
            symbol,
            Value::Number(u64::from(id)),
        )?;
    }
    Ok(id)
}

/// What the elements in a domain say.
#[derive(Default)]
struct Parts {
    program: Option<(PathBuf, Option<PathBuf>)>,
    maps: Vec<Map>,
    interrupts: Vec<Interrupt>,
    variables: Vec<Variable>,
    caps: Option<Vec<Cap>>,
    machine: Option<Machine>,
}

fn parts<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    number: usize,
    stack_size: u64,
    regions: &[Region],
    domains: &mut Vec<Domain>,
) -> Result<Parts> {
    let mut parts = Parts::default();
    let once = |child: Node<'_, '_>, before: bool| match before {
        true => Err(xml.error(
            child,
            format!("found a second <{}>, expected one", child.tag_name().name()),
        )),
        false => Ok(()),
    };
    for child in Xml::children(node) {
        match child.tag_name().name() {
            "program_image" => {
                once(child, parts.program.is_some())?;
                xml.attributes(child, &["path", "path_for_symbols"])?;
                let path = PathBuf::from(xml.required(child, "path")?);
                parts.program =
                    Some((path, child.attribute("path_for_symbols").map(PathBuf::from)));
            }
            "map" => {
                let top = STACK_TOP - stack_size;
                parts
                    .maps
                    .push(map(xml, child, regions, top, Some(&mut parts.variables))?);
            }
            "irq" => parts
                .interrupts
                .push(interrupt(xml, child, &mut parts.variables)?),
            "setvar" => {
                xml.attributes(child, &["symbol", "region_paddr"])?;
                let symbol = xml.required(child, "symbol")?;
                let region = xml.required(child, "region_paddr")?;
                if !regions.iter().any(|known| known.name == region) {
                    return Err(xml.error(child, format!("found region_paddr=\"{region}\", expected the name of a <memory_region>")));
                }
                variable(
                    xml,
                    child,
                    &mut parts.variables,
                    symbol,
                    Value::Physical(region.to_owned()),
                )?;
            }
            "protection_domain" => parse(xml, child, Some(number), regions, domains)?,
            "virtual_machine" => {
                once(child, parts.machine.is_some())?;
                parts.machine = Some(machine(xml, child, regions, &mut parts.variables)?);
            }
            "cspace" => {
                once(child, parts.caps.is_some())?;
                parts.caps = Some(cspace(xml, child)?);
            }
            "ioport" => return Err(xml.error(child, "found <ioport>: only x86 has I/O ports")),
            _ => {
                let known =
                    "program_image, map, irq, setvar, protection_domain, virtual_machine or cspace";
                return Err(xml.unexpected(node, child, known));
            }
        }
    }
    Ok(parts)
}

fn schedule(xml: &Xml<'_>, node: Node<'_, '_>) -> Result<Schedule> {
    let priority = xml.number(node, "priority")?.unwrap_or(0);
    let most = u64::from(MAX_PRIORITY);
    if priority > most {
        return Err(xml.error(
            node,
            format!("found priority {priority}, expected at most {most}"),
        ));
    }
    let budget = xml.number(node, "budget")?.unwrap_or(DEFAULT_BUDGET);
    let period = xml.number(node, "period")?.unwrap_or(budget);
    if budget < MIN_BUDGET {
        return Err(xml.error(
            node,
            format!("found budget {budget}, expected at least {MIN_BUDGET} microseconds"),
        ));
    }
    if budget > period {
        let text = format!(
            "found budget {budget} and period {period}, expected a budget that is not larger"
        );
        return Err(xml.error(node, text));
    }
    if period > MAX_PERIOD {
        return Err(xml.error(
            node,
            format!("found period {period}, expected at most {MAX_PERIOD} microseconds"),
        ));
    }
    Ok(Schedule {
        priority: u32::try_from(priority).unwrap_or(0),
        budget,
        period,
    })
}

/// Refuses any core but the first.
fn one_core(xml: &Xml<'_>, node: Node<'_, '_>) -> Result<()> {
    match xml.number(node, "cpu")? {
        None | Some(0) => Ok(()),
        Some(core) => Err(xml.error(
            node,
            format!("found cpu {core}: the bundled kernel runs on one core, expected 0"),
        )),
    }
}

fn interrupt<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    variables: &mut Vec<Variable>,
) -> Result<Interrupt> {
    for x86 in ["pin", "pcidev"] {
        if node.attribute(x86).is_some() {
            return Err(xml.error(
                node,
                format!("found {x86}: only x86 has such interrupts, expected irq=\"…\""),
            ));
        }
    }
    xml.attributes(node, &["irq", "id", "setvar_id", "trigger"])?;
    let id = xml.limited(node, "id", last_id())?;
    if let Some(symbol) = node.attribute("setvar_id") {
        variable(xml, node, variables, symbol, Value::Number(u64::from(id)))?;
    }
    let number = xml.limited(node, "irq", LAST_INTERRUPT)?;
    if number != PHYSICAL_TIMER && number < FIRST_SHARED {
        let text = format!(
            "found irq {number}, expected {PHYSICAL_TIMER} (the physical timer) or {FIRST_SHARED} to {LAST_INTERRUPT}"
        );
        return Err(xml.error(node, text));
    }
    let level = match node.attribute("trigger").unwrap_or("level") {
        "level" => true,
        "edge" => false,
        other => {
            return Err(xml.error(
                node,
                format!("found trigger=\"{other}\", expected level or edge"),
            ));
        }
    };
    Ok(Interrupt {
        number,
        id,
        level,
        place: xml.place(node),
    })
}

fn machine<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    regions: &[Region],
    variables: &mut Vec<Variable>,
) -> Result<Machine> {
    xml.attributes(node, &["name", "budget", "period", "priority"])?;
    let mut machine = Machine {
        name: xml.required(node, "name")?.to_owned(),
        schedule: schedule(xml, node)?,
        vcpus: Vec::new(),
        maps: Vec::new(),
        place: xml.place(node),
    };
    for child in Xml::children(node) {
        match child.tag_name().name() {
            "vcpu" => {
                xml.attributes(child, &["id", "setvar_id", "cpu"])?;
                one_core(xml, child)?;
                let id = xml.limited(child, "id", last_id())?;
                if machine.vcpus.contains(&id) {
                    return Err(xml.error(child, format!("found a second vCPU with id {id}")));
                }
                if let Some(symbol) = child.attribute("setvar_id") {
                    variable(xml, child, variables, symbol, Value::Number(u64::from(id)))?;
                }
                machine.vcpus.push(id);
            }
            "map" => machine
                .maps
                .push(map(xml, child, regions, GUEST_TOP, None)?),
            _ => return Err(xml.unexpected(node, child, "vcpu or map")),
        }
    }
    if machine.vcpus.is_empty() {
        return Err(xml.error(node, "found no <vcpu>, expected at least one"));
    }
    Ok(machine)
}

fn cspace<'a>(xml: &Xml<'a>, node: Node<'a, 'a>) -> Result<Vec<Cap>> {
    xml.attributes(node, &[])?;
    let mut caps: Vec<Cap> = Vec::new();
    for child in Xml::children(node) {
        let kind = match child.tag_name().name() {
            "cap_tcb" => CapKind::Tcb,
            "cap_sc" => CapKind::SchedContext,
            "cap_vspace" => CapKind::VSpace,
            _ => return Err(xml.unexpected(node, child, "cap_tcb, cap_sc or cap_vspace")),
        };
        xml.attributes(child, &["slot", "pd"])?;
        let slot = xml.limited(child, "slot", LAST_SLOT)?;
        if slot == 0 {
            return Err(xml.error(
                child,
                "found slot 0, which is the Microkit's own; expected 1 to 63",
            ));
        }
        if caps.iter().any(|cap| cap.slot == slot) {
            return Err(xml.error(child, format!("found a second capability for slot {slot}")));
        }
        caps.push(Cap {
            kind,
            slot,
            domain: xml.required(child, "pd")?.to_owned(),
            place: xml.place(child),
        });
    }
    Ok(caps)
}
