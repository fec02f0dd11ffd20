//! What an image consists of, as text.

use super::blocks::{Block, Contents};
use super::layout::{Layout, What};
use super::place::Placed;
use super::sdf::System;
use crate::system::size;
use sel4cp_abi::image::BASE;
use std::fmt::Write;
use std::path::Path;

/// The report.
pub(super) fn report(sdf: &Path, system: &System, layout: &Layout, placed: &Placed) -> String {
    let mut text = format!("# {}\n\n", sdf.display());
    let kernel = placed.description.start - BASE;
    let _ = writeln!(
        text,
        "Image: {} ({} kernel, {} description, {} PDs and files)",
        size(placed.image_end - BASE),
        size(kernel),
        placed.description.end - placed.description.start,
        size(placed.image_end - placed.description.end.next_multiple_of(0x1000)),
    );
    let _ = writeln!(
        text,
        "Page tables: at most {}. Free: {}",
        size(placed.tables.end - placed.tables.start),
        size(placed.free)
    );
    domains(&mut text, system, layout);
    files(&mut text, system, layout);
    text.push_str("\n## Physical memory\n");
    let mut rows: Vec<(u64, u64, &str, &str)> = layout.blocks.all.iter().map(row).collect();
    rows.push((BASE, kernel, "kernel", "in the image"));
    rows.push((
        placed.description.start,
        placed.description.end - placed.description.start,
        "description",
        "in the image",
    ));
    rows.push((
        placed.tables.start,
        placed.tables.end - placed.tables.start,
        "page tables",
        "the kernel's",
    ));
    rows.sort_unstable();
    for (address, bytes, what, how) in rows {
        let _ = writeln!(
            text,
            "{address:#012x}..{:#012x} {:>9}  {what} ({how})",
            address + bytes,
            size(bytes)
        );
    }
    text
}

fn row(block: &Block) -> (u64, u64, &str, &str) {
    let how = match block.contents {
        Contents::Given => "as given",
        Contents::Zero => "zeroed",
        Contents::Bytes(_) => "in the image",
        Contents::File(_) => "in the image, a file",
    };
    (block.address, block.bytes, &block.what, how)
}

/// Nothing is allocated while a system runs: what a domain has at the start is its peak.
fn domains(text: &mut String, system: &System, layout: &Layout) {
    text.push_str(
        "\n## Memory of each protection domain (all of it from the start: this is the peak)\n",
    );
    let widest = system
        .domains
        .iter()
        .map(|domain| domain.name.len())
        .max()
        .unwrap_or(0);
    let _ = writeln!(
        text,
        "{:widest$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "name", "code", "read-only", "data", "stack", "own", "regions"
    );
    for (domain, runs) in system.domains.iter().zip(&layout.spaces) {
        let sum = |what: What| -> u64 {
            runs.iter()
                .filter(|run| run.what == what)
                .map(|run| run.part.bytes)
                .sum()
        };
        let (code, read_only, data) = (sum(What::Code), sum(What::ReadOnly), sum(What::Data));
        let stack = sum(What::Stack);
        let own = code + read_only + data + stack + sum(What::IpcBuffer);
        let _ = writeln!(
            text,
            "{:widest$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            domain.name,
            size(code),
            size(read_only),
            size(data),
            size(stack),
            size(own),
            size(sum(What::Region))
        );
    }
    for region in unused(system) {
        let _ = writeln!(text, "No domain maps the region {region}.");
    }
}

/// Regions that nobody maps.
pub(super) fn unused(system: &System) -> Vec<&str> {
    let machines = system
        .domains
        .iter()
        .filter_map(|domain| domain.machine.as_ref());
    let maps = system.domains.iter().flat_map(|domain| &domain.maps);
    let used: Vec<usize> = maps
        .chain(machines.flat_map(|machine| &machine.maps))
        .map(|map| map.region)
        .collect();
    let regions = system.regions.iter().enumerate();
    regions
        .filter(|(number, _)| !used.contains(number))
        .map(|(_, region)| region.name.as_str())
        .collect()
}

/// Each file that regions are filled from, and how often the image carries it.
fn files(text: &mut String, system: &System, layout: &Layout) {
    text.push_str("\n## Files\n");
    let mut files: Vec<(&Path, usize, Vec<&str>, Vec<usize>)> = Vec::new();
    for (region, parts) in system.regions.iter().zip(&layout.regions) {
        let (Some(file), Some(part)) = (&region.contents, parts.first()) else {
            continue;
        };
        let known = files.iter_mut().find(|(path, ..)| *path == file.path);
        match known {
            Some((_, _, regions, blocks)) => {
                regions.push(&region.name);
                blocks.push(part.block);
            }
            None => files.push((
                &file.path,
                file.bytes.len(),
                vec![&region.name],
                vec![part.block],
            )),
        }
    }
    for (path, bytes, regions, mut blocks) in files {
        blocks.sort_unstable();
        blocks.dedup();
        let times = match blocks.len() {
            1 => "once".to_owned(),
            count => format!("{count} times, as somebody writes it"),
        };
        let _ = writeln!(
            text,
            "{}: {bytes} bytes, in the image {times}, for {}",
            path.display(),
            regions.join(", ")
        );
    }
}
