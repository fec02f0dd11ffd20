//! The header of an arm64 kernel `Image` (Linux' Documentation/arch/arm64/booting.rst).

use super::placement::Complaint;
use std::io::Read;
use std::path::Path;

/// What a guest's kernel says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Offset from a 2 MiB boundary where it is loaded.
    pub(super) text_offset: u64,
    /// Bytes that it takes with its `.bss`.
    pub(super) image_size: u64,
    /// KiB of the pages that it is built for, if it says so.
    pub(super) pages: Option<u32>,
}

/// KiB of the pages that the kernel in the file `path` is built for, if it says so.
pub fn page_size(path: &Path) -> Option<u32> {
    Kernel::read(path).ok()?.pages
}

/// Bytes of the header.
const HEADER: usize = 64;
/// Bytes of the file that are looked at: the header and the PE header behind it.
const HEAD: u64 = 0x1000;
/// Magic at offset 56.
const MAGIC: &[u8] = b"ARM\x64";
/// Other files that are taken for an `Image`: their first bytes, what they are, what to do.
const OTHERS: [(&[u8], &str, &str); 4] = [
    (
        b"\x1f\x8b",
        "a gzip archive",
        "the path of the unpacked file (`gunzip`)",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "a zstd archive",
        "the path of the unpacked file (`unzstd`)",
    ),
    (
        b"\x7fELF",
        "an ELF file",
        "the path of `arch/arm64/boot/Image` instead of `vmlinux`",
    ),
    (
        b"\x27\x05\x19\x56",
        "a U-Boot image",
        "the path of `arch/arm64/boot/Image`",
    ),
];

impl Kernel {
    /// Reads the header of `path`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(path: &Path) -> Result<Self, Complaint> {
        let unreadable = |error: std::io::Error| {
            Complaint::new(
                format!("the kernel {} ({error})", path.display()),
                "a file that can be read",
                "\"debian\" or the path of an arm64 Image",
            )
        };
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        file.take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
        Self::parse(&head, length).map_err(|complaint| Complaint {
            found: format!("{} in the kernel {}", complaint.found, path.display()),
            ..complaint
        })
    }

    /// The header in the first bytes of a file of `length` bytes.
    fn parse(head: &[u8], length: u64) -> Result<Self, Complaint> {
        let write = "the path of an arm64 `Image`";
        if let Some((_, what, instead)) =
            OTHERS.iter().find(|(magic, _, _)| head.starts_with(magic))
        {
            return Err(Complaint::new(
                *what,
                "an arm64 Image, not packed",
                *instead,
            ));
        }
        if head.len() < HEADER {
            return Err(Complaint::new(
                format!("{length} bytes"),
                format!("an arm64 Image, at least {HEADER} bytes"),
                write,
            ));
        }
        let magic = head.get(56..60).unwrap_or_default();
        if magic != MAGIC {
            return Err(Complaint::new(
                format!("the bytes {magic:02x?} at offset 56"),
                format!("an arm64 Image, which has {MAGIC:02x?} there"),
                write,
            ));
        }
        let word = |offset: usize| number::<8>(head, offset).map_or(0, u64::from_le_bytes);
        let kernel = Self {
            text_offset: word(8),
            image_size: word(16),
            pages: match word(24) >> 1 & 3 {
                1 => Some(4),
                2 => Some(16),
                3 => Some(64),
                _ => None,
            },
        };
        if word(24) & 1 != 0 {
            return Err(Complaint::new(
                "flags of a big-endian kernel",
                "a little-endian kernel",
                "the path of a kernel built with CONFIG_CPU_LITTLE_ENDIAN",
            ));
        }
        if kernel.image_size == 0 {
            return Err(Complaint::new(
                "image_size 0",
                "the kernel's size (Linux 3.17 and newer say it)",
                "the path of a newer kernel",
            ));
        }
        // The header counts .bss, which is not in the file; the PE header behind it says what must be.
        let expected = sections_end(head).unwrap_or(0);
        if length < expected {
            return Err(Complaint::new(
                format!("{length} bytes"),
                format!("{expected} bytes, as its headers say: the file is cut off"),
                "the path of a whole file: copy or download it again",
            ));
        }
        if length > kernel.image_size.next_multiple_of(HEAD) {
            return Err(Complaint::new(
                format!("{length} bytes"),
                format!("at most image_size, {} bytes", kernel.image_size),
                write,
            ));
        }
        Ok(kernel)
    }
}

/// One past the last byte of the sections that the PE header names, if there is one.
fn sections_end(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"MZ") {
        return None;
    }
    let half = |offset: usize| number::<2>(head, offset).map(u16::from_le_bytes);
    let word = |offset: usize| number::<4>(head, offset).map(u32::from_le_bytes);
    let header = usize::try_from(word(60)?).ok()?;
    if head.get(header..)?.get(..4)? != b"PE\0\0" {
        return None;
    }
    let count = usize::from(half(header.checked_add(6)?)?);
    let optional = usize::from(half(header.checked_add(20)?)?);
    let table = header.checked_add(24)?.checked_add(optional)?;
    let end = |index: usize| {
        let section = table.checked_add(index.checked_mul(40)?)?;
        let (bytes, start) = (
            word(section.checked_add(16)?)?,
            word(section.checked_add(20)?)?,
        );
        Some(u64::from(bytes) + u64::from(start))
    };
    (0..count).filter_map(end).max()
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 0x2000];
        image[16..24].copy_from_slice(&0x3000u64.to_le_bytes());
        image[56..60].copy_from_slice(MAGIC);
        image
    }

    /// As [`image`], with a PE header and one section up to 0x1800.
    fn pe_image() -> Vec<u8> {
        let mut image = image();
        image[..2].copy_from_slice(b"MZ");
        image[60..64].copy_from_slice(&64u32.to_le_bytes());
        image[64..68].copy_from_slice(b"PE\0\0");
        image[70] = 1;
        image[84] = 0x70;
        let section = 64 + 24 + 0x70;
        image[section + 16..section + 20].copy_from_slice(&0x800u32.to_le_bytes());
        image[section + 20..section + 24].copy_from_slice(&0x1000u32.to_le_bytes());
        image
    }

    #[test]
    fn a_header_is_read() {
        let expected = Kernel {
            text_offset: 0,
            image_size: 0x3000,
            pages: None,
        };
        assert_eq!(Kernel::parse(&image(), 0x2000), Ok(expected));
        assert_eq!(Kernel::parse(&pe_image(), 0x1800), Ok(expected));
        for (flags, pages) in [
            (0x8, None),
            (0xa, Some(4)),
            (0xc, Some(16)),
            (0xe, Some(64)),
        ] {
            let mut image = image();
            image[24] = flags;
            assert_eq!(Kernel::parse(&image, 0x2000).unwrap().pages, pages);
        }
    }

    #[test]
    fn each_wrong_kernel_has_its_message() {
        let found = |image: &[u8], length| Kernel::parse(image, length).unwrap_err();
        assert_eq!(
            found(&pe_image(), 0x17ff).expected,
            "6144 bytes, as its headers say: the file is cut off"
        );
        assert_eq!(found(&image()[..40], 40).found, "40 bytes");
        assert_eq!(
            found(&[0; 64], 64).found,
            "the bytes [00, 00, 00, 00] at offset 56"
        );
        assert_eq!(found(b"\x1f\x8b\x08", 3).found, "a gzip archive");
        assert_eq!(found(b"\x7fELF", 4).found, "an ELF file");
        let mut big = image();
        big[24] = 1;
        assert_eq!(found(&big, 0x2000).found, "flags of a big-endian kernel");
        let mut old = image();
        old[16..24].fill(0);
        assert_eq!(found(&old, 0x2000).found, "image_size 0");
        assert_eq!(
            found(&image(), 0x4000).expected,
            "at most image_size, 12288 bytes"
        );
    }
}
