//! The socket device (virtIO 1.2 §5.10): a guest's connections over wires to native services and to other guests.
//!
//! A wire leads to one peer, whose CID the system file says; whom no wire leads to cannot be reached, and is answered for with
//! a RST. The connections are between the guest and its peers, this device passes their packets on: it knows each
//! connection, lets through what fits it, and holds both sides to the credit that the other has given (§5.10.6.3). A reader
//! that is slow gives none, and so keeps nobody else waiting.
//!
//! A full wire delays and never drops: the packet stays in the guest's queue, and what the guest sends after it waits too.
//! Only a peer that takes no packets at all can keep a wire full, not one whose connections are slow: a guest that offers
//! its device no buffers holds up those who send to it. Guests that allow each other trust each other that far.
//!
//! A guest that starts again as a peer, or a peer that breaks a rule of the wire, is answered for with a RST of each of its
//! connections; the others go on. When the native side starts again, or this device does under a running guest, communication was
//! interrupted, and the guest is told so by a transport reset event (§5.10.6.7): it shuts down all its connections, and the peers
//! that are still there get a RST of theirs. Without a buffer in the event queue the native side's connections end by a RST each; a
//! device that has started again waits for one, as it does not know them.

mod connection;
mod line;
mod switch;

pub use connection::{CONNECTIONS, FROM_PEERS, Key, Side, Table, Verdict};
pub use line::Line;
pub use switch::MAX_WIRES;

use crate::backend::{Device, Step, Trouble};
use crate::queues::Queues;
use sel4cp_link::{Facts, MAX_QUEUES};
use sel4cp_memory::Span;
use sel4cp_model::vsock::{Config, EVENT, Event, Features, Header, RX, TRANSPORT_RESET, TX};
use sel4cp_model::{DeviceType, features};
use sel4cp_queue::{Direction, GuestFault, Queue};
use switch::{Reset, Sent, Switch};
use zerocopy::IntoBytes;

/// Entries of the queues for packets at most.
const QUEUE_SIZE: u16 = 256;
/// Entries of the event queue at most.
const EVENTS: u16 = 16;

/// Places of [`Vsock`]'s counters.
pub mod counter {
    /// Bytes of payload from the guest.
    pub const TRANSMITTED: usize = 0;
    /// Bytes of payload to the guest.
    pub const RECEIVED: usize = 1;
    /// Connections that are there.
    pub const CONNECTIONS: usize = 2;
    /// Connections that anybody asked for and that were passed on.
    pub const REQUESTED: usize = 3;
    /// Packets that were answered with a RST: of no connection, or with no room for one.
    pub const REFUSED: usize = 4;
    /// Connections that ended because a side broke a rule.
    pub const BROKEN: usize = 5;
    /// Packets of the guest without a header, or with another sender's address.
    pub const DROPPED: usize = 6;
    /// How often a packet waited for a wire.
    pub const DELAYED: usize = 7;
    /// How often a peer started, or broke a rule of the wire.
    pub const LOST: usize = 8;
    /// Transport resets that the guest was told of.
    pub const RESETS: usize = 9;
    /// How many there are.
    pub(crate) const COUNT: usize =
        sel4cp_link::names(sel4cp_model::DeviceType::Socket as u32).len();
    const _: () = assert!(COUNT == RESETS + 1);
}

/// The device.
pub struct Vsock {
    config: Config,
    spans: [Span; QUEUE_SIZE as usize],
    switch: Switch,
}

impl Vsock {
    /// The socket device of the guest with this CID, which has no wires yet.
    pub fn new(cid: u64) -> Self {
        Self {
            config: Config {
                guest_cid: cid.into(),
            },
            spans: [Span::EMPTY; QUEUE_SIZE as usize],
            switch: Switch::new(cid),
        }
    }

    /// Adds a wire; false when there are [`MAX_WIRES`] already. They count from 0.
    pub fn add(&mut self, line: Line) -> bool {
        self.switch.add(line)
    }

    /// Passes on what the guest sends. True: there is more, and nobody will say so.
    fn transmit(&mut self, queue: &mut Queue) -> Result<bool, Trouble> {
        for _ in 0..queue.size() {
            if self.switch.must_answer_first() {
                // `step` comes back once an answer is gone.
                return Ok(false);
            }
            let Some((token, chain)) = queue.pop(&mut self.spans)? else {
                return Ok(queue.enable_notifications()?);
            };
            match self.switch.transmit(&mut chain.reader()) {
                Sent::Done => {
                    // It was popped from this queue just now.
                    let _fresh = queue.complete(token, 0);
                }
                Sent::Full { again } => {
                    // It is the last one popped from this queue, so it can be put back.
                    let _same = queue.put_back(token);
                    return Ok(again);
                }
            }
        }
        Ok(true)
    }

    /// Passes on what there is for the guest. True: there is more, and nobody will say so.
    fn receive(&mut self, queue: &mut Queue) -> Result<bool, Trouble> {
        for _ in 0..queue.size() {
            let Some((token, chain)) = queue.pop(&mut self.spans)? else {
                // The packets wait in their wires.
                return Ok(queue.enable_notifications()?);
            };
            let mut writer = chain.writer();
            if writer.remaining() < switch::LEAST_BUFFER {
                let found = writer.remaining();
                return Err(Trouble::Guest(GuestFault::BufferTooShort {
                    direction: Direction::Writable,
                    found,
                    needed: switch::LEAST_BUFFER,
                }));
            }
            if self.switch.receive(&mut writer)? {
                // It was popped from this queue just now.
                let _fresh = queue.complete(token, writer.written());
            } else {
                // It is the last one popped from this queue, so it can be put back.
                let _same = queue.put_back(token);
                return Ok(self.switch.wait());
            }
        }
        Ok(true)
    }

    /// Tells the guest of a transport reset, if there was one (§5.10.6.7). True: it has a buffer for that now, and nobody will say so.
    fn interrupt(&mut self, queues: &mut Queues) -> Result<bool, Trouble> {
        let wanted = self.switch.wanted_reset();
        if wanted == Reset::None {
            return Ok(false);
        }
        let Some(queue) = queues.get(EVENT) else {
            if wanted == Reset::Needed {
                return Err(Trouble::Resumed);
            }
            self.switch.settle_reset(false);
            return Ok(false);
        };
        let Some((token, chain)) = queue.pop(&mut self.spans)? else {
            if wanted == Reset::Needed {
                return Ok(queue.enable_notifications()?);
            }
            self.switch.settle_reset(false);
            return Ok(false);
        };
        let mut writer = chain.writer();
        writer.write_obj(&Event {
            id: TRANSPORT_RESET.into(),
        })?;
        // It was popped from this queue just now.
        let _fresh = queue.complete(token, writer.written());
        self.switch.settle_reset(true);
        Ok(false)
    }

    fn work(&mut self, queues: &mut Queues, again: &mut bool) -> Result<(), Trouble> {
        let running = queues.get(RX).is_some() && queues.get(TX).is_some();
        *again |= self.switch.begin(running);
        if !running {
            return Ok(());
        }
        *again |= self.interrupt(queues)?;
        if let Some(queue) = queues.get(TX) {
            *again |= self.transmit(queue)?;
        }
        let waited = self.switch.must_answer_first();
        if let Some(queue) = queues.get(RX) {
            *again |= self.receive(queue)?;
        }
        *again |= waited && !self.switch.must_answer_first();
        Ok(())
    }
}

impl Device for Vsock {
    fn facts(&mut self) -> Option<Facts> {
        let mut queue_max = [0; MAX_QUEUES];
        for (index, size) in [(RX, QUEUE_SIZE), (TX, QUEUE_SIZE), (EVENT, EVENTS)] {
            if let Some(max) = queue_max.get_mut(usize::from(index)) {
                *max = size;
            }
        }
        let own = Features::STREAM | Features::SEQPACKET;
        Some(Facts {
            id: DeviceType::Socket as u32,
            features: own.bits() | features::Features::COMMON.bits(),
            queue_max,
        })
    }

    fn config(&self) -> &[u8] {
        self.config.as_bytes()
    }

    fn start(&mut self, accepted: u64) -> Result<(), Trouble> {
        let accepted = Features::from_bits_truncate(accepted);
        self.switch.start(accepted.contains(Features::SEQPACKET));
        Ok(())
    }

    fn resume(&mut self, accepted: u64) -> Result<(), Trouble> {
        let accepted = Features::from_bits_truncate(accepted);
        self.switch.resume(accepted.contains(Features::SEQPACKET));
        Ok(())
    }

    fn stop(&mut self) {
        self.switch.stop();
    }

    fn is_quiet(&self) -> bool {
        // Packets are copied before a step ends.
        true
    }

    fn step(&mut self, queues: &mut Queues, step: &mut Step) -> Result<(), Trouble> {
        let result = self.work(queues, &mut step.again);
        step.wires |= self.switch.flush();
        step.trouble = self.switch.take_fault().map(Trouble::Wire);
        result
    }

    fn counters(&self) -> &[u64] {
        self.switch.counters()
    }
}

/// The smallest buffer is one for a header and a slot of a wire.
const _: () = assert!(switch::LEAST_BUFFER == Header::SIZE as u64 + 16);
