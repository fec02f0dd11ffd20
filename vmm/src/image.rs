//! The header of an arm64 Linux `Image` (the kernel's Documentation/arch/arm64/booting).

use core::fmt;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// "ARM\x64", at byte 56.
const MAGIC: [u8; 4] = *b"ARM\x64";
/// What `text_offset` counts from is a multiple of this.
const ALIGNMENT: u64 = 2 << 20;
/// Bits of `flags`: big-endian; page size (0: unspecified, 1: 4 KiB, 2: 16 KiB, 3: 64 KiB).
const BIG_ENDIAN: u64 = 1;

/// The first 64 bytes of an image, little-endian.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    code: [u32; 2],
    text_offset: u64,
    image_size: u64,
    flags: u64,
    reserved: [u64; 3],
    magic: [u8; 4],
    pe_offset: u32,
}

/// Where a kernel goes and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Guest-physical address of its first byte, which is also where it starts.
    pub entry: u64,
    /// Bytes that it uses from there, its uninitialised data included.
    pub size: u64,
}

/// Why a kernel was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too few bytes for a header.
    Short(usize),
    /// The magic number is another: the bytes found.
    Magic([u8; 4]),
    /// It is compressed (gzip): it must be unpacked before it is put into the system.
    Compressed,
    /// It is for big-endian machines: the flags found.
    BigEndian(u64),
    /// It says that it is smaller than the file is: bytes said, bytes of the file.
    Size(u64, u64),
    /// The base that it is to be loaded to is not a multiple of 2 MiB.
    Base(u64),
    /// It does not fit into RAM: first byte, bytes, and RAM's first byte and size.
    Ram(u64, u64, u64, u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(found) => write!(
                f,
                "kernel has {found} bytes, expected an arm64 Image, whose header alone has 64"
            ),
            Self::Magic(found) => write!(
                f,
                "kernel has {found:02x?} at byte 56, expected {MAGIC:02x?}: it is no arm64 Image"
            ),
            Self::Compressed => f.write_str(
                "kernel is gzip-compressed, expected an unpacked arm64 Image: unpack it with gunzip",
            ),
            Self::BigEndian(flags) => write!(
                f,
                "kernel has flags {flags:#x}, expected a little-endian one (bit 0 clear)"
            ),
            Self::Size(said, found) => write!(
                f,
                "kernel says that it has {said:#x} bytes in memory, expected at least its {found:#x} bytes in the file"
            ),
            Self::Base(base) => {
                write!(f, "kernel base {base:#x}, expected a multiple of {ALIGNMENT:#x}")
            }
            Self::Ram(entry, size, start, len) => write!(
                f,
                "kernel needs {size:#x} bytes at {entry:#x}, expected that inside RAM, {len:#x} bytes at {start:#x}"
            ),
        }
    }
}

impl core::error::Error for Refused {}

impl Image {
    /// Checks the kernel `file`, of `file_size` bytes in all, that is to be loaded at its offset from `base`.
    ///
    /// `file` needs to have the beginning only.
    ///
    /// # Errors
    /// [`Refused`] says what was found and what was expected.
    pub fn check(file: &[u8], file_size: u64, base: u64, ram: (u64, u64)) -> Result<Self, Refused> {
        if file.first_chunk::<2>() == Some(&[0x1f, 0x8b]) {
            return Err(Refused::Compressed);
        }
        let short = Refused::Short(file.len());
        let (header, _) = Header::read_from_prefix(file).map_err(|_| short)?;
        if header.magic != MAGIC {
            return Err(Refused::Magic(header.magic));
        }
        let (flags, image_size) = (u64::from_le(header.flags), u64::from_le(header.image_size));
        if flags & BIG_ENDIAN != 0 {
            return Err(Refused::BigEndian(flags));
        }
        if !base.is_multiple_of(ALIGNMENT) {
            return Err(Refused::Base(base));
        }
        // Before Linux 3.17 the size is 0, and the offset is not what the field says but this.
        let (text_offset, size) = if image_size == 0 {
            (0x8_0000, file_size)
        } else {
            (u64::from_le(header.text_offset), image_size)
        };
        if size < file_size {
            return Err(Refused::Size(size, file_size));
        }
        let (start, len) = ram;
        let entry = base.checked_add(text_offset);
        let offset = entry.and_then(|entry| entry.checked_sub(start));
        match (entry, offset) {
            (Some(entry), Some(offset)) if offset <= len && size <= len - offset => {
                Ok(Self { entry, size })
            }
            _ => Err(Refused::Ram(
                base.wrapping_add(text_offset),
                size,
                start,
                len,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: (u64, u64) = (0x4000_0000, 0x1000_0000);

    fn image(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        for word in [text_offset, image_size, flags, 0, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(MAGIC);
        bytes.extend([0; 4]);
        bytes
    }

    fn check(bytes: &[u8]) -> Result<Image, Refused> {
        Image::check(bytes, bytes.len() as u64, RAM.0, RAM)
    }

    #[test]
    fn a_good_image_is_placed() {
        let good = image(0, 0x200_0000, 0xa);
        let expected = Image {
            entry: 0x4000_0000,
            size: 0x200_0000,
        };
        assert_eq!(check(&good), Ok(expected));
        let old = image(0, 0, 0);
        assert_eq!(check(&old).unwrap().entry, 0x4008_0000);
        let offset = image(0x8_0000, 0x1000, 0);
        assert_eq!(check(&offset).unwrap().entry, 0x4008_0000);
    }

    #[test]
    fn a_bad_image_is_refused_with_what_was_found() {
        let good = image(0, 0x1000, 0);
        assert_eq!(check(&good[..63]), Err(Refused::Short(63)));
        assert_eq!(check(&[]), Err(Refused::Short(0)));
        assert_eq!(check(&[0x1f, 0x8b, 8]), Err(Refused::Compressed));
        let mut other = good.clone();
        other[56] = b'X';
        let refused = check(&other).unwrap_err();
        assert_eq!(refused, Refused::Magic(*b"XRM\x64"));
        assert!(
            refused.to_string().contains("[58, 52, 4d, 64]"),
            "{refused}"
        );
        assert_eq!(check(&image(0, 0x1000, 1)), Err(Refused::BigEndian(1)));
        assert_eq!(check(&image(0, 63, 0)), Err(Refused::Size(63, 64)));
        let base = Image::check(&good, 64, RAM.0 + 0x1000, RAM);
        assert_eq!(base, Err(Refused::Base(0x4000_1000)));
    }

    #[test]
    fn an_image_must_fit_into_ram() {
        assert!(check(&image(0, RAM.1, 0)).is_ok());
        let expect_ram = |text_offset, size| {
            let found = check(&image(text_offset, size, 0));
            assert!(matches!(found, Err(Refused::Ram(..))), "{found:?}");
        };
        expect_ram(0, RAM.1 + 1);
        expect_ram(0x1000, RAM.1);
        expect_ram(RAM.1 + 1, 64);
        expect_ram(u64::MAX, u64::MAX);
        expect_ram(u64::MAX - RAM.0 + 1, 64);
        let below = Image::check(&image(0, 64, 0), 64, 0, RAM);
        assert!(matches!(below, Err(Refused::Ram(..))));
    }
}
