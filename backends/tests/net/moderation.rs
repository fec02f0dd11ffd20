//! Long frames of which a guest need not notify (virtIO 1.2 §2.7.10), and what comes of those that wait.

use crate::common::Bench;
use crate::cut::FRAMES;
use crate::rig::{Rig, Setup, TRANSMITQ, frame};
use crate::tcp::{Segment, chain};
use sel4cp_backends::net::{Net, Pauses, counter};
use sel4cp_model::net::Features as F;
use sel4cp_queue::Features;
use sel4cp_ring::layout::DEVICE_SIZE;
use sel4cp_ring::shared::PausePage;
use sel4cp_testing::writable;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a long frame's data, and of one that is not.
const LONG: usize = 8200;
const SHORT: usize = 2_000;

struct Flow {
    rig: Rig,
    page: &'static PausePage,
}

impl Flow {
    fn new() -> Self {
        Self::of(0, Setup::default())
    }

    fn of(most_made: u32, setup: Setup) -> Self {
        let page: &'static PausePage = Box::leak(Box::default());
        let mut rig = Rig::of(Setup {
            frames: FRAMES,
            pauses: Some(Pauses { page, most_made }),
            ..setup
        });
        rig.bench.start(F::TRANSMIT_OFFLOADS.bits());
        Self { rig, page }
    }

    fn bench(&mut self) -> &mut Bench<Net> {
        &mut self.rig.bench
    }

    /// The guest makes a frame available; whether it notifies.
    fn send(&mut self, bytes: usize) -> bool {
        self.send_by(0, bytes)
    }

    /// The same, by this connection.
    fn send_by(&mut self, connection: u8, bytes: usize) -> bool {
        let segment = Segment::plain(bytes);
        let mut frame = segment.to_do();
        frame[segment.transport()] = connection;
        let buffers = chain(&segment.request(1000), &frame, &[]);
        self.bench().guest.queue(TRANSMITQ).add_indirect(&buffers);
        self.bench().kick(TRANSMITQ)
    }

    /// So many frames, each of which it notifies of.
    fn send_each(&mut self, bytes: usize, count: usize) {
        for number in 0..count {
            assert!(self.send(bytes), "{number}");
            assert_eq!(self.sent(), 1);
        }
    }

    /// So many frames that wait for one more, of which it notifies.
    fn send_together(&mut self, bytes: usize, waiting: usize) {
        for number in 0..waiting {
            assert!(!self.send(bytes), "{number}");
            assert_eq!(self.sent(), 0);
        }
        assert!(self.send(bytes));
        assert_eq!(self.sent(), waiting + 1);
    }

    /// A frame arrives for the guest.
    fn receive(&mut self) {
        self.rig.offer(&[writable(2000)]);
        assert_eq!(self.rig.deliver(&frame(60)).len(), 1);
    }

    /// So many rounds of a frame for the guest, by one connection after the other, and its answer, of which it notifies.
    fn answer_each(&mut self, connections: u8, count: usize) {
        for connection in (0..connections).cycle().take(count) {
            self.receive();
            assert!(self.send_by(connection, SHORT));
            assert_eq!(self.sent(), 1);
        }
    }

    /// A frame for the guest, and so many answers that wait for one more, of which it notifies.
    fn answer_together(&mut self, connections: u8, waiting: usize) {
        self.receive();
        let mut connections = (0..connections).cycle();
        for connection in connections.by_ref().take(waiting) {
            assert!(!self.send_by(connection, SHORT));
        }
        assert_eq!(self.sent(), 0);
        assert!(self.send_by(connections.next().unwrap(), SHORT));
        assert_eq!(self.sent(), waiting + 1);
    }

    /// All that has come to the driver is sent: how many frames of the guest's have come back.
    fn sent(&mut self) -> usize {
        self.rig.all_sent();
        self.bench().guest.queue(TRANSMITQ).collect().len()
    }

    /// The guest pauses.
    fn pause(&mut self) {
        self.bench().backend.paused();
        self.bench().turn();
    }

    /// Times that the domain that tells was asked, and notified.
    fn asked(&mut self) -> (u32, usize) {
        (self.page.asked.load(Relaxed), self.bench().asked_for_pause)
    }
}

#[test]
fn after_a_long_frame_the_guest_notifies_of_every_other_one() {
    let mut flow = Flow::new();
    assert!(flow.send(LONG));
    assert_eq!((flow.sent(), flow.asked()), (1, (1, 1)));
    for round in 2..50 {
        assert!(!flow.send(LONG), "it waits for the next one");
        assert_eq!(flow.sent(), 0);
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 2);
        assert_eq!(flow.asked(), (round, 1), "one notification is enough");
    }
    assert_eq!(flow.rig.counter(counter::TRANSMITTED), 97);
    assert_eq!(flow.rig.counter(counter::UNNOTIFIED), 48);
    flow.pause();
    assert!(flow.send(LONG), "nothing more was expected");
    assert_eq!((flow.sent(), flow.asked()), (1, (50, 2)));
    flow.rig.bench.guest.finish();
}

#[test]
fn of_few_short_frames_it_notifies_each_time() {
    let mut flow = Flow::new();
    flow.send_each(SHORT, 10);
    assert_eq!(flow.asked(), (0, 0));
    // One at the end of many long ones changes nothing, several by themselves do.
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 1);
    assert!(!flow.send(LONG));
    assert!(flow.send(SHORT));
    assert_eq!(flow.sent(), 2);
    assert!(!flow.send(SHORT));
    assert!(flow.send(SHORT));
    assert_eq!(flow.sent(), 2);
    flow.send_each(SHORT, 1);
    flow.rig.bench.guest.finish();
}

#[test]
fn of_many_short_frames_in_a_row_it_notifies_of_every_32nd() {
    let mut flow = Flow::new();
    flow.send_each(SHORT, 64);
    for round in 1..10 {
        assert_eq!(flow.asked(), (round, 1));
        flow.send_together(SHORT, 31);
    }
    assert_eq!(flow.rig.counter(counter::TRANSMITTED), 64 + 9 * 32);
    assert_eq!(flow.rig.counter(counter::UNNOTIFIED), 9 * 31);
    flow.rig.bench.guest.finish();
}

#[test]
fn frames_for_the_guest_and_long_ones_end_a_row() {
    let mut flow = Flow::new();
    for _ in 0..3 {
        flow.send_each(SHORT, 61);
        // It waits for another one.
        flow.send_each(LONG, 1);
        assert!(!flow.send(SHORT));
        assert!(flow.send(SHORT));
        assert_eq!(flow.sent(), 2);
    }
    flow.send_each(SHORT, 40);
    flow.receive();
    flow.send_each(SHORT, 64);
    flow.send_together(SHORT, 31);
    flow.rig.bench.guest.finish();
}

#[test]
fn of_answers_that_come_together_it_notifies_of_fewer_and_fewer() {
    let mut flow = Flow::new();
    flow.answer_each(4, 64);
    for waiting in [1, 3, 7, 7, 7] {
        flow.answer_together(4, waiting);
    }
    // Seven are too many, and then for a longer time.
    for rounds in [64, 128] {
        flow.receive();
        for _ in 0..7 {
            assert!(!flow.send(SHORT));
        }
        flow.pause();
        assert_eq!(flow.sent(), 7);
        for _ in 0..rounds {
            flow.answer_together(2, 3);
        }
    }
    flow.answer_together(2, 7);
    flow.rig.bench.guest.finish();
}

#[test]
fn answers_of_one_connection_do_not_wait() {
    let mut flow = Flow::new();
    flow.answer_each(1, 500);
    // Of several at first, and then of one: the two that come together are no gain.
    flow.answer_each(2, 64);
    flow.answer_together(1, 1);
    flow.answer_each(2, 64);
    flow.answer_together(1, 1);
    flow.answer_each(2, 128);
    flow.rig.bench.guest.finish();
}

#[test]
fn an_answer_that_waits_for_a_pause_is_followed_by_a_rest() {
    let mut flow = Flow::new();
    let mut notified = 64;
    for rest in [64, 128, 256] {
        flow.answer_each(2, notified);
        flow.receive();
        assert!(!flow.send(SHORT));
        flow.pause();
        assert_eq!(flow.sent(), 1);
        notified = rest;
    }
    flow.answer_each(2, notified);
    flow.receive();
    assert!(!flow.send(SHORT));
    flow.rig.bench.guest.abandon();
}

#[test]
fn short_frames_that_wait_for_a_pause_are_followed_by_a_rest() {
    let mut flow = Flow::new();
    let (mut row, mut rest) = (64, 64);
    for (waiting, rests) in [(1, true), (16, true), (17, false), (31, false), (2, true)] {
        flow.send_each(SHORT, row);
        for _ in 0..waiting {
            assert!(!flow.send(SHORT));
        }
        assert_eq!(flow.sent(), 0);
        flow.pause();
        assert_eq!(flow.sent(), waiting, "without a notification");
        row = 0;
        if rests {
            // A row of 64, and then those that are counted for the rest.
            row = 64 + rest;
            rest *= 2;
        }
    }
    flow.send_each(SHORT, row);
    assert!(!flow.send(SHORT));
    flow.rig.bench.guest.abandon();
}

#[test]
fn a_guest_with_few_entries_does_not_wait_for_them() {
    for (size, waiting) in [(1, 0), (2, 0), (4, 1), (8, 2), (128, 31)] {
        let queues = [128, size, 8];
        let setup = || Setup {
            queues,
            ..Setup::default()
        };
        let mut flow = Flow::of(0, setup());
        flow.send_each(SHORT, 64);
        flow.send_together(SHORT, waiting);
        flow.rig.bench.guest.finish();
        let mut flow = Flow::of(0, setup());
        flow.send_each(LONG, 1);
        flow.send_together(LONG, waiting.min(1));
        flow.rig.bench.guest.finish();
    }
}

#[test]
fn a_frame_that_waits_goes_when_the_guest_pauses_and_others_wait_less_often() {
    let mut flow = Flow::new();
    let mut rest = 64;
    for _ in 0..5 {
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 1);
        assert!(!flow.send(LONG));
        assert_eq!(flow.sent(), 0);
        flow.pause();
        assert_eq!(flow.sent(), 1, "without a notification");
        for _ in 1..rest {
            assert!(flow.send(LONG));
            assert_eq!(flow.sent(), 1);
        }
        rest *= 2;
    }
    // As many that come two by two, and it is as at first.
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 1);
    for _ in 0..rest {
        assert!(!flow.send(LONG));
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 2);
    }
    assert!(!flow.send(LONG));
    flow.pause();
    assert_eq!(flow.sent(), 1);
    for _ in 1..64 {
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 1);
    }
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 1);
    assert!(!flow.send(LONG));
    flow.rig.bench.guest.abandon();
}

#[test]
fn a_guest_without_event_idx_notifies_and_nobody_is_asked() {
    let mut flow = Flow::of(
        0,
        Setup {
            ring_features: Features::all() - Features::EVENT_IDX,
            ..Setup::default()
        },
    );
    for _ in 0..10 {
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 1);
    }
    assert_eq!(flow.asked(), (0, 0));
    flow.rig.bench.guest.finish();
}

#[test]
fn where_nobody_tells_of_pauses_each_frame_is_notified_of() {
    let mut rig = Rig::with(DEVICE_SIZE, 1500, F::empty(), FRAMES);
    rig.bench.start(F::TRANSMIT_OFFLOADS.bits());
    let page = Box::leak(Box::default());
    let mut flow = Flow { rig, page };
    for _ in 0..10 {
        assert!(flow.send(LONG));
        assert_eq!(flow.sent(), 1);
    }
    assert_eq!(flow.bench().asked_for_pause, 0);
    assert_eq!(flow.rig.counter(counter::UNNOTIFIED), 0);
    flow.rig.bench.guest.finish();
}

#[test]
fn a_reset_ends_the_waiting() {
    let mut flow = Flow::new();
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 1);
    assert!(!flow.send(LONG));
    assert!(!flow.bench().reset());
    flow.rig.wire.reset();
    assert!(flow.bench().turn().reset_done);
    flow.bench().restart(2, F::TRANSMIT_OFFLOADS.bits());
    // The answer to what was asked before.
    flow.pause();
    assert!(flow.send(LONG));
    assert_eq!((flow.sent(), flow.asked()), (1, (2, 2)));
    assert!(!flow.send(LONG));
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 2);
    flow.rig.bench.guest.finish();
}

#[test]
fn a_pause_after_frames_that_were_notified_of_means_nothing() {
    let mut flow = Flow::new();
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 1);
    assert!(!flow.send(LONG));
    assert!(flow.send(LONG));
    // They are with the driver when the news comes.
    flow.pause();
    assert_eq!(flow.sent(), 2);
    assert_eq!(flow.rig.counter(counter::UNNOTIFIED), 1);
    assert_eq!(flow.asked(), (2, 2));
    assert!(!flow.send(LONG));
    flow.rig.bench.guest.abandon();
}

#[test]
fn a_pause_that_nobody_asked_for_means_nothing() {
    let mut flow = Flow::new();
    flow.pause();
    assert!(flow.send(LONG));
    flow.pause();
    assert_eq!(flow.sent(), 1);
    assert!(!flow.send(LONG));
    assert!(flow.send(LONG));
    assert_eq!(flow.sent(), 2);
    flow.rig.bench.guest.finish();
}

#[test]
fn many_frames_made_of_one_wait_for_pauses_of_the_guest() {
    let mut flow = Flow::of(1024, Setup::default());
    let segment = Segment::plain(5000);
    let buffers = chain(&segment.request(1), &segment.to_do(), &[]);
    flow.bench().guest.queue(TRANSMITQ).add_indirect(&buffers);
    flow.bench().kick(TRANSMITQ);
    for round in 1..5 {
        let made = flow.rig.all_sent().len();
        assert!((1024..1280).contains(&made), "{made}");
        assert_eq!(flow.asked(), (round, round as usize));
        assert_eq!(flow.bench().guest.queue(TRANSMITQ).collect().len(), 0);
        // Whatever else wakes it, it does not go on.
        flow.send(100);
        flow.bench().turn();
        assert_eq!(flow.rig.all_sent().len(), 0);
        flow.pause();
    }
    assert_eq!(flow.sent(), 1 + 4);
    assert_eq!(flow.rig.counter(counter::MADE), 5000 + 4);
}

#[test]
fn a_reset_does_not_spare_a_guest_the_pause() {
    let mut flow = Flow::of(1024, Setup::default());
    let segment = Segment::plain(5000);
    let buffers = chain(&segment.request(1), &segment.to_do(), &[]);
    let add = |flow: &mut Flow| {
        let mut queue = flow.bench().guest.queue(TRANSMITQ);
        queue.add_indirect(&buffers);
    };
    add(&mut flow);
    flow.bench().kick(TRANSMITQ);
    assert!(flow.rig.all_sent().len() >= 1024);
    flow.bench().reset();
    flow.rig.wire.reset();
    flow.bench().turn();
    flow.bench().restart(2, F::TRANSMIT_OFFLOADS.bits());
    add(&mut flow);
    flow.bench().kick(TRANSMITQ);
    assert_eq!(flow.rig.all_sent().len(), 0);
    flow.pause();
    assert!(flow.rig.all_sent().len() >= 1024);
    flow.rig.bench.guest.abandon();
}
