//! Interrupts: the kernel's own are handled here, the others belong to domains.

use super::Hardware;
use super::gic::{KERNEL_TIMER, MAINTENANCE, VIRTUAL_TIMER};
use super::uart::print;
use sel4cp_kernel::fault::Fault;
use sel4cp_kernel::kernel::Kernel;

/// First software-generated interrupt that is none.
const FIRST_PRIVATE: u16 = 16;

/// Takes the interrupt that is pending, if one is.
pub(super) fn handle(kernel: &mut Kernel<Hardware>) {
    let Some(number) = kernel.machine.gic.take() else {
        return;
    };
    match number {
        KERNEL_TIMER => {
            kernel.timer_expired();
            kernel.machine.gic.deactivate(number);
        }
        VIRTUAL_TIMER => {
            if kernel.machine.world.timer_event() {
                kernel.fault(Fault::PrivateInterrupt {
                    number: u64::from(number),
                });
            }
        }
        MAINTENANCE => {
            let Hardware { world, gic, .. } = &mut kernel.machine;
            if let Some(register) = world.maintenance(gic) {
                kernel.fault(Fault::Maintenance { register });
            }
        }
        // Nobody sends these.
        0..FIRST_PRIVATE => kernel.machine.gic.deactivate(number),
        _ => {
            kernel.machine.gic.remember(number);
            if !kernel.device_interrupt(number) {
                // It stays active, so that it comes only once.
                print!("kernel: interrupt {number} belongs to no PD\n");
            }
        }
    }
}
