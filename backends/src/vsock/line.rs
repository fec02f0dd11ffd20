//! A wire as the switch has it, and what goes over it.

use sel4cp_model::vsock::{Op, Seq, SocketType};
use sel4cp_ring::wire::{self, Wire};

/// A wire and who is at its other end.
pub struct Line {
    pub(super) cid: u64,
    pub(super) wire: Wire,
    /// Its first packet is for the guest, and has not arrived completely.
    pub(super) admitted: bool,
}

impl Line {
    /// The wire to the peer with this CID.
    pub fn new(cid: u64, wire: Wire) -> Self {
        Self {
            cid,
            wire,
            admitted: false,
        }
    }
}

/// A RST.
pub(super) fn reset(kind: u16, from: u32, to: u32) -> wire::Header {
    wire::Header {
        op: Op::Rst as u16,
        kind,
        from,
        to,
        ..wire::Header::default()
    }
}

/// The flags that a packet that was let through kept.
pub(super) fn flags(packet: &wire::Header) -> u32 {
    match SocketType::from_number(packet.kind) {
        Some(SocketType::Seqpacket) => Seq::from_bits_truncate(packet.flags).bits(),
        _ => 0,
    }
}
