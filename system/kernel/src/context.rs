//! A thread's registers, as the exception entry saves them.

use sel4cp_abi::vcpu::{CONTEXT_WORDS, context_word};

/// Mode bits of SPSR.
const MODE: u64 = 0x1f;
/// Condition flags of SPSR.
const FLAGS: u64 = 0xf000_0000;
/// EL0 with its own stack pointer.
const EL0T: u64 = 0;
/// EL1 with EL0's stack pointer.
const EL1T: u64 = 4;
/// EL1 with its own stack pointer.
const EL1H: u64 = 5;
/// SPSR of a protection domain: EL0, with only FIQs masked (what comes to EL2 is never masked).
pub const SPSR_DOMAIN: u64 = 0x40;

/// The registers. The exception entry knows the offsets: keep it in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp: u64,
    /// Where the thread goes on (ELR_EL2).
    pub pc: u64,
    /// SPSR_EL2.
    pub spsr: u64,
    /// TPIDR_EL0.
    pub tpidr: u64,
    /// TPIDRRO_EL0.
    pub tpidrro: u64,
    /// Where the thread starts again: the system call instruction, or the one that faulted.
    pub restart: u64,
}

/// Registers that travel in a message, by the names of the binary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Register {
    /// x0: capability in, badge out; source of a receive.
    Capability = 0,
    /// x1: message info.
    Info = 1,
    /// x6: reply capability; destination of NBSendWait.
    Reply = 6,
    /// x7: system call number.
    Number = 7,
    /// x8: destination of NBSendRecv.
    Destination = 8,
}

impl Context {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            x: [0; 31],
            sp: 0,
            pc: 0,
            spsr: 0,
            tpidr: 0,
            tpidrro: 0,
            restart: 0,
        }
    }

    /// General register x0 to x30 by number; 0 for others.
    pub fn general(&self, number: usize) -> u64 {
        self.x.get(number).copied().unwrap_or(0)
    }

    /// Sets general register x0 to x30 by number.
    pub fn set_general(&mut self, number: usize, value: u64) {
        if let Some(register) = self.x.get_mut(number) {
            *register = value;
        }
    }

    /// A register with a role.
    pub fn get(&self, register: Register) -> u64 {
        self.general(register as usize)
    }

    /// Sets a register with a role.
    pub fn set(&mut self, register: Register, value: u64) {
        self.set_general(register as usize, value);
    }

    /// Word `index` of a register context (TCB ReadRegisters).
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        // Most words are general registers.
        if let Some(x) = general_of(index).and_then(|x| self.x.get(x)) {
            return *x;
        }
        match index {
            0 => self.restart,
            1 => self.sp,
            2 => self.spsr,
            34 => self.tpidr,
            35 => self.tpidrro,
            _ => 0,
        }
    }

    /// Sets word `index` of a register context (TCB WriteRegisters); the caller makes `pc` follow `restart` afterwards.
    pub fn set_word(&mut self, index: usize, value: u64, is_vcpu: bool) {
        match index {
            0 => self.restart = value,
            1 => self.sp = value,
            2 => self.spsr = sanitised_spsr(value, is_vcpu),
            34 => self.tpidr = value,
            35 => self.tpidrro = value,
            _ => {
                if let Some(x) = general_of(index) {
                    self.set_general(x, value);
                }
            }
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// The general registers in the order of a register context; what is none there is none here.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const ORDER: [u8; CONTEXT_WORDS] = {
    let mut order = [NO_REGISTER; CONTEXT_WORDS];
    let mut x = 0;
    while x <= 30 {
        if let Some(word) = context_word(x) {
            order[word] = x;
        }
        x += 1;
    }
    order
};
const NO_REGISTER: u8 = u8::MAX;

/// The general register at word `index` of a register context.
#[inline]
fn general_of(index: usize) -> Option<usize> {
    let x = ORDER.get(index).copied().unwrap_or(NO_REGISTER);
    (x != NO_REGISTER).then_some(usize::from(x))
}

const _: () = assert!(CONTEXT_WORDS == 36);

/// The SPSR that a thread gets when it asks for `value`: a vCPU may be at EL1 or EL0 of AArch64 and mask what it
/// likes, a domain keeps only its condition flags.
pub const fn sanitised_spsr(value: u64, is_vcpu: bool) -> u64 {
    if is_vcpu && matches!(value & MODE, EL0T | EL1T | EL1H) {
        value
    } else {
        value & FLAGS | SPSR_DOMAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_abi::vcpu::context_word;

    #[test]
    fn words_are_in_the_order_of_the_interface() {
        for x in 0..31u8 {
            let word = context_word(x).unwrap();
            let mut context = Context::new();
            context.set_word(word, 7, false);
            assert_eq!(context.general(usize::from(x)), 7, "x{x}");
            assert_eq!(context.word(word), 7, "x{x}");
        }
    }

    #[test]
    fn a_domain_cannot_leave_el0() {
        assert_eq!(sanitised_spsr(0x3c5, false), SPSR_DOMAIN);
        assert_eq!(sanitised_spsr(0xa000_0005, false), 0xa000_0040);
    }

    #[test]
    fn a_vcpu_cannot_reach_el2_or_aarch32() {
        assert_eq!(sanitised_spsr(0x3c5, true), 0x3c5);
        assert_eq!(sanitised_spsr(0x3c9, true), SPSR_DOMAIN, "EL2h");
        assert_eq!(
            sanitised_spsr(0x1d3, true),
            SPSR_DOMAIN,
            "AArch32 supervisor"
        );
    }
}
