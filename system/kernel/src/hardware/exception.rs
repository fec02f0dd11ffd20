//! Entry from and return to EL0 and EL1.
//!
//! While a thread runs, SP_EL2 points to its saved registers, which lie in the kernel's state; the kernel has one stack,
//! which is empty then.

use super::{Hardware, interrupt, processor};
use aarch64_cpu::registers::{ESR_EL2, FAR_EL2, HPFAR_EL2, Readable};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use sel4cp_kernel::context::Context;
use sel4cp_kernel::fault::Fault;
use sel4cp_kernel::kernel::Kernel;
use sel4cp_kernel::syndrome::{self, Class};
use sel4cp_kernel::thread::Owner;

/// Kinds of exceptions from a lower level, as the vectors number them.
const SYNCHRONOUS: u64 = 0;
const INTERRUPT: u64 = 1;
/// ESR_EL2 of an undefined instruction.
const UNDEFINED: u64 = 1 << 25;
/// Exception class of a trapped WFI or WFE.
const WAIT: u8 = 0x01;
/// Exception class of a trapped access to a system register.
const REGISTER: u8 = 0x18;
/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;
/// Low bits of an address that HPFAR_EL2 does not hold.
const PAGE_OFFSET: u64 = 0xfff;

/// The kernel's state.
pub(super) struct State(UnsafeCell<Kernel<Hardware>>);

// SAFETY: one core, and the kernel runs with interrupts masked: `boot` and then `exception` have it in turn.
unsafe impl Sync for State {}

pub(super) static STATE: State = State(UnsafeCell::new(Kernel::new(Hardware::new())));

global_asm!(
    r#"
    .macro lower kind
    .balign 0x80
    stp x0, x1, [sp, #0]
    mov x0, #\kind
    b   lower_entry
    .endm
    // QEMU leaves its fast path at each write of a system register: most would change nothing.
    .macro change register, value
    mrs x0, \register
    cmp x0, \value
    b.eq .L\@
    msr \register, \value
.L\@:
    .endm
    .macro broken kind
    .balign 0x80
    mov x0, #\kind
    b   crash_entry
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global vectors
vectors:
    broken 0
    broken 1
    broken 2
    broken 3
    broken 4
    broken 5
    broken 6
    broken 7
    lower {synchronous}
    lower {interrupt}
    broken 10
    lower 3
    broken 12
    broken 13
    broken 14
    broken 15

lower_entry:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    mrs x21, sp_el0
    mrs x22, elr_el2
    mrs x23, spsr_el2
    mrs x24, tpidr_el0
    mrs x25, tpidrro_el0
    stp x30, x21, [sp, #240]
    stp x22, x23, [sp, #{pc}]
    stp x24, x25, [sp, #{tpidr}]
    adrp x9, __stack_top
    add sp, x9, :lo12:__stack_top
    mov x29, xzr
    bl  {exception}
    .global leave
leave:
    mov sp, x0
    ldp x22, x23, [sp, #{pc}]
    ldp x24, x25, [sp, #{tpidr}]
    ldp x30, x21, [sp, #240]
    change sp_el0, x21
    change elr_el2, x22
    change spsr_el2, x23
    change tpidr_el0, x24
    change tpidrro_el0, x25
    ldp x0, x1, [sp, #0]
    ldp x2, x3, [sp, #16]
    ldp x4, x5, [sp, #32]
    ldp x6, x7, [sp, #48]
    ldp x8, x9, [sp, #64]
    ldp x10, x11, [sp, #80]
    ldp x12, x13, [sp, #96]
    ldp x14, x15, [sp, #112]
    ldp x16, x17, [sp, #128]
    ldp x18, x19, [sp, #144]
    ldp x20, x21, [sp, #160]
    ldp x22, x23, [sp, #176]
    ldp x24, x25, [sp, #192]
    ldp x26, x27, [sp, #208]
    ldp x28, x29, [sp, #224]
    eret

crash_entry:
    adrp x9, __stack_top
    add sp, x9, :lo12:__stack_top
    bl  {crash}
    .text
"#,
    exception = sym exception,
    crash = sym crash,
    synchronous = const SYNCHRONOUS,
    interrupt = const INTERRUPT,
    pc = const offset_of!(Context, pc),
    tpidr = const offset_of!(Context, tpidr),
);

const _: () = {
    assert!(offset_of!(Context, x) == 0);
    assert!(offset_of!(Context, sp) == 248);
    assert!(offset_of!(Context, spsr) == offset_of!(Context, pc) + 8);
    assert!(offset_of!(Context, tpidrro) == offset_of!(Context, tpidr) + 8);
};

unsafe extern "C" {
    static vectors: u8;
    /// Loads the registers at x0 and returns to the thread.
    fn leave(context: *mut Context) -> !;
}

/// Starts the first thread.
pub(crate) fn run(kernel: &mut Kernel<Hardware>) -> ! {
    let address = (&raw const vectors).addr();
    // SAFETY: from now on exceptions from lower levels come to `exception`.
    unsafe { asm!("msr vbar_el2, {}", "isb", in(reg) address, options(nostack)) };
    let context = next(kernel);
    // SAFETY: the registers of a thread; nothing on the stack is used again.
    unsafe { leave(context) }
}

/// An exception from EL0 or EL1: the running thread's registers are in its context. Returns those of the next.
extern "C" fn exception(kind: u64) -> *mut Context {
    // SAFETY: `STATE` says why nobody else has it now.
    let kernel = unsafe { &mut *STATE.0.get() };
    match kind {
        SYNCHRONOUS => {
            synchronous(kernel);
            if let Some(thread) = kernel.going_on() {
                return kernel.context(thread);
            }
        }
        INTERRUPT => interrupt::handle(kernel),
        // An SError: whatever it was, the thread that ran has caused it, or nobody can tell who.
        _ => kernel.fault(Fault::Vcpu {
            syndrome: ESR_EL2.get(),
        }),
    }
    next(kernel)
}

/// Chooses the next thread, waiting for interrupts while there is none, and makes the processor ready for it.
fn next(kernel: &mut Kernel<Hardware>) -> *mut Context {
    loop {
        if let Some(thread) = kernel.schedule() {
            let (machine, state) = kernel.enter(thread);
            machine.enter(thread, state);
            return &raw mut state.context;
        }
        idle(kernel);
    }
}

#[cold]
fn idle(kernel: &mut Kernel<Hardware>) {
    kernel.machine.rest();
    // Interrupts are masked, but end the wait all the same.
    aarch64_cpu::asm::wfi();
    interrupt::handle(kernel);
}

fn synchronous(kernel: &mut Kernel<Hardware>) {
    let syndrome = ESR_EL2.get();
    let class = syndrome::class(syndrome);
    // Most are calls.
    if matches!(class, Class::SupervisorCall | Class::HypervisorCall) {
        return kernel.system_call();
    }
    rare(kernel, class, syndrome);
}

/// Other exceptions than calls.
#[inline(never)]
fn rare(kernel: &mut Kernel<Hardware>, class: Class, syndrome: u64) {
    let Some(current) = kernel.current() else {
        return;
    };
    match class {
        Class::Fpu if kernel.thread(current).fpu => kernel.machine.give_fpu(current),
        Class::DataAbort | Class::InstructionAbort => {
            let thread = kernel.thread(current);
            let fetch = syndrome::class(syndrome) == Class::InstructionAbort;
            let address = FAR_EL2.get();
            let address = if thread.is_vcpu() && syndrome::is_translation(syndrome) {
                HPFAR_EL2.read(HPFAR_EL2::FIPA) << 12 | address & PAGE_OFFSET
            } else {
                address
            };
            kernel.fault(Fault::Memory {
                address,
                fetch,
                syndrome,
            });
        }
        Class::Breakpoint if kernel.is_debug() => kernel.fault(Fault::Breakpoint),
        _ if syndrome == UNDEFINED => kernel.fault(Fault::User { syndrome }),
        _ if syndrome::code(syndrome) == WAIT
            && matches!(kernel.thread(current).owner, Owner::Domain(_)) =>
        {
            // On seL4 a domain's WFI or WFE is not trapped; it may end at once.
            kernel.context(current).pc += INSTRUCTION;
        }
        // The first use of the timer after a guest ran.
        _ if syndrome::code(syndrome) == REGISTER
            && matches!(kernel.thread(current).owner, Owner::Domain(_))
            && kernel.machine.allow_timer() => {}
        _ => kernel.fault(Fault::Vcpu { syndrome }),
    }
}

/// An exception in the kernel itself, or from AArch32.
extern "C" fn crash(vector: u64) -> ! {
    let (syndrome, address) = (ESR_EL2.get(), FAR_EL2.get());
    let pc = aarch64_cpu::registers::ELR_EL2.get();
    processor::stop(format_args!(
        "kernel: exception in the kernel (vector {vector}): {} at pc {pc:#x}, esr {syndrome:#x}, address {address:#x}\nkernel: the machine stops\n",
        syndrome::describe(syndrome)
    ))
}
