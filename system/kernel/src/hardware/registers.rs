//! System registers of a guest, by field number of the binary interface.

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
    ($($field:ident $name:literal)*) => {
        /// Reads the register of the vCPU that is loaded.
        pub(super) fn get(register: VcpuRegister) -> u64 {
            match register {
                $(VcpuRegister::$field => read!($name),)*
            }
        }

        /// Writes the register of the vCPU that is loaded.
        pub(super) fn set(register: VcpuRegister, value: u64) {
            match register {
                $(VcpuRegister::$field => write!($name, value),)*
            }
        }
    };
}

registers! {
    SctlrEl1 "sctlr_el1"
    CpacrEl1 "cpacr_el1"
    Ttbr0El1 "ttbr0_el1"
    Ttbr1El1 "ttbr1_el1"
    TcrEl1 "tcr_el1"
    MairEl1 "mair_el1"
    AmairEl1 "amair_el1"
    ContextidrEl1 "contextidr_el1"
    ActlrEl1 "actlr_el1"
    Afsr0El1 "afsr0_el1"
    Afsr1El1 "afsr1_el1"
    EsrEl1 "esr_el1"
    FarEl1 "far_el1"
    ParEl1 "par_el1"
    VbarEl1 "vbar_el1"
    TpidrEl1 "tpidr_el1"
    VmpidrEl2 "vmpidr_el2"
    SpEl1 "sp_el1"
    ElrEl1 "elr_el1"
    SpsrEl1 "spsr_el1"
    CntvCtlEl0 "cntv_ctl_el0"
    CntvCvalEl0 "cntv_cval_el0"
    CntvoffEl2 "cntvoff_el2"
    CntkctlEl1 "cntkctl_el1"
}
