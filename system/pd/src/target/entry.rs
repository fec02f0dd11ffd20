//! Start code: the PD's data as it was at boot, its stack, and then the program.
//!
//! A parent that restarts the PD sets nothing but the program counter. So the first start copies the initial
//! data, with everything that the tool patched, and the stack pointer aside; each later start puts them back
//! and clears what is to be zero. No Rust code runs before that is done.

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".global _start",
    ".type _start, %function",
    "_start:",
    // Whether this is the first start: the linker script puts this word where nothing else is cleared.
    "    adrp x10, sel4cp_started",
    "    add  x10, x10, :lo12:sel4cp_started",
    "    ldr  x11, [x10]",
    "    adrp x12, __data_start",
    "    add  x12, x12, :lo12:__data_start",
    "    adrp x13, __data_end",
    "    add  x13, x13, :lo12:__data_end",
    "    adrp x14, __pristine_start",
    "    add  x14, x14, :lo12:__pristine_start",
    "    cbnz x11, 3f",
    // First: data to its copy, and the stack's top into the word, which is thereby no longer zero.
    "    mov  x15, sp",
    "1:  cmp  x12, x13",
    "    b.hs 2f",
    "    ldr  x16, [x12], #8",
    "    str  x16, [x14], #8",
    "    b    1b",
    "2:  str  x15, [x10]",
    "    b    6f",
    // Again: the copy to data, and zeros to what follows it.
    "3:  mov  sp, x11",
    "4:  cmp  x12, x13",
    "    b.hs 5f",
    "    ldr  x16, [x14], #8",
    "    str  x16, [x12], #8",
    "    b    4b",
    "5:  adrp x12, __bss_start",
    "    add  x12, x12, :lo12:__bss_start",
    "    adrp x13, __bss_end",
    "    add  x13, x13, :lo12:__bss_end",
    "7:  cmp  x12, x13",
    "    b.hs 6f",
    "    str  xzr, [x12], #8",
    "    b    7b",
    // No caller: a backtrace ends here.
    "6:  mov  x29, xzr",
    "    mov  x30, xzr",
    "    bl   sel4cp_main",
    "    udf  #0",
    ".size _start, . - _start",
    ".popsection",
);
