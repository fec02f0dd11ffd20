//! Writes a plan as a `.system` file (the SDK's system description format, version 2.3.0).

use super::plan::{
    Contents, GUEST_PRIORITY, Map, PD_SLICE, Pd, Plan, STACK_BYTES, VCPU_SLICE, program,
};
use sel4cp_abi::config::Program;
use sel4cp_abi::image::{LARGE_PAGE, PAGE};
use std::fmt::Write;

/// Spaces of a level.
const INDENT: usize = 4;

/// The file's text.
pub(super) fn sdf(plan: &Plan, origin: &str) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Two hyphens would end the comment.
    let _ = writeln!(
        text,
        "<!-- Generated from {}. -->",
        origin.replace("--", "- -")
    );
    text.push_str("<system>\n");
    for region in &plan.regions {
        let page = if region.large { LARGE_PAGE } else { PAGE };
        let _ = write!(
            text,
            "    <memory_region name=\"{}\" page_size=\"{page:#x}\"",
            region.name
        );
        let _ = match &region.contents {
            Contents::Zero => write!(text, " size=\"{:#x}\"", region.size),
            Contents::Physical(address) => {
                write!(
                    text,
                    " size=\"{:#x}\" phys_addr=\"{address:#x}\"",
                    region.size
                )
            }
            // The tool takes the size from the file: it wants the file to reach the last page.
            Contents::File(path, _) => {
                write!(
                    text,
                    " prefill_path=\"{}\"",
                    escape(&path.to_string_lossy())
                )
            }
        };
        text.push_str(" />\n");
    }
    for pd in &plan.pds {
        if pd.program == Program::Supervisor {
            open(&mut text, plan, pd, None);
            for (id, child) in plan.children().enumerate() {
                open(&mut text, plan, child, Some(id));
                text.push_str("        </protection_domain>\n");
            }
            text.push_str("    </protection_domain>\n");
        }
    }
    for channel in &plan.channels {
        text.push_str("    <channel>\n");
        for end in channel.ends {
            let pd = plan
                .pd(end.pd)
                .map(|pd| pd.name.as_str())
                .unwrap_or_default();
            let _ = writeln!(text, "        <end pd=\"{pd}\" id=\"{}\" />", end.id);
        }
        text.push_str("    </channel>\n");
    }
    text.push_str("</system>\n");
    text
}

/// Writes a protection domain but for its end tag; with `id` it is the supervisor's child.
fn open(text: &mut String, plan: &Plan, pd: &Pd, id: Option<usize>) {
    let (elf, _) = program(pd.program);
    let priority = pd.priority;
    let smc = if pd.program == Program::Power {
        " smc=\"true\""
    } else {
        ""
    };
    let core = match pd.core {
        0 => String::new(),
        core => format!(" cpu=\"{core}\""),
    };
    let depth = if id.is_some() { 2 } else { 1 };
    let indent = depth * INDENT;
    let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{:indent$}<protection_domain name=\"{}\"{id} priority=\"{priority}\" stack_size=\"{STACK_BYTES:#x}\" fpu=\"false\"{smc}{core}{}>",
        "",
        pd.name,
        slice(PD_SLICE)
    );
    let inner = indent + INDENT;
    let _ = writeln!(text, "{:inner$}<program_image path=\"{elf}\" />", "");
    maps(text, plan, &pd.maps, depth + 1);
    for (id, interrupt) in &pd.interrupts {
        let trigger = if interrupt.level { "level" } else { "edge" };
        let _ = writeln!(
            text,
            "{:inner$}<irq irq=\"{}\" id=\"{id}\" trigger=\"{trigger}\" />",
            "", interrupt.number
        );
    }
    if let Some(machine) = &pd.machine {
        let _ = writeln!(
            text,
            "{:inner$}<virtual_machine name=\"{}\" priority=\"{GUEST_PRIORITY}\"{}>",
            "",
            machine.name,
            slice(VCPU_SLICE / machine.vcpus.max(1))
        );
        let vcpu = inner + INDENT;
        for id in 0..machine.vcpus {
            let _ = writeln!(text, "{:vcpu$}<vcpu id=\"{id}\" />", "");
        }
        maps(text, plan, &machine.maps, depth + 2);
        let _ = writeln!(text, "{:inner$}</virtual_machine>", "");
    }
}

/// The attributes of whoever runs for so many microseconds before others of its priority, and then goes on.
fn slice(microseconds: u32) -> String {
    format!(" budget=\"{microseconds}\" period=\"{microseconds}\"")
}

fn maps(text: &mut String, plan: &Plan, maps: &[Map], depth: usize) {
    for map in maps {
        let region = plan.region(map.region).map(|region| region.name.as_str());
        let _ = write!(
            text,
            "{:indent$}<map mr=\"{}\" vaddr=\"{:#x}\" perms=\"{}\" cached=\"{}\"",
            "",
            region.unwrap_or_default(),
            map.vaddr,
            map.rights.as_str(),
            map.cached,
            indent = depth * INDENT
        );
        if let Some(symbol) = map.symbol {
            let _ = write!(text, " setvar_vaddr=\"{symbol}\"");
        }
        text.push_str(" />\n");
    }
}

/// `text` as the value of an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
