//! A TCP segment that has arrived, and whether another one goes on with it.

use super::fields::{
    ACK, ETHERTYPE, IPV4, IPV6, PSH, TCP, TCP_FLAGS, TCP_HEADER, TCP_OFFSET, TCP_SEQUENCE, TCP_SUM,
    V4_ADDRESSES, V4_HEADER, V4_ID, V4_LENGTH, V4_SUM, V6_ADDRESSES, V6_HEADER, V6_LENGTH, u16_at,
    v4, v6,
};
use sel4cp_memory::Sum;
use sel4cp_model::net::{ETHERNET_HEADER, Features, Header as NetHeader};
use zerocopy::IntoBytes;

/// Where a frame and the packet in it start in a buffer.
const FRAME: usize = NetHeader::SIZE as usize;
pub(super) const PACKET: usize = FRAME + ETHERNET_HEADER as usize;
/// Bytes before the packet.
const LINK: u32 = NetHeader::SIZE + ETHERNET_HEADER;
/// Bytes before the data of a segment at most: of IPv6, with all options of TCP.
pub(super) const LONGEST: usize = 128;
const _: () = assert!(PACKET + V6_HEADER + 0xf * 4 <= LONGEST);
/// Bytes of the longest packet, whose length is in a 16-bit field. (IPv6 could say a little more.)
const LONGEST_PACKET: u32 = 0xffff;
/// Version and header length of IPv4 without options.
const PLAIN_V4: u8 = 0x45;

/// The copy, in words: whole words are copied and compared fastest.
pub(super) type Words = [u64; LONGEST / 8];
pub(super) const NONE: Words = [0; LONGEST / 8];

/// What precedes the data of the first segment of a run, and of the one that may follow. Each is read once, and everything is looked
/// up in that copy.
pub(super) struct Segment {
    /// In both, 0 is what may differ between segments that follow one another, and what is behind the headers.
    first: Words,
    next: Words,
    is_v6: bool,
    /// Where TCP starts, and the data.
    transport: usize,
    data: usize,
    /// What the first one says.
    own: Own,
    /// The sums of the IPv4 header, and of the TCP header and its pseudo header, without what is 0 here.
    network_sum: Sum,
    transport_sum: Sum,
}

/// What may differ between segments that follow one another.
#[derive(Clone, Copy, Default)]
pub(super) struct Own {
    /// Bytes of data.
    pub(super) payload: u32,
    /// Its sender had no more to send then.
    pub(super) pushes: bool,
    id: u16,
    sequence: u32,
    /// What the two checksums say.
    network_sum: [u8; 2],
    transport_sum: [u8; 2],
}

impl Segment {
    pub(super) const fn new() -> Self {
        Self {
            first: NONE,
            next: NONE,
            is_v6: false,
            transport: 0,
            data: 0,
            own: Own {
                payload: 0,
                pushes: false,
                id: 0,
                sequence: 0,
                network_sum: [0; 2],
                transport_sum: [0; 2],
            },
            network_sum: Sum::new(),
            transport_sum: Sum::new(),
        }
    }

    /// Finds the headers in a buffer with `len` bytes in it. `None` unless there is a segment that may be the first of several: whole, of
    /// a kind that the guest `takes`, with data, and with nothing that concerns it alone (no options of IP, no flags but ACK).
    pub(super) fn parse(
        &mut self,
        len: u32,
        takes: Features,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Own> {
        self.next = NONE;
        let count = read(self.first.as_mut_bytes());
        let bytes = self.first.as_mut_bytes().get_mut(..count)?;
        let place = Place::find(bytes, size(len).checked_sub(PACKET)?, takes)?;
        (self.is_v6, self.transport, self.data) = (place.is_v6, place.transport, place.data);
        let own = Own::take(
            self.first.as_mut_bytes().get_mut(..self.data)?,
            self.transport,
            self.is_v6,
            len,
        )?;
        let (bytes, behind) = self.first.as_mut_bytes().split_at_mut_checked(self.data)?;
        behind.fill(0);
        (self.network_sum, self.transport_sum) = place.sums(bytes)?;
        self.own = own;
        (!own.pushes && self.has_whole_header(&own)).then_some(own)
    }

    /// Bytes before the data.
    pub(super) fn headers(&self) -> u32 {
        u32::try_from(self.data).unwrap_or(u32::MAX)
    }

    /// Bytes of data in each segment but the last.
    pub(super) const fn size(&self) -> u32 {
        self.own.payload
    }

    /// Whether the header of IPv4 is as it was sent.
    fn has_whole_header(&self, own: &Own) -> bool {
        self.is_v6 || {
            let [.., high, low] = (self.headers() + own.payload - LINK).to_be_bytes();
            let sum = self.network_sum.with_u16(u16::from_be_bytes([high, low]));
            is_whole(sum.with_u16(own.id).then(Sum::of_bytes(&own.network_sum)))
        }
    }

    /// Whether a segment's checksum is right, where this is the sum of its data.
    pub(super) fn is_intact(&self, own: &Own, data: Sum) -> bool {
        let tcp = u32::try_from(self.data - self.transport).unwrap_or(u32::MAX);
        let [.., high, low] = (tcp + own.payload).to_be_bytes();
        let flags = if own.pushes { PSH } else { 0 };
        let sum = self
            .transport_sum
            .with_u16(u16::from_be_bytes([high, low]))
            .with_u16(flags.into())
            .with_u32(own.sequence)
            .then(Sum::of_bytes(&own.transport_sum));
        is_whole(sum.then(data))
    }

    /// Looks at a buffer with `len` bytes in it: whether what is there goes on with this segment and those that followed, so many in
    /// all, with so many bytes of data. All that may differ is what says so, and that must be as it is when one long segment is cut. Its
    /// checksum is yet to be looked at.
    pub(super) fn goes_on(
        &mut self,
        len: u32,
        count: u32,
        bytes: u32,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Own> {
        let next = self.next.as_mut_bytes().get_mut(..self.data)?;
        if read(next) != self.data {
            return None;
        }
        let own = Own::take(next, self.transport, self.is_v6, len)?;
        let [.., high, low] = count.to_be_bytes();
        let id = self.own.id.wrapping_add(u16::from_be_bytes([high, low]));
        let goes_on = own.sequence == self.own.sequence.wrapping_add(bytes)
            && own.payload <= self.own.payload
            && (self.is_v6 || own.id == id)
            && self.headers() - LINK + bytes + own.payload <= LONGEST_PACKET
            && is_same(&self.first, &self.next, self.data)
            && self.has_whole_header(&own);
        goes_on.then_some(own)
    }

    /// What precedes the data of all, `bytes` in so many buffers, for a guest that can cut it again (§5.1.6.4.1). `pushes` says whether
    /// the last one did. To be taken once.
    pub(super) fn join(&mut self, bytes: u32, pushes: bool, buffers: u16) -> &[u8] {
        let low = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        let tcp_length = low(self.data - self.transport + size(bytes));
        let packet = low(self.data - PACKET + size(bytes));
        if self.is_v6 {
            self.put_lengths(tcp_length.to_be_bytes(), [0; 2], [0; 2]);
        } else {
            let (length, id) = (packet.to_be_bytes(), self.own.id.to_be_bytes());
            self.put_lengths(length, id, [0; 2]);
            let header = self.first.as_bytes().get(PACKET..PACKET + V4_HEADER);
            let sum = Sum::of_bytes(header.unwrap_or_default());
            self.put_lengths(length, id, sum.checksum());
        }
        let addresses = if self.is_v6 {
            PACKET + V6_ADDRESSES..PACKET + V6_HEADER
        } else {
            PACKET + V4_ADDRESSES..PACKET + V4_HEADER
        };
        let sum = Sum::of_bytes(self.first.as_bytes().get(addresses).unwrap_or_default());
        let sum = sum.with_u16(TCP.into()).with_u16(tcp_length);
        let flags = if pushes { ACK | PSH } else { ACK };
        self.put(
            self.transport + TCP_SEQUENCE,
            self.own.sequence.to_be_bytes(),
        );
        self.put(self.transport + TCP_FLAGS, [flags]);
        self.put(self.transport + TCP_SUM, sum.partial());
        let header = NetHeader {
            flags: NetHeader::NEEDS_CSUM,
            gso_type: if self.is_v6 {
                NetHeader::GSO_TCPV6
            } else {
                NetHeader::GSO_TCPV4
            },
            hdr_len: low(self.data - FRAME).into(),
            gso_size: low(size(self.own.payload)).into(),
            csum_start: low(self.transport - FRAME).into(),
            csum_offset: low(TCP_SUM).into(),
            num_buffers: buffers.into(),
        };
        if let Some(place) = self.first.as_mut_bytes().get_mut(..FRAME) {
            place.copy_from_slice(header.as_bytes());
        }
        self.first.as_bytes().get(..self.data).unwrap_or_default()
    }

    /// What IP says of the length, and with IPv4 its identification and checksum.
    fn put_lengths(&mut self, length: [u8; 2], id: [u8; 2], sum: [u8; 2]) {
        if self.is_v6 {
            self.put(PACKET + V6_LENGTH, length);
        } else {
            self.put(PACKET + V4_LENGTH, length);
            self.put(PACKET + V4_ID, id);
            self.put(PACKET + V4_SUM, sum);
        }
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        let rest = self.first.as_mut_bytes().get_mut(at..);
        if let Some((place, _)) = rest.and_then(|rest| rest.split_first_chunk_mut()) {
            *place = value;
        }
    }
}

/// Where the headers of a segment are.
pub(super) struct Place {
    pub(super) is_v6: bool,
    /// Where TCP starts, and the data.
    pub(super) transport: usize,
    pub(super) data: usize,
}

impl Place {
    /// Finds the headers in the first bytes of a buffer with a packet of `length` bytes. `None` unless it is a whole segment, of a kind
    /// that the guest `takes`, without options of IP.
    pub(super) fn find(bytes: &[u8], length: usize, takes: Features) -> Option<Self> {
        let ip = bytes.get(PACKET..)?;
        let ethertype = u16_at(bytes.get(FRAME..)?, ETHERTYPE)?;
        let (is_v6, kind, header) = match (ethertype, *ip.first()?) {
            (IPV4, PLAIN_V4) => (false, Features::GUEST_TSO4, v4(ip, length)?),
            (IPV6, first) if first >> 4 == 6 => (true, Features::GUEST_TSO6, v6(ip, length)?),
            _ => return None,
        };
        let options = usize::from(ip.get(header + TCP_OFFSET)? >> 4) * 4;
        let plain = header == if is_v6 { V6_HEADER } else { V4_HEADER };
        let good = plain && takes.contains(kind) && options >= TCP_HEADER;
        let transport = PACKET + header;
        good.then_some(Self {
            is_v6,
            transport,
            data: transport + options,
        })
    }

    /// The sums of the IP header, and of the TCP header and its pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) without the length, where
    /// these are the bytes before the data.
    pub(super) fn sums(&self, bytes: &[u8]) -> Option<(Sum, Sum)> {
        let ip = bytes.get(PACKET..self.transport)?;
        let addresses = if self.is_v6 {
            V6_ADDRESSES
        } else {
            V4_ADDRESSES
        };
        let tcp = Sum::of_bytes(bytes.get(self.transport..self.data)?)
            .then(Sum::of_bytes(ip.get(addresses..)?))
            .with_u16(TCP.into());
        Some((Sum::of_bytes(ip), tcp))
    }
}

impl Own {
    /// Takes what may differ out of what precedes the data of a segment in a buffer with `len` bytes in it. `None` unless the lengths
    /// fit, there is data, and there are no flags but ACK and PSH, nor anything that the hardware has done or left to do.
    fn take(bytes: &mut [u8], transport: usize, is_v6: bool, len: u32) -> Option<Self> {
        let ip = bytes.get_mut(PACKET..)?;
        let packet = len.checked_sub(LINK)?;
        let (at, less, (id, network_sum)) = if is_v6 {
            (V6_LENGTH, V6_HEADER, (0, [0; 2]))
        } else {
            let id = u16::from_be_bytes(take(ip, V4_ID)?);
            (V4_LENGTH, 0, (id, take(ip, V4_SUM)?))
        };
        let length = u16::from_be_bytes(take(ip, at)?);
        if u32::from(length) + u32::try_from(less).ok()? != packet {
            return None;
        }
        let payload = len.checked_sub(u32::try_from(bytes.len()).ok()?)?;
        let tcp = bytes.get_mut(transport..)?;
        let own = Self {
            payload,
            pushes: tcp.get(TCP_FLAGS)? & PSH != 0,
            id,
            sequence: u32::from_be_bytes(take(tcp, TCP_SEQUENCE)?),
            network_sum,
            transport_sum: take(tcp, TCP_SUM)?,
        };
        let flags = tcp.get_mut(TCP_FLAGS)?;
        *flags &= !PSH;
        let plain = *flags == ACK && payload != 0;
        (plain && !is_begun(bytes)).then_some(own)
    }
}

/// Whether the hardware has done something to the frame in a buffer that begins like that, or left something to do.
pub(super) fn is_begun(buffer: &[u8]) -> bool {
    !matches!(buffer, [0, 0, ..])
}

/// Takes a field out: zeros stay in its place.
pub(super) fn take<const N: usize>(bytes: &mut [u8], at: usize) -> Option<[u8; N]> {
    let (field, _) = bytes.get_mut(at..)?.split_first_chunk_mut::<N>()?;
    Some(core::mem::replace(field, [0; N]))
}

/// Whether this is the sum of something with its checksum in it.
pub(super) fn is_whole(sum: Sum) -> bool {
    sum.checksum() == [0xff; 2]
}

/// Whether the frames are the same in what is before the `len`th byte.
pub(super) fn is_same(one: &Words, other: &Words, len: usize) -> bool {
    let pairs = one.iter().zip(other).take(len.div_ceil(8));
    let differs = |(one, other): (&u64, &u64)| one ^ other;
    let (whole, rest) = (FRAME / 8, u64::to_le(!0 << (8 * (FRAME % 8))));
    let mut pairs = pairs.skip(whole).map(differs);
    let first = pairs.next().unwrap_or(0) & rest;
    pairs.fold(first, |all, one| all | one) == 0
}

pub(super) fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
