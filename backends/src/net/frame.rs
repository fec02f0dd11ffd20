//! What the guest wants to transmit: its header read once, and checked (virtIO 1.2 §5.1.6.2.1).

use sel4cp_model::net::{ETHERNET_HEADER, Features, Header as NetHeader, VLAN_TAG};
use sel4cp_queue::Reader;
use sel4cp_ring::net::Offload;
use sel4cp_ring::request::Segment;

/// What a frame's header asks for, and the features of one who does it, if that was agreed on (§5.1.6.2.1): without the features a driver
/// leaves the fields 0.
fn offload(header: &NetHeader, accepted: Features) -> Option<(Offload, Features)> {
    let needed = match header.flags {
        0 => Features::empty(),
        NetHeader::NEEDS_CSUM => Features::CSUM,
        _ => return None,
    };
    let needed = needed
        | match header.gso_type & !NetHeader::GSO_ECN {
            0 if header.gso_type == 0 => Features::empty(),
            NetHeader::GSO_TCPV4 => Features::HOST_TSO4,
            NetHeader::GSO_TCPV6 => Features::HOST_TSO6,
            _ => return None,
        };
    let needed = match header.gso_type & NetHeader::GSO_ECN {
        0 => needed,
        _ => needed | Features::HOST_ECN,
    };
    if !accepted.contains(needed) {
        return None;
    }
    let mut offload = Offload::default();
    if header.flags != 0 {
        offload.needs_csum = true;
        offload.csum_start = header.csum_start.get();
        offload.csum_offset = header.csum_offset.get();
    }
    if header.gso_type != 0 {
        offload.gso_type = header.gso_type;
        offload.hdr_len = header.hdr_len.get();
        offload.gso_size = header.gso_size.get();
    }
    Some((offload, needed))
}

/// What the guest wants to transmit.
pub(super) struct Frame {
    pub(super) bytes: u64,
    pub(super) offload: Offload,
    /// The features of one who does that.
    pub(super) needed: Features,
}

impl Frame {
    /// What tells its connection from others, if anything does: the ports, which is what a sum to be finished begins with. `reader` is
    /// before the frame's bytes.
    pub(super) fn connection(&self, reader: &Reader<'_>) -> u32 {
        if !self.offload.needs_csum {
            return 0;
        }
        let mut reader = reader.clone();
        reader.skip(self.offload.csum_start.into());
        let ports = reader.read_obj::<[u8; 4]>();
        ports.map_or(0, u32::from_ne_bytes)
    }
}

/// Checks what the guest wants to transmit, which `reader` is before, and takes `reader` to the frame's bytes.
pub(super) fn frame(reader: &mut Reader<'_>, mtu: u16, accepted: Features) -> Option<Frame> {
    let header = reader.read_obj::<NetHeader>().ok()?;
    let (offload, needed) = offload(&header, accepted)?;
    let bytes = reader.remaining();
    let longest = u64::from(u32::from(mtu) + ETHERNET_HEADER + VLAN_TAG);
    let fits = bytes <= longest || offload.gso_type != 0;
    if bytes < u64::from(ETHERNET_HEADER) || !fits || !offload.fits(bytes) || offload.gso_size > mtu
    {
        return None;
    }
    Some(Frame {
        bytes,
        offload,
        needed,
    })
}

/// Writes where a frame is to `segments`. How many it has.
pub(super) fn locate(reader: &Reader<'_>, segments: &mut [Segment]) -> Option<usize> {
    let mut places = segments.iter_mut();
    let mut count = 0;
    for span in reader.spans() {
        *places.next()? = Segment {
            offset: span.offset(),
            len: span.len(),
            flags: 0,
        };
        count += 1;
    }
    Some(count)
}
