//! The registers of the Meson UART (S905X3 datasheet, UART).

use bitflags::bitflags;
use core::mem::offset_of;
use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The registers.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Registers {
    /// WFIFO.
    pub(super) transmitter: WriteOnly<u32>,
    /// RFIFO: takes the next byte out of its FIFO.
    pub(super) receiver: ReadOnly<u32>,
    /// CONTROL.
    pub(super) control: ReadPureWrite<u32>,
    /// STATUS.
    pub(super) status: ReadPure<u32>,
    /// MISC: when the FIFOs interrupt.
    pub(super) levels: ReadPureWrite<u32>,
}

const _: () = assert!(offset_of!(Registers, levels) == 0x10);

bitflags! {
    /// CONTROL.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) struct Control: u32 {
        const TX_INTERRUPT = 1 << 28;
        const RX_INTERRUPT = 1 << 27;
        /// As long as it is set, there are no errors in STATUS.
        const CLEAR_ERROR = 1 << 24;
        const RX_RESET = 1 << 23;
        const TX_RESET = 1 << 22;
        /// All zero: eight bits.
        const DATA_BITS = 3 << 20;
        /// All zero: no parity.
        const PARITY = 3 << 18;
        /// All zero: one.
        const STOP_BITS = 3 << 16;
        /// No RTS and CTS.
        const TWO_WIRE = 1 << 15;
        const RX_ENABLE = 1 << 13;
        const TX_ENABLE = 1 << 12;
    }

    /// STATUS.
    #[derive(Clone, Copy)]
    pub(super) struct Status: u32 {
        /// The shift register holds something.
        const TX_BUSY = 1 << 25;
        const TX_EMPTY = 1 << 22;
        const TX_FULL = 1 << 21;
        const RX_EMPTY = 1 << 20;
        const FRAME_ERROR = 1 << 17;
        const PARITY_ERROR = 1 << 16;
    }
}

/// STATUS: bytes in the transmitter's FIFO.
pub(super) const fn waiting(status: u32) -> u32 {
    status >> 8 & 0x7f
}

/// MISC: interrupts when at most `transmit` bytes are left to send, and when `receive` bytes have come.
pub(super) const fn levels(transmit: u32, receive: u32) -> u32 {
    (transmit & 0xff) << 8 | receive & 0xff
}
