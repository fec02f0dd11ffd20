//! The UART of Cadence in AMD's Zynq family.
//!
//! Its interrupts remember that something has happened, until they are cleared. So each is cleared before the work that
//! it asks for: what happens during the work is remembered again, and nothing is lost.

mod registers;

use super::line::Line;
use super::uart::{fill, registers};
use registers::{Control, Interrupts, Mode, Registers, Status};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use sel4cp_abi::config::Region;
use sel4cp_pd::RegionError;

/// Bytes that fit into an empty FIFO.
const FIFO: usize = 64;
/// An interrupt for the first byte.
const RECEIVE_LEVEL: u32 = 1;

/// The UART.
pub struct Cadence {
    registers: UniqueMmioPointer<'static, Registers>,
    /// What interrupts; known, so that the registers are written only to change it.
    listening: Interrupts,
}

impl Cadence {
    /// The UART whose registers are `region`: enabled, 8N1, all interrupts masked.
    ///
    /// # Errors
    /// [`RegionError`] says what is wrong with the region.
    pub fn new(region: &'static Region) -> Result<Self, RegionError> {
        Ok(Self::enable(registers(region)?))
    }

    fn enable(mut registers: UniqueMmioPointer<'static, Registers>) -> Self {
        field!(registers, interrupt_disable).write(Interrupts::ALL.bits());
        let clock = field!(registers, mode).read() & Mode::CLOCK.bits();
        field!(registers, mode).write(clock | Mode::NO_PARITY.bits());
        field!(registers, receive_level).write(RECEIVE_LEVEL);
        let enable = Control::TX_ENABLE | Control::RX_ENABLE;
        field!(registers, control).write(enable.bits());
        field!(registers, interrupt_status).write(Interrupts::ALL.bits());
        Self {
            registers,
            listening: Interrupts::empty(),
        }
    }

    fn status(&self) -> Status {
        Status::from_bits_truncate(field_shared!(self.registers, status).read())
    }

    fn clear(&mut self, interrupts: Interrupts) {
        field!(self.registers, interrupt_status).write(interrupts.bits());
    }

    fn room(&self) -> usize {
        let status = self.status();
        if status.contains(Status::TX_EMPTY) {
            FIFO
        } else {
            usize::from(!status.contains(Status::TX_FULL))
        }
    }

    fn is_received(&self) -> bool {
        !self.status().contains(Status::RX_EMPTY)
    }
}

impl Line for Cadence {
    fn send(&mut self, bytes: &[u8]) -> usize {
        self.clear(Interrupts::TX_EMPTY);
        fill(self, bytes, Self::room, |uart, byte| {
            field!(uart.registers, fifo).write(byte.into());
        })
    }

    fn receive(&mut self) -> Option<u8> {
        if !self.is_received() {
            self.clear(Interrupts::RX_LEVEL);
            // A byte that came in between is not told once more.
            if !self.is_received() {
                return None;
            }
        }
        // Damaged characters count as bytes: nothing says which they are.
        let [byte, ..] = field!(self.registers, fifo).read().to_le_bytes();
        Some(byte)
    }

    fn is_idle(&self) -> bool {
        let status = self.status();
        status.contains(Status::TX_EMPTY) && !status.contains(Status::TX_ACTIVE)
    }

    fn is_almost_idle(&self) -> bool {
        self.status().contains(Status::TX_EMPTY)
    }

    fn listen(&mut self, incoming: bool, room: bool) {
        let mut interrupts = Interrupts::empty();
        interrupts.set(Interrupts::RX_LEVEL, incoming);
        interrupts.set(Interrupts::TX_EMPTY, room);
        if interrupts != self.listening {
            field!(self.registers, interrupt_disable).write((!interrupts).bits());
            field!(self.registers, interrupt_enable).write(interrupts.bits());
            self.listening = interrupts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::uart::{Uart, fake::Fake};
    use sel4cp_abi::uart::UartKind;

    const CR: usize = 0x00;
    const MR: usize = 0x04;
    const IER: usize = 0x08;
    const IDR: usize = 0x0c;
    const ISR: usize = 0x14;
    const RXWM: usize = 0x20;
    const SR: usize = 0x2c;
    const FIFO: usize = 0x30;
    const RX_EMPTY: u32 = 1 << 1;
    const TX_EMPTY: u32 = 1 << 3;

    fn uart(values: &[(usize, u32)]) -> (Fake, Uart) {
        Fake::new(UartKind::Cadence, values)
    }

    #[test]
    fn it_keeps_what_the_firmware_knows_and_no_interrupts() {
        let (fake, _line) = uart(&[(MR, 0x3ff)]);
        assert_eq!(fake.read(MR), 0x21, "8N1, divider as it was");
        assert_eq!((fake.read(CR), fake.read(RXWM)), (0x14, 1));
        assert_eq!((fake.read(IDR), fake.read(ISR)), (0x3fff, 0x3fff));
        assert_eq!(fake.read(IER), 0);
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let (fake, mut line) = uart(&[(SR, 1 << 4)]);
        assert_eq!(line.send(b"hello"), 0);
        fake.write(SR, TX_EMPTY);
        assert_eq!(line.send(&[b'x'; 70]), 70);
        assert_eq!(fake.read(FIFO), u32::from(b'x'));
        assert_eq!(fake.read(ISR), 1 << 3, "cleared before it is filled");
        fake.write(SR, 0);
        assert_eq!(line.send(b"yz"), 2, "one by one");
        assert_eq!(fake.read(FIFO), u32::from(b'z'));
    }

    #[test]
    fn idle_is_when_the_last_bit_has_left() {
        let (fake, line) = uart(&[(SR, 1 << 11)]);
        assert!(!line.is_idle() && !line.is_almost_idle());
        fake.write(SR, TX_EMPTY | 1 << 11);
        assert!(!line.is_idle() && line.is_almost_idle());
        fake.write(SR, TX_EMPTY);
        assert!(line.is_idle());
    }

    #[test]
    fn only_what_is_wanted_interrupts() {
        let (fake, mut line) = uart(&[]);
        line.listen(true, false);
        assert_eq!((fake.read(IER), fake.read(IDR)), (1, 0x3ffe));
        line.listen(false, true);
        assert_eq!((fake.read(IER), fake.read(IDR)), (8, 0x3ff7));
        line.listen(false, false);
        assert_eq!((fake.read(IER), fake.read(IDR)), (0, 0x3fff));
    }

    #[test]
    fn an_empty_fifo_has_no_byte() {
        let (fake, mut line) = uart(&[(SR, RX_EMPTY), (FIFO, u32::from(b'q'))]);
        assert_eq!(line.receive(), None);
        assert_eq!(fake.read(ISR), 1, "cleared before the last look");
        fake.write(SR, 0);
        assert_eq!(line.receive(), Some(b'q'));
    }
}
