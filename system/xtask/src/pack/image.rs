//! Writes the image: kernel, description, contents.

use super::Configuration;
use super::elf::Program;
use super::error::{Error, Result};
use super::layout::Layout;
use super::place::Placed;
use sel4cp_abi::image::{BASE, Description, Header};

/// The symbol of the kernel's ELF file behind which the description starts.
const KERNEL_END: &str = "__kernel_end";

/// Where the description starts, and the kernel as a flat binary from [`BASE`] up to there.
pub(super) fn kernel(program: &Program) -> Result<(u64, Vec<u8>)> {
    let fail = |text: String| Err(Error::file(&program.path, text));
    // The kernel runs elsewhere than it is loaded.
    let shift = program
        .segments
        .first()
        .map_or(0, |first| first.vaddr.wrapping_sub(first.physical));
    let (end, _) = program.symbol(KERNEL_END)?;
    let (end, entry) = (end.wrapping_sub(shift), program.entry.wrapping_sub(shift));
    if entry != BASE {
        return fail(format!(
            "found the kernel's entry point at physical {entry:#x}, expected {BASE:#x}"
        ));
    }
    let length = end
        .checked_sub(BASE)
        .and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| *length < 64 << 20) else {
        return fail(format!(
            "found {KERNEL_END} at {end:#x}, expected it above {BASE:#x}, by less than 64M"
        ));
    };
    let mut bytes = vec![0; length];
    for segment in &program.segments {
        let offset = segment
            .physical
            .checked_sub(BASE)
            .and_then(|offset| usize::try_from(offset).ok());
        let place = offset
            .and_then(|offset| bytes.get_mut(offset..))
            .and_then(|rest| rest.get_mut(..segment.bytes.len()));
        let Some(place) = place else {
            return fail(format!(
                "found a segment at physical {:#x} with {:#x} bytes, expected it in {BASE:#x}..{end:#x}",
                segment.physical,
                segment.bytes.len()
            ));
        };
        place.copy_from_slice(&segment.bytes);
    }
    Ok((end, bytes))
}

/// The whole image, its description held against the kernel's own rules.
pub(super) fn image(
    kernel: Vec<u8>,
    layout: &Layout,
    placed: &Placed,
    configuration: Configuration,
) -> Result<Vec<u8>> {
    let flags = match configuration {
        Configuration::Debug => Header::DEBUG,
        Configuration::Release => 0,
    };
    let tables = placed.records.tables()?;
    let header = Header::new(flags, placed.image_end, placed.tables.clone(), tables);
    let description = placed.records.to_bytes(&header);
    Description::parse(&description, placed.description.start)
        .and_then(|description| description.check())
        .map_err(|refused| Error::new(format!("the kernel would refuse this system: {refused}")))?;
    let size = |address: u64| usize::try_from(address.saturating_sub(BASE)).unwrap_or(usize::MAX);
    let mut image = kernel;
    image.resize(size(placed.image_end), 0);
    let contents = layout
        .blocks
        .all
        .iter()
        .filter(|block| block.contents.in_image());
    let contents = contents.map(|block| (block.address, block.contents.bytes()));
    for (address, bytes) in contents.chain([(placed.description.start, description.as_slice())]) {
        let place = image
            .get_mut(size(address)..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        let place = place.ok_or_else(|| Error::new("the image is smaller than its contents"))?;
        place.copy_from_slice(bytes);
    }
    Ok(image)
}
