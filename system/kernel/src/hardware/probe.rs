//! Does this processor act on memory types?
//!
//! A domain runs without stage 1, which makes its memory Device unless HCR_EL2.DC says otherwise; the bit differs from
//! a guest's. QEMU before version 9 knows no memory types but empties its whole TLB when the bit changes: half the
//! time of an exit. So the kernel finds out once, by a misaligned load from a page that it maps as Device memory too.

use super::mmu::PROBE;
use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.vectors, "ax"
    .balign 0x800
probe_vectors:
    .space 0x200
    mrs x1, elr_el2
    add x1, x1, #4
    msr elr_el2, x1
    mov x0, #1
    eret
    .space 0x800 - 0x214

    .global probe_load
probe_load:
    adrp x1, probe_vectors
    add x1, x1, :lo12:probe_vectors
    msr vbar_el2, x1
    isb
    mov x2, x0
    mov x0, #0
    ldr x2, [x2]
    ret
"#
);

unsafe extern "C" {
    /// Loads a word and returns whether that faulted. Sets VBAR_EL2.
    fn probe_load(address: usize) -> u64;
}

/// Whether a misaligned load from RAM that is mapped as Device memory faults.
pub(crate) fn acts_on_memory_types() -> bool {
    // SAFETY: the address is mapped and readable; a fault is caught by the vectors that the function sets, and
    // `exception::run` sets the kernel's own.
    unsafe { probe_load(PROBE + 1) != 0 }
}
