//! Exception syndromes (ESR_EL2): what happened, for decisions and for people.

/// Why an exception was taken, as far as the kernel distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// SVC of AArch64.
    SupervisorCall,
    /// HVC of AArch64.
    HypervisorCall,
    /// Use of the FPU while it belongs to another thread.
    Fpu,
    /// Instruction fetch that the address space does not allow.
    InstructionAbort,
    /// Data access that the address space does not allow.
    DataAbort,
    /// BRK of AArch64.
    Breakpoint,
    /// Nothing that the kernel knows a name for (EC 0).
    Unknown,
    /// Anything else.
    Other,
}

/// Exception class of a syndrome.
pub const fn code(syndrome: u64) -> u8 {
    (syndrome >> 26 & 0x3f) as u8
}

/// Its class.
pub const fn class(syndrome: u64) -> Class {
    match code(syndrome) {
        0x00 => Class::Unknown,
        0x07 => Class::Fpu,
        0x15 => Class::SupervisorCall,
        0x16 => Class::HypervisorCall,
        0x20 => Class::InstructionAbort,
        0x24 => Class::DataAbort,
        0x3c => Class::Breakpoint,
        _ => Class::Other,
    }
}

/// Whether a data abort was a write.
pub const fn is_write(syndrome: u64) -> bool {
    syndrome & 1 << 6 != 0
}

/// Whether an abort happened while the hardware walked stage 1's tables.
pub const fn is_table_walk(syndrome: u64) -> bool {
    syndrome & 1 << 7 != 0
}

/// Whether FAR_EL2 is not valid for an external abort.
pub const fn lacks_address(syndrome: u64) -> bool {
    syndrome & 1 << 10 != 0
}

/// Whether an abort's cause is a missing translation or a right, not an external abort or a misaligned address:
/// only then HPFAR_EL2 is valid. (The architecture leaves it open after a permission fault; QEMU sets it.)
pub const fn is_translation(syndrome: u64) -> bool {
    syndrome & 0x3f < 0x10
}

/// The cause in words.
pub const fn describe(syndrome: u64) -> &'static str {
    match code(syndrome) {
        0x00 => "an undefined instruction",
        0x01 => "a trapped WFI or WFE",
        0x07 => "a use of the FPU, which the domain may not use",
        0x0e => "an illegal execution state",
        0x15 => "a system call",
        0x16 => "a hypervisor call",
        0x17 => "a secure monitor call",
        0x18 => "an access to a system register",
        0x20 => match syndrome & 0x3c {
            0x04 => "a jump to unmapped memory",
            0x0c => "a jump to memory that is not executable",
            _ => "a failed instruction fetch",
        },
        0x22 => "a misaligned program counter",
        0x24 => match (syndrome & 0x3c, is_write(syndrome)) {
            (0x04, false) => "a read of unmapped memory",
            (0x04, true) => "a write to unmapped memory",
            (0x0c, false) => "a read of memory that is not readable",
            (0x0c, true) => "a write to memory that is not writable",
            (0x20, _) => "a misaligned access",
            _ => "a failed memory access",
        },
        0x26 => "a misaligned stack pointer",
        0x2c => "a floating-point exception",
        0x2f => "a system error",
        0x30 | 0x32 | 0x34 => "a debug exception",
        0x3c => "a breakpoint instruction",
        _ => "an exception",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_words() {
        assert_eq!(class(0x15 << 26), Class::SupervisorCall);
        assert_eq!(class(0x5600_0000), Class::SupervisorCall);
        let write = 0x24 << 26 | 1 << 6 | 0x07;
        assert_eq!(class(write), Class::DataAbort);
        assert_eq!(describe(write), "a write to unmapped memory");
        assert_eq!(
            describe(0x24 << 26 | 0x0f),
            "a read of memory that is not readable"
        );
        assert!(is_translation(write) && !is_translation(0x24 << 26 | 0x21));
        assert!(!is_translation(0x24 << 26 | 0x10), "an external abort");
    }
}
