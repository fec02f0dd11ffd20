//! Faults: what they hold, and the message that tells a handler.

use crate::capability::LookupFailure;
use crate::context::Context;
use sel4cp_abi::fault::Fault as Label;

/// The most words that a fault message has.
pub(crate) const MAX_WORDS: usize = 13;

/// Reason of a debug exception: a breakpoint instruction.
const SOFTWARE_BREAK: u64 = 3;

/// A fault of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CPtr without a fitting capability.
    Cap {
        /// The CPtr.
        cptr: u64,
        /// While receiving (or sending).
        receiving: bool,
        /// Why.
        failure: LookupFailure,
    },
    /// A system call that does not exist.
    UnknownSyscall {
        /// Its number.
        number: u64,
    },
    /// An instruction that the thread may not execute.
    User {
        /// ESR_EL2.
        syndrome: u64,
    },
    /// An access that the address space does not allow.
    Memory {
        /// The address; guest-physical for a vCPU.
        address: u64,
        /// While fetching an instruction.
        fetch: bool,
        /// ESR_EL2.
        syndrome: u64,
    },
    /// A guest ended an interrupt.
    Maintenance {
        /// Its list register, if one is known.
        register: Option<u8>,
    },
    /// A guest did what its VMM must decide about.
    Vcpu {
        /// ESR_EL2.
        syndrome: u64,
    },
    /// A breakpoint instruction, which a debug kernel tells apart.
    Breakpoint,
    /// A private interrupt of a guest happened.
    PrivateInterrupt {
        /// Its INTID.
        number: u64,
    },
}

/// The words of a message.
pub(crate) type Words = heapless::Vec<u64, MAX_WORDS>;

impl Fault {
    /// The message's label.
    pub const fn label(&self) -> Label {
        match self {
            Self::Cap { .. } => Label::Cap,
            Self::UnknownSyscall { .. } => Label::UnknownSyscall,
            Self::User { .. } => Label::UserException,
            Self::Memory { .. } => Label::Vm,
            Self::Maintenance { .. } => Label::VgicMaintenance,
            Self::Vcpu { .. } => Label::Vcpu,
            Self::Breakpoint => Label::Debug,
            Self::PrivateInterrupt { .. } => Label::VppiEvent,
        }
    }

    /// The message's words, for a thread with these registers.
    pub(crate) fn words(&self, context: &Context) -> Words {
        let mut words = Words::new();
        let mut push = |values: &[u64]| {
            // Every message below fits.
            let _ = words.extend_from_slice(values);
        };
        match *self {
            Self::Cap {
                cptr,
                receiving,
                failure,
            } => {
                push(&[context.restart, cptr, u64::from(receiving)]);
                match failure {
                    LookupFailure::Missing => push(&[2, 0]),
                    LookupFailure::Guard { left, bits } => {
                        push(&[4, u64::from(left), 0, u64::from(bits)]);
                    }
                }
            }
            Self::UnknownSyscall { number } => {
                push(context.x.first_chunk::<8>().map_or(&[][..], |x| x));
                push(&[
                    context.restart,
                    context.sp,
                    context.pc,
                    context.spsr,
                    number,
                ]);
            }
            Self::User { syndrome } => {
                push(&[context.restart, context.sp, context.spsr, syndrome, 0]);
            }
            Self::Memory {
                address,
                fetch,
                syndrome,
            } => push(&[context.restart, address, u64::from(fetch), syndrome]),
            Self::Maintenance { register } => push(&[register.map_or(u64::MAX, u64::from)]),
            Self::Vcpu { syndrome } => push(&[syndrome]),
            Self::Breakpoint => push(&[context.restart, SOFTWARE_BREAK]),
            Self::PrivateInterrupt { number } => push(&[number]),
        }
        words
    }

    /// Applies the words of an answer to the registers of the thread; whether the thread goes on.
    pub(crate) fn answer(
        &self,
        context: &mut Context,
        is_vcpu: bool,
        label: u64,
        words: &[u64],
    ) -> bool {
        match self {
            Self::UnknownSyscall { .. } => {
                for (index, word) in words.iter().take(12).enumerate() {
                    match index {
                        0..=7 => context.set_general(index, *word),
                        8 => context.restart = *word,
                        9 => context.sp = *word,
                        10 => context.pc = *word,
                        _ => context.set_word(2, *word, is_vcpu),
                    }
                }
                label == 0
            }
            Self::User { .. } => {
                for (index, word) in words.iter().take(3).enumerate() {
                    context.set_word(index, *word, is_vcpu);
                }
                label == 0
            }
            Self::Breakpoint => label == 0,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let mut context = Context::new();
        for (number, x) in context.x.iter_mut().enumerate() {
            *x = number as u64;
        }
        context.restart = 0x1000;
        context.pc = 0x1004;
        context.sp = 0x2000;
        context.spsr = 0x140;
        context
    }

    #[test]
    fn messages_have_the_words_of_the_interface() {
        let words = |fault: Fault| fault.words(&context()).to_vec();
        let memory = Fault::Memory {
            address: 5,
            fetch: true,
            syndrome: 9,
        };
        assert_eq!(words(memory), [0x1000, 5, 1, 9]);
        assert_eq!(words(Fault::Maintenance { register: None }), [u64::MAX]);
        assert_eq!(
            words(Fault::UnknownSyscall { number: 3 }),
            [0, 1, 2, 3, 4, 5, 6, 7, 0x1000, 0x2000, 0x1004, 0x140, 3]
        );
        let cap = Fault::Cap {
            cptr: 999,
            receiving: true,
            failure: LookupFailure::Guard { left: 58, bits: 49 },
        };
        assert_eq!(words(cap), [0x1000, 999, 1, 4, 58, 0, 49]);
    }

    #[test]
    fn an_answer_to_an_unknown_call_sets_registers_and_sanitises() {
        let mut registers = context();
        let fault = Fault::UnknownSyscall { number: 3 };
        let mut words = [7; 12];
        words[11] = 0x3c9;
        assert!(fault.answer(&mut registers, false, 0, &words));
        assert_eq!((registers.general(0), registers.restart), (7, 7));
        assert_eq!(registers.spsr, 0x40);
        assert!(!fault.answer(&mut registers, false, 1, &[]));
    }
}
