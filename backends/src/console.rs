//! The console device (virtIO 1.2 §5.3): bytes between two queues and a byte ring.
//!
//! Neither direction drops a byte. Output that the ring has no room for stays in the guest's buffer, the rest of a chain
//! included; input that the guest has no buffer for stays in the ring, and the serial driver sees that it is full.

use crate::backend::{Device, Step, Trouble};
use crate::queues::Queues;
use sel4cp_link::{Facts, MAX_QUEUES};
use sel4cp_memory::Span;
use sel4cp_model::DeviceType;
use sel4cp_model::console::{Config, Features, RECEIVEQ, TRANSMITQ};
use sel4cp_model::features;
use sel4cp_queue::Queue;
use sel4cp_ring::{Consumer, Producer};
use zerocopy::IntoBytes;

/// Entries of each queue at most.
const QUEUE_SIZE: u16 = 256;
/// Bytes that are copied at once.
const CHUNK: usize = 512;
/// Free bytes of the ring that are worth a notification.
const ROOM: u32 = 1024;

/// Places of [`Console`]'s counters.
pub mod counter {
    /// Bytes from the guest.
    pub const TRANSMITTED: usize = 0;
    /// Bytes to the guest.
    pub const RECEIVED: usize = 1;
    /// How often output waited for the serial driver.
    pub const DELAYED: usize = 2;
    /// How many there are.
    pub(crate) const COUNT: usize =
        sel4cp_link::names(sel4cp_model::DeviceType::Console as u32).len();
    const _: () = assert!(COUNT == DELAYED + 1);
}

/// The device.
pub struct Console {
    config: Config,
    output: Producer<u8>,
    input: Consumer<u8>,
    segments: [Span; QUEUE_SIZE as usize],
    /// How much of the first chain of the transmit queue has been sent.
    sent: u64,
    /// The guest is to be told the size.
    untold: bool,
    counters: [u64; counter::COUNT],
}

impl Console {
    /// A console of `columns` by `rows` characters; 0: unknown.
    pub fn new((output, input): (Producer<u8>, Consumer<u8>), columns: u16, rows: u16) -> Self {
        Self {
            config: Config {
                cols: columns.into(),
                rows: rows.into(),
                ..Config::default()
            },
            output,
            input,
            segments: [Span::EMPTY; QUEUE_SIZE as usize],
            sent: 0,
            untold: false,
            counters: [0; counter::COUNT],
        }
    }

    fn count(&mut self, counter: usize, more: u64) {
        if let Some(value) = self.counters.get_mut(counter) {
            *value = value.wrapping_add(more);
        }
    }

    /// Moves output from the guest to the ring. True: there is more, and nobody will say so.
    fn transmit(&mut self, queue: &mut Queue) -> Result<bool, Trouble> {
        let mut chunk = [0; CHUNK];
        for _ in 0..queue.size() {
            let Some((token, chain)) = queue.pop(&mut self.segments)? else {
                return Ok(queue.enable_notifications()?);
            };
            let mut reader = chain.reader();
            reader.skip(self.sent);
            let mut moved = 0;
            while reader.remaining() > 0 {
                let room = usize::try_from(self.output.free()?).unwrap_or(0);
                let Some(part) = chunk.get_mut(..room.min(CHUNK)) else {
                    break;
                };
                if part.is_empty() {
                    break;
                }
                let length = reader.read(part);
                let staged = self
                    .output
                    .push_slice(part.get(..length).unwrap_or_default())?;
                // All of it: `free` said so, and only this end takes from that.
                moved += u64::try_from(staged).unwrap_or(0);
            }
            let left = reader.remaining();
            self.count(counter::TRANSMITTED, moved);
            if left > 0 {
                self.sent = self.sent.saturating_add(moved);
                // It is the last one popped from this queue, so it can be put back.
                let _same = queue.put_back(token);
                self.count(counter::DELAYED, 1);
                let wanted = u32::try_from(left).unwrap_or(ROOM).min(ROOM);
                return Ok(self.output.arm(wanted)?);
            }
            self.sent = 0;
            // It was popped from this queue just now.
            let _fresh = queue.complete(token, 0);
        }
        Ok(true)
    }

    /// Moves input from the ring to the guest. True: there is more, and nobody will say so.
    fn receive(&mut self, queue: &mut Queue) -> Result<bool, Trouble> {
        let mut chunk = [0; CHUNK];
        for _ in 0..queue.size() {
            if self.input.available()? == 0 {
                return Ok(self.input.arm()?);
            }
            let Some((token, chain)) = queue.pop(&mut self.segments)? else {
                // The input waits in the ring for a buffer.
                return Ok(queue.enable_notifications()?);
            };
            let mut writer = chain.writer();
            loop {
                let room = usize::try_from(writer.remaining()).unwrap_or(CHUNK);
                let part = chunk.get_mut(..room.min(CHUNK)).unwrap_or_default();
                let length = self.input.pop_slice(part)?;
                if length == 0 {
                    break;
                }
                writer.write(part.get(..length).unwrap_or_default());
            }
            let written = writer.written();
            self.count(counter::RECEIVED, u64::from(written));
            // It was popped from this queue just now.
            let _fresh = queue.complete(token, written);
        }
        Ok(true)
    }
}

impl Device for Console {
    fn facts(&mut self) -> Option<Facts> {
        let mut queue_max = [0; MAX_QUEUES];
        for index in [RECEIVEQ, TRANSMITQ] {
            if let Some(max) = queue_max.get_mut(usize::from(index)) {
                *max = QUEUE_SIZE;
            }
        }
        let sized = self.config.cols.get() != 0 && self.config.rows.get() != 0;
        let own = if sized {
            Features::SIZE
        } else {
            Features::empty()
        };
        Some(Facts {
            id: DeviceType::Console as u32,
            features: own.bits() | features::Features::COMMON.bits(),
            queue_max,
        })
    }

    fn config_changed(&mut self) -> bool {
        core::mem::take(&mut self.untold)
    }

    fn config(&self) -> &[u8] {
        self.config.as_bytes()
    }

    fn start(&mut self, features: u64) -> Result<(), Trouble> {
        self.sent = 0;
        // Linux reads the size of a console with one port when it changes, and not before: to a driver that has just
        // started, it has.
        self.untold = Features::from_bits_truncate(features).contains(Features::SIZE);
        Ok(())
    }

    fn stop(&mut self) {
        self.sent = 0;
    }

    fn is_quiet(&self) -> bool {
        // Bytes are copied before a step ends.
        true
    }

    fn step(&mut self, queues: &mut Queues, step: &mut Step) -> Result<(), Trouble> {
        let mut work = || -> Result<(), Trouble> {
            if let Some(queue) = queues.get(TRANSMITQ) {
                step.again |= self.transmit(queue)?;
            }
            if let Some(queue) = queues.get(RECEIVEQ) {
                step.again |= self.receive(queue)?;
            }
            Ok(())
        };
        let result = work();
        step.notify_driver |= self.output.publish();
        step.notify_driver |= self.input.release();
        result
    }

    fn counters(&self) -> &[u64] {
        &self.counters
    }
}
