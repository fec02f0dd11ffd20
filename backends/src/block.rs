//! The block device (virtIO 1.2 §5.2): requests from one queue, or one for each vCPU (MQ), to a driver, completed in any order.
//!
//! Data is not touched here: the driver gets the places of a request's data in guest RAM. Everything else of a request is
//! copied once and checked in [`request`]. A request that the ring has no room for stays in the queue.

pub mod request;

use crate::backend::{Device, Step, Trouble};
use crate::port::{Port, PortEvent};
use crate::queues::Queues;
use request::{Answer, Limits, Work};
use sel4cp_link::{Facts, MAX_QUEUES};
use sel4cp_memory::{GuestRam, Span};
use sel4cp_model::block::{Config, Features, ID_BYTES, REQUESTQ, Status};
use sel4cp_model::{DeviceType, features};
use sel4cp_queue::{Queue, Token};
use sel4cp_ring::block::{self as ring, Disk, MAX_SEGMENTS};
use sel4cp_ring::layout::DeviceRegion;
use sel4cp_ring::request::{Completion, Header, Segment, status};
use zerocopy::IntoBytes;

/// Entries of all queues together, and most requests in flight.
const ENTRIES: u16 = 256;
/// Most queues.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const MOST_QUEUES: u16 = MAX_QUEUES as u16;
/// Most ranges of one discard or write-zeroes.
const RANGES_MAX: u32 = 32;
/// With as many reads and writes in flight, the guest need not say that there are more requests: each completion makes
/// this domain look. With fewer, a disk that works on many at once would wait for them.
const BUSY: u32 = 8;

/// Places of [`Block`]'s counters.
pub mod counter {
    /// Requests of all kinds that were completed.
    pub const REQUESTS: usize = 0;
    /// Those that failed.
    pub const FAILED: usize = 1;
    /// Sectors read.
    pub const SECTORS_READ: usize = 2;
    /// Sectors written.
    pub const SECTORS_WRITTEN: usize = 3;
    /// Flushes.
    pub const FLUSHES: usize = 4;
    /// How often a request waited for the ring.
    pub const DELAYED: usize = 5;
    /// How many there are.
    pub(crate) const COUNT: usize =
        sel4cp_link::names(sel4cp_model::DeviceType::Block as u32).len();
    const _: () = assert!(COUNT == DELAYED + 1);
}

/// A request that is with the driver.
struct Pending {
    token: Token,
    status: Span,
    /// `used.len` if it succeeds, and if it fails.
    used: (u32, u32),
    op: u8,
}

/// How much was taken from a queue.
enum Taken {
    /// All that there was.
    All,
    /// There is more.
    Some,
    /// The next one waits for room; true: not any more.
    Waits(bool),
}

/// The device.
pub struct Block {
    port: Port,
    ram: GuestRam,
    /// What the driver said.
    disk: Option<Disk>,
    read_only: bool,
    serial: [u8; ID_BYTES],
    /// How many queues there are, and how many entries each has at most.
    queues: u16,
    entries: u16,
    /// The queue whose turn it is, and how many requests it may have until the next one's: also when there is no room in between.
    turn: u16,
    left: u16,
    config: Config,
    config_changed: bool,
    limits: Limits,
    /// The guest does not flush: each write is made durable before it completes (virtIO 1.2 §5.2.6.2).
    write_through: bool,
    spans: [Span; ENTRIES as usize],
    segments: [Segment; MAX_SEGMENTS],
    /// By their [`place`](Self::place).
    pending: [Option<Pending>; ENTRIES as usize],
    in_flight: u32,
    /// Those of them that may take much longer than a read or write.
    slow: u32,
    counters: [u64; counter::COUNT],
}

impl Block {
    /// A disk with so many `queues` behind the rings of `region`; `ram` is the guest's, `serial` what GET_ID returns.
    pub fn new(
        region: DeviceRegion,
        ram: GuestRam,
        read_only: bool,
        serial: [u8; ID_BYTES],
        queues: u16,
    ) -> Self {
        let queues = queues.clamp(1, MOST_QUEUES);
        // The size of a split queue is a power of two.
        let entries = ENTRIES / queues.next_power_of_two();
        Self {
            port: Port::new(region),
            ram,
            disk: None,
            read_only,
            serial,
            queues,
            entries,
            turn: 0,
            left: entries / queues,
            config: Config::default(),
            config_changed: false,
            limits: Limits::default(),
            write_through: false,
            spans: [Span::EMPTY; ENTRIES as usize],
            segments: [Segment::default(); MAX_SEGMENTS],
            pending: [const { None }; ENTRIES as usize],
            in_flight: 0,
            slow: 0,
            counters: [0; counter::COUNT],
        }
    }

    fn count(&mut self, counter: usize, more: u64) {
        if let Some(value) = self.counters.get_mut(counter) {
            *value = value.wrapping_add(more);
        }
    }

    /// Takes over what the driver says about the disk.
    fn refresh(&mut self) {
        let Some(disk) = self.port.facts::<Disk>() else {
            return;
        };
        let most = |own: u32, hardware: u32| {
            if hardware == 0 {
                own
            } else {
                own.min(hardware)
            }
        };
        let config = Config {
            capacity: disk.capacity.into(),
            size_max: most(u32::MAX, disk.max_segment_size).into(),
            // With header and status, what a chain may have (virtIO 1.2 §2.7.5.3.1).
            seg_max: most(u32::from(self.entries) - 2, disk.max_segments).into(),
            blk_size: if disk.block_size == 0 {
                512
            } else {
                disk.block_size
            }
            .into(),
            physical_block_exp: disk.physical_block_exponent,
            alignment_offset: disk.alignment_offset,
            min_io_size: disk.min_io_size.into(),
            opt_io_size: disk.opt_io_size.into(),
            max_discard_sectors: disk.max_discard_sectors.into(),
            max_discard_seg: disk.max_discard_ranges.min(RANGES_MAX).into(),
            discard_sector_alignment: disk.discard_alignment.into(),
            max_write_zeroes_sectors: disk.max_write_zeroes_sectors.into(),
            max_write_zeroes_seg: disk.max_write_zeroes_ranges.min(RANGES_MAX).into(),
            write_zeroes_may_unmap: u8::from(disk.features & Disk::WRITE_ZEROES_UNMAPS != 0),
            num_queues: self.queues.into(),
            ..Config::default()
        };
        self.config_changed |= self.disk.is_some() && config != self.config;
        self.config = config;
        self.disk = Some(disk);
        // A disk that shrinks must refuse what it no longer has.
        self.limits.capacity = disk.capacity;
    }

    /// The device's own features, from the driver's.
    fn features(&self, disk: &Disk) -> Features {
        let mut own = Features::SEG_MAX | Features::BLK_SIZE | Features::TOPOLOGY;
        // A length has 32 bits: only a limit below is worth telling.
        own.set(Features::SIZE_MAX, disk.max_segment_size != 0);
        own.set(Features::FLUSH, disk.features & Disk::FLUSH != 0);
        own.set(Features::MQ, self.queues > 1);
        let read_only = self.read_only || disk.features & Disk::READ_ONLY != 0;
        own.set(Features::RO, read_only);
        let can = |bit, ranges, sectors| disk.features & bit != 0 && ranges != 0 && sectors != 0;
        let discard = can(
            Disk::DISCARD,
            disk.max_discard_ranges,
            disk.max_discard_sectors,
        );
        own.set(Features::DISCARD, discard && !read_only);
        let zeroes = can(
            Disk::WRITE_ZEROES,
            disk.max_write_zeroes_ranges,
            disk.max_write_zeroes_sectors,
        );
        own.set(Features::WRITE_ZEROES, zeroes && !read_only);
        own
    }

    /// Where a request is kept until it is completed, which is its id for the driver.
    const fn place(&self, queue: u16, head: u16) -> u16 {
        queue * self.entries + head
    }

    /// The queue of a request that is kept at `place`.
    const fn queue_of(&self, place: u16) -> u16 {
        REQUESTQ + place / self.entries
    }

    /// Writes a request's status and gives its chain back.
    fn finish(&mut self, queue: Option<&mut Queue>, pending: Pending, answer: Status) {
        self.count(counter::REQUESTS, 1);
        if answer != Status::Ok {
            self.count(counter::FAILED, 1);
        }
        let Some(queue) = queue else {
            // The device has been reset: the memory is the guest's own again, and is not touched.
            return;
        };
        self.ram.write_bytes(pending.status, &[answer as u8]);
        let (good, bad) = pending.used;
        let used = if answer == Status::Ok { good } else { bad };
        let _stale = queue.complete(pending.token, used);
    }

    /// Takes what the driver has done. True: there is more, and nobody will say so.
    fn harvest(&mut self, queues: &mut Queues) -> Result<bool, Trouble> {
        // No more than were in flight, and the completion of a reset.
        for _ in 0..=self.in_flight {
            // A write that is completed may need a flush.
            if self.write_through && self.port.is_open() && !self.port.has_room(0)? {
                return Ok(self.port.wait_for_room(0)?);
            }
            match self.port.take()? {
                None => break,
                Some(PortEvent::Completed(completion)) => self.completed(queues, &completion)?,
                Some(PortEvent::Reset) => self.abandon(queues),
            }
        }
        Ok(self.port.wait()?)
    }

    /// Fails what the driver will never complete.
    #[cold]
    fn abandon(&mut self, queues: &mut Queues) {
        for place in 0..ENTRIES {
            let slot = self.pending.get_mut(usize::from(place));
            if let Some(pending) = slot.and_then(Option::take) {
                let queue = queues.get(self.queue_of(place));
                self.finish(queue, pending, Status::IoErr);
            }
        }
        self.in_flight = 0;
        self.slow = 0;
    }

    fn completed(&mut self, queues: &mut Queues, done: &Completion) -> Result<(), Trouble> {
        let slot = self.pending.get_mut(usize::from(done.id));
        let Some(mut pending) = slot.and_then(Option::take) else {
            return Err(self.port.unexpected(done.id).into());
        };
        let answer = match done.status {
            status::OK => Status::Ok,
            status::UNSUPPORTED => Status::Unsupp,
            _ => Status::IoErr,
        };
        if self.write_through && pending.op == ring::WRITE && answer == Status::Ok {
            pending.op = ring::FLUSH;
            self.slow += 1;
            let header = Header {
                id: done.id,
                op: ring::FLUSH,
                ..Header::default()
            };
            if self.port.submit(header, &[])? {
                if let Some(slot) = self.pending.get_mut(usize::from(done.id)) {
                    *slot = Some(pending);
                }
                return Ok(());
            }
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        if is_slow(pending.op) {
            self.slow = self.slow.saturating_sub(1);
        }
        self.finish(queues.get(self.queue_of(done.id)), pending, answer);
        Ok(())
    }

    /// Takes what the guest has made available in all queues. True: there is more, and nobody will say so.
    fn take_all(&mut self, queues: &mut Queues) -> Result<bool, Trouble> {
        if !self.port.is_open() {
            return Ok(false);
        }
        let mut again = false;
        for _ in 0..self.queues {
            if let Some(queue) = queues.get(REQUESTQ + self.turn) {
                match self.take(queue)? {
                    Taken::All => {}
                    Taken::Some => again = true,
                    Taken::Waits(more) => return Ok(again | more),
                }
            }
            self.turn = (self.turn + 1) % self.queues;
            self.left = self.entries / self.queues;
        }
        Ok(again)
    }

    /// Takes what the guest has made available in the queue whose turn it is, and may have.
    fn take(&mut self, queue: &mut Queue) -> Result<Taken, Trouble> {
        while self.left != 0 {
            let Some((token, chain)) = queue.pop(&mut self.spans)? else {
                if self.in_flight >= BUSY && self.slow == 0 {
                    // `harvest` has asked for the next completion, and one comes: then this domain looks again.
                    queue.disable_notifications();
                    return Ok(Taken::All);
                }
                return Ok(match queue.enable_notifications()? {
                    true => Taken::Some,
                    false => Taken::All,
                });
            };
            let parsed = request::parse(&chain, &self.limits, &self.serial, &mut self.segments)?;
            let id = self.place(self.turn, token.head());
            self.left -= 1;
            let mut pending = Pending {
                token,
                status: parsed.status,
                used: parsed.used,
                op: 0,
            };
            match parsed.answer {
                Answer::Now(answer) => self.finish(Some(queue), pending, answer),
                Answer::Later(Work { op, sector, count }) => {
                    pending.op = op;
                    let segments = self.segments.get(..count).unwrap_or_default();
                    let header = Header {
                        id,
                        op,
                        sector,
                        ..Header::default()
                    };
                    if !self.port.submit(header, segments)? {
                        // It is the last one popped from this queue, so it can be put back.
                        let _same = queue.put_back(pending.token);
                        self.left += 1;
                        self.count(counter::DELAYED, 1);
                        return Ok(Taken::Waits(self.port.wait_for_room(count)?));
                    }
                    self.count_work(op, parsed.sectors);
                    if let Some(slot) = self.pending.get_mut(usize::from(id)) {
                        *slot = Some(pending);
                        self.in_flight += 1;
                        self.slow += u32::from(is_slow(op));
                    }
                }
            }
        }
        Ok(Taken::Some)
    }

    fn work(&mut self, queues: &mut Queues, again: &mut bool) -> Result<(), Trouble> {
        *again |= self.harvest(queues)?;
        *again |= self.take_all(queues)?;
        Ok(())
    }

    fn count_work(&mut self, op: u8, sectors: u64) {
        match op {
            ring::READ => self.count(counter::SECTORS_READ, sectors),
            ring::WRITE => self.count(counter::SECTORS_WRITTEN, sectors),
            ring::FLUSH => self.count(counter::FLUSHES, 1),
            _ => {}
        }
    }
}

/// Whether a request may take much longer than a read or write.
const fn is_slow(op: u8) -> bool {
    !matches!(op, ring::READ | ring::WRITE)
}

impl Device for Block {
    fn facts(&mut self) -> Option<Facts> {
        self.refresh();
        let disk = self.disk.filter(|_| self.port.is_open())?;
        let mut queue_max = [0; MAX_QUEUES];
        for max in queue_max.iter_mut().take(self.queues.into()) {
            *max = self.entries;
        }
        Some(Facts {
            id: DeviceType::Block as u32,
            features: self.features(&disk).bits() | features::Features::COMMON.bits(),
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

    fn start(&mut self, accepted: u64) -> Result<(), Trouble> {
        self.port.working()?;
        let accepted = Features::from_bits_truncate(accepted);
        let disk = self.disk.unwrap_or_default();
        let offered = self.features(&disk);
        self.write_through =
            offered.contains(Features::FLUSH) && !accepted.contains(Features::FLUSH);
        self.limits = Limits {
            capacity: self.config.capacity.get(),
            segments: self.config.seg_max.get(),
            segment_size: self.config.size_max.get(),
            read_only: offered.contains(Features::RO),
            flushes: offered.contains(Features::FLUSH),
            discard: accepted.contains(Features::DISCARD).then_some((
                self.config.max_discard_seg.get(),
                self.config.max_discard_sectors.get(),
            )),
            write_zeroes: accepted.contains(Features::WRITE_ZEROES).then_some((
                self.config.max_write_zeroes_seg.get(),
                self.config.max_write_zeroes_sectors.get(),
            )),
        };
        Ok(())
    }

    fn stop(&mut self) {
        // What is in flight is waited for: a disk finishes everything.
        self.write_through = false;
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0
    }

    fn step(&mut self, queues: &mut Queues, step: &mut Step) -> Result<(), Trouble> {
        let result = self.work(queues, &mut step.again);
        // Also after a fault: what was submitted before it is in flight and comes back.
        self.port.flush();
        step.notify_driver |= self.port.take_notify();
        result
    }

    fn counters(&self) -> &[u64] {
        &self.counters
    }
}
