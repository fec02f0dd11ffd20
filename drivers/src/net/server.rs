//! The verbs: take buffers from the ring, give them to the interface, give them back when it is done.

use super::frame::{Pieces, incoming, outgoing, received};
use super::interface::{Interface, RECEIVE_SIZE, TRANSMIT_SIZE};
use crate::virtio::Serve;
use crate::virtio::dma::Area;
use crate::virtio::port::Port;
use crate::virtio::queue::{Hardware, Queue, Table};
use crate::virtio::transport::{Trouble, reset};
use heapless::Vec;
use sel4cp_model::net::{Features, Header as NetHeader};
use sel4cp_pd::{Channel, Once, fatal, log};
use sel4cp_ring::info::Writer;
use sel4cp_ring::layout::DriverEnds;
use sel4cp_ring::net::{MAX_SEGMENTS, Offload, RECEIVE, TRANSMIT};
use sel4cp_ring::request::{Completion, Header, RESET, Segment, status};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::IntoBytes;

/// Bytes of a place for a header, and how many there are: a page. The first is for all frames that ask for nothing.
const PLACE: usize = 16;
const PLACES: u8 = u8::MAX;
/// Most frames that may arrive before the interface interrupts.
const MOST_ARRIVALS: usize = 16;

/// What is remembered of a buffer that the interface has.
#[derive(Clone, Copy)]
struct Record {
    header: Header,
    /// Where the header before a frame to be sent is.
    place: u8,
    /// Bytes that the hardware can write.
    room: u32,
}

/// The driver's large memory, in statics.
pub struct Storage {
    receive: Once<Hardware<RECEIVE_SIZE>>,
    transmit: Once<Hardware<TRANSMIT_SIZE>>,
    work: Once<Work>,
}

/// Memory of a [`Server`].
struct Work {
    received: Table<Record, RECEIVE_SIZE>,
    transmitted: Table<Record, TRANSMIT_SIZE>,
    segments: [Segment; MAX_SEGMENTS],
    pieces: Pieces,
    places: Vec<u8, { PLACES as usize }>,
}

impl Storage {
    /// Empty.
    pub const fn new() -> Self {
        const NONE: Segment = Segment {
            offset: 0,
            len: 0,
            flags: 0,
        };
        Self {
            receive: Once::new(Hardware::new()),
            transmit: Once::new(Hardware::new()),
            work: Once::new(Work {
                received: Table::new(),
                transmitted: Table::new(),
                segments: [NONE; MAX_SEGMENTS],
                pieces: Pieces::new(),
                places: Vec::new(),
            }),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands between the ring and the interface.
pub struct Server<T> {
    interface: Interface<T>,
    receive: Queue<Record, RECEIVE_SIZE>,
    transmit: Queue<Record, TRANSMIT_SIZE>,
    info: Writer,
    port: Port,
    /// The headers before frames that are sent: the first is zero, the others say what the hardware is to do.
    headers: Area,
    /// Those that no frame uses.
    places: &'static mut Vec<u8, { PLACES as usize }>,
    /// The last request taken from the ring, or the one that waits.
    segments: &'static mut [Segment; MAX_SEGMENTS],
    /// Where the hardware finds it.
    pieces: &'static mut Pieces,
    /// A request that waits for descriptors.
    held: Option<Header>,
    /// What the guest takes of the interface's features for receiving.
    taken: Features,
}

impl<T: Transport> Serve<T> for Server<T> {
    const KIND: DeviceType = DeviceType::Network;
    type Storage = Storage;

    fn start(
        transport: T,
        storage: &'static Storage,
        ends: DriverEnds,
        backend: Channel,
    ) -> Result<Self, Trouble> {
        let queues = (storage.receive.take(), storage.transmit.take());
        let ((Some(receive), Some(transmit)), Some(work)) = (queues, storage.work.take()) else {
            return Err(Trouble::Memory);
        };
        let headers = Area::new(1).ok_or(Trouble::Memory)?;
        work.places.extend(1..=PLACES);
        let mut receive = Queue::new(receive, &mut work.received);
        let mut transmit = Queue::new(transmit, &mut work.transmitted);
        let interface = Interface::start(transport, &mut receive, &mut transmit)?;
        let mut server = Self {
            interface,
            receive,
            transmit,
            info: ends.info,
            port: Port::new(ends.requests, ends.completions, backend),
            headers,
            places: &mut work.places,
            segments: &mut work.segments,
            pieces: &mut work.pieces,
            held: None,
            taken: Features::empty(),
        };
        server.info.start(server.interface.facts());
        backend.notify();
        Ok(server)
    }

    fn interrupt(&mut self) {
        let reasons = self.interface.transport.ack_interrupt();
        if reasons.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT) {
            self.changed();
        }
        self.finish();
        self.work();
    }

    fn work(&mut self) {
        loop {
            // Frames that were sent and are not due come with the interrupt that was asked for.
            if self.receive.is_due() || self.transmit.is_due() || self.held.is_some() {
                self.finish();
            }
            self.submit();
            // It may have sent frames, and have answers, before the next line runs: no interrupt need say so, as it is asked below.
            self.receive.mute();
            self.transmit.mute();
            self.receive.tell(&mut self.interface.transport);
            self.transmit.tell(&mut self.interface.transport);
            self.port.flush();
            // With a request that waits for descriptors, the next interrupt goes on.
            let more = self.held.is_none() && self.port.arm(self.in_flight());
            let arrived = self.receive.ask(self.arrivals());
            let sent = self.transmit.ask(self.sent());
            if !arrived && !sent && !more {
                break;
            }
        }
    }
}

impl<T: Transport> Server<T> {
    /// How many frames the interface may send before it interrupts: half of those it has, so that the guest makes more
    /// while it sends the others.
    const fn sent(&self) -> usize {
        if self.held.is_some() {
            return 1;
        }
        self.transmit.in_flight().div_ceil(2)
    }

    /// How many frames may arrive before the interface interrupts.
    ///
    /// While it sends, some are put off: most are answers to what was sent before, and the interrupt for what is sent finds
    /// them. They wait for as long as the interface keeps the frames that it has. Otherwise none is put off, because nobody
    /// knows when the next one comes. Half of the buffers stay for what comes in the meantime.
    fn arrivals(&self) -> usize {
        if self.transmit.in_flight() == 0 {
            return 1;
        }
        (self.receive.in_flight() / 2).clamp(1, MOST_ARRIVALS)
    }

    fn in_flight(&self) -> usize {
        self.receive.in_flight() + self.transmit.in_flight()
    }

    /// Gives back what the interface is done with.
    fn finish(&mut self) {
        if let Err(error) = self.try_finish() {
            log!("interface: {error}, it is reset");
            self.recover();
        }
    }

    fn try_finish(&mut self) -> virtio_drivers::Result {
        while let Some((record, written)) = self.receive.pop()? {
            if written > record.room {
                self.port
                    .complete(Completion::of(&record.header, status::CANCELLED, 0));
                // What else it says cannot be believed either.
                return Err(virtio_drivers::Error::IoError);
            }
            let len = received(self.interface.header(), written);
            self.port
                .complete(Completion::of(&record.header, status::OK, len));
        }
        while let Some((record, _)) = self.transmit.pop()? {
            release(self.places, record.place);
            self.port
                .complete(Completion::of(&record.header, status::OK, 0));
        }
        Ok(())
    }

    /// Takes requests from the ring until there is none, or one has to wait.
    fn submit(&mut self) {
        loop {
            let outstanding = self.in_flight();
            let header = match self.held.take() {
                Some(header) => header,
                None => match self.port.next(outstanding, self.segments) {
                    Some(header) => header,
                    None => return,
                },
            };
            if header.op == RESET {
                self.taken = Features::from_bits_truncate(header.sector);
                self.recover();
                self.port.complete(Completion::of(&header, status::OK, 0));
                continue;
            }
            match self.try_submit(&header) {
                Ok(()) => {}
                Err(Refused::Wait) => {
                    self.held = Some(header);
                    return;
                }
                Err(Refused::Answer(status)) => {
                    self.port.complete(Completion::of(&header, status, 0));
                }
            }
        }
    }

    fn try_submit(&mut self, header: &Header) -> Result<(), Refused> {
        match header.op {
            TRANSMIT => {
                let offload = Offload::of(header);
                if !self.interface.does(&offload) {
                    return Err(Refused::Answer(status::UNSUPPORTED));
                }
                let place = self.place(&offload)?;
                let result = self.send(header, &offload, place);
                if result.is_err() {
                    release(self.places, place);
                }
                result
            }
            RECEIVE => {
                let segments = self.segments.get(..usize::from(header.count));
                let segments = segments.unwrap_or_default();
                let interface = &self.interface;
                let room = incoming(
                    interface.header(),
                    interface.merges(),
                    segments,
                    self.pieces,
                )
                .map_err(Refused::Answer)?;
                let record = Record {
                    header: *header,
                    place: 0,
                    room,
                };
                added(self.receive.add(&[], self.pieces, record))
            }
            _ => Err(Refused::Answer(status::UNSUPPORTED)),
        }
    }

    /// A place with the header that asks for `offload`.
    fn place(&mut self, offload: &Offload) -> Result<u8, Refused> {
        if *offload == Offload::default() {
            return Ok(0);
        }
        let place = self.places.pop().ok_or(Refused::Wait)?;
        let header = NetHeader {
            flags: if offload.needs_csum {
                NetHeader::NEEDS_CSUM
            } else {
                0
            },
            gso_type: offload.gso_type,
            hdr_len: offload.hdr_len.into(),
            gso_size: offload.gso_size.into(),
            csum_start: offload.csum_start.into(),
            csum_offset: offload.csum_offset.into(),
            num_buffers: 0.into(),
        };
        self.headers
            .write(usize::from(place) * PLACE, header.as_bytes());
        Ok(place)
    }

    fn send(&mut self, header: &Header, offload: &Offload, place: u8) -> Result<(), Refused> {
        let segments = self.segments.get(..usize::from(header.count));
        let segments = segments.unwrap_or_default();
        let size = self.interface.header();
        let piece = self.headers.piece(usize::from(place) * PLACE, size);
        let mtu = self.interface.facts().mtu;
        outgoing(piece, segments, mtu, offload, self.pieces).map_err(Refused::Answer)?;
        let record = Record {
            header: *header,
            place,
            room: 0,
        };
        added(self.transmit.add(self.pieces, &[], record))
    }

    /// The interface says that its configuration has changed, or that it is broken.
    #[cold]
    fn changed(&mut self) {
        let status = self.interface.transport.get_status();
        if status.contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            log!("interface: needs a reset, and gets it");
            return self.recover();
        }
        match self.interface.refresh() {
            Ok(false) => {}
            Ok(true) => self.publish(),
            Err(error) => log!("interface: {error}"),
        }
    }

    /// Resets the interface: there is no other way to get receive buffers back. All buffers are given back
    /// undone, after the interface has said that it does not touch them any more.
    #[cold]
    fn recover(&mut self) {
        if let Err(error) = reset(&mut self.interface.transport) {
            fatal!("interface: {error}");
        }
        let (port, places) = (&mut self.port, &mut *self.places);
        let mut cancel = |record: Record| {
            release(places, record.place);
            port.complete(Completion::of(&record.header, status::CANCELLED, 0));
        };
        self.receive.take_back(&mut cancel);
        self.transmit.take_back(&mut cancel);
        let old = *self.interface.facts();
        let set_up = self
            .interface
            .set_up(&mut self.receive, &mut self.transmit, self.taken);
        if let Err(error) = set_up {
            fatal!("interface: {error}");
        }
        if old != *self.interface.facts() {
            self.publish();
        }
    }

    #[cold]
    fn publish(&mut self) {
        self.info.change(self.interface.facts());
        self.port.backend().notify();
    }
}

/// A frame does not need its header any more.
fn release(places: &mut Vec<u8, { PLACES as usize }>, place: u8) {
    if place != 0 {
        // There is room: it was taken from there.
        let _room = places.push(place);
    }
}

/// What a buffer that could not be added comes to.
fn added(result: virtio_drivers::Result) -> Result<(), Refused> {
    result.map_err(|error| match error {
        virtio_drivers::Error::QueueFull => Refused::Wait,
        _ => Refused::Answer(status::ERROR),
    })
}

/// Why a buffer was not given to the interface.
enum Refused {
    /// There is no room now.
    Wait,
    /// It is answered with this status.
    Answer(u8),
}
