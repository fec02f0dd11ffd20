//! Frames, right and wrong.

use crate::rig::{RECEIVEQ, Rig, WHOLE, frame, mergeable, plain};
use sel4cp_backends::net::counter;
use sel4cp_link::interrupt;
use sel4cp_model::net::{Config, Features as NetFeatures, Header};
use sel4cp_ring::layout::DEVICE_SIZE;
use sel4cp_ring::net::Offload;
use sel4cp_ring::request::{Completion, status};
use sel4cp_testing::{Buffer, readable, readable_obj, writable};
use zerocopy::FromBytes;

#[test]
fn s5_1_3_features_and_configuration() {
    let mut rig = Rig::running(u64::MAX);
    let facts = *rig.bench.vmm.facts().unwrap();
    use NetFeatures as F;
    let joined = F::GUEST_CSUM | F::LONG;
    let chosen = F::CTRL_VQ | F::CTRL_GUEST_OFFLOADS;
    let all = F::MAC | F::MTU | F::STATUS | F::MRG_RXBUF | joined | chosen;
    assert_eq!((facts.id, facts.features & 0xff_ffff), (1, all.bits()));
    let bytes = rig.bench.config();
    let (config, _) = Config::ref_from_prefix(&bytes).unwrap();
    assert_eq!(config.mac, [2, 0, 0, 0, 0, 7]);
    assert_eq!((config.mtu.get(), config.status.get()), (1500, 1));
    // The cable is pulled.
    rig.wire.facts.link_up = 0;
    let facts = rig.wire.facts;
    rig.wire.ends.info.change(&facts);
    rig.bench.turn();
    assert_eq!(rig.bench.interrupts, interrupt::CONFIGURATION);
    let bytes = rig.bench.config();
    assert_eq!(Config::ref_from_prefix(&bytes).unwrap().0.status.get(), 0);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_frames_go_out_without_their_header() {
    let mut rig = Rig::running(u64::MAX);
    for length in [14, 60, 1514, 1518] {
        let bytes = frame(length);
        // As one buffer, in two, and with the header cut in pieces.
        let whole = [&[0; 12][..], &bytes].concat();
        assert_eq!(rig.send(&[readable(&whole)]), std::slice::from_ref(&bytes));
        assert_eq!(
            rig.send(&[plain(), readable(&bytes)]),
            std::slice::from_ref(&bytes)
        );
        let pieces = [
            readable(&whole[..5]),
            readable(""),
            readable(&whole[5..13]),
            readable(&whole[13..]),
        ];
        assert_eq!(rig.send(&pieces), [bytes]);
    }
    assert_eq!(rig.counter(counter::TRANSMITTED), 12);
    assert_eq!(
        rig.counter(counter::TRANSMITTED_BYTES),
        3 * (14 + 60 + 1514 + 1518)
    );
    assert_eq!(rig.counter(counter::TRANSMIT_DROPPED), 0);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_1_what_may_not_be_sent_comes_back_unsent() {
    let mut rig = Rig::running(u64::MAX);
    let header = |flags, gso_type| {
        readable_obj(&Header {
            flags,
            gso_type,
            ..Header::default()
        })
    };
    let many = [
        &[plain()][..],
        &[const { Vec::new() }; 70].map(|_: Vec<u8>| readable([1])),
    ]
    .concat();
    let cases: [(&str, Vec<Buffer>); 9] = [
        ("too long", vec![plain(), readable(frame(1519))]),
        ("far too long", vec![plain(), readable(frame(9014))]),
        (
            "shorter than an Ethernet header",
            vec![plain(), readable(frame(13))],
        ),
        ("nothing but the header", vec![plain()]),
        ("shorter than the header", vec![readable([0; 11])]),
        (
            "a checksum, which is not offered",
            vec![header(1, 0), readable(frame(60))],
        ),
        (
            "segmentation, which is not offered",
            vec![header(0, 1), readable(frame(60))],
        ),
        ("not readable at all", vec![writable(1514)]),
        ("in more pieces than a frame can have", many),
    ];
    let count = cases.len();
    for (name, buffers) in cases {
        assert!(rig.send(&buffers).is_empty(), "{name}");
    }
    assert_eq!(rig.counter(counter::TRANSMIT_DROPPED), count as u64);
    assert!(!rig.bench.needs_reset);
    assert_eq!(rig.send(&[plain(), readable(frame(64))]).len(), 1);
    rig.bench.guest.finish();
}

/// The header of a TCP segment over IPv4 to be cut into pieces of 1460 bytes.
fn to_cut() -> Header {
    Header {
        flags: Header::NEEDS_CSUM,
        gso_type: Header::GSO_TCPV4,
        hdr_len: 54.into(),
        gso_size: 1460.into(),
        csum_start: 34.into(),
        csum_offset: 16.into(),
        num_buffers: 0.into(),
    }
}

#[test]
fn s5_1_3_1_offloads_are_those_of_the_hardware_and_what_is_joined_here() {
    use NetFeatures as F;
    let all = F::TRANSMIT_OFFLOADS | F::RECEIVE_OFFLOADS;
    let offered = |hardware| {
        let mut rig = Rig::behind(DEVICE_SIZE, 1500, hardware);
        rig.bench.start(u64::MAX);
        let facts = *rig.bench.vmm.facts().unwrap();
        rig.bench.guest.finish();
        F::from_bits_truncate(facts.features) & all
    };
    let join = F::GUEST_CSUM | F::LONG;
    assert_eq!(offered(all), all);
    assert_eq!(offered(F::CSUM), F::CSUM | join);
    assert_eq!(offered(F::HOST_TSO4), join, "it needs checksums");
    assert_eq!(offered(F::CSUM | F::GUEST_TSO6), F::CSUM | join, "the same");
    let one = F::GUEST_CSUM | F::GUEST_TSO4;
    assert_eq!(offered(one), one, "what the hardware leaves is few");
    assert_eq!(offered(F::CTRL_VQ | F::GUEST_UFO | F::MQ), join);
}

#[test]
fn s5_1_6_2_1_what_the_hardware_is_to_do_travels_with_the_frame() {
    let mut rig = Rig::behind(DEVICE_SIZE, 1500, NetFeatures::TRANSMIT_OFFLOADS);
    rig.bench.start(u64::MAX);
    let mut send = |header: Header, bytes: usize| {
        let buffers = [readable_obj(&header), readable(frame(bytes))];
        rig.bench.guest.queue(1).add(&buffers);
        rig.bench.kick(1);
        rig.wire.take();
        let sent = rig.wire.sent.pop();
        if let Some((request, frame)) = &sent {
            assert_eq!(frame.len(), bytes);
            rig.wire.answer(Completion::of(request, status::OK, 0));
        }
        rig.bench.turn();
        assert_eq!(rig.bench.guest.queue(1).collect().len(), 1);
        sent.map(|(request, _)| Offload::of(&request))
    };
    let cut = Offload {
        needs_csum: true,
        gso_type: 1,
        hdr_len: 54,
        gso_size: 1460,
        csum_start: 34,
        csum_offset: 16,
    };
    assert_eq!(send(to_cut(), 65_000), Some(cut));
    let checksum = Header {
        gso_type: 0,
        ..to_cut()
    };
    let only = Offload {
        needs_csum: true,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::default()
    };
    assert_eq!(
        send(checksum, 1514),
        Some(only),
        "other fields mean nothing"
    );
    let v6 = Header::GSO_TCPV6 | Header::GSO_ECN;
    let other = Header {
        gso_type: v6,
        ..to_cut()
    };
    assert_eq!(
        send(other, 3000),
        Some(Offload {
            gso_type: v6,
            ..cut
        })
    );
    // What makes no sense goes nowhere.
    for (name, header, bytes) in [
        ("too long for the link", checksum, 1519),
        ("too long for an IP packet", to_cut(), 65_554),
        ("a checksum outside", checksum, 51),
        ("headers outside", to_cut(), 53),
        (
            "no size",
            Header {
                gso_size: 0.into(),
                ..to_cut()
            },
            3000,
        ),
        (
            "pieces too long for the link",
            Header {
                gso_size: 1501.into(),
                ..to_cut()
            },
            3000,
        ),
        (
            "cut without a checksum",
            Header {
                flags: 0,
                ..to_cut()
            },
            3000,
        ),
        (
            "an unknown flag",
            Header {
                flags: 3,
                ..to_cut()
            },
            3000,
        ),
        (
            "an unknown type",
            Header {
                gso_type: 3,
                ..to_cut()
            },
            3000,
        ),
        (
            "ECN of nothing",
            Header {
                gso_type: 0x80,
                ..to_cut()
            },
            60,
        ),
    ] {
        assert_eq!(send(header, bytes), None, "{name}");
    }
    assert_eq!(rig.counter(counter::TRANSMIT_DROPPED), 10);
    assert!(!rig.bench.needs_reset);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_1_what_the_guest_has_not_accepted_is_not_done() {
    let mut rig = Rig::behind(DEVICE_SIZE, 1500, NetFeatures::TRANSMIT_OFFLOADS);
    rig.bench.start(NetFeatures::CSUM.bits());
    let checksum = Header {
        gso_type: 0,
        ..to_cut()
    };
    let send = |rig: &mut Rig, header: Header| {
        rig.send(&[readable_obj(&header), readable(frame(1000))])
            .len()
    };
    assert_eq!(send(&mut rig, checksum), 1);
    assert_eq!(send(&mut rig, to_cut()), 0);
    let ecn = Header {
        gso_type: Header::GSO_TCPV4 | Header::GSO_ECN,
        ..to_cut()
    };
    assert_eq!(send(&mut rig, ecn), 0);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_4_1_a_larger_mtu_is_kept() {
    let mut rig = Rig::new(DEVICE_SIZE, 9000);
    rig.bench.start(u64::MAX);
    let bytes = frame(9014);
    assert_eq!(rig.send(&[plain(), readable(&bytes)]), [bytes]);
    assert!(rig.send(&[plain(), readable(frame(9019))]).is_empty());
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_4_a_frame_arrives_in_one_buffer() {
    for features in [0, mergeable()] {
        let mut rig = Rig::running(features);
        rig.offer(&[writable(WHOLE)]);
        rig.offer(&[writable(12), writable(1514)]);
        rig.offer(&[writable(3), writable(8), writable(1700)]);
        for length in [60, 1514, 100] {
            let bytes = frame(length);
            let got = rig.deliver(&bytes);
            assert_eq!(got.len(), 1);
            let (header, rest) = Header::ref_from_prefix(&got[0]).unwrap();
            assert_eq!(
                *header,
                Header {
                    num_buffers: 1.into(),
                    ..Header::default()
                }
            );
            assert_eq!(rest, bytes);
        }
        assert!(rig.bench.take_interrupt());
        assert_eq!(rig.counter(counter::RECEIVED), 3);
        assert_eq!(rig.counter(counter::RECEIVED_BYTES), 60 + 1514 + 100);
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_1_6_4_num_buffers_is_right_whatever_the_hardware_leaves() {
    let mut rig = Rig::running(0);
    rig.offer(&[writable(WHOLE)]);
    rig.wire
        .deliver(&frame(60), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77, 0x66]);
    rig.bench.turn();
    assert_eq!(
        rig.bench.guest.queue(RECEIVEQ).collect()[0].bytes[10..12],
        [1, 0]
    );
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_4_small_buffers_are_merged() {
    let mut rig = Rig::running(mergeable());
    for sizes in [[500, 500], [12, 600], [800, 1000], [20, 20], [1000, 1000]] {
        rig.offer(&[writable(sizes[0])]);
        rig.offer(&[writable(sizes[1] / 2), writable(sizes[1] / 2)]);
    }
    // 500, 500, 12, 600 are 1612 bytes; then 800 and 1000.
    let bytes = frame(1514);
    let got = rig.deliver(&bytes);
    assert_eq!(
        got.iter().map(Vec::len).collect::<Vec<_>>(),
        [500, 500, 12, 514]
    );
    assert_eq!(got[0][..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    assert_eq!(got.concat()[12..], bytes);
    // A short frame reaches one buffer only: the others wait for the next.
    let got = rig.deliver(&frame(60));
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [72]);
    assert_eq!(got[0][10..12], [1, 0]);
    rig.bench.turn();
    let got = rig.deliver(&bytes);
    assert_eq!(
        got.iter().map(Vec::len).collect::<Vec<_>>(),
        [20, 20, 1000, 486]
    );
    // What is too little for a whole frame waits until there is enough.
    rig.wire.take();
    assert!(rig.wire.buffers.is_empty());
    rig.offer(&[writable(600)]);
    let got = rig.deliver(&frame(1100));
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 112]);
    rig.bench.guest.finish();
}

#[test]
fn small_buffers_come_back_in_the_order_of_the_frame_and_none_is_lost() {
    let mut rig = Rig::running(mergeable());
    let mut offered = 0;
    let mut returned = 0;
    for round in 0..200_usize {
        while offered - returned < 20 {
            rig.offer(&[writable(200)]);
            offered += 1;
        }
        let bytes = frame(14 + (round * 37) % 1501);
        let got = rig.deliver(&bytes);
        assert_eq!(usize::from(got[0][10]), got.len(), "round {round}");
        assert!(got.concat()[12..] == bytes, "round {round}");
        returned += got.len();
    }
    assert_eq!(rig.counter(counter::RECEIVED), 200);
    assert_eq!(rig.counter(counter::RECEIVE_FAILED), 0);
    // The reset gives back the rest, wherever it is.
    assert!(!rig.bench.reset());
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    rig.bench.restart(2, mergeable());
    rig.offer(&[writable(WHOLE)]);
    assert_eq!(rig.deliver(&frame(70)).len(), 1);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_3_1_a_buffer_that_no_frame_fits_comes_back() {
    let mut rig = Rig::running(0);
    rig.offer(&[writable(25)]);
    rig.offer(&[writable(11)]);
    rig.offer(&[readable([0; 2000])]);
    assert_eq!(rig.bench.guest.queue(RECEIVEQ).collect().len(), 3);
    assert_eq!(rig.counter(counter::RECEIVE_FAILED), 3);
    assert!(!rig.bench.needs_reset);
    let mut rig2 = Rig::running(mergeable());
    rig2.offer(&[writable(11)]);
    rig2.offer(&[writable(100), writable(100), writable(100)]);
    assert_eq!(rig2.bench.guest.queue(RECEIVEQ).collect().len(), 2);
    rig.bench.guest.finish();
    rig2.bench.guest.finish();
}
