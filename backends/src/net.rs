//! The network device (virtIO 1.2 §5.1): frames by DMA between the guest's buffers and a driver's hardware.
//!
//! The header that precedes each frame (§5.1.6) stays here. A transmitted frame's is read once and checked; then the driver gets the
//! frame without it, and with what it asks for of what the hardware offers. What the hardware does not offer is done here (`net/cut.rs`), with
//! copies of the frame. A received frame's header is written here, or by hardware that merges buffers; several frames that make one longer
//! segment of TCP come to the guest as that, and of several acknowledgements the last (`net/run.rs`).

mod acknowledgement;
mod buffer;
mod control;
pub mod counter;
mod cut;
mod fields;
mod frame;
mod headers;
mod joined;
mod merged;
mod moderation;
mod receive;
mod run;
mod segment;
mod slots;

use crate::backend::{Device, Step, Trouble};
use crate::port::{Port, PortEvent};
use crate::queues::Queues;
use control::{CONTROL_SIZE, Control};
use counter::Counters;
use cut::{Cut, Progress, SLOT_ID};
use frame::{frame, locate};
use merged::Arrival;
use moderation::Moderation;
pub use moderation::Pauses;
use receive::{Merge, Receive};
use sel4cp_link::{Facts, MAX_QUEUES};
use sel4cp_memory::{GuestRam, Span};
use sel4cp_model::net::{
    CONTROLQ, Config, ETHERNET_HEADER, Features, Header as NetHeader, RECEIVEQ, STATUS_LINK_UP,
    TRANSMITQ, VLAN_TAG,
};
use sel4cp_model::{DeviceType, features};
use sel4cp_queue::{Queue, Token};
use sel4cp_ring::layout::DeviceRegion;
use sel4cp_ring::net::{Interface, LONGEST, MAX_SEGMENTS, RECEIVE, TRANSMIT};
use sel4cp_ring::request::{Completion, Header, Segment};
use slots::SLOTS;
use zerocopy::IntoBytes;

/// Entries of each queue, and most frames in flight each way.
const QUEUE_SIZE: u16 = 256;
/// Added to a receive buffer's id, to tell it from a frame to transmit.
const RECEIVE_ID: u16 = 0x8000;
/// With as many frames being sent, the guest need not say that there are more: each completion makes this domain look.
const BUSY: u32 = 1;

/// The device, in the order of its memory: what each frame needs lies in few pages, before the tables.
#[repr(C)]
pub struct Net {
    port: Port,
    config: Config,
    config_changed: bool,
    known: bool,
    /// What the hardware does to frames.
    hardware: Features,
    /// What it or this domain does to them, and what of that the guest's driver has accepted.
    offered: Features,
    accepted: Features,
    /// Whether the hardware can merge receive buffers.
    merges: bool,
    /// Whether the guest may choose its offloads again.
    has_control: bool,
    counters: Counters,
    /// Frames that are with the driver as they are.
    in_flight: u32,
    moderation: Moderation,
    control: Control,
    /// What is joined for the guest, if it takes it.
    joined: Features,
    receive: Receive,
    /// The last chain, and where it goes.
    spans: [Span; QUEUE_SIZE as usize],
    segments: [Segment; MAX_SEGMENTS],
    /// Frames that are being sent, by the head of their chain.
    sending: [Option<Sending>; QUEUE_SIZE as usize],
    /// What this domain does to frames.
    cut: Cut,
}

/// A frame that is being sent.
struct Sending {
    token: Token,
    /// What is sent was made here, of copies: it ends with the last of those.
    made: bool,
}

impl Net {
    /// An interface with this MAC address, whose frames carry up to `mtu` bytes, behind the rings of `region`. In `frames`, which
    /// the driver knows, it makes frames that the hardware cannot make. By `pauses` it asks for the guest's next pause.
    pub fn new(
        region: DeviceRegion,
        ram: GuestRam,
        frames: Option<GuestRam>,
        pauses: Option<Pauses>,
        mac: [u8; 6],
        mtu: u16,
    ) -> Self {
        Self {
            port: Port::new(region),
            config: Config {
                mac,
                mtu: mtu.into(),
                ..Config::default()
            },
            config_changed: false,
            known: false,
            hardware: Features::empty(),
            offered: Features::empty(),
            accepted: Features::empty(),
            merges: false,
            has_control: false,
            spans: [Span::EMPTY; QUEUE_SIZE as usize],
            segments: [Segment::default(); MAX_SEGMENTS],
            sending: [const { None }; QUEUE_SIZE as usize],
            in_flight: 0,
            moderation: Moderation::new(pauses),
            control: Control::new(),
            joined: Features::empty(),
            cut: Cut::new(ram, frames),
            receive: Receive::new(ram),
            counters: Counters::default(),
        }
    }

    /// Takes over what the driver says about the interface.
    fn refresh(&mut self) {
        let Some(interface) = self.port.facts::<Interface>() else {
            return;
        };
        let status = if interface.link_up != 0 {
            STATUS_LINK_UP
        } else {
            0
        };
        self.config_changed |= self.known && self.config.status.get() != status;
        self.config.status = status.into();
        self.receive.limit(interface.receive_buffers);
        let features = Features::from_bits_truncate(interface.features);
        self.hardware = features.consistent_offloads();
        self.offered = self.hardware;
        if self.cut.holds(self.longest()) {
            self.offered |= Features::TRANSMIT_OFFLOADS;
        }
        if !self.hardware.intersects(Features::LONG) {
            self.offered |= Features::GUEST_CSUM | Features::LONG;
        }
        // What the hardware does it does until it is reset.
        self.has_control = !self.hardware.intersects(Features::RECEIVE_OFFLOADS);
        self.merges = features.contains(Features::MRG_RXBUF);
        self.known = true;
    }

    /// Bytes of the longest frame of the link.
    fn longest(&self) -> u32 {
        u32::from(self.config.mtu.get()) + ETHERNET_HEADER + VLAN_TAG
    }
}

impl Net {
    /// Takes what the guest wants to send. True: there is more, and nobody will say so.
    fn transmit(&mut self, queue: &mut Queue) -> Result<bool, Trouble> {
        if !self.port.is_open() {
            return Ok(false);
        }
        for _ in 0..queue.size() {
            if let Some(again) = self.make()? {
                // What is missing comes with a notification, and this domain then looks for more from the guest too.
                queue.disable_notifications();
                return Ok(again);
            }
            let Some((token, chain)) = queue.pop(&mut self.spans)? else {
                if self.in_flight + self.cut.slots.in_flight() >= BUSY {
                    // `harvest` has asked for the next completion, and one comes: then this domain looks again.
                    queue.disable_notifications();
                    return Ok(false);
                }
                let size = queue.size();
                let more = self.moderation.skipped(size, &mut self.counters);
                return Ok(queue.enable_notifications_after(more)?);
            };
            let (mtu, accepted) = (self.config.mtu.get(), self.accepted);
            let mut reader = chain.reader();
            let Some(frame) = frame(&mut reader, mtu, accepted) else {
                self.refuse(queue, token);
                continue;
            };
            let (bytes, offload) = (frame.bytes, frame.offload);
            self.moderation.taken(bytes, || frame.connection(&reader));
            if !self.hardware.contains(frame.needed) {
                match self.cut.begin(token, &reader, &offload, mtu.into()) {
                    Ok(()) => self.taken(bytes),
                    Err(token) => self.refuse(queue, token),
                }
                continue;
            }
            let Some(count) = locate(&reader, &mut self.segments) else {
                self.refuse(queue, token);
                continue;
            };
            let header = offload.put(Header {
                id: token.head(),
                op: TRANSMIT,
                ..Header::default()
            });
            let segments = self.segments.get(..count).unwrap_or_default();
            if !self.port.submit(header, segments)? {
                // It is the last one popped from this queue, so it can be put back.
                let _same = queue.put_back(token);
                self.counters.add(counter::DELAYED, 1);
                return Ok(self.port.wait_for_room(count)?);
            }
            self.taken(bytes);
            self.keep(token, false);
            self.in_flight += 1;
        }
        Ok(true)
    }

    /// Counts a frame that is sent.
    fn taken(&mut self, bytes: u64) {
        self.counters.add(counter::TRANSMITTED, 1);
        self.counters.add(counter::TRANSMITTED_BYTES, bytes);
    }

    /// Keeps a frame's chain until it comes back.
    fn keep(&mut self, token: Token, made: bool) {
        if let Some(slot) = self.sending.get_mut(usize::from(token.head())) {
            *slot = Some(Sending { token, made });
        }
    }

    /// Gives a frame's chain back that was kept so. False: there is none.
    fn sent(&mut self, queue: Option<&mut Queue>, head: u16, made: bool) -> bool {
        let slot = self.sending.get_mut(usize::from(head));
        let Some(sent) = slot.and_then(|slot| slot.take_if(|sent| sent.made == made)) else {
            return false;
        };
        if let Some(queue) = queue {
            // Sent or not: a network may lose a frame.
            let _stale = queue.complete(sent.token, 0);
        }
        true
    }

    /// Gives a frame back that is not sent.
    fn refuse(&mut self, queue: &mut Queue, token: Token) {
        self.counters.add(counter::TRANSMIT_DROPPED, 1);
        // It was popped from this queue just now.
        let _fresh = queue.complete(token, 0);
    }

    /// Goes on with the frame that is made here. `None`: there is none any more. Otherwise it has to wait; true: not any more, and
    /// nobody will say so.
    fn make(&mut self) -> Result<Option<bool>, Trouble> {
        if !self.cut.is_underway() {
            return Ok(None);
        }
        if self.moderation.is_enough() {
            return Ok(Some(false));
        }
        let mut made = 0;
        let progress = self.cut.go_on(&mut self.port, &mut made);
        self.counters.add(counter::MADE, made);
        self.moderation.made(made);
        Ok(match progress? {
            Progress::Done(token) => {
                self.keep(token, true);
                None
            }
            // All places are with the driver, and `harvest` has asked for the next completion.
            Progress::Places => Some(false),
            Progress::Room => {
                self.counters.add(counter::DELAYED, 1);
                Some(self.port.wait_for_room(1)?)
            }
        })
    }

    /// Takes what the driver has done. True: there is more, and nobody will say so.
    fn harvest(&mut self, queues: &mut Queues) -> Result<bool, Trouble> {
        // No more than were in flight both ways, made here or not, and the completion of a reset.
        for _ in 0..=2 * usize::from(QUEUE_SIZE) + SLOTS {
            match self.port.take()? {
                None => break,
                Some(PortEvent::Completed(completion)) => self.completed(queues, &completion)?,
                Some(PortEvent::Reset) => self.abandon(queues),
            }
        }
        Ok(self.port.wait()?)
    }

    fn completed(&mut self, queues: &mut Queues, done: &Completion) -> Result<(), Trouble> {
        let counters = &mut self.counters;
        let arrival = if done.id & RECEIVE_ID != 0 {
            self.moderation.received();
            let head = done.id & !RECEIVE_ID;
            self.receive
                .completed(queues.get(RECEIVEQ), head, done, counters)
        } else if done.id & SLOT_ID != 0 {
            match self.cut.slots.give_back(done.id & !SLOT_ID) {
                Some(taken) => {
                    if let Some(head) = taken.head {
                        self.sent(queues.get(TRANSMITQ), head, true);
                    }
                    Arrival::Known
                }
                None => Arrival::Unknown,
            }
        } else if self.sent(queues.get(TRANSMITQ), done.id, false) {
            self.in_flight = self.in_flight.saturating_sub(1);
            Arrival::Known
        } else {
            Arrival::Unknown
        };
        match arrival {
            Arrival::Known => Ok(()),
            Arrival::Astray => {
                self.port.reset();
                Ok(())
            }
            Arrival::Unknown => Err(self.port.unexpected(done.id).into()),
        }
    }

    /// Gives up what the driver will never complete: frames are lost, buffers are offered again.
    #[cold]
    fn abandon(&mut self, queues: &mut Queues) {
        for slot in &mut self.sending {
            if let (Some(sent), Some(queue)) = (slot.take(), queues.get(TRANSMITQ)) {
                let _stale = queue.complete(sent.token, 0);
            }
        }
        self.in_flight = 0;
        self.cut.slots.abandon();
        self.receive
            .abandon(queues.get(RECEIVEQ), &mut self.counters);
    }

    fn work(&mut self, queues: &mut Queues, again: &mut bool) -> Result<(), Trouble> {
        let harvested = self.harvest(queues);
        let queue = queues.get(RECEIVEQ);
        self.receive.end_run(queue, &mut self.counters);
        *again |= harvested?;
        if let Some(queue) = queues.get(CONTROLQ) {
            let (chosen, more) = self.control.serve(queue, &mut self.spans)?;
            *again |= more;
            if let Some(offloads) = chosen {
                // Nothing is being joined now.
                self.receive.join_only(self.joined & offloads);
            }
        }
        if let Some(queue) = queues.get(TRANSMITQ) {
            *again |= self.transmit(queue)?;
        }
        if let Some(queue) = queues.get(RECEIVEQ) {
            let (spans, segments) = (&mut self.spans, &mut self.segments);
            let receive = &mut self.receive;
            *again |= receive.offer(queue, &mut self.port, spans, segments, &mut self.counters)?;
        }
        Ok(())
    }
}

impl Device for Net {
    fn facts(&mut self) -> Option<Facts> {
        self.refresh();
        if !self.known || !self.port.is_open() {
            return None;
        }
        let mut queue_max = [0; MAX_QUEUES];
        for index in [RECEIVEQ, TRANSMITQ] {
            if let Some(max) = queue_max.get_mut(usize::from(index)) {
                *max = QUEUE_SIZE;
            }
        }
        let own = Features::MAC | Features::MTU | Features::STATUS | Features::MRG_RXBUF;
        let mut own = own | self.offered;
        if self.has_control {
            own |= Features::CTRL_VQ | Features::CTRL_GUEST_OFFLOADS;
            if let Some(max) = queue_max.get_mut(usize::from(CONTROLQ)) {
                *max = CONTROL_SIZE;
            }
        }
        Some(Facts {
            id: DeviceType::Net as u32,
            features: own.bits() | features::Features::COMMON.bits(),
            queue_max,
        })
    }

    fn config_changed(&mut self) -> bool {
        self.refresh();
        core::mem::take(&mut self.config_changed)
    }

    fn config(&self) -> &[u8] {
        self.config.as_bytes()
    }

    fn start(&mut self, features: u64) -> Result<(), Trouble> {
        self.port.working()?;
        let accepted = Features::from_bits_truncate(features);
        self.accepted = (accepted & self.offered).consistent_offloads();
        let mut received = self.accepted & self.hardware & Features::RECEIVE_OFFLOADS;
        let longest = if received.intersects(Features::LONG) {
            LONGEST
        } else {
            u32::from(self.config.mtu.get()) + ETHERNET_HEADER
        };
        let merge = match accepted.contains(Features::MRG_RXBUF) {
            false => Merge::Nobody,
            true if self.merges => Merge::Hardware,
            true => Merge::Here,
        };
        received.set(Features::MRG_RXBUF, merge == Merge::Hardware);
        // A guest that merges nothing has buffers for the longest frames, which would be wasted on the others.
        self.joined = match merge {
            Merge::Nobody => Features::empty(),
            _ => self.accepted - self.hardware,
        };
        self.receive
            .start(merge, longest + NetHeader::SIZE, self.joined);
        let control = accepted & (Features::CTRL_VQ | Features::CTRL_GUEST_OFFLOADS);
        self.control.start(self.accepted | control);
        self.port.agree(received.bits());
        let event_index = features::Features::EVENT_IDX.bits();
        self.moderation.start(features & event_index != 0);
        Ok(())
    }

    fn stop(&mut self) {
        self.receive.stop();
        self.cut.stop();
        // Buffers that wait for a frame would wait for ever: the driver has to give them back.
        self.port.reset();
    }

    fn is_quiet(&self) -> bool {
        let quiet = self.in_flight == 0 && self.cut.is_quiet() && self.receive.is_quiet();
        self.port.is_open() && quiet
    }

    fn step(&mut self, queues: &mut Queues, step: &mut Step) -> Result<(), Trouble> {
        let result = self.work(queues, &mut step.again);
        // Also after a fault: what was submitted before it is in flight and comes back.
        if self.port.flush_if(!self.receive.may_wait()) {
            self.receive.shown();
        }
        step.notify_driver |= self.port.take_notify();
        step.ask_for_pause |= self.moderation.take_ask();
        result
    }

    fn paused(&mut self) {
        self.moderation.paused();
    }

    fn counters(&self) -> &[u64] {
        &self.counters.0
    }
}
