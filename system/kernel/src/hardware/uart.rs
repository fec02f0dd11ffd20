//! The PL011, for messages of the kernel. A domain may drive it at the same time: only output is touched here.

use super::window::device;
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;

/// Where its registers are.
pub(super) const BASE: usize = 0x0900_0000;

/// The UART as a place to write to.
struct Output(Uart<'static>);

impl Output {
    fn new() -> Self {
        let registers = NonNull::without_provenance(match core::num::NonZero::new(device(BASE)) {
            Some(base) => base,
            None => unreachable!(),
        });
        // SAFETY: QEMU's virt machine has a PL011 there, mapped as device memory. The kernel
        // runs on one core and never nests, so there is one such pointer at a time; a domain's use of the same
        // registers is a matter of output order, not of memory.
        let pointer = unsafe { UniqueMmioPointer::<PL011Registers>::new(registers) };
        Self(Uart::new(pointer))
    }

    fn put(&mut self, byte: u8) {
        while self.0.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        self.0.write_word(byte);
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// Prints one character, as it is but for a carriage return before a line feed.
pub(crate) fn put_char(character: u8) {
    let mut output = Output::new();
    if character == b'\n' {
        output.put(b'\r');
    }
    output.put(character);
}

/// Prints a message.
pub(crate) fn print_arguments(message: fmt::Arguments<'_>) {
    // Writing never fails.
    let _ = Output::new().write_fmt(message);
}

/// Prints like `format_args!`.
macro_rules! print {
    ($($arguments:tt)*) => {
        $crate::hardware::uart::print_arguments(format_args!($($arguments)*))
    };
}
pub(crate) use print;
