//! The buffers of well-formed requests, to be changed at will before they are added.

use sel4cp_model::{block, net};

use crate::buffer::{Buffer, readable, readable_obj, writable};

/// A disk request of any kind (§5.2.6): header, what the device reads, what it writes, status.
///
/// The status is the last writable byte: [`Used::status`](crate::Used::status).
#[must_use]
pub fn block(kind: u32, sector: u64, data: Vec<Buffer>) -> Vec<Buffer> {
    let header = block::RequestHeader {
        kind: kind.into(),
        reserved: 0.into(),
        sector: sector.into(),
    };
    let mut buffers = vec![readable_obj(&header)];
    buffers.extend(data);
    buffers.push(writable(1));
    buffers
}

/// Reads `len` bytes from `sector` on.
#[must_use]
pub fn block_read(sector: u64, len: u32) -> Vec<Buffer> {
    block(block::RequestType::In as u32, sector, vec![writable(len)])
}

/// Writes `bytes` from `sector` on.
#[must_use]
pub fn block_write(sector: u64, bytes: impl AsRef<[u8]>) -> Vec<Buffer> {
    block(
        block::RequestType::Out as u32,
        sector,
        vec![readable(bytes)],
    )
}

/// Makes earlier writes durable.
#[must_use]
pub fn block_flush() -> Vec<Buffer> {
    block(block::RequestType::Flush as u32, 0, Vec::new())
}

/// Asks for the disk's serial.
#[must_use]
pub fn block_get_id() -> Vec<Buffer> {
    let room = u32::try_from(block::ID_BYTES).unwrap_or(u32::MAX);
    block(block::RequestType::GetId as u32, 0, vec![writable(room)])
}

/// Discards ranges, or fills them with zeroes.
#[must_use]
pub fn block_ranges(kind: block::RequestType, ranges: &[block::Range]) -> Vec<Buffer> {
    block(kind as u32, 0, ranges.iter().map(readable_obj).collect())
}

/// Sends a frame (§5.1.6.2): header and frame in a buffer each.
#[must_use]
pub fn net_transmit(frame: impl AsRef<[u8]>) -> Vec<Buffer> {
    vec![readable_obj(&net::Header::default()), readable(frame)]
}

/// Room for a header and a frame of `len` bytes together, in one buffer (§5.1.6.3).
#[must_use]
pub fn net_receive(len: u32) -> Vec<Buffer> {
    vec![writable(net::Header::SIZE + len)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guest;
    use sel4cp_memory::Span;
    use sel4cp_queue::{Features, GuestFault, Queue, Served};

    #[test]
    fn requests_look_as_the_specification_says() {
        let mut guest = Guest::new();
        guest.add_queue(16, Features::all());
        let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
        for request in [block_write(7, [1; 512]), block_read(9, 1024), block_flush()] {
            guest.queue(0).add(&request);
        }
        guest.queue(0).add_indirect(&net_transmit([0; 60]));
        guest.queue(0).kick();
        let mut found = Vec::new();
        let batch = queue.serve::<GuestFault>(&mut [Span::EMPTY; 8], |mut reader, writer| {
            let header: block::RequestHeader = match reader.remaining() {
                72 => return Ok(Served::Done(0)),
                _ => reader.read_obj()?,
            };
            let room = writer.remaining();
            found.push((
                header.kind.get(),
                header.sector.get(),
                reader.remaining(),
                room,
            ));
            let (_, mut status) = writer.split_last(1)?;
            status.write_obj(&2u8)?;
            Ok(Served::Done(u32::try_from(room).unwrap()))
        });
        assert_eq!(batch.unwrap().chains, 4);
        assert_eq!(found, [(1, 7, 512, 1), (0, 9, 0, 1025), (4, 0, 0, 1)]);
        let used = guest.queue(0).collect();
        assert!(
            used[..3].iter().all(|used| used.status() == Some(2)),
            "{used:?}"
        );
        assert_eq!(used[3].status(), None);
        guest.finish();
    }
}
