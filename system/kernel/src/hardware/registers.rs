//! System registers of a guest, by field number of the binary interface: their names without and with the host
//! extensions. The latter (SCTLR_EL12, …, CNTV_CTL_EL02) are unknown to an assembler for Armv8.0: their encodings differ
//! from the former in op1, which is 5.

use super::host;
use sel4cp_abi::vcpu::VcpuRegister;

/// Reads a system register by name.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register that exists at EL2 changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}
/// Writes a system register by name: one of those that only affect EL1 and EL0.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: callers name registers that the kernel itself does not depend on, or change them as it wants.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nomem, nostack, preserves_flags));
        }
    }};
}
pub(super) use {read, write};

macro_rules! registers {
    ($($field:ident $name:literal $host:literal)*) => {
        /// Reads the register of the vCPU that is loaded.
        pub(super) fn get(register: VcpuRegister) -> u64 {
            match (register, host::is_on()) {
                $(
                    (VcpuRegister::$field, false) => read!($name),
                    (VcpuRegister::$field, true) => read!($host),
                )*
            }
        }

        /// Writes the register of the vCPU that is loaded.
        pub(super) fn set(register: VcpuRegister, value: u64) {
            match (register, host::is_on()) {
                $(
                    (VcpuRegister::$field, false) => write!($name, value),
                    (VcpuRegister::$field, true) => write!($host, value),
                )*
            }
        }
    };
}

registers! {
    SctlrEl1 "sctlr_el1" "S3_5_C1_C0_0"
    CpacrEl1 "cpacr_el1" "S3_5_C1_C0_2"
    Ttbr0El1 "ttbr0_el1" "S3_5_C2_C0_0"
    Ttbr1El1 "ttbr1_el1" "S3_5_C2_C0_1"
    TcrEl1 "tcr_el1" "S3_5_C2_C0_2"
    MairEl1 "mair_el1" "S3_5_C10_C2_0"
    AmairEl1 "amair_el1" "S3_5_C10_C3_0"
    ContextidrEl1 "contextidr_el1" "S3_5_C13_C0_1"
    ActlrEl1 "actlr_el1" "actlr_el1"
    Afsr0El1 "afsr0_el1" "S3_5_C5_C1_0"
    Afsr1El1 "afsr1_el1" "S3_5_C5_C1_1"
    EsrEl1 "esr_el1" "S3_5_C5_C2_0"
    FarEl1 "far_el1" "S3_5_C6_C0_0"
    ParEl1 "par_el1" "par_el1"
    VbarEl1 "vbar_el1" "S3_5_C12_C0_0"
    TpidrEl1 "tpidr_el1" "tpidr_el1"
    VmpidrEl2 "vmpidr_el2" "vmpidr_el2"
    SpEl1 "sp_el1" "sp_el1"
    ElrEl1 "elr_el1" "S3_5_C4_C0_1"
    SpsrEl1 "spsr_el1" "S3_5_C4_C0_0"
    CntvCtlEl0 "cntv_ctl_el0" "S3_5_C14_C3_1"
    CntvCvalEl0 "cntv_cval_el0" "S3_5_C14_C3_2"
    CntvoffEl2 "cntvoff_el2" "cntvoff_el2"
    CntkctlEl1 "cntkctl_el1" "S3_5_C14_C1_0"
}
