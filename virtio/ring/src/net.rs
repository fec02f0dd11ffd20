//! What a net backend and a net driver say to each other.
//!
//! Frames go by DMA between the hardware and guest RAM. The 12-byte header that virtIO puts before a frame
//! (virtIO 1.2 §5.1.6) is treated differently in the two directions:
//! - [`TRANSMIT`] segments hold the frame alone. The header that the hardware wants is the driver's own: the guest's is checked by
//!   the backend, and what it asks for, if anything, is in the request as an [`Offload`].
//! - [`RECEIVE`] segments begin with [`HEADER`] bytes for the header, and the frame follows without a gap, as the guest
//!   expects it. Hardware whose header is 12 bytes (VERSION_1, or MRG_RXBUF with whole frames) gets the segments as
//!   they are, and what it writes there is what the guest sees, but for the number of buffers, which the backend writes when
//!   the buffer comes back. A driver for other hardware skips these bytes, and has no offloads for receiving.
//!
//! A frame need not be in guest RAM: what the hardware does not do to a frame, the backend does itself, in a region that it shares with
//! the driver for that. [`Segment::FRAMES`](crate::request::Segment::FRAMES) marks segments in it, which only a [`TRANSMIT`] has.
//! The driver need not read the region, but knows where the hardware finds it.
//!
//! [`RESET`](crate::request::RESET) says in `sector` what the guest takes for frames that it receives, as feature bits: offloads, and
//! merged buffers (MRG_RXBUF). The hardware is set up with those, of what [`Interface::features`] has.
//!
//! With MRG_RXBUF the hardware goes on with a frame in the next buffer (virtIO 1.2 §5.1.6.4.1), from its first byte, and says in the first
//! one's header how many the frame is in, which the backend reads there. They come back one after another, each with what is in it.
//!
//! Otherwise buffers may come back in any order. Buffers posted for receiving come back when a frame has arrived, and all of
//! them on [`RESET`](crate::request::RESET).

use crate::info::Facts;
use crate::request::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operation: send the segments as one frame (Ethernet header first, no checksum). 14 bytes to MTU + 14, + 4 with a VLAN tag; up to
/// [`LONGEST`] if the hardware is to cut it. The request's `flags` and `sector` are an [`Offload`].
pub const TRANSMIT: u8 = 1;
/// Operation: put one frame into the segments, after [`HEADER`] bytes. The completion's `len` counts both: the
/// frame has `len` − [`HEADER`] bytes. A frame that does not fit is dropped, not cut; with MRG_RXBUF agreed, it goes on in the next
/// buffer, whose completion's `len` counts what is there.
pub const RECEIVE: u8 = 2;
/// Bytes before a received frame.
pub const HEADER: u32 = 12;
/// Most segments of one frame.
pub const MAX_SEGMENTS: usize = 64;

/// Bytes of the longest frame that the hardware cuts: an IP packet behind an Ethernet header with a VLAN tag.
pub const LONGEST: u32 = 0xffff + 18;

/// What the hardware is to do to a frame before it sends it: the fields are those of virtIO 1.2 §5.1.6, all 0 for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum is to be completed.
    pub needs_csum: bool,
    /// How it is to be cut; 0: not.
    pub gso_type: u8,
    /// Bytes of headers that each piece repeats: a hint.
    pub hdr_len: u16,
    /// Bytes of payload of each piece.
    pub gso_size: u16,
    /// Where the checksum starts.
    pub csum_start: u16,
    /// Where it goes, from there.
    pub csum_offset: u16,
}

impl Offload {
    /// In a request's `flags`, among the bits of `gso_type`, of which this is none.
    const NEEDS_CSUM: u8 = 0x40;

    /// What `header` asks for.
    pub fn of(header: &Header) -> Self {
        let [h0, h1, g0, g1, s0, s1, o0, o1] = header.sector.to_le_bytes();
        Self {
            needs_csum: header.flags & Self::NEEDS_CSUM != 0,
            gso_type: header.flags & !Self::NEEDS_CSUM,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    /// `header`, asking for this.
    pub fn put(self, header: Header) -> Header {
        let [h0, h1] = self.hdr_len.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.csum_start.to_le_bytes();
        let [o0, o1] = self.csum_offset.to_le_bytes();
        let csum = if self.needs_csum { Self::NEEDS_CSUM } else { 0 };
        Header {
            flags: self.gso_type & !Self::NEEDS_CSUM | csum,
            sector: u64::from_le_bytes([h0, h1, g0, g1, s0, s1, o0, o1]),
            ..header
        }
    }

    /// Whether it makes sense for a frame of `bytes`: the checksum lies inside it, what is cut has a checksum and a size, and is not
    /// longer than [`LONGEST`]. Which types there are is for others to say.
    pub fn fits(&self, bytes: u64) -> bool {
        let end = u64::from(self.csum_start) + u64::from(self.csum_offset) + 2;
        let checksum = !self.needs_csum || end <= bytes;
        let cut = self.gso_type == 0
            || self.needs_csum && self.gso_size != 0 && bytes <= u64::from(LONGEST);
        checksum && cut && u64::from(self.hdr_len) <= bytes
    }
}

/// What a network interface is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Interface {
    /// What it can do to frames, as feature bits of a virtIO network device (virtIO 1.2 §5.1.3): CSUM, HOST_TSO4, HOST_TSO6,
    /// HOST_ECN, and the same for GUEST; MRG_RXBUF.
    pub features: u64,
    /// The hardware's address; all zero: it has none of its own.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes; 0: 1500.
    pub mtu: u16,
    /// 1: the link is up.
    pub link_up: u16,
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// Buffers of two segments that the hardware's transmit queue holds at once; 0: unknown.
    pub transmit_buffers: u16,
    /// Buffers of two segments that its receive queue holds at once; 0: unknown. More than these wait in the ring, and
    /// so do the frames to be sent behind them: the backend stays below.
    pub receive_buffers: u16,
}

impl Facts for Interface {
    const KIND: u32 = 1;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_offload_travels_in_a_request() {
        let header = Header {
            id: 7,
            op: TRANSMIT,
            ..Header::default()
        };
        assert_eq!(Offload::default().put(header), header);
        let all = Offload {
            needs_csum: true,
            gso_type: 0x84,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        let with = all.put(header);
        assert_eq!((with.id, with.op), (7, TRANSMIT));
        assert_eq!(Offload::of(&with), all);
        let only = Offload {
            needs_csum: false,
            ..all
        };
        assert_eq!(Offload::of(&only.put(header)), only);
    }

    #[test]
    fn what_does_not_fit_its_frame_is_told() {
        let good = Offload {
            needs_csum: true,
            gso_type: 1,
            hdr_len: 54,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
        };
        assert!(good.fits(52 + 14) && good.fits(LONGEST.into()));
        assert!(!good.fits(51), "headers behind the end");
        assert!(!good.fits(u64::from(LONGEST) + 1));
        let no_headers = Offload { hdr_len: 0, ..good };
        assert!(no_headers.fits(52) && !no_headers.fits(51), "the checksum");
        assert!(
            !Offload {
                gso_size: 0,
                ..good
            }
            .fits(1000)
        );
        assert!(
            !Offload {
                needs_csum: false,
                ..good
            }
            .fits(1000)
        );
        let far = Offload {
            csum_start: u16::MAX,
            csum_offset: u16::MAX,
            ..good
        };
        assert!(!far.fits(LONGEST.into()));
        assert!(Offload::default().fits(0));
    }
}
