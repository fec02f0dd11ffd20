//! Children of the protection domain: other PDs, and the vCPUs of its guest.

use crate::message::{get_mr, invoke, set_mr};
use crate::state::with;
use crate::{Error, MessageInfo, VcpuRegister, sys};
use core::fmt;
use sel4cp_abi::{slot, vcpu::CONTEXT_WORDS};

/// A child PD or a vCPU, as a fault names it (they share one id space).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child(u8);

/// A vCPU of the PD's virtual machine: its thread and its system registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vcpu(u8);

impl Child {
    /// The child with this id (the system file's `id`, 0 to 61).
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// Its id.
    pub const fn id(self) -> u8 {
        self.0
    }

    /// The child as a vCPU, for PDs whose children are vCPUs.
    pub const fn vcpu(self) -> Vcpu {
        Vcpu(self.0)
    }

    /// Starts the PD again from the beginning. Programs of this runtime then find their data as it was when
    /// the system booted.
    ///
    /// # Errors
    /// The kernel's, if there is no such child.
    pub fn restart(self) -> Result<(), Error> {
        write_registers(self.tcb(), true, &[crate::ENTRY])
    }

    /// Stops the PD.
    ///
    /// # Errors
    /// The kernel's, if there is no such child.
    pub fn suspend(self) -> Result<(), Error> {
        suspend(self.tcb())
    }

    /// Lets a stopped PD go on; one that waits for the answer to a fault tries again.
    ///
    /// # Errors
    /// The kernel's, if there is no such child.
    pub fn resume(self) -> Result<(), Error> {
        resume(self.tcb())
    }

    /// Reads the first general registers, at most 36 in the order of [`sel4cp_abi::vcpu::context_word`], and stops the
    /// PD, in one call.
    ///
    /// # Errors
    /// The kernel's, if there is no such child.
    pub fn suspend_and_read_regs(self, words: &mut [u64]) -> Result<(), Error> {
        read_registers(self.tcb(), true, words)
    }

    fn tcb(self) -> u64 {
        slot::CHILD_TCB + u64::from(self.0)
    }
}

impl Vcpu {
    /// The vCPU with this id (the system file's `id`).
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// Its id.
    pub const fn id(self) -> u8 {
        self.0
    }

    /// Reads the first general registers, at most 36, in the order of [`sel4cp_abi::vcpu::context_word`].
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn read_regs(self, words: &mut [u64]) -> Result<(), Error> {
        read_registers(self.tcb(), false, words)
    }

    /// Reads word `index` of its general registers, counted as by [`sel4cp_abi::vcpu::context_word`]. The kernel hands over those before
    /// it too; they are not looked at.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU or no such word.
    pub fn read_word(self, index: usize) -> Result<u64, Error> {
        let label = with(|state| state.labels.get().tcb_read_registers);
        invoke(self.tcb(), label, &[0, index as u64 + 1])?;
        Ok(get_mr(index))
    }

    /// Reads the first general registers and stops the vCPU, in one call: it is not waiting for the answer to its
    /// fault any more.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn suspend_and_read_regs(self, words: &mut [u64]) -> Result<(), Error> {
        read_registers(self.tcb(), true, words)
    }

    /// Writes the first general registers, at most 36 in the order of [`sel4cp_abi::vcpu::context_word`], and
    /// lets the vCPU run if `resume`. A fault that it waits for the answer of is thereby answered.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn write_regs(self, resume: bool, words: &[u64]) -> Result<(), Error> {
        write_registers(self.tcb(), resume, words)
    }

    /// Lets the vCPU run from where it is.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn resume(self) -> Result<(), Error> {
        resume(self.tcb())
    }

    /// Stops the vCPU.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn suspend(self) -> Result<(), Error> {
        suspend(self.tcb())
    }

    /// Reads a system register.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU.
    pub fn read_register(self, register: VcpuRegister) -> Result<u64, Error> {
        let label = with(|state| state.labels.get().arm_vcpu_read_regs);
        invoke(self.object(), label, &[register as u64])?;
        Ok(get_mr(0))
    }

    /// Writes a system register.
    ///
    /// # Errors
    /// The kernel's, if there is no such vCPU or no such register.
    pub fn write_register(self, register: VcpuRegister, value: u64) -> Result<(), Error> {
        let label = with(|state| state.labels.get().arm_vcpu_write_regs);
        invoke(self.object(), label, &[register as u64, value])
    }

    /// Puts interrupt `virq` (0 to 1023) with `priority` (0 to 31, lower is more urgent) and `group` (0 or 1)
    /// into list register `list_register`, pending. A pending one that is there already is lost.
    ///
    /// # Errors
    /// [`Error::DeleteFirst`] if what is in the list register is active, [`Error::RangeError`] if there is no
    /// such list register or an argument is out of its range.
    pub fn inject_irq(
        self,
        virq: u16,
        priority: u8,
        group: u8,
        list_register: u8,
    ) -> Result<(), Error> {
        let label = with(|state| state.labels.get().arm_vcpu_inject_irq);
        let word = u64::from(virq)
            | u64::from(priority) << 16
            | u64::from(group) << 24
            | u64::from(list_register) << 32;
        invoke(self.object(), label, &[word])
    }

    /// Lets the kernel pass the next virtual private interrupt `irq` (27: the virtual timer's).
    ///
    /// # Errors
    /// The kernel's, if `irq` is not one that it passes.
    pub fn ack_vppi(self, irq: u64) -> Result<(), Error> {
        let label = with(|state| state.labels.get().arm_vcpu_ack_vppi);
        invoke(self.object(), label, &[irq])
    }

    fn tcb(self) -> u64 {
        slot::VCPU_TCB + u64::from(self.0)
    }

    fn object(self) -> u64 {
        slot::VCPU + u64::from(self.0)
    }
}

fn read_registers(tcb: u64, suspend: bool, words: &mut [u64]) -> Result<(), Error> {
    let count = words.len().min(CONTEXT_WORDS);
    let label = with(|state| state.labels.get().tcb_read_registers);
    invoke(tcb, label, &[suspend.into(), count as u64])?;
    for (index, word) in words.iter_mut().take(count).enumerate() {
        *word = get_mr(index);
    }
    Ok(())
}

fn write_registers(tcb: u64, resume: bool, words: &[u64]) -> Result<(), Error> {
    let label = with(|state| state.labels.get().tcb_write_registers);
    let count = words.len().min(CONTEXT_WORDS);
    set_mr(0, u64::from(resume));
    set_mr(1, count as u64);
    for (index, word) in words.iter().take(count).enumerate() {
        set_mr(index + 2, *word);
    }
    let answer = sys::call(tcb, MessageInfo::new(label.into(), count + 2));
    Error::from_label(answer.label()).map_or(Ok(()), Err)
}

fn suspend(tcb: u64) -> Result<(), Error> {
    invoke(tcb, with(|state| state.labels.get().tcb_suspend), &[])
}

fn resume(tcb: u64) -> Result<(), Error> {
    invoke(tcb, with(|state| state.labels.get().tcb_resume), &[])
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child {}", self.0)
    }
}

impl fmt::Debug for Vcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vCPU {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{self, Call};
    use sel4cp_abi::vcpu::CONTEXT_PC;

    const VCPU: Vcpu = Vcpu::new(0);

    #[test]
    fn registers_come_back_as_they_were_written() {
        VCPU.write_regs(true, &[0x4000_0000, 0, 5, 42]).unwrap();
        let written = vec![0x4000_0000, 0, 5, 42];
        assert_eq!(host::calls(), [Call::WriteRegs(VCPU, true, written)]);
        let mut words = [0; 4];
        VCPU.read_regs(&mut words).unwrap();
        assert_eq!(words, [0x4000_0000, 0, 5, 42]);
        assert_eq!(VCPU.read_word(3), Ok(42));
        assert_eq!(host::context_of(VCPU)[CONTEXT_PC], 0x4000_0000);
        VCPU.write_register(VcpuRegister::VbarEl1, 7).unwrap();
        assert_eq!(VCPU.read_register(VcpuRegister::VbarEl1), Ok(7));
        assert_eq!(VCPU.read_register(VcpuRegister::EsrEl1), Ok(0));
    }

    #[test]
    fn no_more_than_a_context_is_transferred() {
        let mut words = [1; 200];
        VCPU.write_regs(false, &words).unwrap();
        words.fill(0);
        VCPU.read_regs(&mut words).unwrap();
        assert_eq!(words.iter().sum::<u64>(), CONTEXT_WORDS as u64);
    }

    #[test]
    fn an_injection_is_one_word() {
        VCPU.inject_irq(48, 20, 1, 3).unwrap();
        let expected = Call::InjectIrq {
            vcpu: VCPU,
            virq: 48,
            priority: 20,
            group: 1,
            list_register: 3,
        };
        assert_eq!(host::calls(), [expected]);
        host::refuse(Error::DeleteFirst);
        assert_eq!(VCPU.inject_irq(48, 20, 1, 3), Err(Error::DeleteFirst));
    }

    #[test]
    fn a_child_starts_again_at_the_entry() {
        let child = Child::new(3);
        child.restart().unwrap();
        child.suspend().unwrap();
        child.resume().unwrap();
        assert_eq!(
            host::calls(),
            [
                Call::Restart(child, crate::ENTRY),
                Call::SuspendChild(child),
                Call::ResumeChild(child)
            ]
        );
    }

    #[test]
    fn a_child_whose_registers_are_read_is_stopped() {
        let child = Child::new(3);
        host::set_child_context(child, CONTEXT_PC, 0x20_0004);
        let mut words = [0; 3];
        child.suspend_and_read_regs(&mut words).unwrap();
        assert_eq!(words, [0x20_0004, 0, 0]);
        assert_eq!(
            host::calls(),
            [Call::SuspendChild(child), Call::ReadChild(child, 3)]
        );
    }
}
