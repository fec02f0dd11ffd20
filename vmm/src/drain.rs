//! Code that a guest runs before it starts again, to leave its CPU interface as after power-on.
//!
//! What is in list registers, and which priorities are active, is out of a VMM's reach: only the guest can end
//! interrupts. One that was reset with an interrupt in flight (a panic in a handler, or one that came while it was
//! rebooting) would keep it: its successor would never get that interrupt again, or get it before it knows the
//! device, and Linux does not end what it does not know. So this runs first, on the same vCPU, and then the kernel is
//! loaded over it.

use crate::gic::Version;

/// AArch64 instructions for a GICv2, independent of their position. x0 and x1 are the two pages of the CPU interface.
/// Touches w3 to w5. Ends with SMC.
const V2: [u32; 21] = [
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

/// The same for a GICv3, whose CPU interface is system registers. Touches x3 and x4.
const V3: [u32; 34] = [
    0xd280_1fe3, //      mov  x3, #0xff             no priority is masked
    0xd518_4603, //      msr  ICC_PMR_EL1, x3
    0xd518_c89f, //      msr  ICC_AP0R0_EL1, xzr    no priority is active
    0xd518_c91f, //      msr  ICC_AP1R0_EL1, xzr
    0xd280_0043, //      mov  x3, #2                EOImode
    0xd518_cc83, //      msr  ICC_CTLR_EL1, x3
    0xd280_0023, //      mov  x3, #1                both groups
    0xd518_ccc3, //      msr  ICC_IGRPEN0_EL1, x3
    0xd518_cce3, //      msr  ICC_IGRPEN1_EL1, x3
    0xd503_3fdf, //      isb
    0xd538_cc04, // ack: mrs  x4, ICC_IAR1_EL1
    0xf10f_f09f, //      cmp  x4, #1020             special: nothing of group 1 is pending any more
    0x5400_0082, //      b.hs zero
    0xd518_cc24, //      msr  ICC_EOIR1_EL1, x4
    0xd518_cb24, //      msr  ICC_DIR_EL1, x4
    0x17ff_fffb, //      b    ack
    0xd538_c804, // zero:mrs  x4, ICC_IAR0_EL1
    0xf10f_f09f, //      cmp  x4, #1020             nor of group 0
    0x5400_0082, //      b.hs all
    0xd518_c824, //      msr  ICC_EOIR0_EL1, x4
    0xd518_cb24, //      msr  ICC_DIR_EL1, x4
    0x17ff_fffb, //      b    zero
    0xd280_0fe4, // all: mov  x4, #127              what was active before, by its number
    0xd518_cb24, // one: msr  ICC_DIR_EL1, x4
    0xf100_0484, //      subs x4, x4, #1
    0x54ff_ffc5, //      b.pl one
    0xd518_ccdf, //      msr  ICC_IGRPEN0_EL1, xzr  off, as after power-on
    0xd518_ccff, //      msr  ICC_IGRPEN1_EL1, xzr
    0xd518_cc9f, //      msr  ICC_CTLR_EL1, xzr
    0xd518_461f, //      msr  ICC_PMR_EL1, xzr
    0xd503_3fdf, //      isb
    0xd503_3f9f, //      dsb  sy
    0xd400_0003, //      smc  #0
    0x1400_0000, //      b    .
];

/// The code for a guest with this interrupt controller.
pub const fn code(version: Version) -> &'static [u32] {
    match version {
        Version::V2 => &V2,
        Version::V3 => &V3,
    }
}

/// Its bytes.
pub fn bytes(version: Version) -> heapless::Vec<u8, { 4 * V3.len() }> {
    code(version)
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}
