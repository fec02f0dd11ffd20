//! Frames that the hardware puts into several buffers (virtIO 1.2 §5.1.6.4, MRG_RXBUF).

use crate::rig::{RECEIVEQ, Rig, TRANSMITQ, WHOLE, frame, plain};
use sel4cp_backends::net::counter;
use sel4cp_model::net::Features as F;
use sel4cp_ring::layout::DEVICE_SIZE;
use sel4cp_ring::request::{Completion, status};
use sel4cp_testing::{readable, writable};

/// Behind hardware that merges buffers, before a guest that accepts `features`.
fn merging(features: F) -> Rig {
    Rig::agreed(F::MRG_RXBUF | F::RECEIVE_OFFLOADS, features)
}

/// With buffers of these sizes, each in two pieces.
fn offering(sizes: &[u32]) -> Rig {
    let mut rig = merging(F::MRG_RXBUF | F::GUEST_CSUM | F::GUEST_TSO4);
    for size in sizes {
        rig.offer(&[writable(5), writable(*size - 5)]);
    }
    rig
}

impl Rig {
    /// The guest's used buffers after these completions.
    fn complete(&mut self, done: &[Completion]) -> Vec<Vec<u8>> {
        for completion in done {
            self.wire.answer(*completion);
        }
        self.bench.turn();
        let used = self.bench.guest.queue(RECEIVEQ).collect();
        used.into_iter().map(|used| used.bytes).collect()
    }

    fn arrive(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let done = self.wire.merge(frame, None);
        self.complete(&done)
    }

    /// The hardware is reset, and everything comes back empty; then a frame arrives as always.
    fn recovers(mut self, buffers: usize) {
        self.wire.take();
        let resets: Vec<u64> = self.wire.resets.iter().map(|reset| reset.sector).collect();
        let taken = F::MRG_RXBUF | F::GUEST_CSUM | F::GUEST_TSO4;
        assert_eq!(resets, [taken.bits()], "with what was agreed");
        assert!(!self.bench.needs_reset, "the guest goes on");
        assert!(self.wire.reset());
        let back = self.complete(&[]);
        assert_eq!(back, vec![Vec::new(); buffers]);
        self.offer(&[writable(WHOLE)]);
        assert_eq!(self.arrive(&frame(60)).concat()[12..], frame(60));
        assert_eq!(self.send_one(), 1);
        self.bench.guest.finish();
    }

    fn send_one(&mut self) -> usize {
        self.send(&[plain(), readable(frame(60))]).len()
    }
}

#[test]
fn s5_1_3_the_hardware_merges_what_the_guest_lets_merge() {
    for (features, agreed) in [
        (F::MRG_RXBUF, vec![F::MRG_RXBUF.bits()]),
        (
            F::MRG_RXBUF | F::GUEST_CSUM,
            vec![(F::MRG_RXBUF | F::GUEST_CSUM).bits()],
        ),
        (F::empty(), vec![]),
    ] {
        let mut rig = Rig::behind(DEVICE_SIZE, 1500, F::MRG_RXBUF | F::RECEIVE_OFFLOADS);
        rig.bench.start(features.bits());
        rig.wire.take();
        let resets: Vec<u64> = rig.wire.resets.iter().map(|reset| reset.sector).collect();
        assert_eq!(resets, agreed, "{features:?}");
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_1_6_4_each_buffer_is_offered_by_itself() {
    let mut rig = merging(F::MRG_RXBUF | F::GUEST_CSUM | F::GUEST_TSO4);
    rig.offer(&[writable(12)]);
    rig.offer(&[writable(1500)]);
    rig.offer(&[writable(11)]);
    rig.wire.take();
    let lens: Vec<u32> = rig.wire.buffers.iter().map(|(_, all)| all[0].len).collect();
    assert_eq!(lens, [12, 1500]);
    // No room for the header: it comes back.
    assert_eq!(rig.complete(&[]), [vec![]]);
    rig.end();
}

#[test]
fn s5_1_6_4_frames_of_one_and_of_several_buffers() {
    let mut rig = offering(&[WHOLE, 100, 1000, 500, 12, 30, 2000]);
    let lens = |got: &[Vec<u8>]| got.iter().map(Vec::len).collect::<Vec<_>>();
    for (bytes, expected) in [
        (1514, vec![1526]),
        (1500, vec![100, 1000, 412]),
        (14, vec![12, 14]),
        (1988, vec![2000]),
    ] {
        let got = rig.arrive(&frame(bytes));
        assert_eq!(lens(&got), expected);
        assert_eq!(usize::from(got[0][10]), expected.len(), "the header stays");
        assert!(got.concat()[12..] == frame(bytes));
    }
    assert!(rig.bench.take_interrupt());
    assert_eq!(rig.counter(counter::RECEIVED), 4);
    assert_eq!(
        rig.counter(counter::RECEIVED_BYTES),
        1514 + 1500 + 14 + 1988
    );
    assert_eq!(rig.counter(counter::RECEIVE_FAILED), 0);
    rig.bench.guest.finish();
}

#[test]
fn the_hardware_has_room_for_a_frame_if_the_guest_has() {
    for (count, size) in [(20, 4096), (32, 4096), (100, 1526), (120, 100)] {
        let mut rig = merging(F::MRG_RXBUF | F::GUEST_CSUM | F::GUEST_TSO4);
        let mut frames = 0;
        for _ in 0..3 {
            // One after another, as a guest may post them; then frames use some up.
            let mut posted = rig.wire.buffers.len();
            while posted < count {
                rig.offer(&[writable(size)]);
                posted += 1;
                rig.wire.take();
                let shown = rig.wire.buffers.len();
                let bytes = u32::try_from(shown).unwrap() * size;
                assert!(
                    shown == posted || bytes >= 0xffff + 18 + 12,
                    "{bytes} bytes of {posted} buffers of {size}"
                );
            }
            for _ in 0..10 {
                frames += 1;
                assert_eq!(rig.arrive(&frame(60)).concat()[12..], frame(60));
            }
        }
        assert_eq!(rig.counter(counter::RECEIVED), frames);
        rig.end();
    }
}

#[test]
fn s5_1_6_4_1_the_guest_gets_all_buffers_of_a_frame_at_once() {
    let mut rig = offering(&[1000; 5]);
    let long = rig.wire.merge(&frame(2500), None);
    let next = rig.wire.merge(&frame(1500), None);
    assert!(rig.complete(&long[..1]).is_empty());
    assert!(!rig.bench.take_interrupt());
    assert!(rig.complete(&long[1..2]).is_empty());
    // The end of one comes with the beginning of another.
    let got = rig.complete(&[long[2], next[0]]);
    assert!(got.len() == 3 && got.concat()[12..] == frame(2500));
    assert!(rig.bench.take_interrupt());
    let got = rig.complete(&next[1..]);
    assert!(got.len() == 2 && got.concat()[12..] == frame(1500));
    rig.end();
}

#[test]
fn many_frames_lose_no_buffer() {
    let mut rig = merging(F::MRG_RXBUF | F::GUEST_CSUM | F::GUEST_TSO4);
    let (mut offered, mut returned) = (0, 0);
    for round in 0..300_usize {
        while offered - returned < 60 {
            rig.offer(&[writable(WHOLE)]);
            offered += 1;
        }
        let bytes = frame(14 + round * 7919 % 65_000);
        let got = rig.arrive(&bytes);
        assert_eq!(usize::from(got[0][10]), got.len(), "round {round}");
        assert!(got.concat()[12..] == bytes, "round {round}");
        returned += got.len();
    }
    assert_eq!(rig.counter(counter::RECEIVED), 300);
    assert_eq!(rig.counter(counter::RECEIVE_FAILED), 0);
    rig.end();
}

#[test]
fn a_number_of_buffers_that_cannot_be_resets_the_hardware() {
    // None, more than there are, more than the frame fills.
    for (number, bytes) in [(0, 60), (5, 988), (u16::MAX, 988), (2, 60), (2, 987)] {
        let mut rig = offering(&[1000; 4]);
        let done = rig.wire.merge(&frame(bytes), Some(number));
        assert_eq!(rig.complete(&done), [vec![]], "{number} for {bytes}");
        assert_eq!(rig.counter(counter::RECEIVE_FAILED), 1);
        rig.recovers(3);
    }
}

#[test]
fn a_frame_that_is_shorter_than_its_number_of_buffers_resets_the_hardware() {
    let mut rig = offering(&[1000; 5]);
    let done = rig.wire.merge(&frame(1500), Some(3));
    assert!(rig.complete(&done[..1]).is_empty());
    // The second of three is not full: both come back, and so does what follows, until the reset.
    assert_eq!(rig.complete(&done[1..]), vec![Vec::new(); 2]);
    let late = rig.wire.merge(&frame(60), None);
    assert_eq!(rig.complete(&late), [vec![]]);
    assert_eq!(rig.counter(counter::RECEIVED), 0);
    rig.recovers(2);
}

#[test]
fn a_frame_with_a_buffer_more_than_it_says_costs_that_and_a_reset() {
    let mut rig = offering(&[1000; 4]);
    let done = rig.wire.merge(&frame(2500), Some(2));
    let got = rig.complete(&done);
    let lens: Vec<usize> = got.iter().map(Vec::len).collect();
    // The third begins a frame, with what is no header.
    assert_eq!(lens, [1000, 1000, 0]);
    rig.recovers(1);
}

#[test]
fn a_driver_that_says_more_than_a_buffer_holds_is_reset() {
    let mut rig = offering(&[1000; 3]);
    let mut done = rig.wire.merge(&frame(60), None);
    done[0].len = 1001;
    assert_eq!(rig.complete(&done), [vec![]]);
    rig.recovers(2);
}

#[test]
fn a_frame_without_an_ethernet_header_is_dropped_and_no_more() {
    let mut rig = offering(&[12, 100, 100]);
    let done = rig.wire.merge(&frame(13), None);
    assert_eq!(rig.complete(&done), vec![Vec::new(); 2]);
    assert_eq!(rig.arrive(&frame(60)).len(), 1);
    assert!(rig.wire.resets.is_empty());
    rig.bench.guest.finish();
}

#[test]
fn a_hardware_reset_in_the_middle_of_a_frame_gives_its_buffers_back() {
    let mut rig = offering(&[1000; 3]);
    let mut done = rig.wire.merge(&frame(2500), None);
    assert!(rig.complete(&done[..1]).is_empty());
    // The driver has reset its hardware by itself, which begins anew.
    for completion in &mut done[1..] {
        *completion = Completion {
            status: status::CANCELLED,
            len: 0,
            ..*completion
        };
    }
    assert_eq!(rig.complete(&done[1..]), vec![Vec::new(); 3]);
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.arrive(&frame(60)).len(), 1);
    assert!(rig.wire.resets.is_empty());
    rig.bench.guest.finish();
}

#[test]
fn s2_4_a_reset_in_the_middle_of_a_frame_forgets_it() {
    let mut rig = offering(&[1000; 4]);
    let done = rig.wire.merge(&frame(1500), None);
    assert!(rig.complete(&done[..1]).is_empty());
    assert!(!rig.bench.reset());
    rig.wire.answer(done[1]);
    assert!(!rig.bench.turn().reset_done);
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    // The next driver's buffers are merged by nobody.
    rig.restart_plain();
    rig.bench.turn();
    rig.bench
        .guest
        .queue(TRANSMITQ)
        .add(&[plain(), readable(frame(60))]);
    rig.bench.kick(TRANSMITQ);
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(60))[0][12..], frame(60));
    rig.wire.sent();
    rig.bench.turn();
    rig.bench.guest.finish();
}

#[test]
fn a_part_of_a_frame_cannot_be_completed_again() {
    let mut rig = offering(&[1000; 3]);
    let done = rig.wire.merge(&frame(1500), None);
    assert!(rig.complete(&done[..1]).is_empty());
    rig.wire.answer(done[0]);
    rig.bench.turn();
    assert!(rig.bench.needs_reset && rig.bench.trouble.is_some());
    rig.bench.guest.abandon();
}
