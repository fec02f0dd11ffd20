//! Where a guest's kernel, device tree and initial RAM disk lie in its RAM, as Linux' booting.rst allows.
//!
//! ```text
//! RAM base + text_offset   kernel, image_size bytes with its .bss
//! next 2 MiB boundary      device tree, at most 2 MiB and in no 2 MiB block with anything else
//! 2 MiB further            initial RAM disk, within the 32 GiB window (1 GiB aligned) of the kernel
//! ```

use super::board::Area;
use super::kernel::Kernel;
use super::text::size;
use sel4cp_abi::image::LARGE_PAGE;

/// Most bytes of a device tree.
pub(super) const DEVICE_TREE_BYTES: u64 = LARGE_PAGE;

/// What is wrong with a guest's file: found, expected, write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) found: String,
    pub(super) expected: String,
    pub(super) write: String,
}

impl Complaint {
    pub(super) fn new(
        found: impl Into<String>,
        expected: impl Into<String>,
        write: impl Into<String>,
    ) -> Self {
        Self {
            found: found.into(),
            expected: expected.into(),
            write: write.into(),
        }
    }
}

/// Guest-physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// What the kernel image is loaded relative to: 2 MiB aligned.
    pub(super) kernel_base: u64,
    /// Where the device tree goes.
    pub(super) device_tree: u64,
    /// Where the initial RAM disk goes; size 0: there is none.
    pub(super) initrd: Area,
}

/// Places `kernel` and an initial RAM disk of `initrd` bytes (0: none) in `ram`.
///
/// # Errors
/// What does not fit.
pub(super) fn place(ram: Area, kernel: &Kernel, initrd: u64) -> Result<Placement, Complaint> {
    let too_small = |what: &str, end: u64| {
        let need = end.saturating_sub(ram.start).next_multiple_of(LARGE_PAGE);
        Complaint::new(
            format!("{what} in {} of RAM", size(ram.size)),
            format!("at least {} of RAM", size(need)),
            format!(
                "`memory = \"{}\"` or more: Linux needs memory besides",
                size(need)
            ),
        )
    };
    let kernel_end = ram
        .start
        .saturating_add(kernel.text_offset)
        .saturating_add(kernel.image_size);
    let device_tree = kernel_end.checked_next_multiple_of(LARGE_PAGE);
    let device_tree = device_tree.unwrap_or(u64::MAX - DEVICE_TREE_BYTES);
    let start = device_tree.saturating_add(DEVICE_TREE_BYTES);
    if start > ram.end() {
        return Err(too_small(
            &format!("a kernel of {} bytes", kernel.image_size),
            start,
        ));
    }
    let initrd = Area {
        start,
        size: initrd,
    };
    if initrd.end() > ram.end() {
        let what = format!("an initial RAM disk of {} bytes", initrd.size);
        return Err(too_small(&what, initrd.end()));
    }
    Ok(Placement {
        kernel_base: ram.start,
        device_tree,
        initrd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: Area = Area {
        start: 0x4000_0000,
        size: 64 << 20,
    };

    #[test]
    fn nothing_overlaps() {
        let kernel = Kernel {
            text_offset: 0x8_0000,
            image_size: 0x1c0_0001,
            pages: None,
        };
        let placed = place(RAM, &kernel, 0x123_4567).unwrap();
        assert_eq!(placed.kernel_base, 0x4000_0000);
        assert_eq!(placed.device_tree, 0x41e0_0000);
        assert_eq!(
            placed.initrd,
            Area {
                start: 0x4200_0000,
                size: 0x123_4567
            }
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let kernel = Kernel {
            text_offset: 0,
            image_size: 63 << 20,
            pages: None,
        };
        let error = place(RAM, &kernel, 0).unwrap_err();
        assert!(error.write.starts_with("`memory = \"66M\"`"), "{error:?}");
        let kernel = Kernel {
            text_offset: 0,
            image_size: 16 << 20,
            pages: None,
        };
        assert!(place(RAM, &kernel, 46 << 20).is_ok());
        let error = place(RAM, &kernel, (46 << 20) + 1).unwrap_err();
        assert_eq!(error.expected, "at least 66M of RAM");
        let huge = Kernel {
            text_offset: u64::MAX,
            image_size: u64::MAX,
            pages: None,
        };
        assert!(place(RAM, &huge, u64::MAX).is_err());
    }
}
