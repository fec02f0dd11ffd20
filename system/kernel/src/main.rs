//! The bundled kernel: from the first instruction to the first thread.
//!
//! QEMU loads the image and starts the boot processor at its first byte, in EL2, with the MMU off. Everything that the
//! kernel decides is in the library part; this program is the hardware below it.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod hardware;

/// The kernel has nothing to do on the host: only its library is tested there.
#[cfg(not(target_os = "none"))]
fn main() {
    println!(
        "This is the bundled kernel, which runs on QEMU's virt machine: `cargo xtask run` builds and starts it."
    );
}

#[cfg(target_os = "none")]
mod boot {
    //! Boot, on one page.

    use crate::hardware::{Hardware, clear, clock, exception, image, mmu, print, processor};
    use sel4cp_kernel::kernel::Kernel;

    /// Called by the entry code on the boot stack.
    #[unsafe(no_mangle)]
    extern "C" fn boot(kernel: &'static mut Kernel<Hardware>) -> ! {
        let description = match image::description() {
            Ok(description) => description,
            Err(refused) => {
                processor::stop(format_args!("kernel: this image is refused: {refused}\n"))
            }
        };
        let window = mmu::enable();
        clear::memory(description.clears);
        let spaces = mmu::spaces(&description, window);
        processor::prepare();
        kernel.machine.start(spaces);
        for interrupt in description.interrupts {
            kernel.machine.enable_interrupt(interrupt);
        }
        kernel.start(description, clock::frequency());
        print!(
            "sel4cp-kernel {} ({}): {} PDs, {} vCPUs\n",
            env!("CARGO_PKG_VERSION"),
            image::configuration(&description),
            description.domains.len(),
            description.vcpus.len(),
        );
        exception::run(kernel)
    }
}
