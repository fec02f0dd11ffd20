//! Entries that go from one end of a ring to the other, on our ring and on the `rtrb` crate's.
//!
//! Ours does more: it runs in memory that another protection domain may write, checks what it finds there, and answers for every batch
//! whether the other end is to be notified, which takes a full barrier at each end. A place in the `rtrb` crate's ring is
//! a place in this program's own memory, whose other end it may believe, and its user polls.

use crate::queue::Result;
use sel4cp_ring::layout::{DEVICE_SIZE, device_size};
use sel4cp_ring::request::Entry;
use sel4cp_ring::{Consumer, Producer, host};

/// Places of a ring.
const CAPACITY: usize = 4096;
/// The longest batch.
pub const MOST: usize = 32;
/// What is measured: names, and how many entries are sent at a time.
pub const CASES: [(&str, usize); 2] = [("ring-1", 1), ("ring-32", MOST)];

/// Both ends of a ring.
pub trait Ends {
    /// Sends `from` and takes as many entries at the other end, to `to`; how many.
    ///
    /// # Errors
    /// When an end does not believe the other, or there is no room.
    fn pass(&mut self, from: &[Entry], to: &mut [Entry]) -> Result<usize>;
}

/// Ours.
pub struct Ours {
    producer: Producer<Entry>,
    consumer: Consumer<Entry>,
}

impl Ours {
    /// An empty ring, as it is between a backend and its driver.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self> {
        const { assert!(device_size(CAPACITY) == DEVICE_SIZE) };
        let region = host::device(DEVICE_SIZE)?;
        Ok(Self {
            producer: region.backend().requests,
            consumer: region.driver().requests,
        })
    }
}

impl Ends for Ours {
    fn pass(&mut self, from: &[Entry], to: &mut [Entry]) -> Result<usize> {
        match from {
            [entry] => _ = self.producer.push(*entry)?,
            _ => _ = self.producer.push_slice(from)?,
        }
        let _notify = self.producer.publish();
        let count = match to {
            [place] => self.consumer.pop()?.map_or(0, |entry| {
                *place = entry;
                1
            }),
            _ => self.consumer.pop_slice(to)?,
        };
        let _notify = self.consumer.release();
        Ok(count)
    }
}

/// The `rtrb` crate's.
#[derive(Debug)]
pub struct Theirs {
    producer: rtrb::Producer<Entry>,
    consumer: rtrb::Consumer<Entry>,
}

impl Theirs {
    /// An empty ring.
    pub fn new() -> Self {
        let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
        Self { producer, consumer }
    }
}

impl Default for Theirs {
    fn default() -> Self {
        Self::new()
    }
}

impl Ends for Theirs {
    fn pass(&mut self, from: &[Entry], to: &mut [Entry]) -> Result<usize> {
        match from {
            [entry] => self.producer.push(*entry)?,
            _ => self.producer.push_entire_slice(from)?,
        }
        match to {
            [place] => *place = self.consumer.pop()?,
            _ => self.consumer.pop_entire_slice(to)?,
        }
        Ok(to.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_ring::request::Header;

    #[test]
    fn what_goes_in_comes_out_on_both() {
        let (mut ours, mut theirs) = (Ours::new().unwrap(), Theirs::new());
        for id in 0..1000 {
            let entry = Entry::from(Header {
                id,
                ..Header::default()
            });
            for (_, count) in CASES {
                let from = [entry; MOST];
                for ends in [&mut ours as &mut dyn Ends, &mut theirs] {
                    let mut to = [Entry::default(); MOST];
                    assert_eq!(ends.pass(&from[..count], &mut to[..count]).unwrap(), count);
                    assert_eq!(to[..count], from[..count]);
                }
            }
        }
    }
}
