//! The net driver between a backend and a fake interface.

mod transmit;

use super::{Server, Storage};
use crate::virtio::Serve;
use crate::virtio::fake::{Fake, all_windows, bytes_at, write_at};
use sel4cp_abi::config::Region;
use sel4cp_model::net::{Config, Features};
use sel4cp_pd::Channel;
use sel4cp_pd::host::{self, Call};
use sel4cp_ring::layout::BackendEnds;
use sel4cp_ring::net::{Interface, Offload, RECEIVE, TRANSMIT};
use sel4cp_ring::request::{Header, RESET, Segment, status};
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;
use zerocopy::IntoBytes;

const BACKEND: Channel = Channel::new(4);
const RX: usize = 0;
const TX: usize = 1;

struct Bench {
    device: Fake,
    guest: Region,
    frames: Region,
    server: Server<Fake>,
    backend: BackendEnds,
}

fn bench_of(legacy: bool) -> Bench {
    let config = Config {
        mac: [2, 0, 0, 0, 0, 9],
        status: 1.into(),
        ..Config::default()
    };
    let features = Features::MAC
        .union(Features::STATUS)
        .union(Features::MRG_RXBUF)
        .union(Features::CSUM)
        .union(Features::HOST_TSO4)
        .union(Features::RECEIVE_OFFLOADS);
    let device = Fake::new(DeviceType::Network, features.bits(), config.as_bytes());
    if legacy {
        let mut device = device.0.borrow_mut();
        device.legacy = true;
        device.features = features.bits() | 1 << 27;
    }
    let (guest, frames) = all_windows();
    let region = sel4cp_ring::host::device(0x2000 + 6144 * 16).unwrap();
    let storage = Box::leak(Box::new(Storage::new()));
    let server = Server::start(device.clone(), storage, region.driver(), BACKEND).unwrap();
    let backend = region.backend();
    assert_eq!(host::calls(), [Call::Notify(BACKEND)]);
    Bench {
        device,
        guest,
        frames,
        server,
        backend,
    }
}

fn bench() -> Bench {
    bench_of(false)
}

impl Bench {
    fn ask(&mut self, op: u8, id: u16, segments: &[(u64, u32)]) {
        let header = Header {
            id,
            op,
            ..Header::default()
        };
        self.request(header, segments);
    }

    fn request(&mut self, header: Header, segments: &[(u64, u32)]) {
        self.flagged(header, segments, u32::from(header.op == RECEIVE));
    }

    fn flagged(&mut self, header: Header, segments: &[(u64, u32)], flags: u32) {
        let segment = |(offset, len): &(u64, u32)| Segment {
            offset: *offset,
            len: *len,
            flags,
        };
        let segments: Vec<Segment> = segments.iter().map(segment).collect();
        assert!(
            self.backend
                .requests
                .push_request(header, &segments)
                .unwrap()
        );
        let _ = self.backend.requests.publish();
    }

    fn answers(&mut self) -> Vec<(u16, u8, u32)> {
        let mut all = Vec::new();
        while let Some(done) = self.backend.completions.pop().unwrap() {
            all.push((done.id, done.status, done.len));
        }
        let _ = self.backend.completions.release();
        all
    }

    /// The guest takes this of what the hardware offers.
    fn agree(&mut self, taken: Features) {
        let reset = Header {
            op: RESET,
            sector: taken.bits(),
            ..Header::default()
        };
        self.request(reset, &[]);
        self.server.work();
        assert_eq!(self.answers(), [(0, status::OK, 0)]);
    }

    /// A frame arrives: the header's bytes, then `frame`.
    fn arrive(&mut self, header: usize, frame: &[u8]) {
        let mut device = self.device.0.borrow_mut();
        let taken = device.take(RX).expect("a buffer");
        assert_eq!(taken.readable, []);
        let mut data = vec![0xee; header];
        data.extend(frame);
        let mut rest = &data[..];
        for (at, len) in &taken.writable {
            let (now, later) = rest.split_at(rest.len().min(*len as usize));
            write_at(*at, now);
            rest = later;
        }
        device.done(RX, taken.head, u32::try_from(data.len()).unwrap());
    }
}

#[test]
fn the_backend_learns_what_the_interface_is() {
    let mut bench = bench();
    let facts = bench.backend.info.read::<Interface>().unwrap().facts;
    assert_eq!(
        (facts.mac, facts.mtu, facts.link_up),
        ([2, 0, 0, 0, 0, 9], 1500, 1)
    );
    let offloads = Features::CSUM | Features::HOST_TSO4 | Features::RECEIVE_OFFLOADS;
    assert_eq!(facts.features, (offloads | Features::MRG_RXBUF).bits());
    let accepted = Features::from_bits_truncate(bench.device.0.borrow().accepted);
    assert!(
        !accepted.contains(Features::MRG_RXBUF),
        "a frame stays in one buffer until the guest wants it otherwise"
    );
    bench.device.0.borrow_mut().config[6] = 0;
    bench.device.0.borrow_mut().interrupt = 2;
    bench.server.interrupt();
    let facts = bench.backend.info.read::<Interface>().unwrap().facts;
    assert_eq!(facts.link_up, 0);
    assert_eq!(host::calls(), [Call::Notify(BACKEND)]);
}

#[test]
fn s5_1_6_4_a_frame_lands_behind_twelve_bytes() {
    for (legacy, size) in [(false, 12), (true, 10)] {
        let mut bench = bench_of(legacy);
        bench.ask(RECEIVE, 5, &[(0x1000, 1526)]);
        bench.ask(RECEIVE, 6, &[(0x2000, 12), (0x3000, 1514)]);
        bench.server.work();
        bench.arrive(size, &[1; 64]);
        bench.arrive(size, &[2; 1514]);
        bench.server.interrupt();
        assert_eq!(
            bench.answers(),
            [(5, status::OK, 76), (6, status::OK, 1526)]
        );
        let ram = bench.guest.vaddr;
        assert_eq!(bytes_at(ram + 0x100c, 64), [1; 64]);
        assert_eq!(bytes_at(ram + 0x3000, 1514), [2; 1514]);
    }
}

#[test]
fn s5_1_6_3_1_the_hardware_sends_on_what_the_guest_takes() {
    let accepted = |legacy: bool, taken: Features| {
        let mut bench = bench_of(legacy);
        bench.agree(taken);
        let accepted = bench.device.0.borrow().accepted;
        let facts = bench.backend.info.read::<Interface>().unwrap().facts;
        let all = Features::RECEIVE_OFFLOADS | Features::MRG_RXBUF;
        [accepted, facts.features].map(|bits| Features::from_bits_truncate(bits) & all)
    };
    let merged = Features::MRG_RXBUF;
    let (all, none) = (Features::RECEIVE_OFFLOADS | merged, Features::empty());
    assert_eq!(accepted(false, merged), [merged, all]);
    assert_eq!(accepted(false, all), [all, all]);
    assert_eq!(accepted(false, none), [none, all]);
    let some = Features::GUEST_CSUM | Features::GUEST_TSO6;
    assert_eq!(accepted(false, some | Features::GUEST_UFO), [some, all]);
    assert_eq!(accepted(false, Features::GUEST_TSO4), [none, all]);
    assert_eq!(accepted(true, all), [none, none], "its header is shorter");
}

#[test]
fn s5_1_6_4_a_long_frame_goes_on_in_the_next_buffer() {
    let mut bench = bench();
    bench.agree(Features::MRG_RXBUF | Features::RECEIVE_OFFLOADS);
    // Nothing is skipped, and a buffer need not hold a frame.
    bench.ask(RECEIVE, 5, &[(0x1000, 100)]);
    bench.ask(RECEIVE, 6, &[(0x2000, 12)]);
    bench.ask(RECEIVE, 7, &[(0x3000, 40), (0x4000, 40)]);
    bench.ask(RECEIVE, 8, &[(0x5000, 11)]);
    bench.server.work();
    assert_eq!(bench.answers(), [(8, status::ERROR, 0)]);
    let mut device = bench.device.0.borrow_mut();
    let taken = [0; 3].map(|_| device.take(RX).expect("a buffer"));
    let ram = bench.guest.vaddr;
    assert_eq!(taken[0].writable, [(ram + 0x1000, 100)]);
    assert_eq!(taken[2].writable, [(ram + 0x3000, 40), (ram + 0x4000, 40)]);
    for (buffer, len) in taken.iter().zip([100, 12, 41]) {
        device.done(RX, buffer.head, len);
    }
    drop(device);
    bench.server.interrupt();
    let ok = status::OK;
    assert_eq!(bench.answers(), [(5, ok, 100), (6, ok, 12), (7, ok, 41)]);
}

#[test]
fn hardware_that_claims_to_have_written_more_than_there_is_room_for_is_reset() {
    for (legacy, room) in [(false, 1526), (true, 1524)] {
        let mut bench = bench_of(legacy);
        for (written, id) in (room..=room + 1).zip(1..) {
            bench.ask(RECEIVE, id, &[(0x1000, 12), (0x2000, 1514)]);
            bench.ask(RECEIVE, 9, &[(0x3000, 1526)]);
            bench.server.work();
            let resets = bench.device.0.borrow().resets;
            let taken = bench.device.0.borrow_mut().take(RX).unwrap();
            bench.device.0.borrow_mut().done(RX, taken.head, written);
            bench.server.interrupt();
            let answers = bench.answers();
            if written == room {
                assert_eq!(answers, [(1, status::OK, 1526)]);
                bench.ask(RESET, 30, &[]);
                bench.server.work();
                assert_eq!(bench.answers().len(), 2);
            } else {
                assert!(bench.device.0.borrow().resets > resets);
                let none = status::CANCELLED;
                assert_eq!(answers, [(2, none, 0), (9, none, 0)]);
            }
        }
    }
}

#[test]
fn a_reset_takes_every_buffer_back_from_the_hardware_first() {
    let mut bench = bench();
    for id in 0..10 {
        bench.ask(RECEIVE, id, &[(u64::from(id) * 0x1000, 1526)]);
    }
    bench.ask(TRANSMIT, 20, &[(0, 60)]);
    bench.server.work();
    let resets = bench.device.0.borrow().resets;
    bench.ask(RESET, 30, &[]);
    bench.server.work();
    assert!(bench.device.0.borrow().resets > resets);
    let mut answers = bench.answers();
    assert_eq!(
        answers.pop(),
        Some((30, status::OK, 0)),
        "the reset is the last"
    );
    answers.sort_unstable();
    let cancelled = (0..10).chain([20]).map(|id| (id, status::CANCELLED, 0));
    assert_eq!(answers, cancelled.collect::<Vec<_>>());
    assert!(bench.device.0.borrow_mut().take(RX).is_none());
    // And it works again.
    bench.ask(RECEIVE, 1, &[(0x1000, 1526)]);
    bench.server.work();
    bench.arrive(12, &[3; 64]);
    bench.server.interrupt();
    assert_eq!(bench.answers(), [(1, status::OK, 76)]);
}

#[test]
fn resets_do_not_use_up_the_drivers_memory() {
    let mut bench = bench();
    for id in 0..200 {
        bench.ask(RECEIVE, id, &[(0, 1526)]);
        bench.ask(RESET, 1000, &[]);
        bench.server.work();
        assert_eq!(bench.answers().len(), 2);
    }
}

#[test]
fn a_full_receive_queue_holds_back_and_loses_none() {
    let mut bench = bench();
    for id in 0..1100 {
        bench.ask(RECEIVE, id, &[(0, 1526)]);
    }
    bench.server.work();
    let mut answered = 0;
    for _ in 0..1100 {
        bench.arrive(12, &[0; 60]);
        bench.server.interrupt();
        for (id, status, _) in bench.answers() {
            assert_eq!((id, status), (answered, status::OK));
            answered += 1;
        }
    }
    assert_eq!(answered, 1100);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut bench = bench();
    bench.ask(99, 1, &[(0, 60)]);
    bench.ask(TRANSMIT, 2, &[]);
    bench.ask(TRANSMIT, 3, &[(u64::MAX, 60)]);
    bench.ask(RECEIVE, 4, &[(0, 20)]);
    bench.server.work();
    let error = status::ERROR;
    assert_eq!(
        bench.answers(),
        [
            (1, status::UNSUPPORTED, 0),
            (2, error, 0),
            (3, error, 0),
            (4, error, 0)
        ]
    );
    assert!(bench.device.0.borrow_mut().take(TX).is_none());
}
