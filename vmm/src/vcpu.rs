//! A vCPU: its registers, and what it is doing.

use crate::exit::Syndrome;
use sel4cp_abi::vcpu::{
    CONTEXT_PC, CONTEXT_SP, CONTEXT_SPSR, CONTEXT_WORDS, VcpuRegister, context_word,
};
use sel4cp_pd::{Error, Vcpu};

/// Words of a context that are read first: pc, sp, spsr, x0 to x8, which is where compilers keep what a device access
/// needs.
const FIRST_WORDS: usize = 12;
/// Words up to x30.
const MORE_WORDS: usize = 17;
/// SPSR of a vCPU that starts: EL1 with its own stack pointer, all interrupts masked.
const START_SPSR: u64 = 0x3c5;
/// SCTLR_EL1 after reset: MMU and caches off, only the bits that ARMv8.0 has as one.
const START_SCTLR: u64 = 0x30d0_0800;
/// MPIDR_EL1: the bit that is always one.
const MPIDR_ONE: u64 = 1 << 31;
/// CNTV_CTL_EL0: enabled, masked.
const TIMER_ENABLE: u64 = 1;
const TIMER_MASK: u64 = 2;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not started, or stopped by CPU_OFF.
    #[default]
    Off,
    /// Running, or about to.
    Running,
    /// In WFI or CPU_SUSPEND.
    Sleeping(Sleep),
    /// It wrote to a device, which is not done with it.
    Held(Hold),
    /// Emptying its list registers before the guest starts again.
    Draining,
}

/// How a vCPU sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Its timer makes an interrupt pending at this tick of CNTPCT.
    pub until: Option<u64>,
    /// Where it goes on: it is told when it wakes, which takes one call for both.
    pub pc: u64,
}

/// Why a vCPU is held. It goes on behind the instruction at `ip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Until this device is reset.
    Reset {
        /// Index of the device.
        device: usize,
        /// The instruction.
        ip: u64,
    },
    /// Until the UART takes the value.
    Uart {
        /// What it wrote.
        value: u64,
        /// The instruction.
        ip: u64,
    },
}

/// General registers of a stopped vCPU, read when they are asked for: as few as do.
pub struct Context {
    vcpu: Vcpu,
    words: [u64; CONTEXT_WORDS],
    read: usize,
}

impl Context {
    /// Nothing read yet.
    pub fn new(vcpu: Vcpu) -> Self {
        Self {
            vcpu,
            words: [0; CONTEXT_WORDS],
            read: 0,
        }
    }

    fn word(&mut self, index: usize) -> Result<u64, Error> {
        if index >= self.read {
            let count = match index {
                ..FIRST_WORDS => FIRST_WORDS,
                FIRST_WORDS..MORE_WORDS => MORE_WORDS,
                _ => CONTEXT_WORDS,
            };
            if let Some(words) = self.words.get_mut(..count) {
                self.vcpu.read_regs(words)?;
            }
            self.read = count;
        }
        Ok(self.words.get(index).copied().unwrap_or(0))
    }

    /// General register `x`; 31 is the zero register.
    ///
    /// # Errors
    /// The kernel's.
    #[inline]
    pub fn x(&mut self, x: u8) -> Result<u64, Error> {
        match context_word(x) {
            Some(index) => self.word(index),
            None => Ok(0),
        }
    }

    /// The program counter.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pc(&mut self) -> Result<u64, Error> {
        self.word(CONTEXT_PC)
    }

    /// The saved program status.
    ///
    /// # Errors
    /// The kernel's.
    pub fn spsr(&mut self) -> Result<u64, Error> {
        self.word(CONTEXT_SPSR)
    }

    /// All 36 words.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all(&mut self) -> Result<&[u64; CONTEXT_WORDS], Error> {
        self.word(CONTEXT_WORDS - 1)?;
        Ok(&self.words)
    }

    /// Lets the vCPU go on at `pc` with `value` in general register `x` (nothing is written for the zero register).
    ///
    /// # Errors
    /// The kernel's.
    #[cold]
    pub fn finish(mut self, pc: u64, x: u8, value: u64) -> Result<(), Error> {
        let Some(index) = context_word(x) else {
            return resume_at(self.vcpu, pc);
        };
        self.word(index)?;
        for (at, to) in [(CONTEXT_PC, pc), (index, value)] {
            if let Some(word) = self.words.get_mut(at) {
                *word = to;
            }
        }
        let words = self.words.get(..=index).unwrap_or_default();
        self.vcpu.write_regs(true, words)
    }

    /// Has the vCPU take an exception, as the hardware would have it.
    ///
    /// # Errors
    /// The kernel's.
    #[cold]
    pub fn take(mut self, exception: Exception) -> Result<(), Error> {
        let (pc, sp, spsr) = (self.pc()?, self.word(CONTEXT_SP)?, self.spsr()?);
        let vbar = self.vcpu.read_register(VcpuRegister::VbarEl1)?;
        let entry = exception.entry(spsr, vbar);
        let vcpu = self.vcpu;
        vcpu.write_register(VcpuRegister::EsrEl1, entry.esr)?;
        vcpu.write_register(VcpuRegister::ElrEl1, pc)?;
        vcpu.write_register(VcpuRegister::SpsrEl1, spsr)?;
        vcpu.write_regs(true, &[entry.pc, sp, entry.spsr])
    }
}

/// General register `x` of `vcpu`, which is stopped; 31 is the zero register.
///
/// # Errors
/// The kernel's.
#[inline]
pub fn general(vcpu: Vcpu, x: u8) -> Result<u64, Error> {
    context_word(x).map_or(Ok(0), |index| vcpu.read_word(index))
}

/// Moves `vcpu`, which waits for the answer to its fault, to `pc`.
///
/// # Errors
/// The kernel's.
#[inline]
pub fn move_to(vcpu: Vcpu, pc: u64) -> Result<(), Error> {
    vcpu.write_regs(false, &[pc])
}

/// Lets `vcpu` go on at `pc`.
///
/// # Errors
/// The kernel's.
#[inline]
pub fn resume_at(vcpu: Vcpu, pc: u64) -> Result<(), Error> {
    vcpu.write_regs(true, &[pc])
}

/// Sets all registers of `vcpu`, which is stopped, as after power-on, and starts it at `entry` with `x0` and `x1`.
///
/// # Errors
/// The kernel's.
pub fn start(vcpu: Vcpu, entry: u64, x0: u64, x1: u64) -> Result<(), Error> {
    use VcpuRegister as R;
    for register in [
        R::CpacrEl1,
        R::Ttbr0El1,
        R::Ttbr1El1,
        R::TcrEl1,
        R::MairEl1,
        R::AmairEl1,
        R::ContextidrEl1,
        R::Afsr0El1,
        R::Afsr1El1,
        R::EsrEl1,
        R::FarEl1,
        R::ParEl1,
        R::VbarEl1,
        R::TpidrEl1,
        R::SpEl1,
        R::ElrEl1,
        R::SpsrEl1,
        R::CntvCtlEl0,
        R::CntvCvalEl0,
        R::CntvoffEl2,
        R::CntkctlEl1,
    ] {
        vcpu.write_register(register, 0)?;
    }
    vcpu.write_register(R::SctlrEl1, START_SCTLR)?;
    vcpu.write_register(R::VmpidrEl2, MPIDR_ONE | u64::from(vcpu.id()))?;
    let mut words = [0; CONTEXT_WORDS];
    for (index, value) in [
        (Some(CONTEXT_PC), entry),
        (Some(CONTEXT_SPSR), START_SPSR),
        (context_word(0), x0),
        (context_word(1), x1),
    ] {
        if let Some(word) = index.and_then(|index| words.get_mut(index)) {
            *word = value;
        }
    }
    vcpu.write_regs(true, &words)
}

/// When the virtual timer of `vcpu` makes its interrupt pending, in ticks of CNTPCT; `None` if it is off or masked. A vCPU has
/// [started](start) with CNTVOFF_EL2 = 0, and no kernel moves it: Microkit's seL4 is built without `VTIMER_UPDATE_VOFFSET`.
///
/// # Errors
/// The kernel's.
pub fn timer_deadline(vcpu: Vcpu) -> Result<Option<u64>, Error> {
    let control = vcpu.read_register(VcpuRegister::CntvCtlEl0)?;
    if control & (TIMER_ENABLE | TIMER_MASK) != TIMER_ENABLE {
        return Ok(None);
    }
    Ok(Some(vcpu.read_register(VcpuRegister::CntvCvalEl0)?))
}

/// An exception that we have a guest take at EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A load or store to nothing: a synchronous external abort.
    Data(Syndrome),
    /// An instruction fetch from nothing.
    Fetch,
    /// An instruction or a system register that there is not.
    Undefined,
}

/// Where and how an exception is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pc: u64,
    spsr: u64,
    esr: u64,
}

impl Exception {
    /// Taken from the state `spsr`, with vectors at `vbar` (Arm ARM D1.4).
    const fn entry(self, spsr: u64, vbar: u64) -> Entry {
        const FROM_AARCH32: u64 = 1 << 4;
        const MODE: u64 = 0xf;
        const EL1T: u64 = 0b0100;
        const EL1H: u64 = 0b0101;
        const IL: u64 = 1 << 25;
        /// FAR_EL1 is not valid: the kernel tells guest-physical addresses only.
        const FNV: u64 = 1 << 10;
        const EXTERNAL: u64 = 0x10;
        const WRITE: u64 = 1 << 6;
        const CACHE_MAINTENANCE: u64 = 1 << 8;
        /// PSTATE.PAN stays as it is.
        const PAN: u64 = 1 << 22;

        let lower = spsr & MODE != EL1T && spsr & MODE != EL1H;
        let offset = match spsr & MODE {
            _ if spsr & FROM_AARCH32 != 0 => 0x600,
            EL1T => 0x000,
            EL1H => 0x200,
            _ => 0x400,
        };
        let esr = match self {
            Self::Data(syndrome) => {
                let class = if lower { 0x24 } else { 0x25 };
                let how = syndrome.0 & (WRITE | CACHE_MAINTENANCE);
                class << 26 | IL | FNV | how | EXTERNAL
            }
            Self::Fetch => {
                let class = if lower { 0x20 } else { 0x21 };
                class << 26 | IL | FNV | EXTERNAL
            }
            Self::Undefined => IL,
        };
        Entry {
            pc: vbar.wrapping_add(offset),
            spsr: START_SPSR | spsr & PAN,
            esr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_pd::host::{self, Call};

    const VCPU: Vcpu = Vcpu::new(0);

    fn fill() {
        for word in 0..CONTEXT_WORDS {
            host::set_context(VCPU, word, 1000 + word as u64);
        }
    }

    #[test]
    fn few_registers_are_read_first() {
        fill();
        let mut context = Context::new(VCPU);
        assert_eq!(context.x(31), Ok(0));
        assert_eq!(host::calls(), []);
        assert_eq!(
            (context.x(0), context.x(8), context.pc()),
            (Ok(1003), Ok(1011), Ok(1000))
        );
        assert_eq!(host::calls(), [Call::ReadRegs(VCPU, 12)]);
        assert_eq!(context.x(30), Ok(1016));
        assert_eq!(context.x(19), Ok(1024));
        assert_eq!(context.x(9), Ok(1017));
        assert_eq!(
            host::calls(),
            [Call::ReadRegs(VCPU, 17), Call::ReadRegs(VCPU, 36)]
        );
    }

    #[test]
    fn as_little_as_possible_is_written_back() {
        fill();
        resume_at(VCPU, 0x44).unwrap();
        assert_eq!(host::calls(), [Call::WriteRegs(VCPU, true, vec![0x44])]);
        Context::new(VCPU).finish(0x48, 31, 9).unwrap();
        assert_eq!(host::calls(), [Call::WriteRegs(VCPU, true, vec![0x48])]);
        Context::new(VCPU).finish(0x4c, 1, 9).unwrap();
        let expected = [
            Call::ReadRegs(VCPU, 12),
            Call::WriteRegs(VCPU, true, vec![0x4c, 1001, 1002, 1003, 9]),
        ];
        assert_eq!(host::calls(), expected);
        Context::new(VCPU).finish(0x50, 28, 9).unwrap();
        let context = host::context_of(VCPU);
        assert_eq!(
            (context[0], context[33], context[32], context[34]),
            (0x50, 9, 1032, 1034)
        );
    }

    #[test]
    fn a_vcpu_starts_as_after_power_on() {
        start(VCPU, 0x4000_0000, 7, 8).unwrap();
        let calls = host::calls();
        let written = |register: VcpuRegister| {
            calls.iter().find_map(|call| match call {
                Call::WriteRegister(_, field, value) if *field == register as u64 => Some(*value),
                _ => None,
            })
        };
        assert_eq!(written(VcpuRegister::SctlrEl1), Some(START_SCTLR));
        assert_eq!(written(VcpuRegister::VmpidrEl2), Some(0x8000_0000));
        assert_eq!(written(VcpuRegister::CntvCtlEl0), Some(0));
        assert_eq!(written(VcpuRegister::CntvoffEl2), Some(0));
        // The auxiliary control register is the hardware's.
        assert_eq!(written(VcpuRegister::ActlrEl1), None);
        let context = host::context_of(VCPU);
        assert_eq!(context[..6], [0x4000_0000, 0, 0x3c5, 7, 8, 0]);
        assert!(matches!(calls.last(), Some(Call::WriteRegs(_, true, words)) if words.len() == 36));
    }

    #[test]
    fn the_deadline_is_that_of_a_timer_that_may_interrupt() {
        let set = |control, compare| {
            host::set_register(VCPU, VcpuRegister::CntvCtlEl0, control);
            host::set_register(VCPU, VcpuRegister::CntvCvalEl0, compare);
            timer_deadline(VCPU)
        };
        assert_eq!(set(1, 100), Ok(Some(100)));
        assert_eq!(set(5, 100), Ok(Some(100)), "its status does not matter");
        assert_eq!(set(0, 100), Ok(None));
        assert_eq!(set(3, 100), Ok(None));
        assert_eq!(set(1, u64::MAX), Ok(Some(u64::MAX)));
    }

    #[test]
    fn exceptions_are_taken_as_the_hardware_does() {
        let write = Syndrome(0x9383_004f);
        let data = Exception::Data(write);
        let from_kernel = data.entry(0x6040_0085, 0x8000);
        let expected = Entry {
            pc: 0x8200,
            spsr: 0x40_03c5,
            esr: 0x25 << 26 | 1 << 25 | 1 << 10 | 1 << 6 | 0x10,
        };
        // Mode EL1h is 5; 0x85 has interrupts masked besides.
        assert_eq!(from_kernel, expected);
        assert_eq!(data.entry(0x84, 0x8000).pc, 0x8000);
        let from_user = data.entry(0, 0x8000);
        assert_eq!((from_user.pc, from_user.esr >> 26), (0x8400, 0x24));
        assert_eq!(data.entry(0x10, 0x8000).pc, 0x8600);
        assert_eq!(Exception::Fetch.entry(0x3c5, 0).esr, 0x8600_0410);
        assert_eq!(Exception::Fetch.entry(0, 0).esr, 0x8200_0410);
        assert_eq!(Exception::Undefined.entry(0x3c5, 0).esr, 0x0200_0000);
    }

    #[test]
    fn an_exception_keeps_the_stack_pointer() {
        host::set_context(VCPU, 0, 0x1234);
        host::set_context(VCPU, 1, 0x5678);
        host::set_context(VCPU, 2, 0x3c5);
        host::set_register(VCPU, VcpuRegister::VbarEl1, 0xffff_0000);
        Context::new(VCPU).take(Exception::Undefined).unwrap();
        assert_eq!(host::context_of(VCPU)[..3], [0xffff_0200, 0x5678, 0x3c5]);
        let calls = host::calls();
        assert!(calls.contains(&Call::WriteRegister(
            VCPU,
            VcpuRegister::ElrEl1 as u64,
            0x1234
        )));
        assert!(calls.contains(&Call::WriteRegister(
            VCPU,
            VcpuRegister::SpsrEl1 as u64,
            0x3c5
        )));
    }
}
