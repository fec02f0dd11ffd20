//! What a guest finds at which guest-physical address.
//!
//! ```text
//! 0x0800_0000  GICD   distributor       emulated: every access is an exit          gic
//! 0x0801_0000  GICC   CPU interface     GICv2: the hardware's GICV, two pages: no exits
//! 0x080a_0000  GICR   redistributors    GICv3: emulated: every access is an exit   gic
//! 0x0900_0000  PL011  early console     register page, read-only: writes exit      uart
//! 0x0a00_0000  virtIO 8 × 0x200         register page, read-only: writes exit      mmio
//! 0x4000_0000  RAM    kernel Image, then device tree and initial RAM disk as the system file places them
//! ```
//! All other addresses answer with a synchronous external abort. The numbers are the configuration's; only where the
//! CPU interface is follows from the distributor.

use sel4cp_abi::config::VmmConfig;

/// Bytes from the distributor to the CPU interface.
const CPU_INTERFACE: u64 = 0x1_0000;
/// Bytes to its second page.
const SECOND_PAGE: u64 = 0x1000;

/// Guest-physical addresses of the CPU interface's two pages.
pub fn cpu_interface(config: &VmmConfig) -> (u64, u64) {
    let first = config.distributor.wrapping_add(CPU_INTERFACE);
    (first, first.wrapping_add(SECOND_PAGE))
}
