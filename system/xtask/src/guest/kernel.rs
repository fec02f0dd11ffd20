//! The kernel's file: an arm64 `Image`, unpacked if it is not one yet, and checked.
//!
//! Linux's boot protocol for arm64 puts a 64-byte header at the start of an `Image`; a kernel with the EFI stub is a
//! PE file too, whose section table tells how long the file must be. A kernel built with `EFI_ZBOOT` is a PE
//! program that unpacks the real one, and starts with `zimg` at offset 4.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::Read as _;
use std::path::Path;

/// `ARM\x64` at offset 56.
const MAGIC: &[u8] = b"ARM\x64";

/// Reads a kernel and returns it as an arm64 `Image`.
///
/// # Errors
/// Says what the file is instead, or that it is cut off.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the kernel {}", path.display()))?;
    let image = unpack(bytes)
        .with_context(|| format!("{} is no kernel that can be booted", path.display()))?;
    check(&image).with_context(|| format!("{} is no kernel that can be booted", path.display()))?;
    Ok(image)
}

/// Unpacks gzip, and EFI's packed kernels that use gzip inside.
fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return gunzip(&bytes);
    }
    if bytes.get(4..8) == Some(b"zimg") {
        let offset = usize::try_from(word(&bytes, 8)?)?;
        let length = usize::try_from(word(&bytes, 12)?)?;
        let name = bytes.get(24..32).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        ensure!(
            name == b"gzip",
            "it is packed for EFI with {}; expected a plain Image, or one packed with gzip",
            String::from_utf8_lossy(name)
        );
        let payload = offset
            .checked_add(length)
            .and_then(|end| bytes.get(offset..end))
            .context("it is packed for EFI, and cut off")?;
        return gunzip(payload);
    }
    Ok(bytes)
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_end(&mut image)
        .context("it is packed with gzip, and cut off or damaged")?;
    Ok(image)
}

/// Checks that `image` is a whole arm64 `Image`.
///
/// # Errors
/// Says what was found and what was expected.
pub fn check(image: &[u8]) -> Result<()> {
    ensure!(
        image.len() >= 64,
        "it has {} bytes; an arm64 Image starts with a header of 64",
        image.len()
    );
    if image.get(56..60) != Some(MAGIC) {
        let found = if image.starts_with(b"\x7fELF") {
            "an ELF file: use arch/arm64/boot/Image instead of vmlinux"
        } else if image.get(0x202..0x206) == Some(b"HdrS") {
            "a kernel for x86"
        } else {
            "something else"
        };
        bail!("it has no arm64 Image header (`ARM\\x64` at offset 56); it looks like {found}");
    }
    if image.starts_with(b"MZ") {
        let needed = pe_length(image)?;
        ensure!(
            image.len() as u64 >= needed,
            "it is cut off: its sections end at byte {needed}, and it has {}",
            image.len()
        );
    }
    Ok(())
}

/// Where the last section of a PE file ends.
fn pe_length(image: &[u8]) -> Result<u64> {
    let pe = usize::try_from(word(image, 0x3c)?)?;
    ensure!(
        image.get(pe..pe.saturating_add(4)) == Some(b"PE\0\0"),
        "its EFI header points to no PE header"
    );
    let sections = half(image, pe + 6)?;
    let table = pe + 24 + usize::from(half(image, pe + 20)?);
    let mut end = 0;
    for index in 0..usize::from(sections) {
        let entry = table + index * 40;
        let size = u64::from(word(image, entry + 16)?);
        let start = u64::from(word(image, entry + 20)?);
        if size != 0 {
            end = end.max(start + size);
        }
    }
    Ok(end)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let end = at.checked_add(4).context("an offset in it is absurd")?;
    let four = bytes.get(at..end).context("it is cut off in its header")?;
    Ok(u32::from_le_bytes(four.try_into()?))
}

fn half(bytes: &[u8], at: usize) -> Result<u16> {
    let end = at.checked_add(2).context("an offset in it is absurd")?;
    let two = bytes.get(at..end).context("it is cut off in its header")?;
    Ok(u16::from_le_bytes(two.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A small Image with an EFI header and one section that ends at `end`.
    fn image(end: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[56..60].copy_from_slice(MAGIC);
        bytes[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x46..0x48].copy_from_slice(&1_u16.to_le_bytes());
        bytes[0x54..0x56].copy_from_slice(&0x10_u16.to_le_bytes());
        let section = 0x40 + 24 + 0x10;
        bytes[section + 16..section + 20].copy_from_slice(&(end - 0x100).to_le_bytes());
        bytes[section + 20..section + 24].copy_from_slice(&0x100_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn a_whole_image_passes_and_a_cut_one_is_refused() {
        check(&image(0x200)).unwrap();
        let error = check(&image(0x201)).unwrap_err().to_string();
        assert!(
            error.contains("cut off") && error.contains("513"),
            "{error}"
        );
        assert!(check(&image(0x200)[..40]).is_err());
    }

    #[test]
    fn other_files_are_told_apart() {
        let mut elf = vec![0; 128];
        elf[..4].copy_from_slice(b"\x7fELF");
        let error = check(&elf).unwrap_err().to_string();
        assert!(error.contains("ELF file"), "{error}");
    }

    #[test]
    fn gzip_is_unpacked_and_damage_is_noticed() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&image(0x200)).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(packed.clone()).unwrap(), image(0x200));
        assert!(unpack(packed[..packed.len() - 20].to_vec()).is_err());
    }

    #[test]
    fn an_efi_kernel_with_another_packing_is_named() {
        let mut bytes = vec![0; 64];
        bytes[4..8].copy_from_slice(b"zimg");
        bytes[24..28].copy_from_slice(b"zstd");
        let error = unpack(bytes).unwrap_err().to_string();
        assert!(error.contains("zstd"), "{error}");
    }
}
