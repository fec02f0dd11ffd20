//! Whether a request of the backend makes sense for a disk: what must hold before the hardware gets it.

use heapless::Vec;
use sel4cp_model::block::{Range, RequestType, SECTOR_SIZE};
use sel4cp_ring::block::{self, Disk as Facts, UNMAP};
use sel4cp_ring::request::{Header, Segment, status};

use super::disk::MAX_RANGES;

/// A request that may go to the hardware.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// Data between the disk from `sector` on and the segments, `bytes` in all.
    Transfer {
        /// In or Out.
        kind: RequestType,
        /// First sector.
        sector: u64,
        /// Bytes of all segments.
        bytes: u32,
    },
    /// What has been written is made durable.
    Flush,
    /// Ranges are discarded or zeroed.
    Ranges(RequestType, Vec<Range, { MAX_RANGES as usize }>),
}

/// Checks the request `header` with its `segments` for a disk of which `facts` are true. That the segments lie in
/// guest memory is checked where they become pieces of it.
///
/// # Errors
/// The status to answer with: the request is the backend's fault, or the hardware does not do it.
pub fn check(header: &Header, segments: &[Segment], facts: &Facts) -> Result<Checked, u8> {
    let can = |feature| facts.features & feature != 0;
    match header.op {
        block::READ => transfer(RequestType::In, header, segments, facts),
        block::WRITE if can(Facts::READ_ONLY) => Err(status::ERROR),
        block::WRITE => transfer(RequestType::Out, header, segments, facts),
        block::FLUSH if !can(Facts::FLUSH) => Err(status::UNSUPPORTED),
        block::FLUSH if segments.is_empty() => Ok(Checked::Flush),
        block::FLUSH => Err(status::ERROR),
        block::DISCARD | block::WRITE_ZEROES if can(Facts::READ_ONLY) => Err(status::ERROR),
        block::DISCARD if can(Facts::DISCARD) => {
            let most = (facts.max_discard_ranges, facts.max_discard_sectors);
            ranges(RequestType::Discard, segments, most, facts, 0)
        }
        block::WRITE_ZEROES if can(Facts::WRITE_ZEROES) => {
            let most = (
                facts.max_write_zeroes_ranges,
                facts.max_write_zeroes_sectors,
            );
            let unmaps = can(Facts::WRITE_ZEROES_UNMAPS);
            let flags = if unmaps { UNMAP } else { 0 };
            ranges(RequestType::WriteZeroes, segments, most, facts, flags)
        }
        _ => Err(status::UNSUPPORTED),
    }
}

fn transfer(
    kind: RequestType,
    header: &Header,
    segments: &[Segment],
    facts: &Facts,
) -> Result<Checked, u8> {
    let device_writes = kind == RequestType::In;
    let limit = match facts.max_segment_size {
        0 => u32::MAX,
        limit => limit,
    };
    let fits = |segment: &Segment| {
        segment.len != 0 && segment.len <= limit && segment.device_writes() == device_writes
    };
    let count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    if segments.is_empty() || count > facts.max_segments || !segments.iter().all(fits) {
        return Err(status::ERROR);
    }
    // At most 2⁸ times 2³².
    let bytes: u64 = segments.iter().map(|segment| u64::from(segment.len)).sum();
    let bytes = u32::try_from(bytes).map_err(|_| status::ERROR)?;
    let sectors = u64::from(bytes) / SECTOR_SIZE;
    if u64::from(bytes) % SECTOR_SIZE != 0 || !on_disk(header.sector, sectors, facts) {
        return Err(status::ERROR);
    }
    Ok(Checked::Transfer {
        kind,
        sector: header.sector,
        bytes,
    })
}

fn ranges(
    kind: RequestType,
    segments: &[Segment],
    (most, most_sectors): (u32, u32),
    facts: &Facts,
    flags: u32,
) -> Result<Checked, u8> {
    let fits = |range: &Segment| {
        range.len != 0
            && range.len <= most_sectors
            && range.flags & !flags == 0
            && on_disk(range.offset, range.len.into(), facts)
    };
    let count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    if segments.is_empty() || count > most || !segments.iter().all(fits) {
        return Err(status::ERROR);
    }
    let mut checked = Vec::new();
    for segment in segments {
        let range = Range {
            sector: segment.offset.into(),
            num_sectors: segment.len.into(),
            flags: segment.flags.into(),
        };
        checked.push(range).map_err(|_| status::ERROR)?;
    }
    Ok(Checked::Ranges(kind, checked))
}

fn on_disk(sector: u64, sectors: u64, facts: &Facts) -> bool {
    let end = sector.checked_add(sectors);
    end.is_some_and(|end| end <= facts.capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        features: Facts::FLUSH | Facts::DISCARD | Facts::WRITE_ZEROES,
        capacity: 1000,
        block_size: 512,
        max_segments: 3,
        max_segment_size: 0x1000,
        physical_block_exponent: 0,
        alignment_offset: 0,
        min_io_size: 0,
        opt_io_size: 0,
        max_discard_sectors: 100,
        max_discard_ranges: 2,
        discard_alignment: 1,
        max_write_zeroes_sectors: 50,
        max_write_zeroes_ranges: 1,
    };

    fn header(op: u8, sector: u64) -> Header {
        Header {
            op,
            sector,
            ..Header::default()
        }
    }

    fn segment(offset: u64, len: u32, flags: u32) -> Segment {
        Segment { offset, len, flags }
    }

    #[test]
    fn transfers_are_whole_sectors_on_the_disk() {
        let check = |sector, lens: &[u32]| {
            let segments: Vec<_, 8> = lens.iter().map(|len| segment(0, *len, 1)).collect();
            check(&header(block::READ, sector), &segments, &FACTS)
        };
        let good = Checked::Transfer {
            kind: RequestType::In,
            sector: 998,
            bytes: 1024,
        };
        assert_eq!(check(998, &[1000, 20, 4]), Ok(good));
        assert_eq!(
            check(999, &[1000, 20, 4]),
            Err(status::ERROR),
            "past the end"
        );
        assert_eq!(check(u64::MAX, &[512]), Err(status::ERROR), "overflow");
        assert_eq!(check(0, &[511]), Err(status::ERROR), "no whole sector");
        assert_eq!(check(0, &[512, 0]), Err(status::ERROR), "empty segment");
        assert_eq!(check(0, &[]), Err(status::ERROR), "no segments");
        assert_eq!(check(0, &[512; 4]), Err(status::ERROR), "too many segments");
        assert_eq!(
            check(0, &[0x1200]),
            Err(status::ERROR),
            "too large a segment"
        );
    }

    #[test]
    fn the_direction_must_be_the_operations() {
        let check = |op, flags| check(&header(op, 0), &[segment(0, 512, flags)], &FACTS).is_ok();
        assert_eq!(
            [
                (block::READ, 1),
                (block::READ, 0),
                (block::WRITE, 0),
                (block::WRITE, 1)
            ]
            .map(|(op, flags)| check(op, flags)),
            [true, false, true, false]
        );
    }

    #[test]
    fn what_the_disk_cannot_do_is_unsupported() {
        let plain = Facts {
            features: 0,
            ..FACTS
        };
        for op in [block::FLUSH, block::DISCARD, block::WRITE_ZEROES, 0, 77] {
            let refused = check(&header(op, 0), &[], &plain);
            assert_eq!(refused, Err(status::UNSUPPORTED), "{op}");
        }
        assert_eq!(
            check(&header(block::FLUSH, 0), &[], &FACTS),
            Ok(Checked::Flush)
        );
        let read_only = Facts {
            features: Facts::READ_ONLY,
            ..FACTS
        };
        let write = check(&header(block::WRITE, 0), &[segment(0, 512, 0)], &read_only);
        assert_eq!(write, Err(status::ERROR));
    }

    #[test]
    fn ranges_stay_within_the_disks_limits() {
        let check = |op, segments: &[Segment]| check(&header(op, 0), segments, &FACTS);
        let good = [segment(900, 100, 0), segment(0, 1, 0)];
        assert!(matches!(
            check(block::DISCARD, &good),
            Ok(Checked::Ranges(RequestType::Discard, ranges)) if ranges.len() == 2
        ));
        for bad in [
            &[][..],
            &[segment(0, 1, 0); 3],
            &[segment(901, 100, 0)],
            &[segment(0, 101, 0)],
            &[segment(0, 0, 0)],
            &[segment(0, 1, 1)],
            &[segment(u64::MAX, 1, 0)],
        ] {
            assert_eq!(check(block::DISCARD, bad), Err(status::ERROR), "{bad:?}");
        }
        assert!(check(block::WRITE_ZEROES, &[segment(0, 50, 0)]).is_ok());
        assert_eq!(
            check(block::WRITE_ZEROES, &[segment(0, 50, UNMAP)]),
            Err(status::ERROR),
            "the disk may not unmap"
        );
        assert_eq!(check(block::WRITE_ZEROES, &good), Err(status::ERROR));
    }
}
