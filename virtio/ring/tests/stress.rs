//! Two threads and a ring: nothing lost, changed, reordered or waited for in vain. And facts that change while they are read.
#![cfg(not(loom))]
#![allow(
    clippy::expect_used,
    reason = "a test states what must hold by unwrapping it"
)]

use sel4cp_ring::block::Disk;
use sel4cp_ring::host;
use sel4cp_ring::layout::{DEVICE_SIZE, byte_pair_size};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Waits for a notification, like a protection domain: several at once are one.
fn wait(bell: &Receiver<()>) {
    bell.recv().expect("the peer ended while it was waited for");
    while bell.try_recv().is_ok() {}
}

fn ring(bell: &Sender<()>) {
    // The other side may have ended: then nobody needs it.
    let _ended = bell.send(());
}

#[test]
fn bytes_come_out_as_they_went_in() {
    const TOTAL: usize = 3_000_000;
    let pair = host::byte_pair(byte_pair_size(0x1000)).unwrap();
    let (to_consumer, consumer_bell) = channel();
    let (to_producer, producer_bell) = channel();
    let (mut producer, _) = pair.client();
    let (mut consumer, _) = pair.driver();
    let writer = thread::spawn(move || {
        let mut sent = 0;
        let mut rings = 0_usize;
        while sent < TOTAL {
            let length = (1 + sent % 997).min(TOTAL - sent);
            let values: Vec<u8> = (sent..sent + length)
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            let staged = producer.push_slice(&values).unwrap();
            sent += staged;
            if producer.publish() {
                rings += 1;
                ring(&to_consumer);
            }
            if staged < length && !producer.arm(512).unwrap() {
                wait(&producer_bell);
            }
        }
        rings
    });
    let mut received = 0;
    let mut buffer = [0; 700];
    while received < TOTAL {
        let count = consumer.pop_slice(&mut buffer).unwrap();
        for (index, value) in buffer[..count].iter().enumerate() {
            assert_eq!(usize::from(*value), (received + index) % 251);
        }
        received += count;
        if consumer.release() {
            ring(&to_producer);
        }
        if count == 0 && !consumer.arm().unwrap() {
            wait(&consumer_bell);
        }
    }
    let rings = writer.join().unwrap();
    assert!(
        rings <= TOTAL / 2,
        "{rings} notifications for {TOTAL} bytes"
    );
}

#[test]
fn facts_are_never_half() {
    let region = host::device(DEVICE_SIZE).unwrap();
    let (mut backend, mut driver) = (region.backend(), region.driver());
    assert_eq!(backend.info.read::<Disk>(), None, "nothing published yet");
    assert!(!backend.info.changed());
    let facts = |n: u32| Disk {
        features: n.into(),
        capacity: n.into(),
        opt_io_size: n,
        max_write_zeroes_ranges: n,
        ..Disk::default()
    };
    driver.info.start(&facts(0));
    let writer = thread::spawn(move || {
        for n in 1..=200_000 {
            driver.info.change(&facts(n));
        }
        driver
    });
    let mut reads = 0_u64;
    while !writer.is_finished() || backend.info.changed() {
        if let Some(snapshot) = backend.info.read::<Disk>() {
            assert_eq!(snapshot.facts, facts(snapshot.facts.opt_io_size));
            assert_eq!(snapshot.epoch, 1);
            reads += 1;
        }
    }
    assert!(reads > 0);
    let mut driver = writer.join().unwrap();
    driver.info.start(&facts(5));
    let snapshot = backend.info.read::<Disk>().unwrap();
    assert_eq!((snapshot.epoch, snapshot.facts), (2, facts(5)));
    let wrong = backend.info.read::<sel4cp_ring::net::Interface>();
    assert_eq!(wrong, None, "facts about a disk are not about an interface");
}
