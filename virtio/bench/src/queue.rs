//! A device that answers whatever is available, on our queue and on the `virtio-queue` crate's.

use crate::guest::{LEN, Rings, SIZE, START, WRITABLE};
use sel4cp_memory::{GuestRange, Span, Word};
use sel4cp_queue::{Area, Config, Features};
use std::error::Error;
use std::sync::atomic::Ordering;
use virtio_queue::{QueueOwnedT as _, QueueT as _};
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, VolatileSlice,
};

/// The memory of the other side.
pub type Memory = GuestMemoryMmap<()>;
/// A result, or whatever is wrong with the rings.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Bytes of all buffers, each of which was found to lie in the guest's memory.
    pub bytes: u64,
    /// Whether the guest wants an interrupt.
    pub interrupt: bool,
}

/// A guest and its device.
pub trait Pair {
    /// The guest makes `chains` more available and wants an interrupt for the first; the device answers all there are,
    /// asks to be notified of the next, and says what it did.
    ///
    /// # Errors
    /// Whatever is wrong with the rings.
    fn round(&mut self, chains: u16) -> Result<Answered>;
}

/// Ours.
#[derive(Debug)]
pub struct Ours {
    rings: Rings,
    queue: sel4cp_queue::Queue,
    segments: [Span; 16],
    index: u16,
    available_index: Word<u16>,
    used_event: Word<u16>,
}

impl Ours {
    /// On `rings`.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn new(rings: Rings) -> Result<Self> {
        let (ram, config) = (rings.ram(), rings.config());
        let area = GuestRange::new(config.driver, Area::Available.bytes(SIZE));
        let area = ram.check(area)?;
        let word = |at| ram.word(area, at).ok_or("a word outside its ring");
        Ok(Self {
            queue: sel4cp_queue::Queue::new(&ram, &config)?,
            segments: [Span::EMPTY; 16],
            index: 0,
            available_index: word(2)?,
            used_event: word(4 + 2 * u32::from(SIZE))?,
            rings,
        })
    }

    /// The guest's memory, every byte.
    pub fn bytes(&self) -> Vec<u8> {
        self.rings.bytes()
    }
}

impl Pair for Ours {
    fn round(&mut self, chains: u16) -> Result<Answered> {
        let ram = self.rings.ram();
        ram.store(self.used_event, self.index);
        self.index = self.index.wrapping_add(chains);
        ram.store_release(self.available_index, self.index);

        let mut answered = Answered::default();
        self.queue.disable_notifications();
        loop {
            while let Some((token, chain)) = self.queue.pop(&mut self.segments)? {
                for span in chain.readable().iter().chain(chain.writable()) {
                    answered.bytes += u64::from(span.len());
                }
                self.queue.complete(token, WRITABLE)?;
            }
            answered.interrupt |= self.queue.publish();
            if !self.queue.enable_notifications()? {
                return Ok(answered);
            }
        }
    }
}

/// The `virtio-queue` crate's, on the `vm-memory` crate's memory.
#[derive(Debug)]
pub struct Theirs<'m> {
    memory: &'m Memory,
    queue: virtio_queue::Queue,
    heads: Vec<u16>,
    index: u16,
    available: VolatileSlice<'m>,
}

/// A memory of the other side that is byte for byte that of `rings`.
///
/// # Errors
/// When it cannot be allocated.
pub fn memory(rings: &Rings) -> Result<Memory> {
    let memory = Memory::from_ranges(&[(GuestAddress(START), usize::try_from(LEN)?)])?;
    memory.write_slice(&rings.bytes(), GuestAddress(START))?;
    Ok(memory)
}

impl<'m> Theirs<'m> {
    /// On `memory`, whose rings are where `config` says.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn new(memory: &'m Memory, config: &Config) -> Result<Self> {
        let mut queue = virtio_queue::Queue::new(SIZE)?;
        queue.try_set_desc_table_address(GuestAddress(config.descriptors.value()))?;
        queue.try_set_avail_ring_address(GuestAddress(config.driver.value()))?;
        queue.try_set_used_ring_address(GuestAddress(config.device.value()))?;
        queue.set_event_idx(config.features.contains(Features::EVENT_IDX));
        queue.set_ready(true);
        if !queue.is_valid(memory) {
            return Err("the rings lie outside of the memory".into());
        }
        let size = usize::try_from(Area::Available.bytes(SIZE))?;
        Ok(Self {
            memory,
            queue,
            heads: Vec::with_capacity(SIZE.into()),
            index: 0,
            available: memory.get_slice(GuestAddress(config.driver.value()), size)?,
        })
    }

    /// The guest's memory, every byte.
    ///
    /// # Errors
    /// Never: it was written before.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(LEN)?];
        self.memory.read_slice(&mut bytes, GuestAddress(START))?;
        Ok(bytes)
    }
}

impl Pair for Theirs<'_> {
    fn round(&mut self, chains: u16) -> Result<Answered> {
        let used_event = 4 + 2 * usize::from(SIZE);
        self.available
            .store(self.index.to_le(), used_event, Ordering::Relaxed)?;
        self.index = self.index.wrapping_add(chains);
        self.available
            .store(self.index.to_le(), 2, Ordering::Release)?;

        let mut answered = Answered::default();
        self.queue.disable_notification(self.memory)?;
        loop {
            // One look at the available index for all chains; they are used once the iterator has given back the queue.
            for chain in self.queue.iter(self.memory)? {
                self.heads.push(chain.head_index());
                for descriptor in chain {
                    let (at, len) = (descriptor.addr(), descriptor.len());
                    if !self.memory.check_range(at, usize::try_from(len)?) {
                        return Err("a buffer outside of the memory".into());
                    }
                    answered.bytes += u64::from(len);
                }
            }
            for head in self.heads.drain(..) {
                self.queue.add_used(self.memory, head, WRITABLE)?;
            }
            answered.interrupt |= self.queue.needs_notification(self.memory)?;
            if !self.queue.enable_notification(self.memory)? {
                return Ok(answered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{BYTES, CASES};

    /// Twice around the rings.
    #[test]
    fn both_sides_do_the_same_work_and_leave_the_same_memory() {
        for case in &CASES {
            let rings = Rings::new(case);
            let memory = memory(&rings).unwrap();
            let mut theirs = Theirs::new(&memory, &rings.config()).unwrap();
            let mut ours = Ours::new(rings).unwrap();
            let wanted = Answered {
                bytes: BYTES * u64::from(case.batch),
                interrupt: true,
            };
            for _ in 0..2 * SIZE / case.batch {
                assert_eq!(ours.round(case.batch).unwrap(), wanted, "{}", case.name);
                assert_eq!(theirs.round(case.batch).unwrap(), wanted, "{}", case.name);
            }
            assert!(ours.bytes() == theirs.bytes().unwrap(), "{}", case.name);
        }
    }
}
