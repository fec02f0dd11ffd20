//! What the decisions need from the machine.

use crate::id::{ThreadId, VcpuId};
use crate::list_register::ListRegister;
use core::fmt;
use core::ops::Range;
use sel4cp_abi::vcpu::VcpuRegister;

/// Physical address of a thread's IPC buffer, a page of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer(pub u64);

/// What to do with cached lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOperation {
    /// Write data back to memory.
    Clean,
    /// Forget data.
    Invalidate,
    /// Write data back and forget it.
    CleanInvalidate,
    /// Make instruction fetches see data.
    Unify,
}

/// The hardware, or a fake of it.
pub trait Machine {
    /// The system counter.
    fn now(&mut self) -> u64;
    /// Asks for a timer interrupt at `time`, `u64::MAX` for none.
    fn set_deadline(&mut self, time: u64);

    /// Word `index` (below 512) of an IPC buffer.
    fn load(&self, buffer: Buffer, index: usize) -> u64;
    /// Sets word `index` (below 512) of an IPC buffer.
    fn store(&mut self, buffer: Buffer, index: usize, value: u64);
    /// The word at a physical address, if that is RAM and aligned.
    fn load_physical(&self, address: u64) -> Option<u64>;

    /// Lets a device's interrupt happen again.
    fn finish_interrupt(&mut self, number: u16);

    /// Reads a system register of a vCPU.
    fn read_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister) -> u64;
    /// Writes a system register of a vCPU.
    fn write_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister, value: u64);
    /// How many list registers there are.
    fn list_registers(&self) -> u8;
    /// What was last seen in a list register when the vCPU was saved or had a maintenance interrupt.
    fn seen_list_register(&self, vcpu: VcpuId, index: u8) -> ListRegister;
    /// Writes a list register.
    fn set_list_register(&mut self, vcpu: VcpuId, index: u8, value: ListRegister);
    /// Lets the virtual timer of a vCPU raise its event again.
    fn unmask_virtual_timer(&mut self, vcpu: VcpuId);
    /// Takes the FPU away from a thread, its registers saved.
    fn release_fpu(&mut self, thread: ThreadId);

    /// Maintains the caches for a range of physical addresses in RAM or of a device.
    fn maintain_cache(&mut self, operation: CacheOperation, memory: Range<u64>);
    /// Makes a secure monitor call with x0 to x7 and returns them.
    fn secure_call(&mut self, registers: [u64; 8]) -> [u64; 8];

    /// Prints a character.
    fn put_char(&mut self, character: u8);
    /// Prints a message.
    fn print(&mut self, message: fmt::Arguments<'_>);
    /// Stops the machine for good.
    fn halt(&mut self);
}
