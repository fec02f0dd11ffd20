//! The UART of Amlogic's Meson family, as its always-on part has it.
//!
//! Its interrupt is an edge, and there is one for both directions: what begins while the line is up is not told. So
//! [`Line::listen`], which comes after all work, turns the interrupts off and on again: the line goes down, and up if
//! there is something to do.

mod registers;

use super::line::Line;
use super::uart::{fill, registers};
use registers::{Control, Registers, Status, levels, waiting};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use sel4cp_abi::config::Region;
use sel4cp_pd::RegionError;

/// Bytes that fit into an empty FIFO.
const FIFO: usize = 64;
/// An interrupt when half of the FIFO is free.
const TRANSMIT_LEVEL: u32 = 32;
/// An interrupt for the first byte.
const RECEIVE_LEVEL: u32 = 1;

/// The UART.
pub struct Meson {
    registers: UniqueMmioPointer<'static, Registers>,
    /// CONTROL without interrupts.
    control: Control,
}

impl Meson {
    /// The UART whose registers are `region`: enabled, 8N1, all interrupts masked.
    ///
    /// # Errors
    /// [`RegionError`] says what is wrong with the region.
    pub fn new(region: &'static Region) -> Result<Self, RegionError> {
        Ok(Self::enable(registers(region)?))
    }

    fn enable(mut registers: UniqueMmioPointer<'static, Registers>) -> Self {
        // What is not named is the firmware's.
        let mut control = Control::from_bits_retain(field!(registers, control).read());
        control -= Control::TX_INTERRUPT | Control::RX_INTERRUPT | Control::CLEAR_ERROR;
        control -= Control::RX_RESET | Control::TX_RESET;
        control -= Control::DATA_BITS | Control::PARITY | Control::STOP_BITS;
        control |= Control::TWO_WIRE | Control::RX_ENABLE | Control::TX_ENABLE;
        field!(registers, control).write(control.bits());
        field!(registers, levels).write(levels(TRANSMIT_LEVEL, RECEIVE_LEVEL));
        Self { registers, control }
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(field_shared!(self.registers, status).read())
    }

    fn room(&self) -> usize {
        let status = self.status();
        if status.contains(Status::TX_EMPTY) {
            FIFO
        } else {
            usize::from(!status.contains(Status::TX_FULL))
        }
    }

    fn clear_error(&mut self) {
        let control = self.control;
        field!(self.registers, control).write((control | Control::CLEAR_ERROR).bits());
        field!(self.registers, control).write(control.bits());
    }
}

impl Line for Meson {
    fn send(&mut self, bytes: &[u8]) -> usize {
        fill(self, bytes, Self::room, |uart, byte| {
            field!(uart.registers, transmitter).write(byte.into());
        })
    }

    fn receive(&mut self) -> Option<u8> {
        loop {
            let status = self.status();
            if status.contains(Status::RX_EMPTY) {
                return None;
            }
            let [byte, ..] = field!(self.registers, receiver).read().to_le_bytes();
            if !status.intersects(Status::FRAME_ERROR | Status::PARITY_ERROR) {
                return Some(byte);
            }
            // A break or a damaged character is not a byte. Each turn takes one out of the FIFO.
            self.clear_error();
        }
    }

    fn is_idle(&self) -> bool {
        let status = self.status();
        status.contains(Status::TX_EMPTY) && !status.contains(Status::TX_BUSY)
    }

    fn is_almost_idle(&self) -> bool {
        self.is_idle() || waiting(self.status().bits()) <= TRANSMIT_LEVEL
    }

    fn listen(&mut self, incoming: bool, room: bool) {
        field!(self.registers, control).write(self.control.bits());
        let mut control = self.control;
        control.set(Control::RX_INTERRUPT, incoming);
        control.set(Control::TX_INTERRUPT, room);
        field!(self.registers, control).write(control.bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::uart::{Uart, fake::Fake};
    use sel4cp_abi::uart::UartKind;

    const WFIFO: usize = 0x0;
    const RFIFO: usize = 0x4;
    const CONTROL: usize = 0x8;
    const STATUS: usize = 0xc;
    const MISC: usize = 0x10;
    /// What CONTROL is without interrupts.
    const ON: u32 = 0xb000;

    fn uart(values: &[(usize, u32)]) -> (Fake, Uart) {
        Fake::new(UartKind::Meson, values)
    }

    #[test]
    fn it_keeps_what_the_firmware_knows_and_no_interrupts() {
        let (fake, _line) = uart(&[(CONTROL, 0xffff_0fff)]);
        assert_eq!(fake.read(CONTROL), 0xe600_bfff, "8N1, both directions");
        assert_eq!(fake.read(MISC), 32 << 8 | 1);
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let (fake, mut line) = uart(&[(STATUS, 1 << 21)]);
        assert_eq!(line.send(b"hello"), 0);
        fake.write(STATUS, 1 << 22);
        assert_eq!(line.send(&[b'x'; 70]), 70);
        assert_eq!(fake.read(WFIFO), u32::from(b'x'));
        fake.write(STATUS, 0);
        assert_eq!(line.send(b"yz"), 2, "one by one");
        assert_eq!(fake.read(WFIFO), u32::from(b'z'));
    }

    #[test]
    fn idle_is_when_the_last_bit_has_left() {
        let (fake, line) = uart(&[(STATUS, 33 << 8)]);
        assert!(!line.is_idle() && !line.is_almost_idle());
        fake.write(STATUS, 32 << 8);
        assert!(!line.is_idle() && line.is_almost_idle());
        fake.write(STATUS, 1 << 22 | 1 << 25);
        assert!(!line.is_idle());
        fake.write(STATUS, 1 << 22);
        assert!(line.is_idle());
    }

    #[test]
    fn only_what_is_wanted_interrupts() {
        let (fake, mut line) = uart(&[]);
        line.listen(true, false);
        assert_eq!(fake.read(CONTROL), ON | 1 << 27);
        line.listen(false, true);
        assert_eq!(fake.read(CONTROL), ON | 1 << 28);
        line.listen(false, false);
        assert_eq!(fake.read(CONTROL), ON);
    }

    #[test]
    fn an_empty_fifo_has_no_byte() {
        let (fake, mut line) = uart(&[(STATUS, 1 << 20), (RFIFO, u32::from(b'q'))]);
        assert_eq!(line.receive(), None);
        fake.write(STATUS, 0);
        assert_eq!(line.receive(), Some(b'q'));
    }
}
