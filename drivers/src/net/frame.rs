//! Whether a buffer of the backend makes sense for a network interface, and which pieces the hardware gets.

use crate::virtio::dma::{Piece, frames_piece, guest_piece};
use crate::virtio::queue::MAX_PIECES;
use heapless::Vec;
use sel4cp_model::net::{ETHERNET_HEADER, VLAN_TAG};
use sel4cp_ring::net::{HEADER, MAX_SEGMENTS, Offload};
use sel4cp_ring::request::{Segment, status};

/// Pieces for the hardware: the segments and a header.
pub type Pieces = Vec<Piece, { MAX_SEGMENTS + 1 }>;
const _: () = assert!(MAX_SEGMENTS < MAX_PIECES);

/// Puts the pieces of a frame to be sent into `pieces`: those of `header`, which is the driver's, then the segments.
///
/// # Errors
/// The status to answer with, when the segments are no frame for a link with this `mtu` (in bytes) or for what the hardware is to do
/// to them, or do not lie in guest memory or in the backend's frames.
pub fn outgoing(
    header: Option<Piece>,
    segments: &[Segment],
    mtu: u16,
    offload: &Offload,
    pieces: &mut Pieces,
) -> Result<(), u8> {
    pieces.clear();
    let bytes = total(segments)?;
    let most = u64::from(mtu) + u64::from(ETHERNET_HEADER + VLAN_TAG);
    let fits = bytes <= most || offload.gso_type != 0;
    if bytes < u64::from(ETHERNET_HEADER) || !fits || !offload.fits(bytes) {
        return Err(status::ERROR);
    }
    push(pieces, header)?;
    for segment in segments {
        let piece = match segment.flags {
            0 => guest_piece(segment.offset, segment.len),
            _ => frames_piece(segment.offset, segment.len),
        };
        push(pieces, piece)?;
    }
    Ok(())
}

/// Puts into `pieces` those of a buffer for hardware that puts `header` bytes before a frame: of the [`HEADER`] bytes that the
/// buffer has for them the last ones, so that the frame follows where it is expected. With `merges`, a frame goes on in the next buffer.
/// How many bytes the hardware can write there.
///
/// # Errors
/// The status to answer with, when the segments have no room for a frame (or for a header, of one that goes on) or do not lie in guest
/// memory.
pub fn incoming(
    header: u32,
    merges: bool,
    segments: &[Segment],
    pieces: &mut Pieces,
) -> Result<u32, u8> {
    pieces.clear();
    let skipped = HEADER.saturating_sub(header);
    let mut skip = skipped;
    let mut bytes = 0;
    for segment in segments {
        // Not in the backend's frames: what the hardware writes is for the guest.
        if segment.flags != Segment::DEVICE_WRITES {
            return Err(status::ERROR);
        }
        // At most 2⁶ times 2³².
        bytes += u64::from(segment.len);
        let piece = guest_piece(segment.offset, segment.len).ok_or(status::ERROR)?;
        match piece.skip(skip) {
            Some(piece) => {
                skip = 0;
                push(pieces, Some(piece))?;
            }
            None => skip = skip.saturating_sub(piece.len()),
        }
    }
    // virtIO 1.2 §5.1.6.3.1.
    let least = if merges { 0 } else { ETHERNET_HEADER };
    if bytes < u64::from(HEADER + least) {
        return Err(status::ERROR);
    }
    Ok(u32::try_from(bytes - u64::from(skipped)).unwrap_or(u32::MAX))
}

/// What the backend is told about a buffer into which hardware that puts `header` bytes before a frame wrote `written` bytes.
pub const fn received(header: u32, written: u32) -> u32 {
    written.saturating_add(HEADER.saturating_sub(header))
}

/// Bytes of the segments, all of which must have some, which the hardware reads, in guest memory or in the backend's frames.
fn total(segments: &[Segment]) -> Result<u64, u8> {
    let fits = |segment: &Segment| segment.len != 0 && segment.flags & !Segment::FRAMES == 0;
    if segments.is_empty() || !segments.iter().all(fits) {
        return Err(status::ERROR);
    }
    // At most 2⁶ times 2³².
    Ok(segments.iter().map(|segment| u64::from(segment.len)).sum())
}

fn push(pieces: &mut Pieces, piece: Option<Piece>) -> Result<(), u8> {
    let piece = piece.ok_or(status::ERROR)?;
    pieces.push(piece).map_err(|_| status::ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::fake;

    fn segments(lens: &[u32], flags: u32) -> std::vec::Vec<Segment> {
        let mut offset = 0x100;
        let segment = |len: &u32| {
            let segment = Segment {
                offset,
                len: *len,
                flags,
            };
            offset += u64::from(*len);
            segment
        };
        lens.iter().map(segment).collect()
    }

    /// The lengths of what `f` puts together, where something else was before.
    fn lens<T>(f: impl FnOnce(&mut Pieces) -> Result<T, u8>) -> Result<std::vec::Vec<u32>, u8> {
        let mut pieces = Pieces::new();
        pieces.extend(guest_piece(0, 1));
        f(&mut pieces)?;
        Ok(pieces.iter().map(Piece::len).collect())
    }

    #[test]
    fn s5_1_6_2_frames_fit_the_link() {
        fake::windows();
        let header = guest_piece(0, 12);
        let none = Offload::default();
        let out =
            |list: &[u32]| lens(|pieces| outgoing(header, &segments(list, 0), 1500, &none, pieces));
        assert_eq!(out(&[14, 1500, 4]), Ok(vec![12, 14, 1500, 4]));
        for bad in [
            &[14, 1500, 5][..],
            &[13],
            &[],
            &[60, 0],
            &[u32::MAX, u32::MAX],
        ] {
            assert_eq!(out(bad), Err(status::ERROR), "{bad:?}");
        }
        // What the hardware cuts may be longer than the link takes.
        let cut = Offload {
            needs_csum: true,
            gso_type: 1,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
            ..none
        };
        let long =
            |bytes| lens(|pieces| outgoing(header, &segments(&[bytes], 0), 1500, &cut, pieces));
        assert_eq!(long(65_553), Ok(vec![12, 65_553]));
        assert_eq!(long(65_554), Err(status::ERROR));
        assert_eq!(long(51), Err(status::ERROR), "the checksum is outside");
        let wrong = segments(&[60], Segment::DEVICE_WRITES);
        let refused = lens(|pieces| outgoing(header, &wrong, 1500, &none, pieces));
        assert_eq!(refused, Err(status::ERROR));
        let outside = [Segment {
            offset: u64::MAX,
            len: 60,
            flags: 0,
        }];
        let refused = lens(|pieces| outgoing(header, &outside, 1500, &none, pieces));
        assert_eq!(refused, Err(status::ERROR));
    }

    #[test]
    fn a_frame_may_be_one_that_the_backend_has_made_and_a_buffer_may_not() {
        fake::windows();
        let end = u64::try_from(fake::FRAMES).unwrap();
        let segment = |offset, len, flags| [Segment { offset, len, flags }];
        let none = Offload::default();
        let out = |list: &[Segment]| {
            lens(|pieces| outgoing(guest_piece(0, 12), list, 1500, &none, pieces))
        };
        let frames = Segment::FRAMES;
        assert_eq!(out(&segment(end - 60, 60, frames)), Ok(vec![12, 60]));
        for (offset, len) in [(end - 60, 61), (end, 60), (u64::MAX, 60), (0, 0)] {
            let refused = out(&segment(offset, len, frames));
            assert_eq!(refused, Err(status::ERROR), "{offset:#x} {len}");
        }
        // Both together are the hardware's to put together.
        let both = [segment(0, 14, frames), segment(0x100, 46, 0)].concat();
        assert_eq!(out(&both), Ok(vec![12, 14, 46]));
        for flags in [frames | Segment::DEVICE_WRITES, 4, u32::MAX] {
            assert_eq!(out(&segment(0, 60, flags)), Err(status::ERROR), "{flags}");
            let list = segment(0, 1526, flags);
            let refused = lens(|pieces| incoming(12, false, &list, pieces));
            assert_eq!(refused, Err(status::ERROR), "{flags}");
        }
    }

    #[test]
    fn s5_1_6_3_the_frame_follows_the_header_bytes() {
        fake::windows();
        let posted = |header, list: &[u32]| {
            lens(|pieces| incoming(header, false, &segments(list, 1), pieces))
        };
        let part = |list: &[u32]| lens(|pieces| incoming(12, true, &segments(list, 1), pieces));
        let mut pieces = Pieces::new();
        let room = incoming(10, false, &segments(&[1, 2, 40], 1), &mut pieces);
        assert_eq!(room, Ok(pieces.iter().map(Piece::len).sum()));
        assert_eq!(posted(12, &[12, 1514]), Ok(vec![12, 1514]));
        assert_eq!(
            posted(10, &[12, 1514]),
            Ok(vec![10, 1514]),
            "a legacy header is shorter"
        );
        assert_eq!(posted(10, &[1, 1, 10, 1514]), Ok(vec![10, 1514]));
        assert_eq!(posted(10, &[1, 1525]), Ok(vec![1524]));
        for bad in [&[25][..], &[], &[1514, 0], &[u32::MAX]] {
            assert_eq!(posted(12, bad), Err(status::ERROR), "{bad:?}");
        }
        assert_eq!(
            lens(|pieces| incoming(12, false, &segments(&[1526], 0), pieces)),
            Err(status::ERROR)
        );
        // A part of a frame may be short, but for the header.
        assert_eq!(part(&[10, 2]), Ok(vec![10, 2]));
        assert_eq!(part(&[11]), Err(status::ERROR));
    }

    #[test]
    fn lengths_count_the_header_that_the_backend_expects() {
        assert_eq!(
            [received(12, 72), received(10, 70), received(12, 5)],
            [72, 72, 5]
        );
        assert_eq!(received(10, u32::MAX), u32::MAX);
    }
}
