//! Code that a guest runs before it starts again, to leave its CPU interface as after power-on.
//!
//! What is in list registers, and which priorities are active, is out of a VMM's reach: only the guest can end
//! interrupts. One that was reset with an interrupt in flight (a panic in a handler, or one that came while it was
//! rebooting) would keep it: its successor would never get that interrupt again, or get it before it knows the
//! device, and Linux does not end what it does not know. So this runs first, on the same vCPU, and then the kernel is
//! loaded over it.

/// AArch64 instructions, independent of their position. x0 and x1 are the two pages of the CPU interface. Touches w3
/// to w5. Ends with SMC.
pub const CODE: [u32; 21] = [
    0x5280_1fe3, //      mov  w3, #0xff
    0xb900_0403, //      str  w3, [x0, #4]      PMR: no priority is masked
    0xb900_d01f, //      str  wzr, [x0, #0xd0]  APR0: no priority is active
    0x5280_40e3, //      mov  w3, #0x207        both groups, AckCtl, EOImode
    0xb900_0003, //      str  w3, [x0]          CTLR
    0xb940_0c04, // ack: ldr  w4, [x0, #12]     IAR
    0x1200_2485, //      and  w5, w4, #0x3ff
    0x710f_f0bf, //      cmp  w5, #1020         special: nothing is pending any more
    0x5400_0082, //      b.hs all
    0xb900_1004, //      str  w4, [x0, #16]     EOIR
    0xb900_0024, //      str  w4, [x1]          DIR
    0x17ff_fffa, //      b    ack
    0x5280_0fe4, // all: mov  w4, #127          what was active before, by its number
    0xb900_0024, // one: str  w4, [x1]          DIR
    0x7100_0484, //      subs w4, w4, #1
    0x54ff_ffc5, //      b.pl one
    0xb900_001f, //      str  wzr, [x0]         CTLR: off, as after power-on
    0xb900_041f, //      str  wzr, [x0, #4]     PMR
    0xd503_3f9f, //      dsb  sy
    0xd400_0003, //      smc  #0
    0x1400_0000, //      b    .
];

/// The code's bytes.
pub fn bytes() -> [u8; 4 * CODE.len()] {
    let mut bytes = [0; 4 * CODE.len()];
    let (chunks, _) = bytes.as_chunks_mut::<4>();
    for (chunk, word) in chunks.iter_mut().zip(CODE) {
        *chunk = word.to_le_bytes();
    }
    bytes
}
