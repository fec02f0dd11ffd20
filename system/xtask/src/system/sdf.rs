//! Writes a plan as a `.system` file (the SDK's system description format, version 2.3.0).

use super::plan::{Contents, GUEST_PRIORITY, Map, Pd, Plan, STACK_BYTES, program};
use sel4cp_abi::config::Program;
use sel4cp_abi::image::{LARGE_PAGE, PAGE};
use std::fmt::Write;

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
        domain(&mut text, plan, pd);
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

fn domain(text: &mut String, plan: &Plan, pd: &Pd) {
    let (elf, priority) = program(pd.program);
    let smc = if pd.program == Program::Power {
        " smc=\"true\""
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "    <protection_domain name=\"{}\" priority=\"{priority}\" stack_size=\"{STACK_BYTES:#x}\" fpu=\"false\"{smc}>",
        pd.name
    );
    let _ = writeln!(text, "        <program_image path=\"{elf}\" />");
    maps(text, plan, &pd.maps, 2);
    for (id, interrupt) in &pd.interrupts {
        let trigger = if interrupt.level { "level" } else { "edge" };
        let _ = writeln!(
            text,
            "        <irq irq=\"{}\" id=\"{id}\" trigger=\"{trigger}\" />",
            interrupt.number
        );
    }
    if let Some(machine) = &pd.machine {
        let _ = writeln!(
            text,
            "        <virtual_machine name=\"{}\" priority=\"{GUEST_PRIORITY}\">",
            machine.name
        );
        for id in 0..machine.vcpus {
            let _ = writeln!(text, "            <vcpu id=\"{id}\" />");
        }
        maps(text, plan, &machine.maps, 3);
        text.push_str("        </virtual_machine>\n");
    }
    text.push_str("    </protection_domain>\n");
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
            indent = depth * 4
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
