//! The FPU, given to a thread when it uses it: most threads never do, and the guest keeps it over its exits.

use super::host;
use super::registers::write;
use aarch64_cpu::asm::barrier;
use core::arch::global_asm;
use sel4cp_kernel::id::{Table, ThreadId};

/// CPTR_EL2 that lets everybody use the FPU, and that traps everybody (TFP): reserved bits are one.
const ALLOW: u64 = 0x32ff;
const TRAP: u64 = ALLOW | 1 << 10;
/// The same with the host extensions (FPEN).
const ALLOW_HOST: u64 = 3 << 20;
const TRAP_HOST: u64 = 0;

global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    .global fpu_save
fpu_save:
    stp q0, q1, [x0, #0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    mrs x1, fpsr
    mrs x2, fpcr
    add x0, x0, #512
    stp x1, x2, [x0]
    ret
    .global fpu_load
fpu_load:
    ldp q0, q1, [x0, #0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    add x0, x0, #512
    ldp x1, x2, [x0]
    msr fpsr, x1
    msr fpcr, x2
    ret
    .arch_extension nosimd
    .arch_extension nofp
"#
);

unsafe extern "C" {
    fn fpu_save(registers: *mut Registers);
    fn fpu_load(registers: *const Registers);
}

/// A thread's FPU registers: q0 to q31, FPSR, FPCR.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Registers([u64; 66]);

/// Who has the FPU, and the registers of all others.
#[repr(C)]
pub(super) struct Fpu {
    owner: Option<ThreadId>,
    /// Whether CPTR_EL2 allows the FPU, to write it only when that changes; unknown before the first time.
    allowed: Option<bool>,
    saved: Table<ThreadId, Registers, { ThreadId::LIMIT }>,
}

impl Fpu {
    pub(super) const fn new() -> Self {
        Self {
            owner: None,
            saved: Table::new([Registers([0; 66]); ThreadId::LIMIT]),
            allowed: None,
        }
    }

    /// Gives the FPU to a thread that used it.
    #[cold]
    pub(super) fn give(&mut self, thread: ThreadId) {
        self.enable();
        self.save();
        // SAFETY: the FPU is enabled, and the kernel keeps nothing in it.
        unsafe { fpu_load(&raw const self.saved[thread]) };
        self.owner = Some(thread);
    }

    /// Takes the FPU away from a thread.
    #[cold]
    pub(super) fn release(&mut self, thread: ThreadId) {
        if self.owner == Some(thread) {
            self.enable();
            self.save();
            self.owner = None;
            self.allow(false);
        }
    }

    fn save(&mut self) {
        if let Some(owner) = self.owner {
            // SAFETY: the FPU is enabled; the registers go to the place of their owner.
            unsafe { fpu_save(&raw mut self.saved[owner]) };
        }
    }

    /// Traps the FPU unless the thread that runs next has it, and may have it.
    pub(super) fn run(&mut self, thread: ThreadId, allowed: bool) {
        self.allow(allowed && self.owner == Some(thread));
    }

    /// Enables the FPU for the kernel.
    fn enable(&mut self) {
        self.allow(true);
        barrier::isb(barrier::SY);
    }

    /// Sets CPTR_EL2; for lower levels the return from the exception makes it effective.
    fn allow(&mut self, allowed: bool) {
        if self.allowed != Some(allowed) {
            self.allowed = Some(allowed);
            let control = match (allowed, host::is_on()) {
                (true, false) => ALLOW,
                (false, false) => TRAP,
                (true, true) => ALLOW_HOST,
                (false, true) => TRAP_HOST,
            };
            write!("cptr_el2", control);
        }
    }
}
