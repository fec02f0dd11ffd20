//! The UART of NXP's i.MX family.
//!
//! Its two interrupts are levels: RRDY stays until the FIFO has been read empty, TRDY until it is filled again. So
//! they are masked when nobody can act on them, and never cleared.

mod registers;

use super::line::Line;
use super::uart::{fill, registers};
use registers::{
    Control1, Control2, Control3, Control4, FifoControl, Receiver, Registers, Status1, Status2,
    Test,
};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use sel4cp_abi::config::Region;
use sel4cp_pd::RegionError;

/// Characters that fit into an empty FIFO.
const FIFO: usize = 32;
/// TXTL: the interrupt comes when half of the FIFO is free.
const TRANSMIT_LEVEL: u32 = 16;
/// RXTL: an interrupt for the first character, because none would come for the last ones of a few.
const RECEIVE_LEVEL: u32 = 1;

/// The UART.
pub struct Imx {
    registers: UniqueMmioPointer<'static, Registers>,
    /// UCR1; known, so that the register is written only to change it.
    control: Control1,
}

impl Imx {
    /// The UART whose registers are `region`: enabled, 8N1, all interrupts masked.
    ///
    /// # Errors
    /// [`RegionError`] says what is wrong with the region.
    pub fn new(region: &'static Region) -> Result<Self, RegionError> {
        Ok(Self::enable(registers(region)?))
    }

    fn enable(mut registers: UniqueMmioPointer<'static, Registers>) -> Self {
        // Neither DMA, nor automatic detection of the speed, nor interrupts.
        let control = Control1::UARTEN;
        field!(registers, control_1).write(control.bits());
        let lines =
            Control2::SRST | Control2::RXEN | Control2::TXEN | Control2::WS | Control2::IRTS;
        field!(registers, control_2).write(lines.bits());
        let control_3 = field!(registers, control_3).read() & !Control3::INTERRUPTS.bits();
        field!(registers, control_3).write(control_3);
        let control_4 = field!(registers, control_4).read() & !Control4::INTERRUPTS.bits();
        field!(registers, control_4).write(control_4);
        // The register holds the divider of the clock too.
        let levels = FifoControl::TXTL | FifoControl::RXTL;
        let fifo = field!(registers, fifo_control).read() & !levels.bits();
        field!(registers, fifo_control).write(fifo | TRANSMIT_LEVEL << 10 | RECEIVE_LEVEL);
        Self { registers, control }
    }

    fn has(&self, status: Status2) -> bool {
        let found = field_shared!(self.registers, status_2).read();
        Status2::from_bits_truncate(found).contains(status)
    }

    fn room(&self) -> usize {
        let test = field_shared!(self.registers, test).read();
        if self.has(Status2::TXFE) {
            FIFO
        } else {
            usize::from(!Test::from_bits_truncate(test).contains(Test::TXFULL))
        }
    }
}

impl Line for Imx {
    fn send(&mut self, bytes: &[u8]) -> usize {
        fill(self, bytes, Self::room, |uart, byte| {
            field!(uart.registers, transmitter).write(byte.into());
        })
    }

    fn receive(&mut self) -> Option<u8> {
        loop {
            let found = field!(self.registers, receiver).read();
            let flags = Receiver::from_bits_truncate(found);
            if !flags.contains(Receiver::CHARRDY) {
                return None;
            }
            // What is damaged is not a byte. Each turn takes one character out of the FIFO.
            if !flags.contains(Receiver::ERR) {
                let [byte, ..] = found.to_le_bytes();
                return Some(byte);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.has(Status2::TXDC)
    }

    fn is_almost_idle(&self) -> bool {
        let status = field_shared!(self.registers, status_1).read();
        self.is_idle() || Status1::from_bits_truncate(status).contains(Status1::TRDY)
    }

    fn listen(&mut self, incoming: bool, room: bool) {
        let mut control = Control1::UARTEN;
        control.set(Control1::RRDYEN, incoming);
        control.set(Control1::TRDYEN, room);
        if control != self.control {
            field!(self.registers, control_1).write(control.bits());
            self.control = control;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::uart::{Uart, fake::Fake};
    use sel4cp_abi::uart::UartKind;

    const URXD: usize = 0x00;
    const UTXD: usize = 0x40;
    const UCR1: usize = 0x80;
    const UCR2: usize = 0x84;
    const UCR3: usize = 0x88;
    const UCR4: usize = 0x8c;
    const UFCR: usize = 0x90;
    const USR1: usize = 0x94;
    const USR2: usize = 0x98;
    const UTS: usize = 0xb4;

    fn uart(values: &[(usize, u32)]) -> (Fake, Uart) {
        Fake::new(UartKind::Imx, values)
    }

    #[test]
    fn it_keeps_what_the_firmware_knows_and_no_interrupts() {
        let values = [
            (UCR1, 0xffff),
            (UCR3, 0xffff),
            (UCR4, 0xffff),
            (UFCR, 0xaaa5),
        ];
        let (fake, _line) = uart(&values);
        assert_eq!(fake.read(UCR1), 1);
        assert_eq!(fake.read(UCR2), 0x4027, "8N1, both directions");
        assert_eq!((fake.read(UCR3), fake.read(UCR4)), (0xc486, 0xfe70));
        assert_eq!(fake.read(UFCR), 16 << 10 | 0x280 | 1, "divider as it was");
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let (fake, mut line) = uart(&[(UTS, 1 << 4)]);
        assert_eq!(line.send(b"hello"), 0);
        fake.write(USR2, 1 << 14);
        fake.write(UTS, 0);
        assert_eq!(line.send(&[b'x'; 40]), 40);
        assert_eq!(fake.read(UTXD), u32::from(b'x'));
        fake.write(USR2, 0);
        assert_eq!(line.send(b"yz"), 2, "one by one");
        assert_eq!(fake.read(UTXD), u32::from(b'z'));
    }

    #[test]
    fn idle_is_when_the_last_bit_has_left() {
        let (fake, line) = uart(&[(USR2, 1 << 14)]);
        assert!(!line.is_idle() && !line.is_almost_idle());
        fake.write(USR1, 1 << 13);
        assert!(!line.is_idle() && line.is_almost_idle());
        fake.write(USR1, 0);
        fake.write(USR2, 1 << 14 | 1 << 3);
        assert!(line.is_idle() && line.is_almost_idle());
    }

    #[test]
    fn only_what_is_wanted_interrupts() {
        let (fake, mut line) = uart(&[]);
        line.listen(true, false);
        assert_eq!(fake.read(UCR1), 1 | 1 << 9);
        line.listen(false, true);
        assert_eq!(fake.read(UCR1), 1 | 1 << 13);
        line.listen(false, false);
        assert_eq!(fake.read(UCR1), 1);
    }

    #[test]
    fn an_empty_fifo_has_no_byte() {
        let (fake, mut line) = uart(&[]);
        assert_eq!(line.receive(), None);
        fake.write(URXD, 1 << 15 | u32::from(b'q'));
        assert_eq!(line.receive(), Some(b'q'));
    }
}
