//! Packs a `.system` file and its programs into an image for the bundled kernel.
//!
//! It reads the plain SDF and the same ELF files that the SDK's `microkit` takes, gives every page its physical
//! address, and writes the format of [`sel4cp_abi::image`].

mod blocks;
mod check;
mod domain;
mod elf;
mod error;
mod image;
mod layout;
mod memory;
mod parse;
mod place;
mod report;
mod sdf;
mod xml;

pub use error::{Error, Result};

use elf::Program;
use layout::Layout;
use place::Placed;
use sdf::{System, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Which configuration of the bundled kernel the image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// With the debug system calls and the labels of the SDK's `debug`.
    Debug,
    /// Without, and the labels of the SDK's `release`.
    Release,
}

impl Configuration {
    /// Its name, as the SDK spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Packs the system description `sdf` with `kernel` (the bundled kernel's ELF file) into `out_image`, and writes a
/// report about its memory to `out_report`. Files that `sdf` names are looked for in `search_paths`, in order.
///
/// # Errors
/// The first thing that does not fit.
pub fn pack(
    sdf: &Path,
    search_paths: &[PathBuf],
    kernel: &Path,
    configuration: Configuration,
    out_image: &Path,
    out_report: &Path,
) -> Result<()> {
    let mut files = parse::Files::new(search_paths);
    let system = parse::parse(sdf, &mut files)?;
    let programs = programs(sdf, &system, &files)?;
    let kernel = Program::read(kernel, None)?;
    let (kernel_end, kernel) = image::kernel(&kernel)?;
    let (mut layout, mut placed) = lay_out(&system, &programs, kernel_end, &HashMap::new())?;
    let addresses = physical_addresses(&system, &layout);
    if !addresses.is_empty() {
        // The values change no sizes, so that the addresses stay what they are.
        (layout, placed) = lay_out(&system, &programs, kernel_end, &addresses)?;
    }
    let image = image::image(kernel, &layout, &placed, configuration)?;
    let report = report::report(sdf, &system, &layout, &placed);
    write(out_image, &image)?;
    write(out_report, report.as_bytes())
}

/// The domains' programs, each file read once.
fn programs(sdf: &Path, system: &System, files: &parse::Files<'_>) -> Result<Vec<Program>> {
    let mut known: HashMap<(&Path, Option<&Path>), Program> = HashMap::new();
    let mut programs = Vec::new();
    for domain in &system.domains {
        let key = (
            domain.program.as_path(),
            domain.program_for_symbols.as_deref(),
        );
        let program = match known.get(&key) {
            Some(program) => program.clone(),
            None => {
                let find = |name: &Path| {
                    files.find(name).map_err(|error| {
                        let (row, column) = (domain.place.row, domain.place.col);
                        let sdf = sdf.display();
                        Error::new(format!(
                            "{sdf}:{row}:{column}: {error} (the program of {})",
                            domain.name
                        ))
                    })
                };
                let symbols = domain
                    .program_for_symbols
                    .as_deref()
                    .map(find)
                    .transpose()?;
                let program = Program::read(&find(&domain.program)?, symbols.as_deref())?;
                known.insert(key, program.clone());
                program
            }
        };
        programs.push(program);
    }
    Ok(programs)
}

/// Patches the programs, lays the system out and gives every block its address.
fn lay_out(
    system: &System,
    programs: &[Program],
    kernel_end: u64,
    addresses: &HashMap<&str, u64>,
) -> Result<(Layout, Placed)> {
    let mut programs = programs.to_vec();
    for (number, program) in programs.iter_mut().enumerate() {
        layout::patch(system, number, program, addresses)?;
    }
    let mut layout = layout::lay_out(system, &programs)?;
    let entries: Vec<u64> = programs.iter().map(|program| program.entry).collect();
    let placed = place::place(system, &mut layout, kernel_end, &entries)?;
    Ok((layout, placed))
}

/// The physical addresses of the regions that somebody asks for.
fn physical_addresses<'a>(system: &'a System, layout: &Layout) -> HashMap<&'a str, u64> {
    let mut addresses = HashMap::new();
    for variable in system.domains.iter().flat_map(|domain| &domain.variables) {
        let Value::Physical(name) = &variable.value else {
            continue;
        };
        let number = system
            .regions
            .iter()
            .position(|region| region.name == *name);
        let part = number.and_then(|number| layout.regions.get(number)?.first());
        if let Some(block) = part.and_then(|part| layout.blocks.all.get(part.block)) {
            addresses.insert(name.as_str(), block.address);
        }
    }
    addresses
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|error| Error::file(path, format!("cannot write it: {error}")))
}
