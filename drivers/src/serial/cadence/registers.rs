//! The registers of the Cadence UART (Zynq UltraScale+ Device Register Reference, UG1087, UART).

use bitflags::bitflags;
use core::mem::offset_of;
use safe_mmio::fields::{ReadPure, ReadPureWrite, ReadWrite, WriteOnly};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The registers.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Registers {
    /// CR.
    pub(super) control: ReadPureWrite<u32>,
    /// MR.
    pub(super) mode: ReadPureWrite<u32>,
    /// IER.
    pub(super) interrupt_enable: WriteOnly<u32>,
    /// IDR.
    pub(super) interrupt_disable: WriteOnly<u32>,
    /// IMR.
    pub(super) interrupt_mask: ReadPure<u32>,
    /// ISR: what has happened, until a one is written to it.
    pub(super) interrupt_status: ReadPureWrite<u32>,
    reserved_0: [u32; 2],
    /// RXWM.
    pub(super) receive_level: ReadPureWrite<u32>,
    reserved_1: [u32; 2],
    /// SR.
    pub(super) status: ReadPure<u32>,
    /// FIFO: writes send, reads take the next byte out.
    pub(super) fifo: ReadWrite<u32>,
}

const _: () = {
    assert!(offset_of!(Registers, interrupt_status) == 0x14);
    assert!(offset_of!(Registers, receive_level) == 0x20);
    assert!(offset_of!(Registers, fifo) == 0x30);
};

bitflags! {
    /// CR.
    #[derive(Clone, Copy)]
    pub(super) struct Control: u32 {
        const TX_ENABLE = 1 << 4;
        const RX_ENABLE = 1 << 2;
    }

    /// MR. What is not named here is zero: eight bits, one stop bit, no loop.
    #[derive(Clone, Copy)]
    pub(super) struct Mode: u32 {
        const NO_PARITY = 1 << 5;
        /// The clock's first divider, the firmware's choice.
        const CLOCK = 1 << 0;
    }

    /// IER, IDR, IMR, ISR.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) struct Interrupts: u32 {
        const PARITY = 1 << 7;
        const FRAMING = 1 << 6;
        /// The transmitter's FIFO has become empty.
        const TX_EMPTY = 1 << 3;
        /// As many bytes as RXWM says have come.
        const RX_LEVEL = 1 << 0;
        /// All that there are.
        const ALL = 0x3fff;
    }

    /// SR.
    #[derive(Clone, Copy)]
    pub(super) struct Status: u32 {
        /// The shift register holds something.
        const TX_ACTIVE = 1 << 11;
        const TX_FULL = 1 << 4;
        const TX_EMPTY = 1 << 3;
        const RX_EMPTY = 1 << 1;
    }
}
