//! The specification's split virtqueue (virtIO 1.2 §2.7), paragraph by paragraph, with a driver
//! that keeps to it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of tests are tests"
)]

mod descriptors;
mod layout;
mod notifications;
mod rings;

use sel4cp_memory::Span;
use sel4cp_queue::{Batch, Chain, Features, GuestFault, MAX_SIZE, Queue, Served, Token};
use sel4cp_testing::Guest;

pub(crate) const NONE: Features = Features::empty();

pub(crate) fn guest(size: u16, features: Features) -> (Guest, Queue) {
    let mut guest = Guest::new();
    guest.add_queue(size, features);
    let queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
    (guest, queue)
}

pub(crate) fn scratch() -> Vec<Span> {
    vec![Span::EMPTY; usize::from(MAX_SIZE)]
}

pub(crate) fn pop<'s>(queue: &mut Queue, segments: &'s mut [Span]) -> (Token, Chain<'s>) {
    queue.pop(segments).unwrap().expect("a chain")
}

/// Reads all that is readable, and writes it back upside down.
pub(crate) fn invert(queue: &mut Queue) -> Batch {
    queue
        .serve::<GuestFault>(&mut scratch(), |mut reader, mut writer| {
            let mut bytes = vec![0; usize::try_from(reader.remaining()).unwrap()];
            reader.read_exact(&mut bytes)?;
            for byte in &mut bytes {
                *byte = !*byte;
            }
            writer.write(&bytes);
            Ok(Served::Done(writer.written()))
        })
        .unwrap()
}
