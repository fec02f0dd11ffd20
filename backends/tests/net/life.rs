//! Back-pressure, resets and restarts.

use crate::common::disk::NOWHERE;
use crate::common::wire::Wire;
use crate::rig::{GARBAGE, RECEIVEQ, Rig, TRANSMITQ, WHOLE, frame, mergeable, plain};
use sel4cp_backends::net::counter;
use sel4cp_model::net::Features as NetFeatures;
use sel4cp_ring::layout::{DEVICE_SIZE, device_size};
use sel4cp_ring::request::{Completion, Segment, status};
use sel4cp_testing::{Buffer, readable, writable};

#[test]
fn s2_1_2_a_buffer_outside_ram_breaks_the_device() {
    for queue in [RECEIVEQ, TRANSMITQ] {
        let mut rig = Rig::running(u64::MAX);
        rig.offer(&[writable(WHOLE)]);
        let outside = Buffer::At {
            address: NOWHERE,
            len: 2000,
            writable: queue == RECEIVEQ,
        };
        rig.bench.guest.queue(queue).add(&[outside]);
        rig.bench.kick(queue);
        rig.bench.assert_broken();
        assert!(!rig.bench.reset(), "the driver has a buffer");
        rig.wire.reset();
        assert!(rig.bench.turn().reset_done);
        rig.bench.restart(2, 0);
        assert_eq!(rig.send(&[plain(), readable(frame(60))]).len(), 1);
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_1_6_4_frames_arrive_unfinished_where_the_guest_takes_them_so() {
    use NetFeatures as F;
    let mut rig = Rig::behind(DEVICE_SIZE, 1500, F::RECEIVE_OFFLOADS);
    let taken = F::GUEST_CSUM | F::GUEST_TSO4;
    rig.bench.start((taken | F::MRG_RXBUF).bits());
    for _ in 0..50 {
        rig.offer(&[writable(WHOLE)]);
    }
    rig.wire.take();
    let resets: Vec<u64> = rig.wire.resets.iter().map(|reset| reset.sector).collect();
    assert_eq!(resets, [taken.bits()], "the hardware is to do the same");
    assert!(rig.wire.buffers.is_empty(), "not before it does");
    assert!(rig.wire.reset());
    rig.bench.turn();
    rig.wire.take();
    let room = |segments: &[Segment]| segments.iter().map(|segment| segment.len).sum::<u32>();
    let rooms: Vec<u32> = rig.wire.buffers.iter().map(|(_, all)| room(all)).collect();
    assert_eq!(rooms, [43 * WHOLE], "as much as the longest frame needs");
    let header = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    rig.wire.deliver(&frame(60_000), header);
    rig.bench.turn();
    let got = rig.bench.guest.queue(RECEIVEQ).collect();
    assert_eq!(got.len(), 40);
    assert_eq!(got[0].bytes[..10], header[..10]);
    assert_eq!(got[0].bytes[10..12], [40, 0]);
    let bytes: Vec<u8> = got.into_iter().flat_map(|used| used.bytes).collect();
    assert!(bytes[12..] == frame(60_000));
    // The next driver takes no such frames.
    assert!(!rig.bench.reset());
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    rig.restart_plain();
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(60)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn s2_4_a_reset_takes_all_buffers_back_first() {
    let mut rig = Rig::running(0);
    rig.offer(&[writable(WHOLE)]);
    rig.bench
        .guest
        .queue(TRANSMITQ)
        .add(&[plain(), readable(frame(60))]);
    rig.bench.kick(TRANSMITQ);
    rig.wire.take();
    assert!(!rig.bench.reset());
    let used = rig.bench.guest.queue(RECEIVEQ).used_index();
    // A frame arrives all the same: it goes nowhere.
    rig.wire.deliver(&frame(60), GARBAGE);
    assert!(!rig.bench.turn().reset_done);
    assert_eq!(rig.bench.guest.queue(RECEIVEQ).used_index(), used);
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).used_index(), 0);
    rig.bench.restart(2, 0);
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(61)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn resets_one_after_another_do_not_mix() {
    let mut rig = Rig::running(0);
    for round in 0..5_usize {
        rig.offer(&[writable(WHOLE)]);
        assert!(!rig.bench.reset());
        // Asked again while it is under way.
        rig.bench.vmm.reset();
        assert!(!rig.bench.turn().reset_done);
        rig.wire.reset();
        assert!(rig.bench.turn().reset_done, "round {round}");
        rig.bench.restart(2, 0);
    }
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(61)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn a_full_ring_delays_frames_and_buffers() {
    // 2048 entries: 100 frames of 31 pieces do not fit.
    let mut rig = Rig::new(device_size(2048), 1500);
    rig.bench.start(0);
    let mut buffers = vec![plain()];
    buffers.extend((0..31).map(|_| readable([3; 10])));
    for _ in 0..100 {
        rig.bench.guest.queue(TRANSMITQ).add_indirect(&buffers);
    }
    rig.bench.kick(TRANSMITQ);
    assert!(rig.counter(counter::DELAYED) > 0);
    rig.offer(&[writable(WHOLE)]);
    let mut done = 0;
    for _ in 0..100 {
        // `sent` gives the ring's slots back; the backend was promised a wake-up for that.
        let asked = rig.wire.take();
        rig.wire.sent();
        if asked || done == 0 {
            rig.bench.turn();
        }
        done += rig.bench.guest.queue(TRANSMITQ).collect().len();
    }
    rig.bench.turn();
    done += rig.bench.guest.queue(TRANSMITQ).collect().len();
    assert_eq!(done, 100);
    assert_eq!(rig.deliver(&frame(60)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn a_driver_that_starts_again_gives_everything_back() {
    let mut rig = Rig::running(0);
    rig.offer(&[writable(WHOLE)]);
    rig.bench
        .guest
        .queue(TRANSMITQ)
        .add(&[plain(), readable(frame(60))]);
    rig.bench.kick(TRANSMITQ);
    rig.wire.take();
    rig.wire = Wire::new(rig.region, rig.bench.guest.ram());
    rig.bench.turn();
    assert!(rig.bench.guest.queue(RECEIVEQ).collect().is_empty());
    rig.wire.reset();
    rig.bench.turn();
    assert_eq!(rig.bench.guest.queue(RECEIVEQ).collect()[0].len, 0);
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(60)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn a_driver_that_lies_is_trusted_no_more() {
    // Ids of nothing, of a second buffer of an offer, of buffers being joined.
    for id in [0, 1, 200, 0x8001, 0x8003, 0x80ff, 0x8100, 0xbfff] {
        let mut rig = Rig::running(mergeable());
        rig.offer(&[writable(1000)]);
        rig.offer(&[writable(1000)]);
        rig.offer(&[writable(900)]);
        rig.wire.take();
        let (header, _) = rig.wire.buffers[0];
        rig.lie(&header, id, 1526);
    }
}

#[test]
fn a_driver_that_lies_about_lengths_changes_nothing_else() {
    for (len, expected) in [
        (u32::MAX, vec![1000, 1000]),
        (25, vec![0, 0]),
        (0, vec![0, 0]),
        (2001, vec![1000, 1000]),
    ] {
        let mut rig = Rig::running(mergeable());
        rig.offer(&[writable(1000)]);
        rig.offer(&[writable(1000)]);
        rig.wire.take();
        let (header, _) = rig.wire.buffers.remove(0);
        rig.wire.answer(Completion::of(&header, status::OK, len));
        rig.bench.turn();
        let used = rig.bench.guest.queue(RECEIVEQ).collect();
        assert_eq!(
            used.iter().map(|used| used.len).collect::<Vec<_>>(),
            expected
        );
        assert!(rig.bench.trouble.is_none());
        rig.bench.guest.finish();
    }
}

#[test]
fn notifications_are_few() {
    let mut rig = Rig::running(0);
    let before = rig.bench.driver_notified;
    for _ in 0..32 {
        rig.bench
            .guest
            .queue(TRANSMITQ)
            .add(&[plain(), readable(frame(60))]);
    }
    rig.bench.kick(TRANSMITQ);
    assert_eq!(
        rig.bench.driver_notified - before,
        1,
        "32 frames, one notification"
    );
    let told = rig.bench.vmm_notified;
    rig.wire.sent();
    rig.bench.turn();
    assert_eq!(
        rig.bench.vmm_notified - told,
        1,
        "32 completions, one interrupt"
    );
    // A guest that does not want an interrupt gets none.
    rig.bench.guest.queue(TRANSMITQ).collect();
    rig.bench.guest.queue(TRANSMITQ).disable_interrupts();
    assert!(rig.bench.take_interrupt());
    rig.bench
        .guest
        .queue(TRANSMITQ)
        .add(&[plain(), readable(frame(60))]);
    rig.bench.kick(TRANSMITQ);
    rig.wire.sent();
    rig.bench.turn();
    assert!(!rig.bench.take_interrupt());
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    rig.bench.guest.finish();
}

impl Rig {
    /// How many receive buffers the driver has, when it has been shown all: it is with a frame to be sent.
    fn all_buffers(&mut self) -> usize {
        assert_eq!(self.send(&[plain(), readable(frame(60))]).len(), 1);
        self.wire.buffers.len()
    }
}

#[test]
fn the_driver_is_shown_buffers_when_it_has_few() {
    let mut rig = Rig::running(0);
    let (mut shown, mut told) = (Vec::new(), 0);
    for count in 1..=32 {
        let before = rig.bench.driver_notified;
        rig.offer(&[writable(WHOLE)]);
        let notified = rig.bench.driver_notified != before;
        rig.wire.take();
        told += usize::from(notified);
        shown.push(rig.wire.buffers.len());
        assert!(4 * rig.wire.buffers.len() >= 3 * count, "{shown:?}");
    }
    assert_eq!(shown[..4], [1, 2, 3, 3]);
    assert!(told < 16, "{told} notifications");
    // As when frames arrive: those that it had are not used up before it gets more.
    for _ in 0..32 {
        assert_eq!(rig.deliver(&frame(60)).len(), 1);
    }
    rig.bench.guest.finish();
}

#[test]
fn a_guest_with_many_buffers_need_not_tell_of_more_and_loses_none() {
    for features in [0, !mergeable()] {
        let mut rig = Rig::running(features);
        let buffers = [writable(12 + 1514)];
        for _ in 0..110 {
            rig.offer(&buffers);
        }
        rig.wire.take();
        assert!((72..=96).contains(&rig.wire.buffers.len()));
        rig.bench.guest.queue(RECEIVEQ).add(&buffers);
        assert!(!rig.bench.kick(RECEIVEQ), "{features:#x}");
        // The next frame makes the backend look.
        assert_eq!(rig.deliver(&frame(60)).len(), 1);
        assert_eq!(rig.all_buffers(), 110);
        // With few left, it wants to know again.
        for _ in 0..30 {
            assert_eq!(rig.deliver(&frame(60)).len(), 1);
        }
        rig.bench.guest.queue(RECEIVEQ).add(&buffers);
        assert!(rig.bench.kick(RECEIVEQ), "{features:#x}");
        assert_eq!(rig.all_buffers(), 81);
        for _ in 0..81 {
            assert_eq!(rig.deliver(&frame(60)).len(), 1);
        }
        rig.bench.guest.finish();
    }
}

#[test]
fn frames_that_are_made_while_others_are_sent_need_no_notification() {
    for features in [0, u64::MAX] {
        let mut rig = Rig::running(features);
        let buffers = [plain(), readable(frame(60))];
        rig.bench.guest.queue(TRANSMITQ).add(&buffers);
        assert!(rig.bench.kick(TRANSMITQ));
        rig.bench.guest.queue(TRANSMITQ).add(&buffers);
        assert!(!rig.bench.kick(TRANSMITQ), "{features:#x}");
        // The first frame's completion makes the backend look.
        assert_eq!(rig.wire.sent().len(), 1);
        rig.bench.turn();
        assert_eq!(rig.wire.sent().len(), 1);
        rig.bench.turn();
        rig.bench.guest.queue(TRANSMITQ).add(&buffers);
        assert!(rig.bench.kick(TRANSMITQ), "{features:#x}");
        assert_eq!(rig.wire.sent().len(), 1);
        rig.bench.turn();
        assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 3);
        rig.bench.guest.finish();
    }
}

#[test]
fn no_more_is_offered_than_the_hardware_holds() {
    let mut rig = Rig::new(DEVICE_SIZE, 1500);
    rig.wire.facts.receive_buffers = 40;
    let facts = rig.wire.facts;
    rig.wire.ends.info.change(&facts);
    rig.bench.start(0);
    for _ in 0..60 {
        rig.offer(&[writable(12), writable(1514)]);
    }
    // A frame to be sent does not wait behind them.
    let held = rig.all_buffers();
    assert!((8..=40).contains(&held), "{held}");
    // And each frame that arrives makes room for another buffer.
    for _ in 0..60 {
        assert_eq!(rig.deliver(&frame(60)).len(), 1);
    }
    rig.bench.turn();
    rig.bench.guest.finish();
}
