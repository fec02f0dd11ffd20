//! The processor: its registers at boot, caches, secure monitor calls, and the end.

use super::host;
use super::registers::{self, read, write};
use super::uart::print_arguments;
use super::window::pointer;
use super::world::{CNTKCTL_DOMAIN, CPACR_ALLOW, SCTLR_DOMAIN};
use aarch64_cpu::asm::barrier::{self, dsb, isb};
use aarch64_cpu::registers::{
    CNTHCTL_EL2, MDCR_EL2, MIDR_EL1, ReadWriteable, Readable, VTCR_EL2, Writeable,
};
use core::arch::asm;
use core::fmt;
use core::ops::Range;
use sel4cp_abi::image::{RAM_END, RAM_START};
use sel4cp_abi::vcpu::VcpuRegister;
use sel4cp_kernel::machine::CacheOperation;

/// CNTHCTL_EL2 with the host extensions: domains have the physical counter and timer, guests only the counter (EL0PCTEN,
/// EL0PTEN, EL1PCTEN).
const TIMERS_HOST: u64 = 1 << 0 | 1 << 9 | 1 << 10;

/// Sets the registers that stay as they are: stage 2's format, traps, and what EL1 and EL0 may use.
pub(crate) fn prepare() {
    // 40-bit guest-physical addresses in 4 KiB pages from level 1 on, walked through the caches; 40-bit physical ones.
    VTCR_EL2.write(
        VTCR_EL2::RES1.val(1)
            + VTCR_EL2::PS.val(2)
            + VTCR_EL2::TG0::Granule4KB
            + VTCR_EL2::SH0::Inner
            + VTCR_EL2::ORGN0::NormalWBRAWA
            + VTCR_EL2::IRGN0::NormalWBRAWA
            + VTCR_EL2::SL0.val(1)
            + VTCR_EL2::T0SZ.val(24),
    );
    // Guests see the real processor.
    write!("vpidr_el2", MIDR_EL1.get());
    // The physical counter and timer are for everybody; debug and performance registers for nobody.
    if host::is_on() {
        CNTHCTL_EL2.set(TIMERS_HOST);
    } else {
        CNTHCTL_EL2.write(CNTHCTL_EL2::EL1PCEN::SET + CNTHCTL_EL2::EL1PCTEN::SET);
    }
    MDCR_EL2.modify(
        MDCR_EL2::TDRA::SET
            + MDCR_EL2::TDOSA::SET
            + MDCR_EL2::TDA::SET
            + MDCR_EL2::TPM::SET
            + MDCR_EL2::TPMCR::SET,
    );
    registers::set(VcpuRegister::SctlrEl1, SCTLR_DOMAIN);
    registers::set(VcpuRegister::CntkctlEl1, CNTKCTL_DOMAIN);
    registers::set(VcpuRegister::CpacrEl1, CPACR_ALLOW);
    registers::set(VcpuRegister::CntvCtlEl0, 0);
    isb(barrier::SY);
}

/// Bytes of the smallest data cache line.
fn line() -> u64 {
    4 << (read!("ctr_el0") >> 16 & 0xf)
}

/// Maintains the cache line at an address by an instruction that changes no data.
macro_rules! line_operation {
    ($instruction:literal, $address:expr) => {{
        let address = pointer($address);
        // SAFETY: the instruction cleans (and then forgets) a line; memory reads the same afterwards.
        unsafe {
            asm!(concat!($instruction, ", {}"), in(reg) address, options(nostack, preserves_flags));
        }
    }};
}

/// Maintains the caches for a range of physical addresses. Only RAM is ever cached.
pub(super) fn maintain_cache(operation: CacheOperation, memory: Range<u64>) {
    let line = line();
    let mut address = memory.start.max(RAM_START) & !(line - 1);
    while address < memory.end.min(RAM_END) {
        match operation {
            CacheOperation::Clean => line_operation!("dc cvac", address),
            // Invalidation also cleans: what another domain wrote to a line that the range only touches is not lost.
            CacheOperation::Invalidate | CacheOperation::CleanInvalidate => {
                line_operation!("dc civac", address);
            }
            CacheOperation::Unify => line_operation!("dc cvau", address),
        }
        address += line;
    }
    dsb(barrier::SY);
    if operation == CacheOperation::Unify {
        // SAFETY: forgetting cached instructions changes nothing but time.
        unsafe { asm!("ic iallu", options(nostack, preserves_flags)) };
        dsb(barrier::SY);
        isb(barrier::SY);
    }
}

/// Makes a secure monitor call.
pub(super) fn secure_call(registers: [u64; 8]) -> [u64; 8] {
    let [function, arguments @ ..] = registers;
    let mut all = [0; 17];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = argument;
    }
    // A function identifier has 32 bits (SMCCC).
    #[expect(clippy::cast_possible_truncation, reason = "as said")]
    let answer = smccc::smc64(function as u32, all);
    answer.first_chunk().copied().unwrap_or_default()
}

/// Says why, and stops for good.
pub(crate) fn stop(message: fmt::Arguments<'_>) -> ! {
    print_arguments(message);
    halt()
}

/// Stops for good.
pub(super) fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// A bug of the kernel.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    stop(format_args!("kernel: {info}\nkernel: the machine stops\n"))
}
