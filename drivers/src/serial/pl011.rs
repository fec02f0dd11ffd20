//! The PL011 UART (Arm DDI 0183).
//!
//! Its interrupts are levels here: "incoming" stays until the FIFO has been read empty, "room" until the FIFO is
//! filled again. So they are masked when nobody can act on them, and never cleared.

#![expect(unsafe_code, reason = "device registers")]

use super::line::Line;
use arm_pl011_uart::{
    DataBits, Error, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart,
    UniqueMmioPointer,
};
use sel4cp_abi::config::Region;
use sel4cp_pd::{self as pd, RegionError};

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
        let registers = pd::claim(region, size_of::<PL011Registers>(), 0x1000)?.cast();
        // SAFETY: the tool maps the UART's registers there, for this PD alone and as long as it runs; `claim` has
        // checked size and alignment and hands the region out once.
        let registers = unsafe { UniqueMmioPointer::new(registers) };
        Ok(Self::enable(Uart::new(registers)))
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
}

impl Line for Pl011 {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            // One look at the flags for a FIFO full of bytes, not for each of them.
            let room = if self.uart.is_tx_fifo_empty() {
                FIFO
            } else if self.uart.is_tx_fifo_full() {
                break;
            } else {
                1
            };
            let (now, later) = rest.split_at(room.min(rest.len()));
            now.iter().for_each(|byte| self.uart.write_word(*byte));
            rest = later;
        }
        bytes.len() - rest.len()
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

    const DATA: usize = 0;
    const FLAGS: usize = 0x18 / 4;
    const LINE_CONTROL: usize = 0x2c / 4;
    const MASK: usize = 0x38 / 4;
    const TX_FULL: u32 = 1 << 5;
    const RX_EMPTY: u32 = 1 << 4;
    const TX_EMPTY: u32 = 1 << 7;
    const BUSY: u32 = 1 << 3;

    /// Registers that are memory: what is written stays, and nothing moves by itself.
    struct Fake(*mut u32);

    impl Fake {
        fn new(flags: u32) -> (Self, Pl011) {
            let region = Box::leak(Box::new(pd::host::region(0x1000)));
            let fake = Self(core::ptr::with_exposed_provenance_mut(
                usize::try_from(region.vaddr).unwrap(),
            ));
            fake.write(FLAGS, flags);
            (fake, Pl011::new(region).unwrap())
        }

        fn write(&self, register: usize, value: u32) {
            assert!(register < 0x400);
            // SAFETY: in the page that the fake was made for.
            let register = unsafe { self.0.add(register) };
            // SAFETY: as above; it is aligned.
            unsafe { register.write_volatile(value) };
        }

        fn read(&self, register: usize) -> u32 {
            assert!(register < 0x400);
            // SAFETY: in the page that the fake was made for.
            let register = unsafe { self.0.add(register) };
            // SAFETY: as above; it is aligned.
            unsafe { register.read_volatile() }
        }
    }

    #[test]
    fn it_starts_with_fifos_and_no_interrupts() {
        let (fake, _line) = Fake::new(0);
        assert_eq!(fake.read(LINE_CONTROL), 0b111_0000, "8N1, FIFOs on");
        assert_eq!(fake.read(MASK), 0);
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let (fake, mut line) = Fake::new(TX_FULL);
        assert_eq!(line.send(b"hello"), 0);
        fake.write(FLAGS, TX_EMPTY);
        assert_eq!(line.send(&[b'x'; 40]), 40);
        assert_eq!(fake.read(DATA), u32::from(b'x'));
        assert_eq!(line.send(b""), 0);
    }

    #[test]
    fn idle_is_empty_and_not_busy() {
        let (fake, line) = Fake::new(TX_EMPTY | BUSY);
        assert!(!line.is_idle());
        fake.write(FLAGS, TX_EMPTY);
        assert!(line.is_idle());
        fake.write(FLAGS, 0);
        assert!(!line.is_idle());
    }

    #[test]
    fn only_what_is_wanted_interrupts() {
        let (fake, mut line) = Fake::new(0);
        line.listen(true, false);
        assert_eq!(fake.read(MASK), 1 << 4 | 1 << 6);
        line.listen(false, true);
        assert_eq!(fake.read(MASK), 1 << 5);
        line.listen(false, false);
        assert_eq!(fake.read(MASK), 0);
    }

    #[test]
    fn an_empty_fifo_has_no_byte() {
        let (fake, mut line) = Fake::new(RX_EMPTY);
        assert_eq!(line.receive(), None);
        fake.write(FLAGS, 0);
        fake.write(DATA, u32::from(b'q'));
        assert_eq!(line.receive(), Some(b'q'));
    }
}
