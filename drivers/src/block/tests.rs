//! The block driver between a backend and a fake disk.

use super::{Server, Storage};
use crate::virtio::Serve;
use crate::virtio::fake::{Fake, GUEST, bytes_at, windows, write_at};
use sel4cp_abi::config::Region;
use sel4cp_model::block::{Config, Features, Status};
use sel4cp_pd::Channel;
use sel4cp_pd::host::{self, Call};
use sel4cp_ring::block::{self, Disk};
use sel4cp_ring::layout::BackendEnds;
use sel4cp_ring::request::{Completion, Header, RESET, Segment, status};
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;
use zerocopy::IntoBytes;

const BACKEND: Channel = Channel::new(4);

struct Bench {
    disk: Fake,
    guest: Region,
    server: Server<Fake>,
    backend: BackendEnds,
}

/// The smallest region: 2048 request entries, 1024 completions.
const SIZE: usize = 0x2000 + 3072 * 16;

fn bench_of(size: usize, legacy: bool) -> Bench {
    let config = Config {
        capacity: 1000.into(),
        seg_max: 100.into(),
        blk_size: 512.into(),
        max_discard_sectors: 64.into(),
        max_discard_seg: 1.into(),
        ..Config::default()
    };
    let features = Features::SEG_MAX
        .union(Features::BLK_SIZE)
        .union(Features::FLUSH)
        .union(Features::DISCARD);
    let disk = Fake::new(DeviceType::Block, features.bits(), config.as_bytes());
    if legacy {
        let mut device = disk.0.borrow_mut();
        device.legacy = true;
        device.features = features.bits();
    }
    let guest = windows();
    let region = sel4cp_ring::host::device(size).unwrap();
    let storage = Box::leak(Box::new(Storage::new()));
    let server = Server::start(disk.clone(), storage, region.driver(), BACKEND).unwrap();
    let backend = region.backend();
    assert_eq!(
        host::calls(),
        [Call::Notify(BACKEND)],
        "the facts are there"
    );
    Bench {
        disk,
        guest,
        server,
        backend,
    }
}

fn bench() -> Bench {
    bench_of(SIZE, false)
}

fn read(offset: u64, len: u32) -> Segment {
    Segment {
        offset,
        len,
        flags: Segment::DEVICE_WRITES,
    }
}

fn write(offset: u64, len: u32) -> Segment {
    Segment {
        offset,
        len,
        flags: 0,
    }
}

impl Bench {
    fn ask(&mut self, op: u8, id: u16, sector: u64, segments: &[Segment]) {
        let header = Header {
            id,
            tag: 7,
            op,
            sector,
            ..Header::default()
        };
        assert!(
            self.backend
                .requests
                .push_request(header, segments)
                .unwrap()
        );
        let _ = self.backend.requests.publish();
    }

    fn interrupt(&mut self) {
        self.server.interrupt();
    }

    /// Answers: id, status, length.
    fn answers(&mut self) -> Vec<(u16, u8, u32)> {
        let mut all = Vec::new();
        while let Some(Completion {
            id,
            tag,
            status,
            len,
            ..
        }) = self.backend.completions.pop().unwrap()
        {
            assert_eq!(tag, 7);
            all.push((id, status, len));
        }
        let _ = self.backend.completions.release();
        all
    }

    /// The disk does the next request: what it reads, and where it writes.
    fn serve(&mut self, status: u8, data: &[u8]) -> (Vec<u8>, Vec<(u64, u32)>) {
        let mut disk = self.disk.0.borrow_mut();
        let taken = disk.take(0).expect("a request");
        let read = taken
            .readable
            .iter()
            .flat_map(|(at, len)| bytes_at(*at, *len));
        let read = read.collect();
        let (last, pieces) = taken.writable.split_last().unwrap();
        assert_eq!(last.1, 1, "the status byte is a piece of its own");
        let mut rest = data;
        for (at, len) in pieces {
            let (now, later) = rest.split_at(rest.len().min(*len as usize));
            write_at(*at, now);
            rest = later;
        }
        write_at(last.0, &[status]);
        disk.done(0, taken.head, u32::try_from(data.len()).unwrap() + 1);
        (read, pieces.to_vec())
    }
}

#[test]
fn the_backend_learns_what_the_disk_is() {
    let mut bench = bench();
    let facts = bench.backend.info.read::<Disk>().unwrap().facts;
    assert_eq!(
        (facts.capacity, facts.block_size, facts.max_segments),
        (1000, 512, 100)
    );
    assert_eq!(facts.features, Disk::FLUSH | Disk::DISCARD);
    assert_eq!(
        (facts.max_discard_sectors, facts.max_discard_ranges),
        (64, 1)
    );
    // The disk grows.
    bench.disk.0.borrow_mut().config[..8].copy_from_slice(&2000_u64.to_le_bytes());
    bench.disk.0.borrow_mut().interrupt = 2;
    bench.interrupt();
    let facts = bench.backend.info.read::<Disk>().unwrap().facts;
    assert_eq!(facts.capacity, 2000);
}

#[test]
fn s5_2_6_a_read_goes_from_disk_to_guest_memory() {
    for legacy in [false, true] {
        let mut bench = bench_of(SIZE, legacy);
        bench.ask(block::READ, 1, 5, &[read(0x1000, 500), read(0x8000, 524)]);
        bench.server.work();
        let data: Vec<u8> = (0..1024).map(|n: u32| n.to_le_bytes()[0]).collect();
        let (header, pieces) = bench.serve(Status::Ok as u8, &data);
        assert_eq!(header, [0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let ram = bench.guest.vaddr;
        assert_eq!(pieces, [(ram + 0x1000, 500), (ram + 0x8000, 524)]);
        assert_eq!(bench.answers(), []);
        bench.interrupt();
        assert_eq!(bench.answers(), [(1, status::OK, 1024)]);
        assert_eq!(bytes_at(ram + 0x8000, 524), data[500..]);
    }
}

#[test]
fn a_write_and_a_flush_reach_the_disk() {
    let mut bench = bench();
    write_at(bench.guest.vaddr + 0x3000, &[9; 512]);
    bench.ask(block::WRITE, 2, 6, &[write(0x3000, 512)]);
    bench.ask(block::FLUSH, 3, 0, &[]);
    bench.server.work();
    assert_eq!(
        bench.disk.0.borrow().notified,
        [0],
        "one notification for the batch"
    );
    let (request, pieces) = bench.serve(Status::Ok as u8, &[]);
    assert_eq!(
        (request[0], request[8], &request[16..]),
        (1, 6, &[9; 512][..])
    );
    assert_eq!(pieces, []);
    let (request, _) = bench.serve(Status::IoErr as u8, &[]);
    assert_eq!((request[0], request.len()), (4, 16));
    bench.interrupt();
    assert_eq!(bench.answers(), [(2, status::OK, 0), (3, status::ERROR, 0)]);
    assert_eq!(
        bench.disk.0.borrow().used_event(0),
        2,
        "the next one interrupts"
    );
}

#[test]
fn a_discard_carries_its_range() {
    let mut bench = bench();
    bench.ask(block::DISCARD, 4, 0, &[write(100, 64)]);
    bench.ask(block::WRITE_ZEROES, 5, 0, &[write(100, 64)]);
    bench.server.work();
    let (request, _) = bench.serve(Status::Unsupp as u8, &[]);
    assert_eq!(request[0], 11);
    assert_eq!(
        request[16..],
        [100, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]
    );
    bench.interrupt();
    let unsupported = status::UNSUPPORTED;
    assert_eq!(bench.answers(), [(5, unsupported, 0), (4, unsupported, 0)]);
}

#[test]
fn memory_outside_the_guests_is_refused() {
    let mut bench = bench();
    let end = GUEST as u64;
    for (id, segment) in [
        (1, read(end - 511, 512)),
        (2, read(end, 512)),
        (3, read(u64::MAX - 100, 512)),
        (4, read(0, 0xffff_fe00)),
    ] {
        bench.ask(block::READ, id, 0, &[read(0, 512), segment]);
        bench.server.work();
        assert_eq!(bench.answers(), [(id, status::ERROR, 0)]);
    }
    assert!(bench.disk.0.borrow_mut().take(0).is_none());
    bench.ask(block::READ, 5, 0, &[read(end - 512, 512)]);
    bench.server.work();
    bench.serve(Status::Ok as u8, &[1; 512]);
    bench.interrupt();
    assert_eq!(bench.answers(), [(5, status::OK, 512)]);
}

#[test]
fn a_full_queue_holds_requests_back_and_loses_none() {
    let mut bench = bench_of(2 * SIZE, false);
    // 102 descriptors each: ten fit into 1024.
    let segments: Vec<Segment> = (0..100).map(|n| read(n * 512, 512)).collect();
    for id in 0..20 {
        bench.ask(block::READ, id, 0, &segments);
    }
    bench.server.work();
    let mut answered = Vec::new();
    let mut waiting = 20;
    while waiting > 0 {
        let mut count = 0;
        while let Some(taken) = { bench.disk.0.borrow_mut().take(0) } {
            write_at(taken.writable.last().unwrap().0, &[0]);
            bench.disk.0.borrow_mut().done(0, taken.head, 51201);
            count += 1;
        }
        assert!(count == 10, "{count} requests at once");
        waiting -= count;
        bench.interrupt();
        answered.extend(bench.answers());
    }
    let expected: Vec<_> = (0..20).map(|id| (id, status::OK, 51200)).collect();
    assert_eq!(answered, expected);
}

#[test]
fn no_request_is_taken_without_room_for_its_completion() {
    let mut bench = bench();
    for id in 0..1500 {
        bench.ask(block::FLUSH, id, 0, &[]);
    }
    bench.server.work();
    for _ in 0..1024 {
        bench.serve(0, &[]);
        bench.interrupt();
    }
    assert!(
        bench.disk.0.borrow_mut().take(0).is_none(),
        "there is no room for an answer"
    );
    assert_eq!(bench.backend.completions.available(), Ok(1024));
    // The backend makes room, of which the driver asked to be told.
    for id in 0..10 {
        assert_eq!(bench.backend.completions.pop().unwrap().unwrap().id, id);
    }
    assert!(bench.backend.completions.release());
    bench.server.work();
    bench.serve(0, &[]);
    bench.interrupt();
    let answers = bench.answers();
    assert_eq!(answers.first(), Some(&(10, status::OK, 0)));
    assert_eq!(answers.last(), Some(&(1024, status::OK, 0)));
}

#[test]
fn a_reset_waits_for_what_came_before_and_nothing_overtakes_it() {
    let mut bench = bench();
    bench.ask(block::READ, 1, 0, &[read(0, 512)]);
    bench.ask(RESET, 2, 0, &[]);
    bench.ask(block::FLUSH, 3, 0, &[]);
    bench.server.work();
    assert_eq!(bench.answers(), []);
    bench.serve(0, &[1; 512]);
    assert!(
        bench.disk.0.borrow_mut().take(0).is_none(),
        "the flush waits"
    );
    bench.interrupt();
    assert_eq!(bench.answers(), [(1, status::OK, 512), (2, status::OK, 0)]);
    bench.serve(0, &[]);
    bench.interrupt();
    assert_eq!(bench.answers(), [(3, status::OK, 0)]);
}

#[test]
fn a_disk_that_invents_answers_is_reset_and_serves_again() {
    let mut bench = bench();
    bench.ask(block::READ, 1, 0, &[read(0, 512)]);
    bench.server.work();
    bench.disk.0.borrow_mut().done(0, 999, 1);
    bench.interrupt();
    assert_eq!(bench.answers(), [(1, status::ERROR, 0)]);
    assert!(host::log().contains("reset"));
    bench.ask(block::READ, 2, 0, &[read(0, 512)]);
    bench.server.work();
    bench.serve(0, &[3; 512]);
    bench.interrupt();
    assert_eq!(bench.answers(), [(2, status::OK, 512)]);
}

#[test]
fn a_torn_request_is_reported_once_and_served_when_it_is_whole() {
    let mut bench = bench();
    let header = Header {
        id: 1,
        tag: 7,
        op: block::READ,
        count: 1,
        ..Header::default()
    };
    assert!(bench.backend.requests.push(header.into()).unwrap());
    let _ = bench.backend.requests.publish();
    bench.server.work();
    assert!(host::log().contains("published 1 ring entries"));
    assert!(bench.backend.requests.push(read(0, 512).into()).unwrap());
    let _ = bench.backend.requests.publish();
    bench.server.work();
    bench.serve(0, &[3; 512]);
    bench.interrupt();
    assert_eq!(bench.answers(), [(1, status::OK, 512)]);
}

#[test]
fn indices_wrap_around() {
    let mut bench = bench();
    for round in 0..70_000_u32 {
        let id = u16::try_from(round % 1000).unwrap();
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
        bench.server.work();
        assert_eq!(
            core::mem::take(&mut bench.disk.0.borrow_mut().notified),
            [0]
        );
        bench.serve(0, &[]);
        bench.interrupt();
        assert_eq!(bench.answers(), [(id, status::OK, 512)]);
    }
}

#[test]
fn s2_7_7_one_interrupt_for_a_quarter_of_many_requests() {
    let mut bench = bench();
    for id in 0..16 {
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
    }
    bench.server.work();
    let event = |bench: &Bench| bench.disk.0.borrow().used_event(0);
    assert_eq!(event(&bench), 3, "the fourth of sixteen");
    for _ in 0..3 {
        bench.serve(Status::Ok as u8, &[]);
    }
    // The backend asks for something else meanwhile: what is done waits for its interrupt.
    bench.ask(block::READ, 16, 0, &[read(0, 512)]);
    bench.server.work();
    assert_eq!(bench.answers(), []);
    assert_eq!(
        event(&bench),
        3,
        "a quarter of those in flight, rounded down"
    );
    bench.serve(Status::Ok as u8, &[]);
    bench.interrupt();
    assert_eq!(bench.answers().len(), 4);
    assert_eq!(event(&bench), 4 + 2, "the third of thirteen");
    // Nothing waits for a request that may take any time.
    bench.ask(block::FLUSH, 17, 0, &[]);
    bench.server.work();
    assert_eq!(event(&bench), 4, "the next one");
    while bench.disk.0.borrow_mut().has_request(0) {
        bench.serve(Status::Ok as u8, &[]);
    }
    bench.interrupt();
    assert_eq!(bench.answers().len(), 14);
    assert_eq!(event(&bench), 18, "none is in flight: the next one");
}

#[test]
fn requests_done_before_the_interrupt_was_asked_for_are_not_forgotten() {
    let mut bench = bench();
    for id in 0..16 {
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
    }
    bench.server.work();
    for _ in 0..4 {
        bench.serve(Status::Ok as u8, &[]);
    }
    // Due, and found by whoever looks first.
    bench.server.work();
    assert_eq!(bench.answers().len(), 4);
}

#[test]
fn a_fast_disk_is_waited_for_when_requests_are_alone() {
    let mut bench = bench();
    bench.disk.0.borrow_mut().prompt = Some(Vec::new());
    let event = |bench: &Bench| {
        *bench
            .disk
            .0
            .borrow()
            .prompt
            .as_ref()
            .unwrap()
            .last()
            .unwrap()
    };
    let mut muted = 0;
    for id in 0..60 {
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
        bench.server.work();
        assert_eq!(bench.answers(), [(id, status::OK, 512)]);
        // Was the disk to interrupt? Not if the event was behind its index already.
        muted += u32::from(event(&bench) == id.wrapping_sub(1));
    }
    assert!((40..60).contains(&muted), "{muted}");
    // Asked for two things at once, it is to interrupt.
    for id in [60, 61] {
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
    }
    bench.server.work();
    assert_eq!(bench.answers().len(), 2);
    assert_eq!(event(&bench), 60);
}

#[test]
fn a_slow_disk_is_not_waited_for_long_and_loses_nothing() {
    let mut bench = bench();
    for id in 0..100 {
        bench.ask(block::READ, id, 0, &[read(0, 512)]);
        bench.server.work();
        assert_eq!(bench.answers(), []);
        assert_eq!(bench.disk.0.borrow().used_event(0), id, "it will interrupt");
        bench.serve(Status::Ok as u8, &[]);
        bench.interrupt();
        assert_eq!(bench.answers(), [(id, status::OK, 512)]);
    }
}
