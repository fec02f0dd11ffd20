//! The kernel of a Debian package, unpacked if it is not a plain arm64 `Image` yet.
//!
//! A kernel built with `EFI_ZBOOT` is a PE program that unpacks the real one, and starts with `zimg` at offset 4.
//! Whether the result is a whole `Image` is checked with every system that uses it, as for a user's own kernel.

use anyhow::{Context as _, Result, ensure};
use std::io::Read as _;
use std::path::Path;

/// Reads a kernel and returns it as an arm64 `Image`.
///
/// # Errors
/// Says how it is packed, if not with gzip, or that it is cut off.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the kernel {}", path.display()))?;
    unpack(bytes).with_context(|| format!("{} is no kernel that can be booted", path.display()))
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

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let end = at.checked_add(4).context("an offset in it is absurd")?;
    let four = bytes.get(at..end).context("it is cut off in its header")?;
    Ok(u32::from_le_bytes(four.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zboot(packing: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[4..8].copy_from_slice(b"zimg");
        bytes[8..12].copy_from_slice(&64_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes[24..24 + packing.len()].copy_from_slice(packing);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_plain_image_stays_as_it_is() {
        assert_eq!(unpack(vec![1; 100]).unwrap(), [1; 100]);
    }

    #[test]
    fn gzip_is_unpacked_and_damage_is_noticed() {
        let packed = gzip(b"an Image");
        assert_eq!(unpack(packed.clone()).unwrap(), b"an Image");
        assert!(unpack(packed[..packed.len() - 6].to_vec()).is_err());
    }

    #[test]
    fn a_packed_efi_kernel_is_unpacked_if_it_is_gzip() {
        let whole = zboot(b"gzip", &gzip(b"an Image"));
        assert_eq!(unpack(whole.clone()).unwrap(), b"an Image");
        let cut = unpack(whole[..70].to_vec()).unwrap_err().to_string();
        assert!(cut.contains("cut off"), "{cut}");
        let other = unpack(zboot(b"zstd22", b"")).unwrap_err().to_string();
        assert!(other.contains("zstd22"), "{other}");
    }
}
