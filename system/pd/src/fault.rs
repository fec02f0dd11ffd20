//! Faults as the kernel's messages tell them: what happened, and where.

use crate::{MessageInfo, get_mr};
use core::fmt;
use sel4cp_abi::fault::Fault as Label;

/// A fault of a child, in words when displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub cause: Cause,
    /// The instruction, if the message names it.
    pub pc: Option<u64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An access that the address space does not allow.
    Memory {
        /// The address; guest-physical for a vCPU.
        address: u64,
        /// While fetching an instruction.
        fetch: bool,
        /// The exception's syndrome (ESR).
        syndrome: u64,
    },
    /// A system call that does not exist.
    UnknownSyscall(u64),
    /// An instruction that may not be executed: the exception's syndrome (ESR).
    Exception(u64),
    /// A capability that does not exist.
    Capability {
        /// Its pointer.
        pointer: u64,
        /// While receiving (or sending).
        receiving: bool,
    },
    /// A debug exception.
    Debug {
        /// Which kind, as the kernel numbers them.
        reason: u64,
        /// The address that triggered it.
        address: u64,
    },
    /// The time budget is used up: what the scheduling context is called, and the time that it consumed.
    Timeout(u64, u64),
    /// Anything else: the message's label and its first word.
    Other(u64, u64),
}

impl Fault {
    /// The fault in the message that has just been received.
    pub fn received(info: MessageInfo) -> Self {
        let cause = match Label::from_label(info.label()) {
            Some(Label::Vm) => Cause::Memory {
                address: get_mr(1),
                fetch: get_mr(2) != 0,
                syndrome: get_mr(3),
            },
            Some(Label::UnknownSyscall) => Cause::UnknownSyscall(get_mr(12)),
            Some(Label::UserException) => Cause::Exception(get_mr(3)),
            // What is no undefined instruction is a vCPU's fault for seL4, also when a PD has caused it.
            Some(Label::Vcpu) => Cause::Exception(get_mr(0)),
            Some(Label::Cap) => Cause::Capability {
                pointer: get_mr(1),
                receiving: get_mr(2) != 0,
            },
            Some(Label::Debug) => Cause::Debug {
                reason: get_mr(1),
                address: get_mr(2),
            },
            Some(Label::Timeout) => Cause::Timeout(get_mr(0), get_mr(1)),
            Some(Label::VgicMaintenance | Label::VppiEvent) | None => {
                Cause::Other(info.label(), get_mr(0))
            }
        };
        let pc = match Label::from_label(info.label()) {
            Some(Label::Vm | Label::UserException | Label::Cap | Label::Debug) => Some(get_mr(0)),
            Some(Label::UnknownSyscall) => Some(get_mr(8)),
            _ => None,
        };
        Self { cause, pc }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match self.pc {
            Some(pc) => write!(f, ", at pc {pc:#x}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Memory {
                address,
                fetch,
                syndrome,
            } => {
                let access = match (fetch, is_write(syndrome)) {
                    (true, _) => "instruction abort: fetch from",
                    (false, true) => "data abort: write to",
                    (false, false) => "data abort: read from",
                };
                write!(f, "{access} {address:#x}, {}", why(syndrome))
            }
            Self::UnknownSyscall(number) => {
                write!(f, "unknown system call {}", number.cast_signed())
            }
            Self::Exception(syndrome) => write!(f, "user exception: {}", class(syndrome)),
            Self::Capability { pointer, receiving } => {
                let doing = if receiving { "receiving on" } else { "using" };
                write!(
                    f,
                    "capability fault: {doing} capability {pointer:#x}, which it does not have"
                )
            }
            Self::Debug { reason, address } => {
                write!(f, "debug exception: {}", debug(reason))?;
                match address {
                    0 => Ok(()),
                    address => write!(f, " {address:#x}"),
                }
            }
            Self::Timeout(data, consumed) => {
                write!(
                    f,
                    "timeout of scheduling context {data:#x}, {consumed} consumed"
                )
            }
            Self::Other(label, word) => {
                write!(f, "fault of unknown kind {label}, first word {word:#x}")
            }
        }
    }
}

impl Cause {
    /// The exception's syndrome (ESR), if there was an exception.
    pub const fn syndrome(&self) -> Option<u64> {
        match *self {
            Self::Memory { syndrome, .. } | Self::Exception(syndrome) => Some(syndrome),
            _ => None,
        }
    }
}

/// Whether the syndrome of a data abort is a write's (Arm ARM, ESR_EL2.ISS.WnR).
const fn is_write(syndrome: u64) -> bool {
    syndrome >> 6 & 1 != 0
}

/// Why an access was not allowed (Arm ARM, ESR_EL2.ISS.DFSC and IFSC).
const fn why(syndrome: u64) -> &'static str {
    match syndrome & 0x3f {
        0x00..=0x03 => "which is beyond the address space",
        0x04..=0x07 => "which is not mapped",
        0x0c..=0x0f => "which is mapped without that right",
        0x10..=0x17 => "where nothing answered",
        0x21 => "which is not aligned for it",
        _ => "for a reason that the syndrome gives",
    }
}

/// What kind of exception it was (Arm ARM, ESR_EL2.EC).
const fn class(syndrome: u64) -> &'static str {
    match syndrome >> 26 & 0x3f {
        0x00 => "undefined instruction",
        0x07 => "use of the FPU, which it does not have",
        0x16 | 0x17 => "call of a hypervisor or a secure monitor",
        0x18 => "access to a system register",
        0x22 => "pc that is not aligned",
        0x26 => "sp that is not aligned",
        0x2f => "system error",
        0x3c => "breakpoint instruction",
        _ => "exception of a kind that the syndrome gives",
    }
}

/// The kinds of debug exceptions, as seL4 numbers them.
const fn debug(reason: u64) -> &'static str {
    match reason {
        0 => "breakpoint",
        1 => "watchpoint",
        2 => "single step",
        3 => "breakpoint instruction",
        _ => "of unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set_mr;

    fn shown(label: Label, words: &[u64]) -> String {
        for (index, word) in words.iter().enumerate() {
            set_mr(index, *word);
        }
        Fault::received(MessageInfo::new(label as u64, words.len())).to_string()
    }

    #[test]
    fn aborts_say_what_was_tried_where_and_why_not() {
        assert_eq!(
            shown(Label::Vm, &[0x20_0004, 0xdead_0000, 0, 0x9200_0045]),
            "data abort: write to 0xdead0000, which is not mapped, at pc 0x200004"
        );
        assert_eq!(
            shown(Label::Vm, &[0x20_0004, 0x8, 0, 0x9200_000f]),
            "data abort: read from 0x8, which is mapped without that right, at pc 0x200004"
        );
        assert_eq!(
            shown(Label::Vm, &[0, 0, 1, 0x8200_0004]),
            "instruction abort: fetch from 0x0, which is not mapped, at pc 0x0"
        );
        assert_eq!(
            shown(Label::Vm, &[4, 0x1001, 0, 0x9200_0021]),
            "data abort: read from 0x1001, which is not aligned for it, at pc 0x4"
        );
    }

    #[test]
    fn exceptions_are_named_by_their_class_however_the_kernel_reports_them() {
        assert_eq!(
            shown(Label::UserException, &[0x20_0000, 0xff00, 0, 0x200_0000, 0]),
            "user exception: undefined instruction, at pc 0x200000"
        );
        assert_eq!(
            shown(Label::Vcpu, &[0xf200_0001]),
            "user exception: breakpoint instruction"
        );
    }

    #[test]
    fn the_other_faults_are_told_apart() {
        let call = [
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0x20_0008,
            0,
            0,
            0,
            (-99_i64).cast_unsigned(),
        ];
        assert_eq!(
            shown(Label::UnknownSyscall, &call),
            "unknown system call -99, at pc 0x200008"
        );
        assert_eq!(
            shown(Label::Cap, &[0x20_000c, 75, 0, 2, 0]),
            "capability fault: using capability 0x4b, which it does not have, at pc 0x20000c"
        );
        assert_eq!(
            shown(Label::Debug, &[0x20_0010, 1, 0x1000, 0]),
            "debug exception: watchpoint 0x1000, at pc 0x200010"
        );
        assert_eq!(
            shown(Label::Timeout, &[3, 1000]),
            "timeout of scheduling context 0x3, 1000 consumed"
        );
        set_mr(0, 7);
        let unknown = Fault::received(MessageInfo::new(99, 1));
        assert_eq!(
            unknown.to_string(),
            "fault of unknown kind 99, first word 0x7"
        );
    }
}
