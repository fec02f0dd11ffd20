//! Why a guest was stopped, and what is said about it.

use crate::exit::{Exit, Extension};
use crate::load;
use crate::vcpu::Context;
use core::fmt;
use sel4cp_abi::vcpu::{CONTEXT_WORDS, VcpuRegister, context_word};
use sel4cp_pd::{Error, Vcpu, log};

/// Why a guest was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An exit that cannot be served.
    Exit(Exit),
    /// RAM or a register page could not be accessed, though it is mapped: the system file and the kernel disagree.
    Mapping(Exit),
    /// Its files could not be loaded.
    Load(load::Refused),
    /// The kernel refused what we asked it.
    Kernel(Error),
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => describe(exit, f),
            Self::Mapping(exit) => {
                f.write_str("memory that is mapped does not answer: ")?;
                describe(exit, f)
            }
            Self::Load(refused) => refused.fmt(f),
            Self::Kernel(error) => write!(f, "the kernel refused a call of the VMM: {error:?}"),
        }
    }
}

fn describe(exit: &Exit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match exit {
        Exit::Access(access) => write!(f, "{access}"),
        Exit::Fetch {
            ip,
            address,
            syndrome,
        } => write!(
            f,
            "instruction fetch from {address:#x}, pc {ip:#x}, {syndrome:?}"
        ),
        Exit::Extension(extension) => {
            let (name, word) = match extension {
                Extension::PointerAuthentication => ("pointer authentication", "nopauth"),
                Extension::Sve => ("SVE", "nosve"),
                Extension::Sme => ("SME", "nosme"),
            };
            write!(
                f,
                "found an instruction of {name}, which guests do not have; expected a kernel that uses none (Linux: `arm64.{word}` on its \
                 command line), or a processor without it"
            )
        }
        Exit::Other { label, word } => {
            write!(f, "message with label {label}, first word {word:#x}")
        }
        other => write!(f, "{other:?}"),
    }
}

/// Writes the report of a stopped guest: the cause, and what the vCPU was at.
pub(crate) fn stopped(guest: &str, vcpu: Vcpu, cause: &Cause) {
    log::plain(format_args!("sel4cp-vmm: guest {guest} stopped: {cause}"));
    let mut context = Context::new(vcpu);
    let Ok(words) = context.all() else {
        return;
    };
    registers(vcpu, words);
    system(vcpu);
}

/// General registers, four to a line.
fn registers(vcpu: Vcpu, words: &[u64; CONTEXT_WORDS]) {
    let [pc, sp, spsr, ..] = words;
    let id = vcpu.id();
    log!("  vCPU {id}: pc {pc:#018x}  sp_el0 {sp:#018x}  spsr {spsr:#x}");
    let x = |n: u8| {
        context_word(n)
            .and_then(|index| words.get(index))
            .copied()
            .unwrap_or(0)
    };
    for first in (0..31).step_by(4) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|step| x(first + step));
        let last = first + 3;
        if last > 30 {
            log!("  x{first}–x30 {a:#018x} {b:#018x} {c:#018x}");
        } else {
            log!("  x{first}–x{last} {a:#018x} {b:#018x} {c:#018x} {d:#018x}");
        }
    }
}

/// The system registers that tell where an exception came from.
fn system(vcpu: Vcpu) {
    let read = |register| vcpu.read_register(register).unwrap_or(0);
    let [esr, far, elr, vbar] = [
        VcpuRegister::EsrEl1,
        VcpuRegister::FarEl1,
        VcpuRegister::ElrEl1,
        VcpuRegister::VbarEl1,
    ]
    .map(read);
    log!("  esr_el1 {esr:#x}  far_el1 {far:#x}  elr_el1 {elr:#x}  vbar_el1 {vbar:#x}");
    let [sctlr, ttbr0, ttbr1, sp] = [
        VcpuRegister::SctlrEl1,
        VcpuRegister::Ttbr0El1,
        VcpuRegister::Ttbr1El1,
        VcpuRegister::SpEl1,
    ]
    .map(read);
    log!("  sctlr_el1 {sctlr:#x}  ttbr0_el1 {ttbr0:#x}  ttbr1_el1 {ttbr1:#x}  sp_el1 {sp:#x}");
}
