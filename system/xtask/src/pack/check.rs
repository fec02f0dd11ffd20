//! Rules between the parts of a system, as the SDK's tool has them.

use super::error::Result;
use super::sdf::{Domain, End, Map, System};
use super::xml::Xml;
use roxmltree::TextPos;
use sel4cp_abi::image::{LARGE_PAGE, MAX_VCPUS};
use sel4cp_abi::slot::{MAX_PDS, NAME_LENGTH};
use std::collections::HashMap;
use std::ops::Range;

/// A name that the Microkit keeps for itself.
const MONITOR: &str = "monitor";

/// Holds `system` against the rules.
pub(super) fn check(xml: &Xml<'_>, system: &System) -> Result<()> {
    let count = system.domains.len();
    if count == 0 || count > MAX_PDS {
        let place = system
            .domains
            .get(MAX_PDS)
            .map_or(TextPos::new(1, 1), |domain| domain.place);
        return Err(xml.error_at(
            place,
            format!("found {count} protection domains, expected 1 to {MAX_PDS}"),
        ));
    }
    names(xml, system)?;
    children(xml, system)?;
    channels(xml, system)?;
    physical(xml, system)?;
    for domain in &system.domains {
        maps(xml, system, &domain.maps, &domain.name)?;
        if let Some(machine) = &domain.machine {
            maps(xml, system, &machine.maps, &machine.name)?;
        }
        for cap in &domain.caps {
            if !system
                .domains
                .iter()
                .any(|target| target.name == cap.domain)
            {
                let text = format!(
                    "found pd=\"{}\", expected the name of a <protection_domain>",
                    cap.domain
                );
                return Err(xml.error_at(cap.place, text));
            }
        }
    }
    Ok(())
}

fn names(xml: &Xml<'_>, system: &System) -> Result<()> {
    let domains = system
        .domains
        .iter()
        .map(|domain| (&domain.name, domain.place));
    let machines = system
        .domains
        .iter()
        .filter_map(|domain| domain.machine.as_ref());
    let machines = machines.map(|machine| (&machine.name, machine.place));
    for (what, names) in [
        ("protection domain", domains.collect::<Vec<_>>()),
        ("virtual machine", machines.collect()),
    ] {
        let mut seen: HashMap<&str, TextPos> = HashMap::new();
        for (name, place) in names {
            let text = name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if name.is_empty() || name.len() > NAME_LENGTH || !text {
                let text = format!(
                    "found the name \"{name}\", expected 1 to {NAME_LENGTH} ASCII characters"
                );
                return Err(xml.error_at(place, text));
            }
            if name == MONITOR && what == "protection domain" {
                return Err(xml.error_at(
                    place,
                    format!("found the name \"{MONITOR}\", which is the Microkit's own"),
                ));
            }
            if let Some(first) = seen.insert(name, place) {
                let text = format!(
                    "found a second {what} {name}; the first is in line {}",
                    first.row
                );
                return Err(xml.error_at(place, text));
            }
        }
    }
    let vcpus = system
        .domains
        .iter()
        .filter_map(|domain| domain.machine.as_ref());
    let vcpus: usize = vcpus.map(|machine| machine.vcpus.len()).sum();
    if vcpus > MAX_VCPUS {
        let text = format!("found {vcpus} vCPUs, expected at most {MAX_VCPUS}");
        return Err(xml.error_at(TextPos::new(1, 1), text));
    }
    Ok(())
}

/// Children and vCPUs of a domain share their ids.
fn children(xml: &Xml<'_>, system: &System) -> Result<()> {
    for (number, domain) in system.domains.iter().enumerate() {
        let vcpus = domain.machine.iter().flat_map(|machine| &machine.vcpus);
        let mut taken: Vec<u32> = vcpus.copied().collect();
        for child in &system.domains {
            let Some((_, id)) = child.parent.filter(|(parent, _)| *parent == number) else {
                continue;
            };
            if taken.contains(&id) {
                let text = format!(
                    "found id {id} of the child {}, which another child or vCPU of {} has",
                    child.name, domain.name
                );
                return Err(xml.error_at(child.place, text));
            }
            taken.push(id);
        }
    }
    Ok(())
}

/// Channels and interrupts of a domain share their ids; an interrupt has one owner.
fn channels(xml: &Xml<'_>, system: &System) -> Result<()> {
    let mut owners: HashMap<u32, &str> = HashMap::new();
    let mut taken: HashMap<(usize, u32), TextPos> = HashMap::new();
    let mut take = |number: usize, domain: &Domain, id: u32, place: TextPos| match taken
        .insert((number, id), place)
    {
        Some(first) => Err(xml.error_at(
            place,
            format!(
                "found id {id} of {} a second time; the first is in line {}",
                domain.name, first.row
            ),
        )),
        None => Ok(()),
    };
    for (number, domain) in system.domains.iter().enumerate() {
        for interrupt in &domain.interrupts {
            take(number, domain, interrupt.id, interrupt.place)?;
            if let Some(owner) = owners.insert(interrupt.number, &domain.name) {
                let text = format!(
                    "found irq {} a second time; {owner} has it",
                    interrupt.number
                );
                return Err(xml.error_at(interrupt.place, text));
            }
        }
    }
    for ends in &system.channels {
        for end in ends {
            if let Some(domain) = system.domains.get(end.domain) {
                take(end.domain, domain, end.id, end.place)?;
            }
        }
        let [a, b] = ends;
        if a.domain == b.domain {
            return Err(xml.error_at(
                b.place,
                "found a channel from a domain to itself, expected two domains",
            ));
        }
        if a.protected && b.protected {
            return Err(xml.error_at(
                b.place,
                "found pp=\"true\" at both ends, expected it at one: calls go one way",
            ));
        }
        protected(xml, system, a, b)?;
        protected(xml, system, b, a)?;
    }
    Ok(())
}

/// Protected calls go to strictly higher priorities.
fn protected(xml: &Xml<'_>, system: &System, from: &End, to: &End) -> Result<()> {
    let (Some(caller), Some(callee)) = (
        system.domains.get(from.domain),
        system.domains.get(to.domain),
    ) else {
        return Ok(());
    };
    let (low, high) = (caller.schedule.priority, callee.schedule.priority);
    if from.protected && low >= high {
        let text = format!(
            "found a protected call from {} (priority {low}) to {} (priority {high}), expected a higher priority there",
            caller.name, callee.name
        );
        return Err(xml.error_at(from.place, text));
    }
    Ok(())
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// No two regions have the same physical memory.
fn physical(xml: &Xml<'_>, system: &System) -> Result<()> {
    let mut seen: Vec<(Range<u64>, &str)> = Vec::new();
    for region in &system.regions {
        let Some(start) = region.physical else {
            continue;
        };
        let range = start..start.saturating_add(region.size);
        if let Some((other, name)) = seen.iter().find(|(other, _)| overlap(other, &range)) {
            let text = format!(
                "found {} at physical {:#x}..{:#x}, which overlaps {name} at {:#x}..{:#x}",
                region.name, range.start, range.end, other.start, other.end
            );
            return Err(xml.error_at(region.place, text));
        }
        seen.push((range, &region.name));
    }
    Ok(())
}

/// No two mappings of a space overlap.
fn maps(xml: &Xml<'_>, system: &System, maps: &[Map], space: &str) -> Result<()> {
    let mut seen: Vec<(Range<u64>, &str)> = Vec::new();
    for map in maps {
        let Some(region) = system.regions.get(map.region) else {
            continue;
        };
        let range = map.vaddr..map.vaddr.saturating_add(region.size);
        if let Some((other, name)) = seen.iter().find(|(other, _)| overlap(other, &range)) {
            let text = format!(
                "found {} at {:#x}..{:#x} in {space}, which overlaps {name} at {:#x}..{:#x}",
                region.name, range.start, range.end, other.start, other.end
            );
            return Err(xml.error_at(map.place, text));
        }
        seen.push((range, &region.name));
    }
    Ok(())
}

/// Gives regions 2 MiB pages where the file does not say, if size and every address allow it.
pub(super) fn enlarge_pages(system: &mut System) {
    let domains = &system.domains;
    for (number, region) in system.regions.iter_mut().enumerate() {
        if region.page_given || !region.size.is_multiple_of(LARGE_PAGE) {
            continue;
        }
        let machines = domains.iter().filter_map(|domain| domain.machine.as_ref());
        let all = domains.iter().flat_map(|domain| &domain.maps);
        let mut all = all.chain(machines.flat_map(|machine| &machine.maps));
        let aligned = region
            .physical
            .is_none_or(|address| address.is_multiple_of(LARGE_PAGE));
        let mapped = all.all(|map| map.region != number || map.vaddr.is_multiple_of(LARGE_PAGE));
        if aligned && mapped {
            region.page = LARGE_PAGE;
        }
    }
}
