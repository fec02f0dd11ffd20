//! System calls, and the IPC buffer in which message registers live between them.
//!
//! The first four message registers travel in CPU registers; here they are taken from the buffer before each call
//! and put back after it, so that everybody else finds all of them in one place.

use crate::MessageInfo;
use core::arch::asm;
use core::ptr::with_exposed_provenance_mut;
use sel4cp_abi::message::{BUFFER_FIRST, MAX_LENGTH};
use sel4cp_abi::slot::IPC_BUFFER;
use sel4cp_abi::syscall::Syscall;

/// What a system call takes besides the message registers.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    /// x0: the capability (of the receiving side, if the call has two), or the character.
    pub(crate) x0: u64,
    /// x1.
    pub(crate) info: MessageInfo,
    /// x6: the reply object, when receiving.
    pub(crate) reply: u64,
    /// x8: where NBSendRecv sends.
    pub(crate) destination: u64,
}

impl Arguments {
    pub(crate) const NONE: Self = Self {
        x0: 0,
        info: MessageInfo(0),
        reply: 0,
        destination: 0,
    };
}

/// Makes a system call; returns the badge and the message info.
pub(crate) fn perform(call: Syscall, arguments: Arguments) -> (u64, MessageInfo) {
    let (mut badge, mut info) = (arguments.x0, arguments.info.0);
    let [mut mr0, mut mr1, mut mr2, mut mr3] = [0, 1, 2, 3].map(message_register);
    // SAFETY: the call reads and writes the registers named here, the IPC buffer (which Rust code only touches
    // through volatile accesses below), and memory that others may write too, which is all behind atomics.
    // All other registers, and the stack, are preserved by the kernel.
    unsafe {
        asm!(
            "svc #0",
            inout("x0") badge,
            inout("x1") info,
            inout("x2") mr0,
            inout("x3") mr1,
            inout("x4") mr2,
            inout("x5") mr3,
            inout("x6") arguments.reply => _,
            in("x7") call as i64,
            in("x8") arguments.destination,
            options(nostack),
        );
    }
    for (index, value) in [mr0, mr1, mr2, mr3].into_iter().enumerate() {
        set_message_register(index, value);
    }
    (badge, MessageInfo(info))
}

/// Message register `index`, which is below 120.
pub(crate) fn message_register(index: usize) -> u64 {
    let register = register(index);
    // SAFETY: `register` points into the IPC buffer, which the kernel maps for as long as the PD runs.
    unsafe { register.read_volatile() }
}

/// Sets message register `index`, which is below 120.
pub(crate) fn set_message_register(index: usize, value: u64) {
    let register = register(index);
    // SAFETY: as in `message_register`; no Rust object lies there.
    unsafe { register.write_volatile(value) }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "this is for a target whose addresses have 64 bits"
)]
fn register(index: usize) -> *mut u64 {
    let word = BUFFER_FIRST + index.min(MAX_LENGTH - 1);
    with_exposed_provenance_mut::<u64>(IPC_BUFFER as usize).wrapping_add(word)
}
