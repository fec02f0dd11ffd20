//! Finds the description behind the kernel.

use super::window::physical;
use sel4cp_abi::image::{Description, Header, RAM_END, Refused};

unsafe extern "C" {
    /// The kernel's end, where the packer puts the description.
    static __kernel_end: u8;
}

/// Physical address of the description.
pub(crate) fn address() -> u64 {
    physical(&raw const __kernel_end)
}

/// The description, checked.
pub(crate) fn description() -> Result<Description<'static>, Refused> {
    let start = &raw const __kernel_end;
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
    let length = (RAM_END - address()) as usize;
    // SAFETY: from the kernel's end to the end of RAM there is only what QEMU loaded (or zeroes). Only the tables keep
    // a reference, and the check refuses descriptions that let anybody write there.
    let bytes = unsafe { core::slice::from_raw_parts(start, length) };
    let description = Description::parse(bytes, address())?;
    description.check()?;
    Ok(description)
}

/// Which of seL4's configurations the image is for.
pub(crate) const fn configuration(description: &Description<'_>) -> &'static str {
    if description.header.flags & Header::DEBUG != 0 {
        "debug"
    } else {
        "release"
    }
}
