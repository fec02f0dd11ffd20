//! The PL011 UART (Arm DDI 0183).
//!
//! Its interrupts are levels here: "incoming" stays until the FIFO has been read empty, "room" until the FIFO is
//! filled again. So they are masked when nobody can act on them, and never cleared.

use super::line::Line;
use super::uart::{fill, registers};
use arm_pl011_uart::{DataBits, Error, FifoLevel, Interrupts, LineConfig, Parity, StopBits, Uart};
use sel4cp_abi::config::Region;
use sel4cp_pd::RegionError;

/// Bytes that fit into an empty FIFO: 16, or 32 in later revisions.
const FIFO: usize = 16;
/// Bits per second.
const BAUD_RATE: u32 = 115_200;
/// UARTCLK of QEMU's `virt` and most boards, in Hz.
const CLOCK: u32 = 24_000_000;
const LINE: LineConfig = LineConfig {
    data_bits: DataBits::Bits8,
    parity: Parity::None,
    stop_bits: StopBits::One,
};

/// The UART.
pub struct Pl011 {
    uart: Uart<'static>,
    /// What interrupts; known, so that the register is written only to change it.
    listening: Interrupts,
}

impl Pl011 {
    /// The UART whose registers are `region`: enabled with FIFOs, 115,200 baud, 8N1, all interrupts masked.
    ///
    /// # Errors
    /// [`RegionError`] says what is wrong with the region.
    pub fn new(region: &'static Region) -> Result<Self, RegionError> {
        Ok(Self::enable(Uart::new(registers(region)?)))
    }

    fn enable(mut uart: Uart<'static>) -> Self {
        uart.set_interrupt_masks(Interrupts::empty());
        // The only error is a divisor out of range, which these constants do not give.
        let _ = uart.enable(LINE, BAUD_RATE, CLOCK);
        uart.set_interrupt_fifo_levels(FifoLevel::Bytes16, FifoLevel::Bytes4);
        Self {
            uart,
            listening: Interrupts::empty(),
        }
    }

    fn room(&self) -> usize {
        if self.uart.is_tx_fifo_empty() {
            FIFO
        } else {
            usize::from(!self.uart.is_tx_fifo_full())
        }
    }
}

impl Line for Pl011 {
    fn send(&mut self, bytes: &[u8]) -> usize {
        fill(self, bytes, Self::room, |line, byte| {
            line.uart.write_word(byte);
        })
    }

    fn receive(&mut self) -> Option<u8> {
        loop {
            match self.uart.read_word() {
                Ok(byte) => return byte,
                // A break or a damaged character is not a byte. Each turn takes one out of the FIFO.
                Err(Error::Break | Error::Framing | Error::Parity | Error::Overrun) => {}
                Err(Error::InvalidParameter) => return None,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.uart.is_tx_fifo_empty() && !self.uart.is_busy()
    }

    fn is_almost_idle(&self) -> bool {
        self.is_idle() || self.uart.raw_interrupt_status().contains(Interrupts::TXI)
    }

    fn listen(&mut self, incoming: bool, room: bool) {
        let mut interrupts = Interrupts::empty();
        interrupts.set(Interrupts::RXI | Interrupts::RTI, incoming);
        interrupts.set(Interrupts::TXI, room);
        if interrupts != self.listening {
            self.uart.set_interrupt_masks(interrupts);
            self.listening = interrupts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::uart::{self, fake::Fake};
    use sel4cp_abi::uart::UartKind;

    const DATA: usize = 0;
    const FLAGS: usize = 0x18;
    const LINE_CONTROL: usize = 0x2c;
    const MASK: usize = 0x38;
    const TX_FULL: u32 = 1 << 5;
    const RX_EMPTY: u32 = 1 << 4;
    const TX_EMPTY: u32 = 1 << 7;
    const BUSY: u32 = 1 << 3;

    fn uart(flags: u32) -> (Fake, uart::Uart) {
        Fake::new(UartKind::Pl011, &[(FLAGS, flags)])
    }

    #[test]
    fn it_starts_with_fifos_and_no_interrupts() {
        let (fake, _line) = uart(0);
        assert_eq!(fake.read(LINE_CONTROL), 0b111_0000, "8N1, FIFOs on");
        assert_eq!(fake.read(MASK), 0);
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let (fake, mut line) = uart(TX_FULL);
        assert_eq!(line.send(b"hello"), 0);
        fake.write(FLAGS, TX_EMPTY);
        assert_eq!(line.send(&[b'x'; 40]), 40);
        assert_eq!(fake.read(DATA), u32::from(b'x'));
        assert_eq!(line.send(b""), 0);
    }

    #[test]
    fn idle_is_empty_and_not_busy() {
        let (fake, line) = uart(TX_EMPTY | BUSY);
        assert!(!line.is_idle());
        fake.write(FLAGS, TX_EMPTY);
        assert!(line.is_idle());
        fake.write(FLAGS, 0);
        assert!(!line.is_idle());
    }

    #[test]
    fn only_what_is_wanted_interrupts() {
        let (fake, mut line) = uart(0);
        line.listen(true, false);
        assert_eq!(fake.read(MASK), 1 << 4 | 1 << 6);
        line.listen(false, true);
        assert_eq!(fake.read(MASK), 1 << 5);
        line.listen(false, false);
        assert_eq!(fake.read(MASK), 0);
    }

    #[test]
    fn an_empty_fifo_has_no_byte() {
        let (fake, mut line) = uart(RX_EMPTY);
        assert_eq!(line.receive(), None);
        fake.write(FLAGS, 0);
        fake.write(DATA, u32::from(b'q'));
        assert_eq!(line.receive(), Some(b'q'));
    }
}
