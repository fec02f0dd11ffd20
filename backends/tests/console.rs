//! The console device before a fake guest (virtIO 1.2 §5.3).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]

mod common;

use common::Bench;
use sel4cp_backends::block::Block;
use sel4cp_backends::console::{Console, counter};
use sel4cp_backends::net::Net;
use sel4cp_backends::vsock::Vsock;
use sel4cp_backends::{Backend, Trouble};
use sel4cp_link::interrupt;
use sel4cp_memory::GuestAddress;
use sel4cp_model::console::Features as Own;
use sel4cp_queue::Features;
use sel4cp_ring::layout::{BytePair, byte_pair_size};
use sel4cp_ring::{Consumer, PeerFault, Producer, host};
use sel4cp_testing::{Buffer, readable, writable};

const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;
const RING: usize = 0x1000;

struct Serial {
    pair: BytePair,
    output: Consumer<u8>,
    input: Producer<u8>,
}

impl Serial {
    /// Takes what there is, like a driver that sleeps afterwards. Whether the backend is to be notified.
    fn read(&mut self, most: usize) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; most];
        let count = self.output.pop_slice(&mut bytes).unwrap();
        bytes.truncate(count);
        let notify = self.output.release();
        let _more = self.output.arm().unwrap();
        (bytes, notify)
    }

    fn write(&mut self, bytes: &[u8]) -> (usize, bool) {
        let count = self.input.push_slice(bytes).unwrap();
        (count, self.input.publish())
    }
}

fn console(features: Features, columns: u16, rows: u16) -> (Bench<Console>, Serial) {
    let pair = host::byte_pair(byte_pair_size(RING)).unwrap();
    let (output, input) = pair.driver();
    let bench = Bench::new(&[16, 16], features, |_| {
        Console::new(pair.client(), columns, rows)
    });
    let serial = Serial {
        pair,
        output,
        input,
    };
    (bench, serial)
}

fn running() -> (Bench<Console>, Serial) {
    let (mut bench, serial) = console(Features::all(), 80, 25);
    bench.start(u64::MAX);
    (bench, serial)
}

#[test]
fn s5_3_4_size_is_offered_when_it_is_known() {
    let (mut bench, _serial) = console(Features::all(), 132, 43);
    bench.turn();
    let facts = *bench.vmm.facts().unwrap();
    assert_eq!((facts.id, facts.features & 7), (3, 1));
    assert_eq!(bench.config()[..4], [132, 0, 43, 0]);
    let (mut bench, _serial) = console(Features::all(), 132, 0);
    bench.turn();
    assert_eq!(bench.vmm.facts().unwrap().features & 7, 0);
}

#[test]
fn s5_3_4_a_driver_is_told_the_size_when_it_starts() {
    let (mut bench, _serial) = console(Features::all(), 80, 25);
    bench.start(u64::MAX);
    bench.turn();
    assert_eq!(bench.interrupts, interrupt::CONFIGURATION);
    assert_eq!(bench.config()[..4], [80, 0, 25, 0]);
    // Once, and only to a driver that knows what it is.
    bench.interrupts = 0;
    bench.turn();
    assert_eq!(bench.interrupts, 0);
    let (mut bench, _serial) = console(Features::all(), 80, 25);
    bench.start(!Own::SIZE.bits());
    bench.turn();
    assert_eq!(bench.interrupts, 0);
}

#[test]
fn s5_3_6_output_goes_out_in_order() {
    for features in [Features::all(), Features::empty()] {
        let (mut bench, mut serial) = console(features, 80, 25);
        bench.start(u64::MAX);
        let mut queue = bench.guest.queue(TRANSMITQ);
        queue.add(&[readable("one "), readable("two "), readable("")]);
        if features.contains(Features::INDIRECT_DESC) {
            queue.add_indirect(&[readable("th"), readable("ree ")]);
        } else {
            queue.add(&[readable("th"), readable("ree ")]);
        }
        queue.add(&[readable("four")]);
        bench.kick(TRANSMITQ);
        assert_eq!(bench.driver_notified, 1, "one notification for the batch");
        assert_eq!(serial.read(100).0, b"one two three four");
        let used = bench.guest.queue(TRANSMITQ).collect();
        assert_eq!(
            used.iter().map(|used| used.len).collect::<Vec<_>>(),
            [0, 0, 0]
        );
        assert!(bench.take_interrupt());
        bench.guest.finish();
    }
}

#[test]
fn a_full_ring_delays_output_and_drops_nothing() {
    let (mut bench, mut serial) = running();
    let bytes: Vec<u8> = (0..12_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    for part in bytes.chunks(3000) {
        bench
            .guest
            .queue(TRANSMITQ)
            .add(&[readable(&part[..1]), readable(&part[1..])]);
    }
    bench.kick(TRANSMITQ);
    let mut received = Vec::new();
    let mut idle = 0;
    while received.len() < bytes.len() {
        let (more, notify) = serial.read(100);
        received.extend(more);
        if notify {
            bench.turn();
            idle = 0;
        } else {
            idle += 1;
            assert!(
                idle < 100,
                "the backend waits without having asked to be woken"
            );
        }
    }
    assert!(received == bytes, "bytes were lost, doubled or reordered");
    assert_eq!(bench.guest.queue(TRANSMITQ).collect().len(), 4);
    bench.turn();
    assert_eq!(bench.trouble, None);
    assert_eq!(bench.vmm.counter(counter::TRANSMITTED), 12_000);
    assert!(bench.vmm.counter(counter::DELAYED) > 0);
    bench.guest.finish();
}

#[test]
fn input_waits_for_a_buffer_and_keeps_its_order() {
    let (mut bench, mut serial) = running();
    let (count, notify) = serial.write(b"before any buffer");
    assert_eq!((count, notify), (17, true));
    bench.turn();
    bench.guest.queue(RECEIVEQ).add(&[writable(6)]);
    bench
        .guest
        .queue(RECEIVEQ)
        .add(&[writable(3), writable(100)]);
    bench.kick(RECEIVEQ);
    let used = bench.guest.queue(RECEIVEQ).collect();
    let texts: Vec<_> = used.iter().map(|used| used.bytes.clone()).collect();
    assert_eq!(texts, [&b"before"[..], b" any buffer"]);
    assert_eq!((used[0].len, used[1].len), (6, 11));
    assert!(bench.take_interrupt());
    // And with the buffer there first.
    bench.guest.queue(RECEIVEQ).add(&[writable(64)]);
    bench.kick(RECEIVEQ);
    assert!(serial.write(b"x").1, "the consumer is armed");
    bench.turn();
    assert_eq!(bench.guest.queue(RECEIVEQ).collect()[0].bytes, b"x");
    bench.guest.finish();
}

#[test]
fn a_full_input_ring_is_the_serial_drivers_to_see() {
    let (mut bench, mut serial) = running();
    let paste: Vec<u8> = (0..3 * 0x1000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut sent, _) = serial.write(&paste);
    assert_eq!(sent, RING);
    assert!(!serial.input.arm(1).unwrap());
    let mut received = Vec::new();
    while received.len() < paste.len() {
        bench.guest.queue(RECEIVEQ).add(&[writable(1000)]);
        bench.kick(RECEIVEQ);
        bench.turn();
        for used in bench.guest.queue(RECEIVEQ).collect() {
            received.extend(used.bytes);
        }
        let (count, notify) = serial.write(&paste[sent..]);
        sent += count;
        if notify {
            bench.turn();
        }
    }
    bench.turn();
    assert!(received == paste, "input was lost, doubled or reordered");
    bench.guest.abandon();
}

#[test]
fn a_receive_buffer_without_room_comes_back() {
    let (mut bench, mut serial) = running();
    bench.guest.queue(RECEIVEQ).add(&[readable("not yours")]);
    bench.guest.queue(RECEIVEQ).add(&[writable(4)]);
    serial.write(b"abcd");
    bench.kick(RECEIVEQ);
    let used = bench.guest.queue(RECEIVEQ).collect();
    assert_eq!((used[0].len, used[1].bytes.as_slice()), (0, &b"abcd"[..]));
    bench.guest.finish();
}

#[test]
fn s2_1_2_a_bad_buffer_breaks_the_device_until_its_reset() {
    let (mut bench, mut serial) = running();
    bench.guest.queue(TRANSMITQ).add(&[readable("good ")]);
    bench.guest.queue(TRANSMITQ).add(&[Buffer::At {
        address: GuestAddress::new(0x1000),
        len: 64,
        writable: false,
    }]);
    bench.kick(TRANSMITQ);
    bench.assert_broken();
    assert_eq!(serial.read(64).0, b"good ", "what came before is not lost");
    assert!(bench.reset());
    bench.restart(2, u64::MAX);
    bench.guest.queue(TRANSMITQ).add(&[readable("again")]);
    bench.kick(TRANSMITQ);
    assert_eq!(serial.read(64).0, b"again");
    bench.guest.finish();
}

#[test]
fn a_reset_forgets_half_a_chain() {
    let (mut bench, mut serial) = running();
    bench
        .guest
        .queue(TRANSMITQ)
        .add(&[readable(vec![b'a'; RING + 500])]);
    bench.kick(TRANSMITQ);
    assert!(bench.reset());
    bench.restart(2, u64::MAX);
    bench.guest.queue(TRANSMITQ).add(&[readable("fresh")]);
    bench.kick(TRANSMITQ);
    let (first, notify) = serial.read(RING);
    assert_eq!((first.len(), notify), (RING, true));
    bench.turn();
    assert_eq!(serial.read(64).0, b"fresh");
    bench.guest.finish();
}

#[test]
fn a_serial_driver_that_lies_stops_this_device_alone() {
    let (mut bench, mut serial) = running();
    serial.write(b"0123456789");
    bench.turn();
    // A second driver on the same ring goes on; then the first one's index takes the ring back.
    let (_, mut second) = serial.pair.driver();
    second.push_slice(&[b'x'; 20]).unwrap();
    let _notify = second.publish();
    bench.turn();
    serial.write(b"!");
    bench.guest.queue(RECEIVEQ).add(&[writable(64)]);
    bench.kick(RECEIVEQ);
    assert!(matches!(
        bench.trouble,
        Some(Trouble::Peer(PeerFault::Index { .. }))
    ));
    assert!(bench.needs_reset);
    // The guest's reset still works, and is over at once.
    assert!(bench.reset());
    bench.guest.abandon();
}

#[test]
fn turns_before_anything_happened_do_nothing() {
    let (mut bench, mut serial) = console(Features::all(), 80, 25);
    for _ in 0..3 {
        bench.turn();
        let _told = bench.vmm.kick();
        let _told = bench.vmm.kick();
    }
    serial.write(b"early input");
    bench.turn();
    bench.start(u64::MAX);
    bench.guest.queue(RECEIVEQ).add(&[writable(64)]);
    bench.kick(RECEIVEQ);
    assert_eq!(
        bench.guest.queue(RECEIVEQ).collect()[0].bytes,
        b"early input"
    );
    bench.guest.finish();
}

/// A backend is built on the stack and moved into place.
#[test]
fn backends_fit_their_stack() {
    let most = [
        size_of::<Backend<Console>>(),
        size_of::<Backend<Block>>(),
        size_of::<Backend<Net>>(),
        size_of::<Backend<Vsock>>(),
    ];
    assert!(most.iter().all(|size| *size <= 32 << 10), "{most:?}");
}
