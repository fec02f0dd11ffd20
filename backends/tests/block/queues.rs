//! Several queues (virtIO 1.2 §5.2.2).

use crate::common::disk::FakeDisk;
use crate::rig::{IOERR, OK, Rig, header};
use sel4cp_model::block::{Config, Features, RequestType};
use sel4cp_ring::layout::{DEVICE_SIZE, device_size};
use sel4cp_testing::{Used, writable};
use zerocopy::FromBytes;

const QUEUES: usize = 4;

fn rig(ring: usize) -> Rig {
    let mut rig = Rig::with_queues(4, ring, false, |_| ());
    rig.bench.start(u64::MAX);
    rig
}

/// Reads `sectors` from this one on, by `queue`.
fn read(rig: &mut Rig, queue: usize, sector: u64, sectors: usize) {
    let mut buffers = vec![header(RequestType::In, sector)];
    buffers.extend((0..sectors).map(|_| writable(512)));
    buffers.push(writable(1));
    rig.bench.guest.queue(queue).add_indirect(&buffers);
}

/// Gives the driver a request of each queue.
fn one_each(rig: &mut Rig) {
    for queue in 0..QUEUES {
        read(rig, queue, 0, 1);
        rig.bench.kick(queue);
    }
    rig.disk.take(usize::MAX);
}

fn status(used: &Used) -> u8 {
    *used.writable.last().unwrap()
}

#[test]
fn s5_2_3_there_are_as_many_as_the_configuration_says() {
    for (queues, entries) in [(1, 256), (2, 128), (3, 64), (4, 64), (8, 32)] {
        let mut rig = Rig::with_queues(queues, DEVICE_SIZE, false, |_| ());
        rig.bench.turn();
        let facts = *rig.bench.vmm.facts().unwrap();
        let features = Features::from_bits_truncate(facts.features);
        assert_eq!(features.contains(Features::MQ), queues > 1);
        let mut expected = [0; 8];
        expected[..queues.into()].fill(entries);
        assert_eq!(facts.queue_max, expected);
        let bytes = rig.bench.config();
        let (config, _) = Config::ref_from_prefix(&bytes).unwrap();
        assert_eq!(config.num_queues.get(), queues);
        // §2.7.5.3.1: a chain is no longer than the queue.
        assert_eq!(config.seg_max.get(), u32::from(entries) - 2);
        rig.bench.guest.finish();
    }
}

#[test]
fn each_gets_the_answers_to_its_own_requests() {
    let mut rig = rig(DEVICE_SIZE);
    for sector in 0..64 {
        rig.disk.data[sector * 512] = u8::try_from(sector).unwrap();
    }
    for round in 0..4 {
        for queue in 0..QUEUES {
            read(&mut rig, queue, (round * QUEUES + queue) as u64, 1);
        }
    }
    for queue in 0..QUEUES {
        rig.bench.kick(queue);
    }
    rig.disk.take(usize::MAX);
    // Last come, first served.
    while let Some(last) = rig.disk.taken.len().checked_sub(1) {
        if rig.disk.complete(last) {
            rig.bench.turn();
        }
    }
    for queue in 0..QUEUES {
        let used = rig.bench.guest.queue(queue).collect();
        let firsts: Vec<_> = used
            .iter()
            .map(|used| (used.bytes[0], status(used)))
            .collect();
        let expected =
            [3, 2, 1, 0].map(|round| (u8::try_from(round * QUEUES + queue).unwrap(), OK));
        assert_eq!(firsts, expected);
    }
    rig.bench.guest.finish();
}

#[test]
fn where_there_is_no_room_they_take_turns() {
    let mut rig = rig(device_size(2048));
    // More than there is room for, and all that the others have is one request.
    for _ in 0..60 {
        read(&mut rig, 0, 0, 62);
    }
    rig.bench.kick(0);
    for queue in 1..QUEUES {
        read(&mut rig, queue, 1, 62);
        rig.bench.kick(queue);
    }
    let mut done = [0; QUEUES];
    let mut others_after = None;
    for _ in 0..1000 {
        if rig.disk.take(1) {
            rig.bench.turn();
        }
        if !rig.disk.taken.is_empty() && rig.disk.complete(0) {
            rig.bench.turn();
        }
        for (queue, done) in done.iter_mut().enumerate() {
            *done += rig.bench.guest.queue(queue).collect().len();
        }
        if others_after.is_none() && done[1..] == [1, 1, 1] {
            others_after = Some(done[0]);
        }
    }
    assert_eq!(done, [60, 1, 1, 1]);
    assert!(
        others_after.is_some_and(|done| done < 52),
        "{others_after:?}"
    );
    rig.bench.guest.finish();
}

#[test]
fn what_a_driver_has_lost_fails_in_each() {
    let mut rig = rig(DEVICE_SIZE);
    one_each(&mut rig);
    assert_eq!(rig.disk.taken.len(), QUEUES);
    rig.disk = FakeDisk::new(rig.region, rig.bench.guest.ram());
    rig.bench.turn();
    rig.disk.work();
    rig.bench.turn();
    for queue in 0..QUEUES {
        let used = rig.bench.guest.queue(queue).collect();
        assert_eq!(used.iter().map(status).collect::<Vec<_>>(), [IOERR]);
    }
    rig.bench.guest.finish();
}

#[test]
fn a_reset_waits_for_the_requests_of_all() {
    let mut rig = rig(DEVICE_SIZE);
    one_each(&mut rig);
    assert!(!rig.bench.reset());
    for _ in 0..QUEUES {
        assert!(!rig.bench.turn().reset_done);
        rig.disk.complete(0);
    }
    assert!(rig.bench.turn().reset_done);
    // A driver without MQ has the first one only.
    rig.bench.restart(QUEUES, !Features::MQ.bits());
    let request = [header(RequestType::In, 0), writable(512), writable(1)];
    assert_eq!(rig.request(&request).0, OK);
    rig.bench.guest.finish();
}
