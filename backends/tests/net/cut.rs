//! What the device does to frames itself: checksums, and pieces of long ones (virtIO 1.2 §5.1.6.2).

use crate::common::wire::Wire;
use crate::rig::{RECEIVEQ, Rig, TRANSMITQ, WHOLE, frame, plain};
use crate::tcp::{ACK, CWR, FIN, PSH, Segment, any_segment, chain, checksum};
use proptest::prelude::*;
use sel4cp_backends::net::Net;
use sel4cp_backends::net::counter;
use sel4cp_model::net::{Features as F, Header};
use sel4cp_ring::layout::{DEVICE_SIZE, device_size};
use sel4cp_ring::net::Offload;
use sel4cp_ring::request::{Completion, status};
use sel4cp_testing::{Buffer, readable, readable_obj, writable};

/// Bytes for 256 frames.
pub(crate) const FRAMES: u64 = 256 * 2048;

/// Behind hardware that offers `hardware`, before a guest that takes everything.
pub(crate) fn making(hardware: F) -> Rig {
    let mut rig = Rig::with(DEVICE_SIZE, 1500, hardware, FRAMES);
    rig.bench.start(F::TRANSMIT_OFFLOADS.bits());
    rig
}

impl Rig {
    pub(crate) fn add(&mut self, buffers: &[Buffer]) {
        self.bench.guest.queue(TRANSMITQ).add_indirect(buffers);
        self.bench.kick(TRANSMITQ);
    }

    /// Everything that comes to the driver until nothing more does; it is woken by completions only.
    pub(crate) fn all_sent(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let sent = self.wire.sent();
            if sent.is_empty() {
                return all;
            }
            assert!(sent.len() <= 256, "more than there is room for");
            all.extend(sent);
            self.bench.turn();
        }
    }

    fn made(&mut self, header: &Header, bytes: &[u8], cuts: &[u16]) -> Vec<Vec<u8>> {
        self.add(&chain(header, bytes, cuts));
        let sent = self.all_sent();
        assert_eq!(
            self.bench.guest.queue(TRANSMITQ).collect().len(),
            1,
            "came back, once"
        );
        sent
    }
}

fn sum_of(csum_start: u16, csum_offset: u16) -> Header {
    Header {
        flags: Header::NEEDS_CSUM,
        csum_start: csum_start.into(),
        csum_offset: csum_offset.into(),
        ..Header::default()
    }
}

#[test]
fn s5_1_3_what_is_done_here_is_offered_whatever_the_hardware_does() {
    let offered = |hardware, mtu, frames| {
        let mut rig = Rig::with(DEVICE_SIZE, mtu, hardware, frames);
        rig.bench.start(0);
        let facts = *rig.bench.vmm.facts().unwrap();
        rig.bench.guest.finish();
        F::from_bits_truncate(facts.features) & (F::TRANSMIT_OFFLOADS | F::RECEIVE_OFFLOADS)
    };
    let (send, receive) = (F::TRANSMIT_OFFLOADS, F::RECEIVE_OFFLOADS);
    let join = F::GUEST_CSUM | F::LONG;
    assert_eq!(offered(F::empty(), 1500, FRAMES), send | join);
    assert_eq!(offered(F::CSUM, 1500, FRAMES), send | join);
    assert_eq!(offered(receive, 1500, FRAMES), send | receive);
    // Frames that do not fit a place, or no place at all.
    assert_eq!(offered(F::empty(), 2022, FRAMES), send | join);
    assert_eq!(offered(F::empty(), 2023, FRAMES), join);
    assert_eq!(offered(F::CSUM, 9000, FRAMES), F::CSUM | join);
    assert_eq!(offered(F::CSUM, 1500, 2047), F::CSUM | join);
    assert_eq!(offered(F::empty(), 1500, 4096), send | join);
}

#[test]
fn s5_1_6_3_frames_that_arrive_are_no_longer_than_the_links() {
    let mut rig = making(F::empty());
    // A guest without MRG_RXBUF, whose buffers hold one frame of the link each.
    for _ in 0..3 {
        rig.offer(&[writable(WHOLE)]);
        assert_eq!(rig.deliver(&frame(1514)).len(), 1);
    }
    rig.wire.take();
    assert!(
        rig.wire.resets.is_empty(),
        "the hardware is set up as before"
    );
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_a_checksum_is_completed() {
    let mut rig = making(F::empty());
    let segment = Segment {
        sequence: 7,
        ..Segment::plain(1300)
    };
    let header = sum_of(34, 16);
    for cuts in [&[][..], &[1000], &[20, 500, 7000, 7001, 60_000]] {
        assert_eq!(rig.made(&header, &segment.to_do(), cuts), [segment.done()]);
    }
    assert_eq!(rig.counter(counter::MADE), 3);
    assert_eq!(rig.counter(counter::TRANSMITTED), 3);
    assert_eq!(rig.counter(counter::TRANSMITTED_BYTES), 3 * 1354);
    // Of nothing but zeroes it is 0xffff, which UDP tells from none at all.
    let mut zeroes = vec![0; 100];
    let sent = rig.made(&sum_of(20, 6), &zeroes, &[]);
    zeroes[26..28].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(sent, [zeroes]);
    // What asks for nothing goes as it is, from where it is.
    assert_eq!(rig.send(&[plain(), readable(frame(60))]), [frame(60)]);
    assert_eq!(rig.counter(counter::MADE), 4);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_a_segment_is_cut() {
    for v6 in [false, true] {
        for tagged in [false, true] {
            let mut rig = making(F::empty());
            let segment = Segment {
                v6,
                tagged,
                flags: ACK | PSH | FIN | CWR,
                tcp_options: vec![1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7],
                ..Segment::plain(60_000)
            };
            let bytes = segment.to_do();
            // A guest's: headers and the start of the data, then pages.
            let cuts: Vec<u16> = (1..15).map(|page| page * 4400).collect();
            let sent = rig.made(&segment.request(1428), &bytes, &cuts);
            assert_eq!(sent.len(), 43);
            assert!(sent == segment.pieces(1428));
            assert_eq!(rig.counter(counter::TRANSMITTED), 1);
            assert_eq!(rig.counter(counter::TRANSMITTED_BYTES), bytes.len() as u64);
            assert_eq!(rig.counter(counter::MADE), 43);
            rig.bench.guest.finish();
        }
    }
}

#[test]
fn s5_1_6_2_the_length_of_the_headers_is_a_hint_that_is_not_needed() {
    let mut rig = making(F::empty());
    let segment = Segment::plain(3000);
    for hdr_len in [0, 1, 54, 55, 3054] {
        let header = Header {
            hdr_len: hdr_len.into(),
            ..segment.request(1000)
        };
        assert!(
            rig.made(&header, &segment.to_do(), &[]) == segment.pieces(1000),
            "{hdr_len}"
        );
    }
    rig.bench.guest.finish();
}

#[test]
fn what_the_hardware_does_is_left_to_it() {
    let segment = Segment::plain(3000);
    let ecn = Segment {
        flags: ACK | CWR,
        ..segment.clone()
    };
    let v6 = Segment {
        v6: true,
        ..segment.clone()
    };
    for (hardware, passed) in [
        (F::empty(), [false; 4]),
        (F::CSUM, [true, false, false, false]),
        (F::CSUM | F::HOST_TSO4, [true, true, false, false]),
        (F::CSUM | F::HOST_TSO6, [true, false, true, false]),
        (F::TRANSMIT_OFFLOADS, [true; 4]),
        (F::HOST_TSO4, [false; 4]),
    ] {
        let mut rig = making(hardware);
        let short = Segment {
            payload: vec![3; 100],
            ..segment.clone()
        };
        let frames = [
            (sum_of(34, 16), &short, vec![short.done()]),
            (segment.request(1000), &segment, segment.pieces(1000)),
            (v6.request(1000), &v6, v6.pieces(1000)),
            (ecn.request(1000), &ecn, ecn.pieces(1000)),
        ];
        for ((header, segment, made), passed) in frames.into_iter().zip(passed) {
            rig.add(&chain(&header, &segment.to_do(), &[]));
            rig.wire.take();
            let asked = Offload::of(&rig.wire.sent[0].0) != Offload::default();
            assert_eq!(asked, passed, "{hardware:?} {header:?}");
            let sent = rig.all_sent();
            assert_eq!(sent, if passed { vec![segment.to_do()] } else { made });
            assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
        }
        rig.bench.guest.finish();
    }
}

#[test]
fn many_small_pieces_wait_for_places_and_what_follows_waits_for_them() {
    let mut rig = making(F::empty());
    let segment = Segment::plain(1000);
    let after = [plain(), readable(frame(60))];
    rig.bench
        .guest
        .queue(TRANSMITQ)
        .add(&chain(&segment.request(1), &segment.to_do(), &[9000]));
    rig.bench.guest.queue(TRANSMITQ).add(&after);
    rig.bench.kick(TRANSMITQ);
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 256, "as many as there are places");
    assert!(rig.bench.guest.queue(TRANSMITQ).collect().is_empty());
    // A guest that goes on need not say so: what comes back makes the device look.
    rig.bench.guest.queue(TRANSMITQ).add(&after);
    assert!(!rig.bench.kick(TRANSMITQ));
    // One place comes back, and is used again.
    let (first, bytes) = rig.wire.sent.remove(0);
    assert_eq!(bytes, segment.pieces(1)[0]);
    rig.wire.answer(Completion::of(&first, status::OK, 0));
    rig.bench.turn();
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 256);
    let mut sent = rig.all_sent();
    assert_eq!(sent.split_off(999), [frame(60), frame(60)]);
    assert!(sent == segment.pieces(1)[1..]);
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 3);
    // At rest, it wants to know again.
    rig.bench.guest.queue(TRANSMITQ).add(&after);
    assert!(rig.bench.kick(TRANSMITQ));
    assert_eq!(rig.all_sent().len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn frames_that_are_made_need_no_notification_while_others_are_sent() {
    let mut rig = making(F::empty());
    let segment = Segment::plain(100);
    let buffers = chain(&segment.request(1000), &segment.to_do(), &[]);
    for _ in 0..3 {
        rig.bench.guest.queue(TRANSMITQ).add(&buffers);
        assert!(rig.bench.kick(TRANSMITQ));
        rig.bench.guest.queue(TRANSMITQ).add(&buffers);
        assert!(!rig.bench.kick(TRANSMITQ));
        assert_eq!(rig.all_sent().len(), 2);
        assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 2);
    }
    rig.bench.guest.finish();
}

#[test]
fn a_full_ring_delays_pieces() {
    let mut rig = Rig::with(device_size(2048), 1500, F::empty(), FRAMES);
    rig.bench.start(F::TRANSMIT_OFFLOADS.bits());
    let mut buffers = vec![plain()];
    buffers.extend((0..31).map(|_| readable([3; 10])));
    // All but 32 entries.
    for _ in 0..63 {
        rig.bench.guest.queue(TRANSMITQ).add_indirect(&buffers);
    }
    let segment = Segment::plain(6000);
    let long = chain(&segment.request(100), &segment.to_do(), &[]);
    rig.bench.guest.queue(TRANSMITQ).add(&long);
    rig.bench.kick(TRANSMITQ);
    assert_eq!(rig.counter(counter::DELAYED), 1);
    assert!(rig.wire.take(), "the device asked to be told of room");
    rig.bench.turn();
    rig.wire.take();
    let sent: Vec<_> = rig.all_sent().into_iter().skip(63).collect();
    assert!(sent == segment.pieces(100));
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 64);
    rig.bench.guest.finish();
}

/// A device that is cutting, with all places in the driver's hands, and a buffer to receive into.
fn cutting() -> (Rig, Segment) {
    let mut rig = making(F::empty());
    let segment = Segment::plain(1000);
    rig.offer(&[writable(WHOLE)]);
    rig.add(&chain(&segment.request(1), &segment.to_do(), &[]));
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 256);
    (rig, segment)
}

#[test]
fn s2_4_a_reset_ends_what_is_being_cut() {
    let (mut rig, _) = cutting();
    assert!(!rig.bench.reset());
    // Some were sent all the same, and no more are made.
    let (first, _) = rig.wire.sent.remove(0);
    rig.wire.answer(Completion::of(&first, status::OK, 0));
    assert!(!rig.bench.turn().reset_done, "the driver has the others");
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 255);
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).used_index(), 0);
    rig.bench.restart(2, F::TRANSMIT_OFFLOADS.bits());
    let segment = Segment::plain(5000);
    for _ in 0..200 {
        let sent = rig.made(&segment.request(1000), &segment.to_do(), &[]);
        assert!(sent == segment.pieces(1000));
    }
    rig.bench.guest.finish();
}

#[test]
fn a_driver_that_starts_again_loses_pieces_and_gets_the_others() {
    let (mut rig, segment) = cutting();
    rig.wire = Wire::new(rig.region, rig.bench.guest.ram());
    rig.wire.frames = rig.frames.as_ref().map(sel4cp_memory::HostRam::ram);
    rig.bench.turn();
    assert!(rig.bench.guest.queue(TRANSMITQ).collect().is_empty());
    rig.wire.take();
    assert!(
        rig.wire.sent.is_empty(),
        "no place is used before the reset is done"
    );
    rig.wire.reset();
    rig.bench.turn();
    assert!(rig.all_sent() == segment.pieces(1)[256..]);
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    assert_eq!(rig.bench.guest.queue(RECEIVEQ).collect()[0].len, 0);
    rig.bench.guest.finish();
}

#[test]
fn a_device_that_starts_again_uses_no_place_that_the_driver_has() {
    let (mut rig, _) = cutting();
    let (ram, memory) = (rig.bench.guest.ram(), rig.wire.frames);
    let net = Net::new(rig.region, ram, memory, None, [2, 0, 0, 0, 0, 7], 1500);
    rig.bench.revive(net);
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 256, "no more than before");
    rig.wire.reset();
    rig.bench.turn();
    assert!(rig.bench.needs_reset);
    if !rig.bench.reset() {
        rig.wire.reset();
        assert!(rig.bench.turn().reset_done);
    }
    rig.bench.restart(2, F::TRANSMIT_OFFLOADS.bits());
    let segment = Segment::plain(5000);
    let sent = rig.made(&segment.request(1000), &segment.to_do(), &[]);
    assert!(sent == segment.pieces(1000));
    rig.bench.guest.abandon();
}

#[test]
fn a_driver_that_gives_back_what_it_has_not_is_trusted_no_more() {
    for id in [0x4001, 0x40ff, 0x4100, 0x7fff] {
        let mut rig = making(F::empty());
        let segment = Segment::plain(100);
        rig.add(&chain(&segment.request(1000), &segment.to_do(), &[]));
        rig.wire.take();
        let (header, _) = rig.wire.sent[0];
        assert_eq!(header.id, 0x4000);
        rig.lie(&header, id, 0);
    }
}

#[test]
fn what_a_driver_refuses_is_lost_and_its_chain_comes_back() {
    let mut rig = making(F::empty());
    let segment = Segment::plain(2000);
    rig.add(&chain(&segment.request(1000), &segment.to_do(), &[]));
    rig.wire.take();
    for (header, _) in std::mem::take(&mut rig.wire.sent) {
        rig.wire
            .answer(Completion::of(&header, status::UNSUPPORTED, 0));
    }
    rig.bench.turn();
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    assert!(rig.bench.trouble.is_none());
    rig.bench.guest.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the headers, sizes and buffers are: the pieces are those of the other implementation, byte for byte.
    #[test]
    fn s5_1_6_2_pieces_are_right(
        segment in any_segment(),
        size in prop_oneof![1 => 1_u16..40, 6 => 200_u16..1400],
        cuts in prop::collection::vec(any::<u16>(), 0..20),
        alignment in 0_usize..16,
    ) {
        // Not more than a few thousand pieces.
        let most = usize::from(size) * 1500;
        let payload = segment.payload[..segment.payload.len().min(most)].to_vec();
        let segment = Segment { payload, ..segment };
        let fits = segment.headers() <= 192 && usize::from(size) + segment.headers() - segment.network() <= 1500;
        let mut rig = making(F::empty());
        let address = rig.bench.guest.allocate(u32::try_from(alignment).unwrap());
        let _only_moves_what_follows = address;
        let sent = rig.made(&segment.request(size), &segment.to_do(), &cuts);
        let expected = if fits { segment.pieces(size) } else { Vec::new() };
        prop_assert!(sent == expected, "{} of {}", sent.len(), expected.len());
        rig.bench.guest.finish();
    }

    #[test]
    fn s5_1_6_2_checksums_are_right(
        bytes in prop::collection::vec(any::<u8>(), 14..1519),
        place in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        cuts in prop::collection::vec(any::<u16>(), 0..20),
    ) {
        let mut rig = making(F::empty());
        let start = place.0.index(bytes.len() - 1);
        let offset = place.1.index(bytes.len() - 1 - start);
        let header = sum_of(start.try_into().unwrap(), offset.try_into().unwrap());
        let mut expected = bytes.clone();
        let sum = checksum(&bytes[start..]).to_be_bytes();
        expected[start + offset..][..2].copy_from_slice(&sum);
        prop_assert_eq!(rig.made(&header, &bytes, &cuts), [expected]);
        rig.bench.guest.finish();
    }
}

/// Also what is only a header before a frame is a chain.
#[test]
fn a_header_alone_is_refused() {
    let mut rig = making(F::empty());
    rig.add(&[readable_obj(&Segment::plain(0).request(1))]);
    assert_eq!(rig.counter(counter::TRANSMIT_DROPPED), 1);
    rig.bench.guest.finish();
}
