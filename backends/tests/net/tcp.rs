//! TCP segments, and what becomes of them when they are cut: written down once more, without any thrift.

use proptest::prelude::*;
use sel4cp_model::net::Header;
use sel4cp_testing::{Buffer, readable, readable_obj};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;

/// A TCP segment in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) tagged: bool,
    pub(crate) v6: bool,
    /// Options of IPv4, or extension headers of IPv6 (in units of eight bytes, each with the number of its kind).
    pub(crate) ip_options: Vec<u8>,
    pub(crate) extensions: Vec<(u8, u8)>,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) id: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) window: u16,
    /// What follows the data offset.
    pub(crate) reserved: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// An ordinary one: IPv4, no options.
    pub(crate) fn plain(payload: usize) -> Self {
        Self {
            tagged: false,
            v6: false,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            tcp_options: Vec::new(),
            id: 0xfffe,
            sequence: u32::MAX - 100,
            acknowledged: 0x0908_0706,
            window: 0xfffe,
            reserved: 0,
            flags: ACK | PSH,
            payload: (0..payload)
                .map(|n| (n * 7 % 253).try_into().unwrap())
                .collect(),
        }
    }

    pub(crate) fn network(&self) -> usize {
        if self.tagged { 18 } else { 14 }
    }

    pub(crate) fn transport(&self) -> usize {
        let extensions: usize = self
            .extensions
            .iter()
            .map(|(_, more)| (usize::from(*more) + 1) * 8)
            .sum();
        let ip = if self.v6 {
            40 + extensions
        } else {
            20 + self.ip_options.len()
        };
        self.network() + ip
    }

    pub(crate) fn headers(&self) -> usize {
        self.transport() + 20 + self.tcp_options.len()
    }

    fn addresses(&self) -> Vec<u8> {
        (0..if self.v6 { 32 } else { 8 })
            .map(|n| 0xf0 ^ n)
            .collect()
    }

    fn tcp(&self) -> Vec<u8> {
        let offset = u8::try_from(20 + self.tcp_options.len()).unwrap() / 4;
        let mut tcp = vec![0x12, 0x34, 0x00, 0x50];
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        tcp.extend([offset << 4 | self.reserved, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0, 0, 3]);
        tcp.extend(&self.tcp_options);
        tcp.extend(&self.payload);
        tcp
    }

    fn ip(&self, length: usize) -> Vec<u8> {
        if self.v6 {
            let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
            kinds.push(6);
            let mut ip = vec![0x60, 1, 2, 3];
            let extensions = self.transport() - self.network() - 40;
            ip.extend(u16::try_from(extensions + length).unwrap().to_be_bytes());
            ip.extend([kinds[0], 64]);
            ip.extend(self.addresses());
            for ((_, more), next) in self.extensions.iter().zip(&kinds[1..]) {
                ip.extend([*next, *more]);
                ip.extend(vec![0x1e; (usize::from(*more) + 1) * 8 - 2]);
            }
            return ip;
        }
        let header = 20 + self.ip_options.len();
        let mut ip = vec![0x40 | u8::try_from(header / 4).unwrap(), 2];
        ip.extend(u16::try_from(header + length).unwrap().to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend([0x40, 0, 63, 6, 0, 0]);
        ip.extend(self.addresses());
        ip.extend(&self.ip_options);
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip
    }

    fn pseudo(&self, length: usize) -> Vec<u8> {
        let mut pseudo = self.addresses();
        pseudo.extend([0, 6]);
        pseudo.extend(u16::try_from(length).unwrap().to_be_bytes());
        pseudo
    }

    fn link(&self) -> Vec<u8> {
        let mut link = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7];
        if self.tagged {
            link.extend([0x81, 0, 0, 5]);
        }
        link.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        link
    }

    /// The frame, with a whole checksum or with only that of the pseudo header.
    fn bytes(&self, whole: bool) -> Vec<u8> {
        let mut tcp = self.tcp();
        let pseudo = self.pseudo(tcp.len());
        let sum = if whole {
            checksum(&[&pseudo[..], &tcp].concat())
        } else {
            !checksum(&pseudo)
        };
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        [self.link(), self.ip(tcp.len()), tcp].concat()
    }

    /// What the guest hands over: with the checksum of the pseudo header.
    pub(crate) fn to_do(&self) -> Vec<u8> {
        self.bytes(false)
    }

    /// What goes over the link.
    pub(crate) fn done(&self) -> Vec<u8> {
        self.bytes(true)
    }

    /// What asks to cut it into pieces of `size` bytes.
    pub(crate) fn request(&self, size: u16) -> Header {
        let kind = if self.v6 {
            Header::GSO_TCPV6
        } else {
            Header::GSO_TCPV4
        };
        let ecn = if self.flags & CWR != 0 {
            Header::GSO_ECN
        } else {
            0
        };
        Header {
            flags: Header::NEEDS_CSUM,
            gso_type: kind | ecn,
            hdr_len: u16::try_from(self.headers()).unwrap().into(),
            gso_size: size.into(),
            csum_start: u16::try_from(self.transport()).unwrap().into(),
            csum_offset: 16.into(),
            num_buffers: 0.into(),
        }
    }

    /// What goes over the link when it is cut (§5.1.6.2).
    pub(crate) fn pieces(&self, size: u16) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = match self.payload.len() {
            0 => vec![&[]],
            _ => self.payload.chunks(size.into()).collect(),
        };
        let last = chunks.len() - 1;
        let mut pieces = Vec::new();
        for (number, chunk) in chunks.into_iter().enumerate() {
            let mut piece = self.clone();
            let before = number * usize::from(size);
            piece.sequence = self.sequence.wrapping_add(u32::try_from(before).unwrap());
            piece.id = self.id.wrapping_add(u16::try_from(number).unwrap());
            piece.flags &= if number == last { 0xff } else { !(FIN | PSH) };
            piece.flags &= if number == 0 { 0xff } else { !CWR };
            piece.payload = chunk.to_vec();
            pieces.push(piece.done());
        }
        pieces
    }
}

/// What went over the link when the guest gets this: a frame as it is, or the pieces of one that is to be cut (§5.1.6.4).
pub(crate) fn apart(header: &Header, frame: &[u8]) -> Vec<Vec<u8>> {
    if header.gso_type == 0 {
        assert_eq!(header.flags, 0);
        return vec![frame.to_vec()];
    }
    assert_eq!(header.flags, Header::NEEDS_CSUM);
    assert_eq!(header.csum_offset.get(), 16);
    let v6 = header.gso_type == Header::GSO_TCPV6;
    assert!(v6 || header.gso_type == Header::GSO_TCPV4);
    let transport = usize::from(header.csum_start.get());
    let (headers, data) = frame.split_at(header.hdr_len.get().into());
    let size = usize::from(header.gso_size.get());
    let addresses = if v6 { 22..54 } else { 26..34 };
    let pseudo = |length: usize| {
        let length = u16::try_from(length).unwrap().to_be_bytes();
        [&headers[addresses.clone()], &[0, 6], &length].concat()
    };
    let partial = !checksum(&pseudo(frame.len() - transport));
    let found = u16::from_be_bytes([headers[transport + 16], headers[transport + 17]]);
    // 0 and 0xffff are the same number.
    assert_eq!(found % 0xffff, partial % 0xffff);
    assert!(v6 || checksum(&headers[14..34]) == 0xffff);
    assert!(data.len() > size, "there are two at least");
    let mut pieces = Vec::new();
    for (number, chunk) in data.chunks(size).enumerate() {
        let mut piece = [headers, chunk].concat();
        let mut put = |at: usize, bytes: &[u8]| piece[at..at + bytes.len()].copy_from_slice(bytes);
        let packet = u16::try_from(headers.len() - 14 + chunk.len()).unwrap();
        if v6 {
            put(18, &(packet - 40).to_be_bytes());
        } else {
            let id = u16::from_be_bytes([headers[18], headers[19]]);
            let id = id.wrapping_add(u16::try_from(number).unwrap());
            put(16, &packet.to_be_bytes());
            put(18, &id.to_be_bytes());
            put(24, &[0, 0]);
        }
        let sequence = u32::from_be_bytes(headers[transport + 4..][..4].try_into().unwrap());
        let before = u32::try_from(number * size).unwrap();
        put(transport + 4, &sequence.wrapping_add(before).to_be_bytes());
        put(transport + 16, &[0, 0]);
        if (number + 1) * size < data.len() {
            piece[transport + 13] &= !PSH;
        }
        if !v6 {
            let sum = checksum(&piece[14..34]).to_be_bytes();
            piece[24..26].copy_from_slice(&sum);
        }
        let summed = [pseudo(piece.len() - transport), piece[transport..].to_vec()].concat();
        piece[transport + 16..][..2].copy_from_slice(&checksum(&summed).to_be_bytes());
        pieces.push(piece);
    }
    pieces
}

/// The Internet checksum of RFC 1071, never 0.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !u16::try_from(sum).unwrap() {
        0 => 0xffff,
        sum => sum,
    }
}

/// The chain with this header and frame, which is in pieces that begin at `cuts` (in 65536ths of it).
pub(crate) fn chain(header: &Header, frame: &[u8], cuts: &[u16]) -> Vec<Buffer> {
    let mut places: Vec<usize> = cuts
        .iter()
        .map(|cut| (usize::from(*cut) * frame.len()) >> 16)
        .collect();
    places.extend([0, frame.len()]);
    places.sort_unstable();
    let mut buffers = vec![readable_obj(header)];
    let parts = places.windows(2).map(|pair| &frame[pair[0]..pair[1]]);
    buffers.extend(parts.filter(|part| !part.is_empty()).map(readable));
    buffers
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    (0..=10_usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), 4 * words))
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (0_usize..65_000, any::<u8>()).prop_map(|(len, seed)| (0..len)
            .map(|n| u8::try_from(((n * 31) >> 3) % 256).unwrap() ^ seed)
            .collect())
    ]
}

prop_compose! {
    /// Any segment that can be cut.
    pub(crate) fn any_segment()(
        (tagged, v6) in any::<(bool, bool)>(),
        ip_options in options(),
        extensions in prop::collection::vec((prop_oneof![Just(0_u8), Just(60)], 0_u8..3), 0..3),
        tcp_options in options(),
        (id, sequence, flags) in any::<(u16, u32, u8)>(),
        (acknowledged, window, reserved) in (any::<u32>(), any::<u16>(), 0_u8..16),
        payload in payload(),
    ) -> Segment {
        let mut segment = Segment { tagged, v6, ip_options, extensions, tcp_options, id, sequence, acknowledged, window, reserved, flags, payload };
        if v6 {
            segment.ip_options.clear();
        } else {
            segment.extensions.clear();
        }
        segment
    }
}
