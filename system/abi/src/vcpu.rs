//! vCPU registers: the fields of VCPU ReadRegs/WriteRegs and the order of TCB ReadRegisters/WriteRegisters.

/// A system register of a vCPU, as VCPU ReadRegs and WriteRegs number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[allow(missing_docs, reason = "the names are the Arm ARM's")]
pub enum VcpuRegister {
    SctlrEl1 = 0,
    CpacrEl1 = 1,
    Ttbr0El1 = 2,
    Ttbr1El1 = 3,
    TcrEl1 = 4,
    MairEl1 = 5,
    AmairEl1 = 6,
    ContextidrEl1 = 7,
    ActlrEl1 = 8,
    Afsr0El1 = 9,
    Afsr1El1 = 10,
    EsrEl1 = 11,
    FarEl1 = 12,
    ParEl1 = 13,
    VbarEl1 = 14,
    TpidrEl1 = 15,
    VmpidrEl2 = 16,
    SpEl1 = 17,
    ElrEl1 = 18,
    SpsrEl1 = 19,
    CntvCtlEl0 = 20,
    CntvCvalEl0 = 21,
    CntvoffEl2 = 22,
    CntkctlEl1 = 23,
}

impl VcpuRegister {
    /// How many fields there are.
    pub const COUNT: usize = 24;
}

/// Words of a whole register context (TCB ReadRegisters and WriteRegisters).
pub const CONTEXT_WORDS: usize = 36;

/// The order of a register context: pc, sp, spsr, x0–x8, x16, x17, x18, x29, x30, then x9–x15, x19–x28,
/// TPIDR_EL0, TPIDRRO_EL0. The first n are transferred.
///
/// Word of pc.
pub const CONTEXT_PC: usize = 0;
/// Word of SP_EL0.
pub const CONTEXT_SP: usize = 1;
/// Word of SPSR.
pub const CONTEXT_SPSR: usize = 2;

/// The word of general register `x` (0 to 30) in a register context; `None` for 31 (the zero register) and above.
pub const fn context_word(x: u8) -> Option<usize> {
    let x = x as usize;
    Some(match x {
        0..=8 => 3 + x,
        16..=18 => 12 + (x - 16),
        29..=30 => 15 + (x - 29),
        9..=15 => 17 + (x - 9),
        19..=28 => 24 + (x - 19),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_words_are_all_different() {
        let mut seen = [false; CONTEXT_WORDS];
        for x in 0..31 {
            let word = context_word(x).unwrap();
            assert!(
                !core::mem::replace(&mut seen[word], true),
                "x{x} shares word {word}"
            );
        }
        assert_eq!(context_word(8), Some(11));
        assert_eq!(context_word(30), Some(16));
        assert_eq!(context_word(28), Some(33));
        assert_eq!(context_word(31), None);
    }
}
