//! A peer that writes whatever it likes, and peers that start again.
#![cfg(not(loom))]
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

use sel4cp_ring::layout::{
    BYTE_PAIR_SIZE, BytePair, DEVICE_SIZE, DeviceRegion, byte_pair_size, device_size,
};
use sel4cp_ring::request::{Completion, Header, Segment, status};
use sel4cp_ring::{Misfit, PeerFault};
use std::alloc::{Layout, alloc_zeroed};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Control words of the first ring of a region, in 32-bit words from its control page.
const TAIL: usize = 0;
const HEAD: usize = 16;

/// Memory that both ends and the test itself can reach.
struct Memory {
    base: *mut u8,
    size: usize,
}

impl Memory {
    fn new(size: usize) -> Self {
        let layout = Layout::from_size_align(size, 0x1000).unwrap();
        // SAFETY: the size is not zero. Never freed: the rings live as long as the program.
        let base = unsafe { alloc_zeroed(layout) };
        Self { base, size }
    }

    fn bytes(&self) -> BytePair {
        // SAFETY: live for ever, and accessed through atomics only.
        unsafe { BytePair::new(self.base, self.size) }.unwrap()
    }

    fn device(&self) -> DeviceRegion {
        // SAFETY: live for ever, and accessed through atomics only.
        unsafe { DeviceRegion::new(self.base, self.size) }.unwrap()
    }

    fn word(&self, page: usize, index: usize) -> &AtomicU32 {
        let offset = page * 0x1000 + index * 4;
        assert!(offset < self.size);
        // SAFETY: in bounds.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: aligned, and accessed through atomics only.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }
}

#[test]
fn a_region_that_does_not_fit_is_refused() {
    let memory = Memory::new(0x4000);
    // SAFETY: inside live memory.
    let small = unsafe { BytePair::new(memory.base, 0x1000) };
    assert_eq!(
        small.err(),
        Some(Misfit::Size {
            found: 0x1000,
            expected: 0x1004
        })
    );
    // SAFETY: inside live memory.
    let base = unsafe { memory.base.add(8) };
    // SAFETY: as above.
    let odd = unsafe { BytePair::new(base, 0x2000) };
    assert_eq!(odd.err(), Some(Misfit::Alignment { found: base.addr() }));
    // SAFETY: as above.
    let short = unsafe { DeviceRegion::new(memory.base, 0x4000) };
    assert!(matches!(
        short.err(),
        Some(Misfit::Size { found: 0x4000, .. })
    ));
}

#[test]
fn the_region_size_gives_the_number_of_slots() {
    let pair = sel4cp_ring::host::byte_pair(BYTE_PAIR_SIZE).unwrap();
    assert_eq!(pair.client().0.capacity(), 0x8000);
    let odd = sel4cp_ring::host::byte_pair(byte_pair_size(0x1000) + 0x1000).unwrap();
    assert_eq!(odd.driver().1.capacity(), 0x1000);
    let device = sel4cp_ring::host::device(DEVICE_SIZE).unwrap();
    let ends = device.driver();
    assert_eq!(
        (ends.requests.capacity(), ends.completions.capacity()),
        (4096, 2048)
    );
    assert_eq!(DEVICE_SIZE % 0x1000, 0);
    assert!(sel4cp_ring::host::device(device_size(1024)).is_err());
}

/// Whatever index a consumer publishes, the producer writes only slots that are free, and goes on when it is right again.
#[test]
fn a_producer_survives_any_consumer_index() {
    let memory = Memory::new(byte_pair_size(0x1000));
    let (mut producer, _) = memory.bytes().client();
    assert_eq!(producer.push_slice(&[1; 100]).unwrap(), 100);
    assert!(producer.publish());
    for bad in [101, 0xffff_ffff, 0x8000_0000, 0x1001, 5000] {
        memory.word(0, HEAD).store(bad, Relaxed);
        assert_eq!(
            producer.free(),
            Err(PeerFault::Index {
                found: bad,
                lowest: 0,
                span: 100
            })
        );
        assert!(producer.push_slice(&[2; 0x1000]).is_err());
        assert!(producer.arm(0x1000).is_err());
    }
    memory.word(0, HEAD).store(100, Relaxed);
    assert_eq!(producer.free(), Ok(0x1000));
    // Backwards is against the rules, too.
    memory.word(0, HEAD).store(99, Relaxed);
    assert!(matches!(
        producer.free(),
        Err(PeerFault::Index {
            lowest: 100,
            span: 0,
            ..
        })
    ));
}

/// Whatever index a producer publishes, the consumer takes no more than the ring holds.
#[test]
fn a_consumer_survives_any_producer_index() {
    let memory = Memory::new(byte_pair_size(0x1000));
    let (mut consumer, _) = memory.bytes().driver();
    for bad in [0x1001, u32::MAX, 0x8000_0000] {
        memory.word(0, TAIL).store(bad, Relaxed);
        assert!(
            matches!(consumer.available(), Err(PeerFault::Index { found, .. }) if found == bad)
        );
        assert!(consumer.pop().is_err() && consumer.arm().is_err());
        assert!(consumer.pop_slice(&mut [0; 8]).is_err());
    }
    memory.word(0, TAIL).store(0x1000, Relaxed);
    let mut all = [1; 0x2000];
    assert_eq!(consumer.pop_slice(&mut all).unwrap(), 0x1000);
    // The slots are not given back, so nothing more can have come.
    memory.word(0, TAIL).store(0x1001, Relaxed);
    assert!(consumer.available().is_err());
    memory.word(0, TAIL).store(0xfff, Relaxed);
    assert!(consumer.available().is_err());
}

/// The own index is private: a peer that overwrites it changes nothing.
#[test]
fn the_own_index_is_not_read_back() {
    let memory = Memory::new(byte_pair_size(0x1000));
    let (mut producer, _) = memory.bytes().client();
    let (mut consumer, _) = memory.bytes().driver();
    producer.push_slice(b"abc").unwrap();
    memory.word(0, TAIL).store(0x7777, Relaxed);
    let _asked = producer.publish();
    assert_eq!(consumer.available(), Ok(3));
    memory.word(0, HEAD).store(0x7777, Relaxed);
    let mut taken = [0; 3];
    consumer.pop_slice(&mut taken).unwrap();
    let _asked = consumer.release();
    assert_eq!((&taken, producer.free()), (b"abc", Ok(0x1000)));
}

#[test]
fn a_request_with_more_than_was_published_is_torn() {
    let memory = Memory::new(DEVICE_SIZE);
    let mut driver = memory.device().driver();
    let mut backend = memory.device().backend();
    let header = Header {
        count: 3,
        ..Header::default()
    };
    assert!(backend.requests.push(header.into()).unwrap());
    assert!(backend.requests.push(Segment::default().into()).unwrap());
    let _asked = backend.requests.publish();
    let mut segments = [Segment::default(); 4];
    assert_eq!(
        driver.requests.pop_request(&mut segments),
        Err(PeerFault::Torn {
            expected: 4,
            found: 2
        })
    );
    assert_eq!(
        driver.requests.pop_request(&mut segments[..2]),
        Err(PeerFault::Segments { found: 3, limit: 2 })
    );
}

#[test]
fn a_request_goes_in_whole_or_not_at_all() {
    let region = sel4cp_ring::host::device(DEVICE_SIZE).unwrap();
    let (mut backend, mut driver) = (region.backend(), region.driver());
    let segments = [Segment {
        offset: 5,
        len: 6,
        flags: Segment::DEVICE_WRITES,
    }; 255];
    let mut pushed = 0;
    while backend
        .requests
        .push_request(
            Header {
                id: pushed,
                ..Header::default()
            },
            &segments,
        )
        .unwrap()
    {
        pushed += 1;
    }
    assert_eq!((pushed, backend.requests.staged()), (16, 4096));
    assert!(backend.requests.publish());
    let mut taken = [Segment::default(); 256];
    for id in 0..16 {
        let header = driver.requests.pop_request(&mut taken).unwrap().unwrap();
        assert_eq!((header.id, header.count), (id, 255));
        assert_eq!(taken[..255], segments);
        assert!(
            driver
                .completions
                .push(Completion::of(&header, status::OK, 1))
                .unwrap()
        );
    }
    assert!(driver.completions.publish());
    assert_eq!(backend.completions.pop().unwrap().unwrap().id, 0);
    assert!(
        !backend
            .requests
            .push_request(Header::default(), &[])
            .unwrap()
    );
    let _asked = driver.requests.release();
    assert!(
        backend
            .requests
            .push_request(Header::default(), &[])
            .unwrap()
    );
}

#[test]
fn notifications_are_asked_for_once() {
    let pair = sel4cp_ring::host::byte_pair(byte_pair_size(0x1000)).unwrap();
    let (mut producer, _) = pair.client();
    let (mut consumer, _) = pair.driver();
    assert!(!consumer.arm().unwrap());
    assert!(producer.push(1).unwrap());
    assert!(producer.publish(), "armed");
    assert!(producer.push(2).unwrap());
    assert!(!producer.publish(), "the consumer is awake already");
    assert!(consumer.arm().unwrap(), "there is something");
    consumer.skip(2);
    let _none_waits = consumer.release();
    assert!(!consumer.arm().unwrap());
    assert!(!producer.publish(), "nothing new");
    // Room: only when there is as much as was asked for.
    assert_eq!(producer.push_slice(&[0; 0x1800]).unwrap(), 0x1000);
    assert!(producer.publish());
    assert!(!producer.arm(0x800).unwrap());
    assert_eq!(consumer.available(), Ok(0x1000));
    consumer.skip(0x7ff);
    assert!(!consumer.release(), "not enough yet");
    consumer.skip(1);
    assert!(consumer.release(), "enough");
    consumer.skip(1);
    assert!(!consumer.release(), "expired");
}

#[test]
fn a_restarted_end_goes_on_where_the_ring_is() {
    let pair = sel4cp_ring::host::byte_pair(byte_pair_size(0x1000)).unwrap();
    let (mut producer, _) = pair.client();
    let (mut consumer, _) = pair.driver();
    let (_, _) = (producer.peer_restarted(), consumer.peer_restarted());
    producer.push_slice(b"abcdef").unwrap();
    let _asked = producer.publish();
    producer.push_slice(b"lost: never published").unwrap();
    assert_eq!(consumer.pop(), Ok(Some(b'a')));
    let _asked = consumer.release();
    // The producer starts again: what it published is still there.
    let first = producer.epoch();
    let (mut producer, _) = pair.client();
    assert_ne!(producer.epoch(), first);
    assert!(consumer.peer_restarted() && !consumer.peer_restarted());
    assert_eq!(consumer.pop(), Ok(Some(b'b')));
    // The consumer starts again: what it had not released is there again.
    let (mut consumer, _) = pair.driver();
    assert!(producer.peer_restarted() && !producer.peer_restarted());
    assert_eq!(consumer.pop(), Ok(Some(b'b')));
    producer.push_slice(b"g").unwrap();
    let _asked = producer.publish();
    let mut rest = [0; 8];
    assert_eq!(consumer.pop_slice(&mut rest), Ok(5));
    assert_eq!(&rest[..5], b"cdefg");
}

#[test]
fn a_restarted_end_repairs_indices_that_make_no_sense() {
    let memory = Memory::new(byte_pair_size(0x1000));
    let (mut producer, _) = memory.bytes().client();
    memory.word(0, HEAD).store(0xdead_beef, Relaxed);
    assert!(producer.free().is_err());
    // A consumer that starts again meets the producer where it is.
    let (mut consumer, _) = memory.bytes().driver();
    assert_eq!(consumer.available(), Ok(0));
    assert!(producer.peer_restarted());
    producer.resynchronize();
    assert_eq!(producer.push_slice(b"xy"), Ok(2));
    let _asked = producer.publish();
    assert_eq!(consumer.pop(), Ok(Some(b'x')));
    // The other way round: the restarted producer joins the consumer.
    let _asked = consumer.release();
    memory.word(0, TAIL).store(0xdead_beef, Relaxed);
    assert!(consumer.available().is_err());
    let (mut producer, _) = memory.bytes().client();
    consumer.resynchronize();
    assert_eq!(producer.push_slice(b"z"), Ok(1));
    let _asked = producer.publish();
    assert_eq!(consumer.pop(), Ok(Some(b'z')));
}
