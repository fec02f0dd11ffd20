//! Every interleaving of two ends of a small ring: `RUSTFLAGS="--cfg loom" cargo test -p sel4cp-ring --test loom --release`.
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

use loom::sync::Notify;
use loom::sync::atomic::{AtomicU8, AtomicU64};
use loom::thread;
use sel4cp_ring::request::{Entry, Header, Segment};
use sel4cp_ring::{Consumer, Control, Producer, Ring};

/// A ring in memory that is given up at the end of each execution.
fn bytes(slots: usize) -> Ring<u8> {
    let control = Box::leak(Box::new(Control::new()));
    let slots = (0..slots).map(|_| AtomicU8::new(0)).collect::<Vec<_>>();
    Ring::new(control, slots.leak()).unwrap()
}

/// Runs `test` in every order of steps with at most two forced switches beyond those where a thread waits; with more
/// there are too many. Each fence and each release store of the ring, when taken away, fails within these.
fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(test);
}

/// A notification, as the kernel keeps it: several at once are one. A lost wakeup is a deadlock, which loom reports.
fn signal() -> &'static Notify {
    Box::leak(Box::new(Notify::new()))
}

/// The consumer sleeps unless arming finds something; no entry is lost, changed or reordered.
#[test]
fn a_consumer_that_sleeps_is_woken() {
    explore(|| {
        let ring = bytes(4);
        let awake = signal();
        let producer = thread::spawn(move || {
            let mut producer = Producer::attach(ring);
            for value in 1..=2_u8 {
                assert!(producer.push(value).unwrap());
                if producer.publish() {
                    awake.notify();
                }
            }
        });
        let mut consumer = Consumer::attach(ring);
        let mut expected = 1;
        while expected <= 2 {
            while let Some(value) = consumer.pop().unwrap() {
                assert_eq!(value, expected);
                expected += 1;
            }
            let _none_waits = consumer.release();
            if expected <= 2 && !consumer.arm().unwrap() {
                awake.wait();
            }
        }
        producer.join().unwrap();
    });
}

/// The producer sleeps on a full ring; what it overwrites has been read.
#[test]
fn a_producer_that_sleeps_is_woken() {
    explore(|| {
        let ring = bytes(2);
        let (room, data) = (signal(), signal());
        let producer = thread::spawn(move || {
            let mut producer = Producer::attach(ring);
            for value in 1..=3_u8 {
                while !producer.push(value).unwrap() {
                    if !producer.arm(1).unwrap() {
                        room.wait();
                    }
                }
                if producer.publish() {
                    data.notify();
                }
            }
        });
        let mut consumer = Consumer::attach(ring);
        let mut expected = 1;
        while expected <= 3 {
            match consumer.pop().unwrap() {
                Some(value) => {
                    assert_eq!(value, expected);
                    expected += 1;
                    if consumer.release() {
                        room.notify();
                    }
                }
                None if consumer.arm().unwrap() => {}
                None => data.wait(),
            }
        }
        producer.join().unwrap();
    });
}

/// A request is seen whole or not at all.
#[test]
fn a_request_is_not_torn() {
    explore(|| {
        let control = Box::leak(Box::new(Control::new()));
        let slots = (0..4).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]);
        let slots = slots.collect::<Vec<_>>().leak();
        let ring = Ring::<Entry>::new(control, slots).unwrap();
        let producer = thread::spawn(move || {
            let mut producer = Producer::attach(ring);
            let header = Header {
                id: 7,
                ..Header::default()
            };
            let segment = Segment {
                offset: 0x1234_5678_9abc,
                len: 9,
                flags: 1,
            };
            assert!(producer.push_request(header, &[segment, segment]).unwrap());
            let _asked = producer.publish();
        });
        let mut consumer = Consumer::attach(ring);
        let mut segments = [Segment::default(); 2];
        let mut look = || {
            let header = consumer.pop_request(&mut segments).unwrap()?;
            assert_eq!((header.id, header.count), (7, 2));
            assert!(
                segments
                    .iter()
                    .all(|s| s.offset == 0x1234_5678_9abc && s.len == 9)
            );
            Some(())
        };
        let early = look();
        producer.join().unwrap();
        assert!(early.or_else(look).is_some());
    });
}
