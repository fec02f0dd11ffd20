//! Symbols that the Microkit's tool patches in the program's data.
//!
//! Their names and sizes are the interface. They are atomics so that the compiler reads what the tool has put
//! there, and they lie in `.data` because only what is in the file can be patched.

use core::sync::atomic::{AtomicU8, AtomicU64};
use sel4cp_abi::slot::NAME_LENGTH;

macro_rules! patched {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $value:expr;)*) => { $(
        $(#[$meta])*
        // SAFETY: no other crate defines the Microkit's symbols; the linker script keeps this section's input.
        #[unsafe(no_mangle)]
        // SAFETY: `.data.patched` is a part of `.data`, writable and initialised, as this static is.
        #[unsafe(link_section = ".data.patched")]
        #[used]
        pub(crate) static $name: $type = $value;
    )* };
}

patched! {
    /// The PD's name, padded with NUL; not terminated when it has 64 bytes.
    microkit_name: [AtomicU8; NAME_LENGTH] = [const { AtomicU8::new(0) }; NAME_LENGTH];
    /// Whether the PD is passive.
    microkit_passive: AtomicU8 = AtomicU8::new(0);
    /// Channels that are interrupts.
    microkit_irqs: AtomicU64 = AtomicU64::new(0);
    /// Channels that can be notified.
    microkit_notifications: AtomicU64 = AtomicU64::new(0);
    /// Channels that can be called.
    microkit_pps: AtomicU64 = AtomicU64::new(0);
    /// I/O ports (x86).
    microkit_ioports: AtomicU64 = AtomicU64::new(0);
    /// Address of the configuration region; 0 when there is none.
    sel4cp_config: AtomicU64 = AtomicU64::new(0);
}

/// The name up to its padding.
pub(crate) fn name() -> &'static str {
    let bytes = core::ptr::from_ref(&microkit_name).cast::<[u8; NAME_LENGTH]>();
    // SAFETY: `[AtomicU8; N]` has the layout of `[u8; N]`, and nobody stores to the name while the PD runs.
    let bytes = unsafe { &*bytes };
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = bytes.get(..end.unwrap_or(NAME_LENGTH)).unwrap_or_default();
    core::str::from_utf8(name).unwrap_or("(name is not UTF-8)")
}
