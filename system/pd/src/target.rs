//! The runtime on the Microkit: start code, patched symbols, system calls.
//!
//! A PD has one thread, which all unsafe code here rests on.

mod entry;
mod panic;
mod syscall;
mod var;

use crate::event::Receive;
use crate::state::State;
use crate::{ChannelSet, Handler, MessageInfo};
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
pub(crate) use panic::stop;
use sel4cp_abi::config::{Header, Region};
use sel4cp_abi::syscall::Syscall;
use syscall::Arguments;
pub(crate) use syscall::{message_register, set_message_register};
use zerocopy::FromBytes;

/// Most bytes of a configuration: a program's structure has a page or two.
const MAX_CONFIG: usize = 0x1_0000;

/// The runtime's state, usable as a static because there is one thread.
struct OneThread(State);

// SAFETY: a PD has one thread; nothing is ever shared with another.
unsafe impl Sync for OneThread {}

static STATE: OneThread = OneThread(State::new());

/// Runs the program: what the entry macro calls.
pub fn run<H: Handler>(init: impl FnOnce() -> H) -> ! {
    let mut handler = start(init);
    let mut answer = None;
    loop {
        answer = crate::event::step(&mut handler, answer);
    }
}

/// What happens once. Kept out of [`run`], so that what happens all the time lies in fewer pages.
#[cold]
#[inline(never)]
fn start<H: Handler>(init: impl FnOnce() -> H) -> H {
    crate::config::prepare();
    let handler = init();
    crate::event::begin(ChannelSet::from_bits(var::microkit_irqs.load(Relaxed)));
    handler
}

/// The PD's name in the system file.
pub fn name() -> &'static str {
    var::name()
}

/// Whether the PD is passive: it runs on the time of those who call it.
pub fn is_passive() -> bool {
    var::microkit_passive.load(Relaxed) != 0
}

pub(crate) fn with_state<R>(f: impl FnOnce(&State) -> R) -> R {
    f(&STATE.0)
}

pub(crate) fn config_bytes() -> Option<&'static [u8]> {
    let address = usize::try_from(var::sel4cp_config.load(Relaxed)).ok()?;
    let start = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(address))?;
    let header = NonNull::slice_from_raw_parts(start, size_of::<Header>());
    // SAFETY: the tool patched the address of a mapped, read-only region of at least a page, which nobody writes.
    let header = unsafe { header.as_ref() };
    let (header, _) = Header::ref_from_prefix(header).ok()?;
    let size = usize::try_from(header.size).ok()?;
    if header.magic != sel4cp_abi::config::MAGIC || size > MAX_CONFIG {
        // Short as it is, it is enough to say what is wrong.
        return Some(zerocopy::IntoBytes::as_bytes(header));
    }
    let all = NonNull::slice_from_raw_parts(start, size.max(size_of::<Header>()));
    // SAFETY: as above; the tool makes the region as large as its header says.
    Some(unsafe { all.as_ref() })
}

/// The memory of a region that lies in the configuration, and so was mapped by the tool as it says.
pub(crate) fn region_pointer(region: &Region) -> Option<NonNull<u8>> {
    let bytes = config_bytes()?.as_ptr_range();
    let place = core::ptr::from_ref(region).cast::<u8>();
    if !bytes.contains(&place) {
        return None;
    }
    let address = usize::try_from(region.vaddr).ok()?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

pub(crate) fn send(slot: u64, info: MessageInfo) {
    syscall::perform(
        Syscall::Send,
        Arguments {
            x0: slot,
            info,
            ..Arguments::NONE
        },
    );
}

pub(crate) fn call(slot: u64, info: MessageInfo) -> MessageInfo {
    let arguments = Arguments {
        x0: slot,
        info,
        ..Arguments::NONE
    };
    syscall::perform(Syscall::Call, arguments).1
}

pub(crate) fn receive(how: Receive) -> (u64, MessageInfo) {
    use sel4cp_abi::slot::{INPUT, REPLY};
    let (call, info, destination) = match how {
        Receive::Plain => (Syscall::Recv, MessageInfo::default(), 0),
        Receive::AfterSend(slot, info) => (Syscall::NBSendRecv, info, slot),
        Receive::AfterReply(info) => (Syscall::ReplyRecv, info, 0),
    };
    let arguments = Arguments {
        x0: INPUT,
        info,
        reply: REPLY,
        destination,
    };
    syscall::perform(call, arguments)
}

pub(crate) fn yield_now() {
    syscall::perform(Syscall::Yield, Arguments::NONE);
}

pub(crate) fn put_char(byte: u8) {
    let arguments = Arguments {
        x0: byte.into(),
        ..Arguments::NONE
    };
    syscall::perform(Syscall::DebugPutChar, arguments);
}

pub(crate) fn counter() -> u64 {
    let ticks;
    // SAFETY: reads a counter; the ISB keeps the read from being made early.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

pub(crate) fn counter_frequency() -> u64 {
    let hertz;
    // SAFETY: reads a constant register that EL0 may read.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack, pure)) };
    hertz
}

pub(crate) fn clean_invalidate(start: u64, end: u64) {
    let ctr: u64;
    // SAFETY: reads a constant register that EL0 may read (the kernel sets SCTLR_EL1.UCT).
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, pure)) };
    // CTR_EL0.DminLine: log2 of the words of the smallest data cache line.
    let line = 4_u64 << (ctr >> 16 & 0xf);
    let mut address = start & !(line - 1);
    while address < end {
        // SAFETY: cleaning a line changes no data that this PD can see. An address that is not mapped faults.
        unsafe { asm!("dc civac, {}", in(reg) address, options(nostack)) };
        address = address.saturating_add(line);
    }
    // SAFETY: a barrier, so that the lines are in memory when this returns.
    unsafe { asm!("dsb sy", options(nostack)) };
}
