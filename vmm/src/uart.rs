//! The early console: as much of a PL011 (Arm DDI 0183) as output before any driver needs.
//!
//! The guest reads the registers from a page; writes come here. The transmitter is always ready, because a vCPU that
//! writes while the output ring is full is held until there is room, so nothing is dropped. There is no input and no
//! interrupt.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_pd::Channel;
use sel4cp_ring::{PeerFault, Producer};

/// Offsets of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Register {
    /// UARTDR: a character.
    Data = 0x000,
    /// UARTFR: flags.
    Flags = 0x018,
    /// UARTILPR.
    LowPower = 0x020,
    /// UARTIBRD.
    IntegerBaud = 0x024,
    /// UARTFBRD.
    FractionalBaud = 0x028,
    /// UARTLCR_H.
    Line = 0x02c,
    /// UARTCR.
    Control = 0x030,
    /// UARTIFLS.
    FifoLevel = 0x034,
    /// UARTIMSC.
    InterruptMask = 0x038,
    /// UARTDMACR.
    Dma = 0x048,
    /// UARTPeriphID0, the first of eight identification registers.
    Identification = 0xfe0,
}

/// Registers that only keep what is written: bits that exist (§3.3).
const STORED: [(Register, u32); 8] = [
    (Register::LowPower, 0xff),
    (Register::IntegerBaud, 0xffff),
    (Register::FractionalBaud, 0x3f),
    (Register::Line, 0xff),
    (Register::Control, 0xff87),
    (Register::FifoLevel, 0x3f),
    (Register::InterruptMask, 0x7ff),
    (Register::Dma, 0x7),
];
/// UARTFR: transmit FIFO empty, receive FIFO empty.
const READY: u32 = 1 << 7 | 1 << 4;
/// UARTCR after reset: receive and transmit enabled, and, as firmware leaves it, the UART too.
const ENABLED: u32 = 0x301;
/// UARTIFLS after reset.
const HALF_FULL: u32 = 0x12;
/// UARTPeriphID0–3 (PL011, revision r1p5), UARTPCellID0–3.
const IDENTIFICATION: [u32; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The early console.
pub struct Uart {
    page: &'static [AtomicU32],
    output: Producer<u8>,
    channel: Option<Channel>,
}

impl Uart {
    /// The UART with its registers in `page`, that writes to `output` and tells the peer behind `channel`.
    pub fn new(page: &'static [AtomicU32], output: Producer<u8>, channel: Option<Channel>) -> Self {
        let uart = Self {
            page,
            output,
            channel,
        };
        uart.reset();
        uart
    }

    /// The registers as firmware leaves them. Output that is on its way stays.
    pub fn reset(&self) {
        for (register, _) in STORED {
            self.show(register as u64, 0);
        }
        self.show(Register::Flags as u64, READY);
        self.show(Register::Control as u64, ENABLED);
        self.show(Register::FifoLevel as u64, HALF_FULL);
        for (offset, value) in (Register::Identification as u64..)
            .step_by(4)
            .zip(IDENTIFICATION)
        {
            self.show(offset, value);
        }
    }

    /// The peer's channel: it notifies when there is room again.
    pub fn channel(&self) -> Option<Channel> {
        self.channel
    }

    /// A store at `offset`. False: it is a character, the ring is full, and the same store is to be tried again when
    /// the peer notifies.
    #[must_use = "false asks to hold the vCPU"]
    pub fn write(&mut self, offset: u64, value: u64) -> bool {
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        if offset == Register::Data as u64 {
            return self.put(b0);
        }
        let stored = STORED
            .iter()
            .find(|(register, _)| *register as u64 == offset);
        if let Some((_, mask)) = stored {
            self.show(offset, u32::from_le_bytes([b0, b1, b2, b3]) & mask);
        }
        true
    }

    /// What a load at `offset` gets, for a guest whose reads come here.
    pub fn read(&self, offset: u64) -> u64 {
        self.word(offset)
            .map_or(0, |word| word.load(Relaxed))
            .into()
    }

    fn put(&mut self, byte: u8) -> bool {
        match self.push(byte) {
            Ok(true) => {
                if self.output.publish()
                    && let Some(channel) = self.channel
                {
                    channel.notify();
                }
                true
            }
            Ok(false) => false,
            Err(_) => self.lose(),
        }
    }

    /// Stages a character; false: there is no room, and the peer will tell when there is.
    fn push(&mut self, byte: u8) -> Result<bool, PeerFault> {
        // Arming looks again: room that has come meanwhile is used.
        Ok(self.output.push(byte)? || self.output.arm(1)? && self.output.push(byte)?)
    }

    /// The peer broke the ring's rules: output is lost, the guest goes on.
    fn lose(&mut self) -> bool {
        self.output.resynchronize();
        true
    }

    fn word(&self, offset: u64) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        self.page.get(usize::try_from(offset / 4).ok()?)
    }

    fn show(&self, offset: u64, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_ring::Consumer;
    use sel4cp_ring::host::byte_pair;

    fn uart(slots: usize) -> (Uart, Consumer<u8>) {
        let page = Vec::leak((0..0x400).map(|_| AtomicU32::new(7)).collect());
        let pair = byte_pair(0x1000 + 2 * slots).unwrap();
        (Uart::new(page, pair.client().0, None), pair.driver().0)
    }

    #[test]
    fn characters_go_to_the_ring() {
        let (mut uart, mut driver) = uart(64);
        assert!(uart.write(0, 0x1_48) && uart.write(0, u64::from(b'i')));
        let mut bytes = [0; 8];
        assert_eq!(driver.pop_slice(&mut bytes), Ok(2));
        assert_eq!(&bytes[..2], b"Hi");
    }

    #[test]
    fn a_full_ring_holds_and_drops_nothing() {
        let (mut uart, mut driver) = uart(64);
        assert!((0..64).all(|n| uart.write(0, n)));
        assert!(!uart.write(0, 64));
        let mut bytes = [0; 64];
        assert_eq!(driver.pop_slice(&mut bytes), Ok(64));
        assert!(driver.release(), "the writer waits to be told");
        assert!(uart.write(0, 64));
        assert_eq!(driver.pop_slice(&mut bytes), Ok(1));
        assert_eq!(bytes[0], 64);
    }

    #[test]
    fn the_page_shows_an_idle_pl011() {
        let (mut uart, _driver) = uart(64);
        assert_eq!(uart.read(0x18), 0x90);
        let id: Vec<u64> = (0..8).map(|n| uart.read(0xfe0 + 4 * n)).collect();
        assert_eq!(id, [0x11, 0x10, 0x34, 0, 0x0d, 0xf0, 0x05, 0xb1]);
        assert!(uart.write(0x24, 0x1_0027) && uart.write(0x18, 0) && uart.write(0xfe0, 0));
        assert!(uart.write(0x1000, 1) && uart.write(u64::MAX, 1) && uart.write(0x26, 1));
        assert_eq!(
            (uart.read(0x24), uart.read(0x18), uart.read(0xfe0)),
            (0x27, 0x90, 0x11)
        );
        assert_eq!((uart.read(0x1000), uart.read(2)), (0, 0));
        uart.reset();
        assert_eq!((uart.read(0x24), uart.read(0x30)), (0, 0x301));
    }
}
