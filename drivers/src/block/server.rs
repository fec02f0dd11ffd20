//! The verbs: take requests from the ring, give them to the disk, give its answers back.

use super::disk::{Disk, MAX_RANGES, QUEUE_SIZE};
use super::polling::{LOOKS, MOST_LOOKS, PATIENCE_MICROSECONDS, Polling};
use super::request::{Checked, check};
use crate::virtio::Serve;
use crate::virtio::dma::{self, Area, Piece};
use crate::virtio::port::Port;
use crate::virtio::queue::{Hardware, MAX_PIECES, Queue, Table};
use crate::virtio::transport::{Trouble, reset};
use heapless::Vec;
use sel4cp_model::block::{Range, RequestHeader, RequestType, Status};
use sel4cp_pd::{self as pd, Channel, Once, fatal, log};
use sel4cp_ring::block::{MAX_SEGMENTS, READ, WRITE};
use sel4cp_ring::info::Writer;
use sel4cp_ring::layout::DriverEnds;
use sel4cp_ring::request::{self, Completion, Header, RESET, Segment};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::IntoBytes;

/// Most requests that the disk has at once.
const SLOTS: usize = 512;
/// Bytes of a request's own memory: header, status, ranges.
const SLOT: usize = 64;
const SLOTS_IN_PAGE: usize = 0x1000 / SLOT;
/// Bytes of a request's header, which the disk reads.
const HEADER: u32 = 16;
const STATUS: usize = size_of::<RequestHeader>();
const RANGES: usize = 32;
const _: () =
    assert!(STATUS == HEADER as usize && RANGES + MAX_RANGES as usize * size_of::<Range>() <= SLOT);
/// What the status byte is until the disk has written it.
const NO_STATUS: u8 = 0xff;
/// The disk interrupts when one in so many of its requests is done.
///
/// At most a quarter of what the queue itself takes is added to a request's time, and three quarters of the requests are
/// still with the disk when it interrupts, so that it does not run dry. With fewer than twice as many in flight each
/// request interrupts.
const IN_ONE_BATCH: usize = 4;
/// Most requests that an interrupt is put off for.
const BATCH: usize = 16;

/// What is remembered of a request that the disk has.
#[derive(Clone, Copy)]
pub struct Record {
    header: Header,
    slot: u16,
    /// Bytes that the disk writes into the segments if all goes well.
    reads: u32,
}

/// The driver's large memory, in statics.
pub struct Storage {
    /// The virtqueue.
    pub hardware: Once<Hardware<QUEUE_SIZE>>,
    /// Its requests, and those waiting.
    pub work: Once<Work>,
}

/// Memory of a [`Server`].
pub struct Work {
    table: Table<Record, QUEUE_SIZE>,
    free: Vec<u16, SLOTS>,
    segments: [Segment; MAX_SEGMENTS],
}

impl Storage {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            hardware: Once::new(Hardware::new()),
            work: Once::new(Work {
                table: Table::new(),
                free: Vec::new(),
                segments: [const { NO_SEGMENT }; MAX_SEGMENTS],
            }),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

const NO_SEGMENT: Segment = Segment {
    offset: 0,
    len: 0,
    flags: 0,
};

/// What stands between the ring and the disk.
pub struct Server<T> {
    disk: Disk<T>,
    queue: Queue<Record, QUEUE_SIZE>,
    info: Writer,
    port: Port,
    /// Headers and status bytes.
    area: Area,
    /// Slots of the area that no request uses.
    free: &'static mut Vec<u16, SLOTS>,
    /// The last request taken from the ring, or the one that waits.
    segments: &'static mut [Segment; MAX_SEGMENTS],
    /// A request that waits for descriptors.
    held: Option<Header>,
    /// A reset that waits for everything before it.
    reset: Option<Header>,
    /// Requests in flight that are neither reads nor writes: they may take any time, and nobody shall wait for them.
    slow: usize,
    polling: Polling,
}

impl<T: Transport> Serve<T> for Server<T> {
    const KIND: DeviceType = DeviceType::Block;
    type Storage = Storage;

    fn start(
        transport: T,
        storage: &'static Storage,
        ends: DriverEnds,
        backend: Channel,
    ) -> Result<Self, Trouble> {
        let memory = (storage.hardware.take(), storage.work.take());
        let (Some(hardware), Some(work)) = memory else {
            return Err(Trouble::Memory);
        };
        let area = Area::new(SLOTS.div_ceil(SLOTS_IN_PAGE)).ok_or(Trouble::Memory)?;
        let mut queue = Queue::new(hardware, &mut work.table);
        let disk = Disk::start(transport, &mut queue)?;
        work.free
            .extend((0..SLOTS).rev().filter_map(|slot| u16::try_from(slot).ok()));
        let mut server = Self {
            disk,
            queue,
            info: ends.info,
            port: Port::new(ends.requests, ends.completions, backend),
            area,
            free: &mut work.free,
            segments: &mut work.segments,
            held: None,
            reset: None,
            slow: 0,
            polling: Polling::new(),
        };
        server.info.start(server.disk.facts());
        backend.notify();
        Ok(server)
    }

    fn interrupt(&mut self) {
        let reasons = self.disk.transport.ack_interrupt();
        if reasons.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT) {
            self.changed();
        }
        self.finish();
        self.work();
    }

    fn work(&mut self) {
        loop {
            // What is done and not due comes with the interrupt that was asked for.
            if self.queue.is_due() || self.held.is_some() || self.reset.is_some() {
                self.finish();
            }
            self.submit();
            self.start();
            self.port.flush();
            // With a request that waits for the disk, the next interrupt goes on.
            let waits = self.held.is_some() || self.reset.is_some();
            let more = !waits && self.port.arm(self.queue.in_flight());
            if !self.queue.ask(self.batch()) && !more {
                break;
            }
        }
    }
}

impl<T: Transport> Server<T> {
    /// How many requests the disk may finish before it interrupts.
    fn batch(&self) -> usize {
        if self.slow != 0 || self.held.is_some() || self.reset.is_some() {
            return 1;
        }
        (self.queue.in_flight() / IN_ONE_BATCH).clamp(1, BATCH)
    }

    /// Tells the disk about its new requests; waits for the answer if that is worth it.
    fn start(&mut self) {
        let wait = self.queue.is_untold()
            && self.slow == 0
            && self.polling.worth(self.queue.in_flight())
            && self.queue.mute();
        self.queue.tell(&mut self.disk.transport);
        if wait {
            let answered = self.wait();
            self.polling.learn(answered);
            if answered {
                self.finish();
            }
        }
    }

    /// Waits for the disk, but not for long; whether it has answered.
    fn wait(&self) -> bool {
        let end = pd::now() + PATIENCE_MICROSECONDS * pd::frequency() / 1_000_000;
        // Bounded by a number too: a clock that stands still must not keep anybody.
        for look in 0..MOST_LOOKS {
            if self.queue.is_due() {
                return true;
            }
            if look % LOOKS == 0 && pd::now() >= end {
                break;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Passes the disk's answers on.
    fn finish(&mut self) {
        loop {
            match self.queue.pop() {
                Ok(Some((record, _))) => self.answer(&record),
                Ok(None) => break,
                Err(error) => {
                    log!("disk: {error}, it is reset");
                    self.recover();
                    break;
                }
            }
        }
        if self.queue.in_flight() == 0
            && let Some(header) = self.reset.take()
        {
            self.port
                .complete(Completion::of(&header, request::status::OK, 0));
        }
    }

    fn answer(&mut self, record: &Record) {
        let place = usize::from(record.slot) * SLOT + STATUS;
        let status = self.area.read(place);
        let completion = if status == Status::Ok as u8 {
            Completion::of(&record.header, request::status::OK, record.reads)
        } else if status == Status::Unsupp as u8 {
            Completion::of(&record.header, request::status::UNSUPPORTED, 0)
        } else {
            Completion::of(&record.header, request::status::ERROR, 0)
        };
        self.give_back(record.slot);
        if is_slow(&record.header) {
            self.slow = self.slow.saturating_sub(1);
        }
        self.port.complete(completion);
    }

    /// Takes requests from the ring until there is none, or one has to wait.
    fn submit(&mut self) {
        while self.reset.is_none() {
            let outstanding = self.queue.in_flight();
            let header = match self.held.take() {
                Some(header) => header,
                None => match self.port.next(outstanding, self.segments) {
                    Some(header) => header,
                    None => return,
                },
            };
            if header.op == RESET {
                self.reset = Some(header);
                return self.finish();
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
        let segments = self.segments.get(..usize::from(header.count));
        let segments = segments.unwrap_or_default();
        let checked = check(header, segments, self.disk.facts()).map_err(Refused::Answer)?;
        let slot = self.free.pop().ok_or(Refused::Wait)?;
        let result = self.give_to_disk(header, &checked, slot);
        if result.is_err() {
            self.give_back(slot);
        }
        result
    }

    fn give_to_disk(
        &mut self,
        header: &Header,
        checked: &Checked,
        slot: u16,
    ) -> Result<(), Refused> {
        let base = usize::from(slot) * SLOT;
        let (kind, sector) = match checked {
            Checked::Transfer { kind, sector, .. } => (*kind, *sector),
            Checked::Flush => (RequestType::Flush, 0),
            Checked::Ranges(kind, _) => (*kind, 0),
        };
        let request = RequestHeader {
            kind: (kind as u32).into(),
            reserved: 0.into(),
            sector: sector.into(),
        };
        self.area.write(base, request.as_bytes());
        self.area.write(base + STATUS, &[NO_STATUS]);

        let mut readable = Vec::<Piece, MAX_PIECES>::new();
        let mut writable = Vec::<Piece, MAX_PIECES>::new();
        push(&mut readable, self.area.piece(base, HEADER))?;
        let mut record = Record {
            header: *header,
            slot,
            reads: 0,
        };
        match checked {
            Checked::Transfer { kind, bytes, .. } => {
                let reads = *kind == RequestType::In;
                let pieces = if reads { &mut writable } else { &mut readable };
                for segment in self.segments.iter().take(usize::from(header.count)) {
                    push(pieces, dma::guest_piece(segment.offset, segment.len))?;
                }
                record.reads = if reads { *bytes } else { 0 };
            }
            Checked::Flush => {}
            Checked::Ranges(_, ranges) => {
                let bytes = ranges.as_slice().as_bytes();
                self.area.write(base + RANGES, bytes);
                let len = u32::try_from(bytes.len()).unwrap_or(0);
                push(&mut readable, self.area.piece(base + RANGES, len))?;
            }
        }
        push(&mut writable, self.area.piece(base + STATUS, 1))?;
        match self.queue.add(&readable, &writable, record) {
            Ok(()) => {
                if is_slow(header) {
                    self.slow += 1;
                }
                Ok(())
            }
            Err(virtio_drivers::Error::QueueFull) => Err(Refused::Wait),
            Err(_) => Err(Refused::Answer(request::status::ERROR)),
        }
    }

    fn give_back(&mut self, slot: u16) {
        // There are as many places as slots.
        let _ = self.free.push(slot);
    }

    /// The disk says that its configuration has changed, or that it is broken.
    fn changed(&mut self) {
        if self
            .disk
            .transport
            .get_status()
            .contains(DeviceStatus::DEVICE_NEEDS_RESET)
        {
            log!("disk: needs a reset, and gets it");
            return self.recover();
        }
        match self.disk.refresh() {
            Ok(false) => {}
            Ok(true) => {
                self.info.change(self.disk.facts());
                self.port.backend().notify();
            }
            Err(error) => log!("disk: {error}"),
        }
    }

    /// Resets the disk; what it had is answered with an error, because nobody knows how far it came.
    fn recover(&mut self) {
        if let Err(error) = reset(&mut self.disk.transport) {
            fatal!("disk: {error}");
        }
        let (port, free) = (&mut self.port, &mut *self.free);
        self.queue.take_back(|record| {
            let _ = free.push(record.slot);
            port.complete(Completion::of(&record.header, request::status::ERROR, 0));
        });
        self.slow = 0;
        if let Err(error) = self.disk.set_up(&mut self.queue) {
            fatal!("disk: {error}");
        }
        self.info.change(self.disk.facts());
        self.port.backend().notify();
    }
}

/// Whether a request may take much longer than a read or write.
const fn is_slow(header: &Header) -> bool {
    !matches!(header.op, READ | WRITE)
}

/// Why a request was not given to the disk.
enum Refused {
    /// There is no room now.
    Wait,
    /// It is answered with this status.
    Answer(u8),
}

/// Adds a piece that must lie where the hardware may go.
fn push(pieces: &mut Vec<Piece, MAX_PIECES>, piece: Option<Piece>) -> Result<(), Refused> {
    let error = Refused::Answer(request::status::ERROR);
    match piece {
        Some(piece) => pieces.push(piece).map_err(|_| error),
        None => Err(error),
    }
}
