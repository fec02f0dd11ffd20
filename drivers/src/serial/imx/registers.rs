//! The registers of the i.MX UART (i.MX 8M Applications Processor Reference Manual, UART memory map).

use bitflags::bitflags;
use core::mem::offset_of;
use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The registers.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Registers {
    /// URXD: takes the next character out of its FIFO.
    pub(super) receiver: ReadOnly<u32>,
    reserved_0: [u32; 15],
    /// UTXD.
    pub(super) transmitter: WriteOnly<u32>,
    reserved_1: [u32; 15],
    /// UCR1.
    pub(super) control_1: ReadPureWrite<u32>,
    /// UCR2.
    pub(super) control_2: ReadPureWrite<u32>,
    /// UCR3.
    pub(super) control_3: ReadPureWrite<u32>,
    /// UCR4.
    pub(super) control_4: ReadPureWrite<u32>,
    /// UFCR.
    pub(super) fifo_control: ReadPureWrite<u32>,
    /// USR1.
    pub(super) status_1: ReadPureWrite<u32>,
    /// USR2.
    pub(super) status_2: ReadPureWrite<u32>,
    reserved_2: [u32; 6],
    /// UTS.
    pub(super) test: ReadPure<u32>,
}

const _: () = {
    assert!(offset_of!(Registers, transmitter) == 0x40);
    assert!(offset_of!(Registers, control_1) == 0x80);
    assert!(offset_of!(Registers, status_2) == 0x98);
    assert!(offset_of!(Registers, test) == 0xb4);
};

bitflags! {
    /// URXD.
    #[derive(Clone, Copy)]
    pub(super) struct Receiver: u32 {
        /// There was a character in the FIFO.
        const CHARRDY = 1 << 15;
        /// It is a break, or is damaged, or some before it were lost.
        const ERR = 1 << 14;
    }

    /// UCR1.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) struct Control1: u32 {
        /// Interrupt while TRDY.
        const TRDYEN = 1 << 13;
        /// Interrupt while RRDY.
        const RRDYEN = 1 << 9;
        /// The UART is on.
        const UARTEN = 1 << 0;
    }

    /// UCR2. What is not named here stays off: parity, the second stop bit, and all interrupts.
    #[derive(Clone, Copy)]
    pub(super) struct Control2: u32 {
        /// The other side's RTS does not matter.
        const IRTS = 1 << 14;
        /// Eight bits.
        const WS = 1 << 5;
        const TXEN = 1 << 2;
        const RXEN = 1 << 1;
        /// Not in reset.
        const SRST = 1 << 0;
    }

    /// UCR3.
    #[derive(Clone, Copy)]
    pub(super) struct Control3: u32 {
        /// Interrupts: the modem's lines, parity, framing, waking up, measuring the speed.
        const INTERRUPTS = 0b11 << 12 | 1 << 11 | 0b11 << 8 | 0b1111 << 3 | 1 << 0;
    }

    /// UCR4.
    #[derive(Clone, Copy)]
    pub(super) struct Control4: u32 {
        /// Interrupts: characters, overruns, breaks, the end of transmission, waking up.
        const INTERRUPTS = 1 << 8 | 1 << 7 | 0b1111;
    }

    /// UFCR.
    #[derive(Clone, Copy)]
    pub(super) struct FifoControl: u32 {
        /// TXTL: TRDY when fewer than so many characters are left, 2 to 32.
        const TXTL = 0x3f << 10;
        /// RXTL: RRDY when so many characters have come, 1 to 32.
        const RXTL = 0x3f;
    }

    /// USR1.
    #[derive(Clone, Copy)]
    pub(super) struct Status1: u32 {
        /// Few characters are left to send.
        const TRDY = 1 << 13;
    }

    /// USR2.
    #[derive(Clone, Copy)]
    pub(super) struct Status2: u32 {
        /// Nothing is left in the transmitter's FIFO.
        const TXFE = 1 << 14;
        /// Nor in its shift register.
        const TXDC = 1 << 3;
    }

    /// UTS.
    #[derive(Clone, Copy)]
    pub(super) struct Test: u32 {
        const TXFULL = 1 << 4;
    }
}
