//! Where fields are in the headers of a TCP segment, and what they must say.

/// Where the type is in the link's header.
pub(super) const ETHERTYPE: usize = 12;
/// Ethertypes: a tag (802.1Q), and what has TCP in it.
pub(super) const TAGGED: u16 = 0x8100;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
/// Protocol and next header numbers.
pub(super) const TCP: u8 = 6;
pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const DESTINATION: u8 = 60;
/// Fields of an IPv4 header (RFC 791): total length, identification, fragments, protocol, checksum, addresses.
pub(super) const V4_LENGTH: usize = 2;
pub(super) const V4_ID: usize = 4;
pub(super) const V4_FRAGMENT: usize = 6;
pub(super) const V4_PROTOCOL: usize = 9;
pub(super) const V4_SUM: usize = 10;
pub(super) const V4_ADDRESSES: usize = 12;
pub(super) const V4_HEADER: usize = 20;
/// Of [`V4_FRAGMENT`]: more fragments follow, or some came before.
pub(super) const IN_FRAGMENTS: u16 = 0x3fff;
/// Fields of an IPv6 header (RFC 8200): payload length, next header, addresses.
pub(super) const V6_LENGTH: usize = 4;
pub(super) const V6_NEXT: usize = 6;
pub(super) const V6_ADDRESSES: usize = 8;
pub(super) const V6_HEADER: usize = 40;
/// Fields of a TCP header (RFC 9293): sequence and acknowledgement numbers, data offset, flags, window, checksum.
pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_ACKNOWLEDGEMENT: usize = 8;
pub(super) const TCP_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_WINDOW: usize = 14;
pub(super) const TCP_SUM: usize = 16;
pub(super) const TCP_HEADER: usize = 20;
/// What precedes the two numbers of the timestamps option, as all implementations write it (RFC 7323, appendix A).
pub(super) const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
/// TCP flags.
pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const CWR: u8 = 0x80;

/// Bytes of the packet that begins like that, as it says itself.
pub(super) fn packet_length(ip: &[u8]) -> Option<usize> {
    match ip.first()? >> 4 {
        4 => Some(u16_at(ip, V4_LENGTH)?.into()),
        6 => Some(usize::from(u16_at(ip, V6_LENGTH)?) + V6_HEADER),
        _ => None,
    }
}

/// Bytes of the IPv4 header that `ip` starts with, of a packet of `length` bytes with TCP in it.
pub(super) fn v4(ip: &[u8], length: usize) -> Option<usize> {
    let header = usize::from(ip.first()? & 0xf) * 4;
    let good = header >= V4_HEADER
        && usize::from(u16_at(ip, V4_LENGTH)?) == length
        && u16_at(ip, V4_FRAGMENT)? & IN_FRAGMENTS == 0
        && *ip.get(V4_PROTOCOL)? == TCP;
    good.then_some(header)
}

/// Bytes of the IPv6 header that `ip` starts with and of the options behind it, of a packet of `length` bytes with TCP in it. Neither
/// a part of a larger packet, nor one with a way to go: its checksum is about another address.
pub(super) fn v6(ip: &[u8], length: usize) -> Option<usize> {
    if usize::from(u16_at(ip, V6_LENGTH)?) + V6_HEADER != length {
        return None;
    }
    let mut next = *ip.get(V6_NEXT)?;
    let mut at = V6_HEADER;
    // Ends: each step is forward, and there are as many bytes as were copied.
    while next != TCP {
        if next != HOP_BY_HOP && next != DESTINATION {
            return None;
        }
        next = *ip.get(at)?;
        at += (usize::from(*ip.get(at + 1)?) + 1) * 8;
    }
    Some(at)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let (field, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let (field, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*field))
}
