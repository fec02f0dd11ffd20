//! The hardware below the decisions: QEMU's virt machine, one core, at EL2.

pub(crate) mod clear;
pub(crate) mod clock;
mod entry;
pub(crate) mod exception;
mod fpu;
mod gic;
mod host;
pub(crate) mod image;
mod interrupt;
pub(crate) mod mmu;
pub(crate) mod processor;
mod registers;
pub(crate) mod uart;
mod vcpu;
mod window;
mod world;

use core::fmt;
use core::ops::Range;
use fpu::Fpu;
use gic::Gic;
use mmu::Spaces;
use sel4cp_abi::image::{RAM_END, RAM_START};
use sel4cp_abi::vcpu::VcpuRegister;
use sel4cp_kernel::id::{ThreadId, VcpuId};
use sel4cp_kernel::list_register::ListRegister;
use sel4cp_kernel::machine::{Buffer, CacheOperation, Machine};
pub(crate) use uart::print;
use window::pointer;
use world::World;

/// Words of an IPC buffer, less one: a mask.
const BUFFER_MASK: usize = 511;

/// The hardware's state, in the order of its memory: what is seldom used comes last.
#[repr(C)]
pub(crate) struct Hardware {
    gic: Gic,
    world: World,
    fpu: Fpu,
}

impl Hardware {
    /// Before [`Hardware::start`] nothing of it may be used but printing.
    const fn new() -> Self {
        Self {
            gic: Gic::new(),
            fpu: Fpu::new(),
            world: World::new(),
        }
    }

    /// Starts interrupt controller and timer, and takes the address spaces.
    pub(crate) fn start(&mut self, spaces: Spaces) {
        let list_registers = self.gic.start();
        self.world.start(spaces, list_registers);
        clock::start();
    }
}

impl Machine for Hardware {
    fn now(&mut self) -> u64 {
        clock::now()
    }

    fn set_deadline(&mut self, time: u64) {
        clock::set_deadline(time);
    }

    fn load(&self, buffer: Buffer, index: usize) -> u64 {
        let address = buffer_word(buffer, index);
        // SAFETY: the image's check has shown that IPC buffers are pages of RAM that are not the kernel's; RAM is
        // in the window. The domain may write there at any time: one volatile read, used once.
        unsafe { address.read_volatile() }
    }

    fn store(&mut self, buffer: Buffer, index: usize, value: u64) {
        let address = buffer_word(buffer, index);
        // SAFETY: as for `load`; nothing of the kernel lies there.
        unsafe { address.write_volatile(value) }
    }

    fn load_physical(&self, address: u64) -> Option<u64> {
        if !(RAM_START..RAM_END).contains(&address) || !address.is_multiple_of(8) {
            return None;
        }
        let address = pointer(address).cast::<u64>();
        // SAFETY: aligned, and RAM is in the window and readable everywhere but for the kernel stack's guard page,
        // which no mapping of a domain names.
        Some(unsafe { address.read_volatile() })
    }

    fn finish_interrupt(&mut self, number: u16) {
        self.gic.finish(number);
    }

    fn read_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister) -> u64 {
        self.world.read(vcpu, register)
    }

    fn write_vcpu(&mut self, vcpu: VcpuId, register: VcpuRegister, value: u64) {
        self.world.write(vcpu, register, value);
    }

    fn list_registers(&self) -> u8 {
        self.world.list_registers()
    }

    fn seen_list_register(&self, vcpu: VcpuId, index: u8) -> ListRegister {
        self.world.seen(vcpu, index)
    }

    fn set_list_register(&mut self, vcpu: VcpuId, index: u8, value: ListRegister) {
        self.world.inject(&mut self.gic, vcpu, index, value);
    }

    fn unmask_virtual_timer(&mut self, vcpu: VcpuId) {
        self.world.unmask_timer(vcpu);
    }

    fn release_fpu(&mut self, thread: ThreadId) {
        self.fpu.release(thread);
    }

    fn maintain_cache(&mut self, operation: CacheOperation, memory: Range<u64>) {
        processor::maintain_cache(operation, memory);
    }

    fn secure_call(&mut self, registers: [u64; 8]) -> [u64; 8] {
        processor::secure_call(registers)
    }

    fn put_char(&mut self, character: u8) {
        uart::put_char(character);
    }

    fn print(&mut self, message: fmt::Arguments<'_>) {
        uart::print_arguments(message);
    }

    fn halt(&mut self) {
        processor::halt()
    }
}

fn buffer_word(buffer: Buffer, index: usize) -> *mut u64 {
    pointer(buffer.0)
        .cast::<u64>()
        .wrapping_add(index & BUFFER_MASK)
}
