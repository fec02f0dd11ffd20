//! The headers of a TCP segment that is to be cut, and what each piece has of them.
//!
//! They are read once, and everything is looked up in that copy. What the guest says besides about their length is a hint that nobody
//! needs, and so not looked at. The sums of what all pieces have in common are formed once.

use super::fields::{
    CWR, ETHERTYPE, FIN, IPV4, IPV6, PSH, TAGGED, TCP, TCP_FLAGS, TCP_HEADER, TCP_OFFSET,
    TCP_SEQUENCE, TCP_SUM, V4_ADDRESSES, V4_HEADER, V4_ID, V4_LENGTH, V4_SUM, V6_ADDRESSES,
    V6_HEADER, V6_LENGTH, u16_at, u32_at, v4, v6,
};
use sel4cp_memory::Sum;
use sel4cp_model::net::{ETHERNET_HEADER, Header as NetHeader, VLAN_TAG};
use sel4cp_ring::net::Offload;

/// Bytes of the longest headers that are cut: Ethernet with a tag, IPv4 and TCP with all options they can have, or IPv6 with 74
/// bytes of options.
const LONGEST: usize = 192;

/// TCP flags that say something about the end of the data.
const AT_THE_END: u8 = FIN | PSH;

/// The copy, at an address that is a multiple of eight.
#[repr(align(8))]
struct Bytes([u8; 8 + LONGEST]);

/// Headers of one frame.
pub(super) struct Headers {
    bytes: Bytes,
    /// Where in the copy they start, and how many bytes they have.
    start: usize,
    len: usize,
    is_v6: bool,
    /// Where in them IP and TCP start.
    network: usize,
    transport: usize,
    /// What the frame says, before it is cut.
    id: u16,
    sequence: u32,
    flags: u8,
    /// The sums of the IPv4 header, and of the TCP header and its pseudo header, without what differs from piece to piece.
    network_sum: Sum,
    transport_sum: Sum,
}

/// A piece of a frame's data.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// Which one it is, from 0.
    pub(super) number: u32,
    /// Bytes before it.
    pub(super) before: u32,
    pub(super) len: u32,
    pub(super) is_last: bool,
    /// The sum of its bytes.
    pub(super) sum: Sum,
}

impl Headers {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Bytes([0; 8 + LONGEST]),
            start: 0,
            len: 0,
            is_v6: false,
            network: 0,
            transport: 0,
            id: 0,
            sequence: 0,
            flags: 0,
            network_sum: Sum::new(),
            transport_sum: Sum::new(),
        }
    }

    /// Finds the headers in the first bytes of a frame of `frame` bytes, which is to be cut as `offload` says. `None` unless it can be:
    /// another protocol, or something that is not so long or not where it is said to be.
    pub(super) fn parse(
        &mut self,
        frame: u32,
        offload: &Offload,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<()> {
        self.start = 0;
        let bytes = self.bytes.0.get_mut(..LONGEST)?;
        let count = read(bytes);
        let bytes = bytes.get(..count)?;
        let network = match u16_at(bytes, ETHERTYPE)? {
            TAGGED => size(ETHERNET_HEADER + VLAN_TAG),
            _ => size(ETHERNET_HEADER),
        };
        let ip = bytes.get(network..)?;
        let length = size(frame).checked_sub(network)?;
        let kind = u16_at(bytes, network - 2)?;
        let of = offload.gso_type & !NetHeader::GSO_ECN;
        let (transport, addresses) = match (of, kind, ip.first()? >> 4) {
            (NetHeader::GSO_TCPV4, IPV4, 4) => (network + v4(ip, length)?, V4_ADDRESSES..V4_HEADER),
            (NetHeader::GSO_TCPV6, IPV6, 6) => (network + v6(ip, length)?, V6_ADDRESSES..V6_HEADER),
            _ => return None,
        };
        let tcp = bytes.get(transport..)?;
        let header = usize::from(tcp.get(TCP_OFFSET)? >> 4) * 4;
        let tcp = tcp.get(..header.max(TCP_HEADER))?;
        let starts = usize::from(offload.csum_start) == transport;
        let is_sum = usize::from(offload.csum_offset) == TCP_SUM;
        if header < TCP_HEADER || transport + header > size(frame) || !starts || !is_sum {
            return None;
        }
        self.is_v6 = of == NetHeader::GSO_TCPV6;
        self.id = if self.is_v6 { 0 } else { u16_at(ip, V4_ID)? };
        self.sequence = u32_at(tcp, TCP_SEQUENCE)?;
        self.flags = *tcp.get(TCP_FLAGS)?;
        self.network_sum = sum_without(ip.get(..transport - network)?, &[V4_LENGTH, V4_ID, V4_SUM]);
        let different = [TCP_SEQUENCE, TCP_SEQUENCE + 2, TCP_OFFSET, TCP_SUM];
        // The pseudo headers of RFC 9293 §3.1 and RFC 8200 §8.1, without the length.
        self.transport_sum = sum_without(tcp, &different)
            .then(Sum::of_bytes(ip.get(addresses)?))
            .with_u16(TCP.into());
        (self.network, self.transport, self.len) = (network, transport, transport + header);
        Some(())
    }

    /// Moves the copy to where it is aligned as it will be in a place whose frame starts `start` bytes after a multiple of eight: it
    /// is copied fastest then.
    pub(super) fn align(&mut self, start: u32) {
        let start = size(start) % 8;
        let from = self.start..self.start + self.len;
        if from.end <= self.bytes.0.len() && start + self.len <= self.bytes.0.len() {
            self.bytes.0.copy_within(from, start);
            self.start = start;
        }
    }

    /// Bytes of all headers.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.len).unwrap_or(u32::MAX)
    }

    /// Bytes of those of IP and TCP.
    pub(super) fn packet(&self) -> u32 {
        u32::try_from(self.len.saturating_sub(self.network)).unwrap_or(u32::MAX)
    }

    /// The headers of a piece.
    pub(super) fn of(&mut self, piece: &Piece) -> &[u8] {
        let (network, transport) = (self.start + self.network, self.start + self.transport);
        let tcp_bytes = self.len - self.transport;
        let tcp = low(piece.len).wrapping_add(low_of(tcp_bytes));
        if self.is_v6 {
            let length = tcp.wrapping_add(low_of(self.transport - self.network - V6_HEADER));
            self.put(network + V6_LENGTH, length.to_be_bytes());
        } else {
            let length = tcp.wrapping_add(low_of(self.transport - self.network));
            let id = self.id.wrapping_add(low(piece.number));
            let sum = self.network_sum.with_u16(length).with_u16(id);
            self.put(network + V4_LENGTH, length.to_be_bytes());
            self.put(network + V4_ID, id.to_be_bytes());
            self.put(network + V4_SUM, sum.checksum());
        }
        let mut flags = self.flags;
        if !piece.is_last {
            flags &= !AT_THE_END;
        }
        if piece.number != 0 {
            flags &= !CWR;
        }
        let sequence = self.sequence.wrapping_add(piece.before);
        let offset = self.bytes.0.get(transport + TCP_OFFSET);
        let offset = [offset.copied().unwrap_or(0), flags];
        let sum = self
            .transport_sum
            .with_u16(tcp)
            .with_u32(sequence)
            .with_u16(u16::from_be_bytes(offset))
            .then(piece.sum);
        self.put(transport + TCP_SEQUENCE, sequence.to_be_bytes());
        self.put(transport + TCP_OFFSET, offset);
        self.put(transport + TCP_SUM, sum.checksum());
        self.bytes
            .0
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        if let Some(place) = self.bytes.0.get_mut(at..at + N) {
            place.copy_from_slice(&value);
        }
    }
}

/// The sum of `header` without the words at these places.
fn sum_without(header: &[u8], places: &[usize]) -> Sum {
    let mut sum = Sum::new();
    for (index, word) in header.chunks(2).enumerate() {
        if !places.contains(&(2 * index)) {
            sum = sum.then(Sum::of_bytes(word));
        }
    }
    sum
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The low 16 bits.
fn low(value: u32) -> u16 {
    let [.., high, low] = value.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// A length inside [`LONGEST`].
fn low_of(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(0)
}
