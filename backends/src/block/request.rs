//! What a chain of the block device asks for (virtIO 1.2 §5.2.6): copied, checked, and answered or passed on.

use sel4cp_memory::Span;
use sel4cp_model::block::{ID_BYTES, Range, RequestHeader, RequestType, SECTOR_SIZE, Status};
use sel4cp_queue::{Chain, GuestFault, Reader, Spans};
use sel4cp_ring::block as ring;
use sel4cp_ring::request::Segment;

/// What the device and the driver's features allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Size of the disk in sectors.
    pub capacity: u64,
    /// Most data segments of a request.
    pub segments: u32,
    /// Most bytes of one.
    pub segment_size: u32,
    /// Nothing may be written.
    pub read_only: bool,
    /// The driver can flush; otherwise writes are durable when they complete.
    pub flushes: bool,
    /// Most ranges and most sectors of each; `None`: not negotiated.
    pub discard: Option<(u32, u32)>,
    /// Most ranges and most sectors of each; `None`: not negotiated.
    pub write_zeroes: Option<(u32, u32)>,
}

/// A request, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Where the status byte goes.
    pub status: Span,
    /// `used.len` (§2.7.8.2) if it succeeds, and if it fails: as much as is written without a gap from the first
    /// byte on. The status byte comes last, so it counts only when all before it is written.
    pub used: (u32, u32),
    /// Sectors that a read or write moves.
    pub sectors: u64,
    /// What is to be done.
    pub answer: Answer,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is answered already.
    Now(Status),
    /// The driver does it.
    Later(Work),
}

/// A request for the driver; its segments are in the caller's array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// An operation of [`sel4cp_ring::block`].
    pub op: u8,
    /// First sector.
    pub sector: u64,
    /// Number of segments.
    pub count: usize,
}

/// Understands the request in `chain`, however it is cut into descriptors (§2.7.4). GET_ID's answer is written at once.
///
/// # Errors
/// A chain without a byte for the status: there is no way to answer it. Everything else is answered.
pub fn parse(
    chain: &Chain<'_>,
    limits: &Limits,
    serial: &[u8; ID_BYTES],
    segments: &mut [Segment],
) -> Result<Parsed, GuestFault> {
    let (mut writer, status) = chain.writer().split_last(1)?;
    let data = u32::try_from(writer.remaining()).unwrap_or(u32::MAX);
    let failed = u32::from(data == 0);
    let mut parsed = Parsed {
        status: status.spans().next().unwrap_or(Span::EMPTY),
        used: (failed, failed),
        sectors: 0,
        answer: Answer::Now(Status::IoErr),
    };
    let mut reader = chain.reader();
    // A header that is too short is answered like any other request that makes no sense.
    let Ok(header) = reader.read_obj::<RequestHeader>() else {
        return Ok(parsed);
    };
    let sector = header.sector.get();
    let result = match RequestType::from_number(header.kind.get()) {
        Some(RequestType::In) => {
            let bytes = writer.remaining();
            parsed.sectors = bytes / SECTOR_SIZE;
            parsed.used.0 = data.saturating_add(1);
            transfer(ring::READ, sector, bytes, writer.spans(), limits, segments)
        }
        Some(RequestType::Out) if limits.read_only => Err(Status::IoErr),
        Some(RequestType::Out) => {
            let bytes = reader.remaining();
            parsed.sectors = bytes / SECTOR_SIZE;
            transfer(ring::WRITE, sector, bytes, reader.spans(), limits, segments)
        }
        Some(RequestType::Flush) if limits.flushes => Ok(Work {
            op: ring::FLUSH,
            sector: 0,
            count: 0,
        }),
        // Nothing is ever held back, so there is nothing to flush.
        Some(RequestType::Flush) => Err(Status::Ok),
        Some(RequestType::GetId) => {
            // What the buffer has more than that stays as it was.
            writer.write(serial);
            let written = writer.written();
            parsed.used.0 = if written == data {
                written + 1
            } else {
                written
            };
            Err(Status::Ok)
        }
        Some(RequestType::Discard) => {
            ranges(ring::DISCARD, reader, limits.discard, limits, segments)
        }
        Some(RequestType::WriteZeroes) => ranges(
            ring::WRITE_ZEROES,
            reader,
            limits.write_zeroes,
            limits,
            segments,
        ),
        None => Err(Status::Unsupp),
    };
    parsed.answer = match result {
        Ok(work) => Answer::Later(work),
        Err(status) => Answer::Now(status),
    };
    Ok(parsed)
}

/// A read or write of `bytes` bytes in `spans`.
fn transfer(
    op: u8,
    sector: u64,
    bytes: u64,
    spans: Spans<'_>,
    limits: &Limits,
    segments: &mut [Segment],
) -> Result<Work, Status> {
    let whole = bytes != 0 && bytes.is_multiple_of(SECTOR_SIZE);
    if !whole || !inside(sector, bytes / SECTOR_SIZE, limits.capacity) {
        return Err(Status::IoErr);
    }
    let flags = match op {
        ring::READ => Segment::DEVICE_WRITES,
        _ => 0,
    };
    let most = usize::try_from(limits.segments).unwrap_or(usize::MAX);
    let mut places = segments.iter_mut().take(most);
    let mut count = 0;
    for span in spans {
        let place = places.next().ok_or(Status::IoErr)?;
        if span.len() > limits.segment_size {
            return Err(Status::IoErr);
        }
        *place = Segment {
            offset: span.offset(),
            len: span.len(),
            flags,
        };
        count += 1;
    }
    Ok(Work { op, sector, count })
}

/// A discard or write-zeroes of the ranges that `reader` has left.
fn ranges(
    op: u8,
    mut reader: Reader<'_>,
    allowed: Option<(u32, u32)>,
    limits: &Limits,
    segments: &mut [Segment],
) -> Result<Work, Status> {
    let (most, sectors) = allowed.ok_or(Status::Unsupp)?;
    if limits.read_only {
        return Err(Status::IoErr);
    }
    let each = u64::try_from(size_of::<Range>()).unwrap_or(u64::MAX);
    let count = reader.remaining() / each;
    if count == 0 || count > u64::from(most) || !reader.remaining().is_multiple_of(each) {
        return Err(Status::IoErr);
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for place in segments.get_mut(..count).ok_or(Status::IoErr)? {
        let range = reader.read_obj::<Range>().map_err(|_| Status::IoErr)?;
        let (sector, number, flags) = (
            range.sector.get(),
            range.num_sectors.get(),
            range.flags.get(),
        );
        // §5.2.6.2: unknown flags, and unmap in a discard, are not supported.
        let known = if op == ring::WRITE_ZEROES {
            Range::UNMAP
        } else {
            0
        };
        if flags & !known != 0 {
            return Err(Status::Unsupp);
        }
        if number == 0 || number > sectors || !inside(sector, u64::from(number), limits.capacity) {
            return Err(Status::IoErr);
        }
        *place = Segment {
            offset: sector,
            len: number,
            flags: if flags & Range::UNMAP != 0 {
                ring::UNMAP
            } else {
                0
            },
        };
    }
    Ok(Work {
        op,
        sector: 0,
        count,
    })
}

/// Whether `sectors` sectors from `sector` on are on a disk of `capacity`.
fn inside(sector: u64, sectors: u64, capacity: u64) -> bool {
    sector
        .checked_add(sectors)
        .is_some_and(|end| end <= capacity)
}
