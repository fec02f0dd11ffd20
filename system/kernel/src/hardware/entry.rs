//! The first instructions: from EL2 with the MMU off at the physical address to `boot` in the kernel's window.

use super::exception::STATE;
use super::window::WINDOW;
use aarch64_cpu::registers::{HCR_EL2, TCR_EL2};
use core::arch::global_asm;

/// Bit of TCR_EL2 with the host extensions: no walks for the upper half (EPD1).
const NO_UPPER_HALF: u64 = 1 << 23;
/// What both formats of TCR_EL2 have in common: 48-bit addresses in 4 KiB pages, walked through the caches.
const TCR: u64 = TCR_EL2::T0SZ.val(16).value
    | TCR_EL2::TG0::KiB_4.value
    | TCR_EL2::SH0::Inner.value
    | TCR_EL2::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL2::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value;
/// TCR_EL2 with the host extensions: 40-bit physical addresses (IPS), ASIDs in TTBR0_EL2.
const TCR_HOST: u64 = TCR | NO_UPPER_HALF | 2 << 32;
/// TCR_EL2 without: reserved bits that are one, and 40-bit physical addresses (PS).
const TCR_PLAIN: u64 = TCR | 1 << 31 | 1 << 23 | 2 << 16;
/// Memory attribute 0: Device-nGnRnE; attribute 1: Normal, write-back.
const MAIR: u64 = 0xff00;
/// SCTLR_EL2 without the host extensions: MMU and caches on, stack pointer checked, reserved bits that are one.
const SCTLR_PLAIN: u64 = 0x30c5_0830 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
/// SCTLR_EL2 with them: EL0's cache maintenance and CTR_EL0 allowed (UCI, UCT), its stack pointer not checked (SA0),
/// its memory out of the kernel's reach by mistake (SPAN). EL0's WFI and WFE are not trapped in either.
const SCTLR_HOST: u64 = (SCTLR_PLAIN | 1 << 26 | 1 << 15) & !(1 << 4) & !(1 << 23);
/// Descriptors of the first tables' blocks of 1 GiB: accessed, valid; device memory never executed.
const DEVICE_BLOCK: u64 = 1 << 54 | 1 << 53 | 1 << 10 | 1;
/// Normal memory, inner shareable.
const MEMORY_BLOCK: u64 = 1 << 10 | 3 << 8 | 1 << 2 | 1;

// The first tables map the first three GiB twice: one to one for the instructions that turn the MMU on, and in the
// window. `switch_tables` leaves them for the kernel's own.
global_asm!(
    r#"
    .section .text.entry, "ax"
    .global _start
_start:
    msr daifset, #0xf
    mrs x0, CurrentEL
    cmp x0, #2 << 2
    b.ne wrong_level
    msr spsel, #1
    adrp x9, __bss_start
    add x9, x9, :lo12:__bss_start
    adrp x10, __bss_end
    add x10, x10, :lo12:__bss_end
1:  cmp x9, x10
    b.hs 2f
    stp xzr, xzr, [x9], #16
    b   1b

2:  adrp x1, first_tables
    add x1, x1, :lo12:first_tables
    add x2, x1, #0x1000
    orr x3, x2, #3
    str x3, [x1]
    str x3, [x1, #({window} >> 39) * 8]
    ldr x3, ={device}
    str x3, [x2]
    ldr x3, ={memory}
    mov x4, #0x40000000
    add x3, x3, x4
    str x3, [x2, #8]
    add x3, x3, x4
    str x3, [x2, #16]

    // ID_AA64MMFR1_EL1.VH
    mrs x3, id_aa64mmfr1_el1
    ubfx x3, x3, #8, #4
    ldr x4, ={hcr_plain}
    ldr x5, ={tcr_plain}
    ldr x6, ={sctlr_plain}
    cbz x3, 3f
    ldr x4, ={hcr_host}
    ldr x5, ={tcr_host}
    ldr x6, ={sctlr_host}
3:  msr hcr_el2, x4
    isb
    mov x3, #{mair}
    msr mair_el2, x3
    msr tcr_el2, x5
    ldr x7, ={window}
    mov x0, x1
    adr x30, 4f
    add x30, x30, x7
    b   turn_on
4:  adrp x9, __stack_top
    add sp, x9, :lo12:__stack_top
    adrp x0, {state}
    add x0, x0, :lo12:{state}
    mov x29, xzr
    mov x30, xzr
    b   boot

    // Leaves the tables that are in use for those at physical x0. A block that becomes pages, or pages that become
    // others, must not be in use meanwhile: the MMU is off, and this runs where it is mapped one to one.
    .global switch_tables
switch_tables:
    mrs x6, sctlr_el2
    ldr x7, ={window}
    adr x1, 5f
    sub x1, x1, x7
    br  x1
5:  bic x1, x6, #1
    msr sctlr_el2, x1
    isb
turn_on:
    msr ttbr0_el2, x0
    tlbi alle2
    dsb nsh
    isb
    msr sctlr_el2, x6
    isb
    ret

wrong_level:
    ubfx x0, x0, #2, #2
    add w0, w0, #'0'
    adr x1, level_message
    mov x3, #0x09000000
6:  ldrb w2, [x1], #1
    cbz w2, 8f
    cmp w2, #'#'
    csel w2, w0, w2, eq
7:  ldr w4, [x3, #0x18]
    tbnz w4, #5, 7b
    str w2, [x3]
    b   6b
8:  wfi
    b   8b
level_message:
    .asciz "kernel: started at EL#, expected EL2: QEMU needs -machine virt,virtualization=on,secure=off\r\n"
    .balign 4
    .ltorg

    .section .bss.first_tables, "aw", %nobits
    .balign 0x1000
first_tables:
    .skip 0x2000
    .text
"#,
    state = sym STATE,
    window = const WINDOW,
    device = const DEVICE_BLOCK,
    memory = const MEMORY_BLOCK,
    hcr_plain = const HCR_EL2::RW::SET.value,
    hcr_host = const HCR_EL2::RW::SET.value | HCR_EL2::E2H::SET.value | HCR_EL2::TGE::SET.value,
    tcr_plain = const TCR_PLAIN,
    tcr_host = const TCR_HOST,
    sctlr_plain = const SCTLR_PLAIN,
    sctlr_host = const SCTLR_HOST,
    mair = const MAIR,
);
