//! Order, back-pressure, resets and restarts.

use crate::common::Bench;
use crate::common::disk::FakeDisk;
use crate::rig::{IOERR, OK, Rig, header};
use sel4cp_backends::Trouble;
use sel4cp_backends::block::{Block, counter};
use sel4cp_link::interrupt;
use sel4cp_model::block::{Config, RequestType};
use sel4cp_queue::Features;
use sel4cp_ring::layout::{DEVICE_SIZE, device_size};
use sel4cp_ring::request::{Completion, status};
use sel4cp_ring::{PeerFault, host};
use sel4cp_testing::writable;
use zerocopy::FromBytes;

#[test]
fn nothing_is_announced_before_the_disk_is_known() {
    let region = host::device(DEVICE_SIZE).unwrap();
    let mut bench = Bench::new(&[64], Features::all(), |ram| {
        Block::new(region, ram, false, [0; 20], 1)
    });
    bench.turn();
    assert!(!bench.vmm.is_ready() && bench.vmm.facts().is_none());
    let mut disk = FakeDisk::new(region, bench.guest.ram());
    bench.turn();
    assert!(
        bench.vmm.facts().is_none(),
        "the driver may hold an earlier life's requests"
    );
    disk.work();
    bench.turn();
    assert!(bench.vmm.is_ready());
    bench.guest.finish();
}

#[test]
fn one_that_starts_again_under_a_running_guest_asks_for_a_reset() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
    rig.bench.kick(0);
    let block = Block::new(rig.region, rig.bench.guest.ram(), false, [0; 20], 1);
    rig.bench.revive(block);
    while rig.disk.work() {
        rig.bench.turn();
    }
    assert_eq!(rig.bench.trouble, Some(Trouble::Resumed));
    assert!(rig.bench.needs_reset);
    assert!(rig.bench.guest.queue(0).collect().is_empty());
    rig.bench.guest.abandon();
}

#[test]
fn completions_come_in_any_order() {
    let mut rig = Rig::running();
    for sector in 0..8_u64 {
        rig.disk.data[usize::try_from(sector).unwrap() * 512] = sector.to_le_bytes()[0];
        rig.add(&[header(RequestType::In, sector), writable(512), writable(1)]);
    }
    rig.bench.kick(0);
    rig.disk.take(8);
    assert_eq!(
        rig.bench.driver_notified, 2,
        "the first reset, and one for the batch"
    );
    let mut firsts = Vec::new();
    for index in [7, 0, 3, 2, 3, 1, 0, 0] {
        if rig.disk.complete(index) {
            rig.bench.turn();
        }
        firsts.extend(
            rig.bench
                .guest
                .queue(0)
                .collect()
                .iter()
                .map(|used| used.bytes[0]),
        );
    }
    assert_eq!(firsts, [7, 0, 4, 3, 6, 2, 1, 5]);
    rig.bench.guest.finish();
}

#[test]
fn a_full_ring_delays_requests_and_drops_none() {
    let mut rig = Rig::new(device_size(2048), false, |_| ());
    rig.bench.start(u64::MAX);
    for _ in 0..60 {
        let mut buffers = vec![header(RequestType::In, 0)];
        buffers.extend((0..62).map(|_| writable(512)));
        buffers.push(writable(1));
        rig.bench.guest.queue(0).add_indirect(&buffers);
    }
    rig.bench.kick(0);
    assert!(
        rig.bench.vmm.counter(counter::DELAYED) > 0,
        "60 × 63 entries do not fit 2048"
    );
    let mut done = 0;
    for _ in 0..1000 {
        let notify = rig.disk.take(1);
        if notify {
            rig.bench.turn();
        }
        if !rig.disk.taken.is_empty() && rig.disk.complete(0) {
            rig.bench.turn();
        }
        done += rig.bench.guest.queue(0).collect().len();
    }
    assert_eq!(done, 60);
    assert!(rig.bench.vmm.counter(counter::DELAYED) > 0);
    rig.bench.guest.finish();
}

#[test]
fn s2_4_a_reset_waits_for_requests_in_flight_and_forgets_them() {
    let mut rig = Rig::running();
    for sector in 0..4 {
        rig.add(&[header(RequestType::In, sector), writable(512), writable(1)]);
    }
    rig.bench.kick(0);
    rig.disk.take(2);
    assert!(!rig.bench.reset());
    let used = rig.bench.guest.queue(0).used_index();
    for _ in 0..3 {
        assert!(!rig.bench.turn().reset_done);
    }
    assert!(rig.disk.complete(1));
    assert!(!rig.bench.turn().reset_done, "three are in flight still");
    rig.disk.work();
    assert!(rig.bench.turn().reset_done);
    assert_eq!(
        rig.bench.guest.queue(0).used_index(),
        used,
        "completed into nowhere"
    );
    rig.bench.restart(1, u64::MAX);
    assert_eq!(
        rig.request(&[header(RequestType::In, 0), writable(512), writable(1)])
            .0,
        OK
    );
    rig.bench.guest.finish();
}

#[test]
fn a_driver_that_starts_again_fails_what_it_lost_and_goes_on() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
    rig.bench.kick(0);
    rig.disk.take(1);
    // The driver dies with a request; its successor knows nothing of it.
    rig.disk = FakeDisk::new(rig.region, rig.bench.guest.ram());
    rig.bench.turn();
    assert!(
        rig.bench.guest.queue(0).collect().is_empty(),
        "not before it is certain"
    );
    rig.disk.work();
    rig.bench.turn();
    let used = rig.bench.guest.queue(0).collect();
    assert_eq!(*used[0].writable.last().unwrap(), IOERR);
    assert_eq!(
        rig.request(&[header(RequestType::In, 0), writable(512), writable(1)])
            .0,
        OK
    );
    rig.bench.guest.finish();
}

#[test]
fn a_backend_that_starts_again_ignores_its_former_requests() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
    rig.bench.kick(0);
    rig.disk.take(1);
    let region = rig.region;
    let mut second = Bench::new(&[64], Features::all(), |ram| {
        Block::new(region, ram, false, [0; 20], 1)
    });
    second.turn();
    assert!(second.vmm.facts().is_none());
    rig.disk.work();
    second.turn();
    assert!(second.vmm.is_ready() && second.trouble.is_none());
    rig.bench.guest.abandon();
    second.guest.finish();
}

#[test]
fn a_driver_that_lies_is_trusted_no_more() {
    for id in [0, 5, 64, 255, 256, 0x8000] {
        let mut rig = Rig::running();
        rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
        rig.bench.kick(0);
        rig.disk.take(1);
        let (header, _) = rig.disk.taken[0];
        let lie = Completion {
            id,
            ..Completion::of(&header, status::OK, 0)
        };
        rig.disk.answer(lie);
        rig.bench.turn();
        if id == header.id {
            // Once it is right; the second time it is a lie.
            assert!(rig.bench.trouble.is_none());
            rig.disk.answer(lie);
            rig.bench.turn();
        }
        assert_eq!(
            rig.bench.trouble,
            Some(Trouble::Peer(PeerFault::Unexpected { id }))
        );
        assert!(rig.bench.needs_reset);
        // A reset is not acknowledged while such a driver may hold guest memory; its successor frees it.
        let done = rig.bench.reset();
        assert_eq!(done, id == header.id);
        rig.disk = FakeDisk::new(rig.region, rig.bench.guest.ram());
        let mut done = done | rig.bench.turn().reset_done;
        rig.disk.work();
        done |= rig.bench.turn().reset_done;
        assert!(done);
        rig.bench.restart(1, u64::MAX);
        assert_eq!(
            rig.request(&[self::header(RequestType::Flush, 0), writable(1)])
                .0,
            OK
        );
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_2_4_a_disk_that_grows_tells_the_guest() {
    let mut rig = Rig::running();
    rig.disk.facts.capacity = 128;
    rig.disk.data.resize(128 * 512, 3);
    let facts = rig.disk.facts;
    rig.disk.ends.info.change(&facts);
    rig.bench.turn();
    assert_eq!(rig.bench.interrupts, interrupt::CONFIGURATION);
    let bytes = rig.bench.config();
    assert_eq!(
        Config::ref_from_prefix(&bytes).unwrap().0.capacity.get(),
        128
    );
    let (status, _, _) = rig.request(&[header(RequestType::In, 127), writable(512), writable(1)]);
    assert_eq!(status, OK);
    rig.bench.guest.finish();
}

#[test]
fn a_busy_disk_needs_no_kicks_and_a_quiet_one_does() {
    let mut rig = Rig::running();
    let read = || [header(RequestType::In, 0), writable(512), writable(1)];
    for _ in 0..8 {
        rig.add(&read());
        rig.bench.kick(0);
    }
    assert_eq!(
        rig.bench.driver_notified, 2,
        "the reset, and the first request"
    );
    rig.disk.take(usize::MAX);
    rig.add(&read());
    assert!(!rig.bench.guest.queue(0).kick(), "eight are in flight");
    // A completion brings the device to look at the queue, which it would not be told about.
    assert!(rig.disk.complete(0));
    rig.bench.turn();
    rig.disk.take(usize::MAX);
    assert_eq!(rig.disk.taken.len(), 8, "the ninth has come");
    assert!(rig.disk.complete(0));
    rig.bench.turn();
    rig.add(&read());
    assert!(rig.bench.guest.queue(0).kick(), "seven are in flight");
    rig.bench.turn();
    assert_eq!(rig.settle().len(), 10);
    // What may take any time is not waited for.
    rig.add(&[header(RequestType::Flush, 0), writable(1)]);
    for _ in 0..9 {
        rig.add(&read());
    }
    rig.bench.kick(0);
    rig.add(&read());
    assert!(rig.bench.guest.queue(0).kick(), "a flush is in flight");
    rig.bench.turn();
    assert_eq!(rig.settle().len(), 11);
    rig.bench.guest.finish();
}
