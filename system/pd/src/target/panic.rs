//! The last words of a PD: a panic is our own bug, so it is reported and the PD stops with a fault.

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set while a panic is reported, so that a panic in the report ends it.
static REPORTING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !REPORTING.swap(true, Relaxed) {
        let message = info.message();
        match info.location() {
            Some(place) => crate::log::last_line(format_args!("panic at {place}: {message}")),
            None => crate::log::last_line(format_args!("panic: {message}")),
        }
    }
    stop()
}

/// Takes the PD out of service.
pub(crate) fn stop() -> ! {
    // SAFETY: an undefined instruction: the kernel takes over and tells the parent, or the monitor, that this PD
    // has stopped, and where.
    unsafe { asm!("udf #0xdead", options(noreturn)) }
}
