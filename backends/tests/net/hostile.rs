//! Guests that ask for what makes no sense, or change their mind.

use crate::cut::making;
use crate::rig::{Rig, TRANSMITQ};
use crate::tcp::{ACK, PSH, Segment, any_segment, chain, checksum};
use proptest::prelude::*;
use sel4cp_backends::net::counter;
use sel4cp_model::net::{Features as F, Header};
use sel4cp_testing::{Buffer, readable_obj};

impl Rig {
    fn refuses(&mut self, what: &str, header: &Header, frame: &[u8]) {
        let dropped = self.counter(counter::TRANSMIT_DROPPED);
        self.add(&chain(header, frame, &[300, 5000]));
        assert!(self.all_sent().is_empty(), "{what}");
        assert_eq!(
            self.counter(counter::TRANSMIT_DROPPED),
            dropped + 1,
            "{what}"
        );
        assert_eq!(
            self.bench.guest.queue(TRANSMITQ).collect().len(),
            1,
            "{what}"
        );
    }
}

#[test]
fn s5_1_6_2_1_what_makes_no_sense_is_not_cut() {
    let mut rig = making(F::empty());
    let v4 = Segment::plain(3000);
    let v6 = Segment {
        v6: true,
        ..v4.clone()
    };
    let long = Segment {
        v6: true,
        extensions: vec![(60, 9), (60, 9)],
        ..v4.clone()
    };
    rig.refuses(
        "headers longer than any",
        &long.request(1000),
        &long.to_do(),
    );
    for (segment, name) in [(&v4, "v4"), (&v6, "v6")] {
        let good = segment.request(1000);
        let bytes = segment.to_do();
        let with = |change: &dyn Fn(&mut Header)| {
            let mut header = good;
            change(&mut header);
            header
        };
        let other = good.gso_type ^ 5;
        let longest = u16::try_from(1500 - (segment.headers() - 14)).unwrap();
        for (what, header) in [
            ("the other protocol", with(&|h| h.gso_type = other)),
            ("no size", with(&|h| h.gso_size = 0.into())),
            (
                "pieces too long for the link",
                with(&|h| h.gso_size = (longest + 1).into()),
            ),
            (
                "pieces far too long",
                with(&|h| h.gso_size = u16::MAX.into()),
            ),
            (
                "a checksum before TCP",
                with(&|h| h.csum_start = (good.csum_start.get() - 2).into()),
            ),
            (
                "a checksum behind the end",
                with(&|h| h.csum_start = u16::MAX.into()),
            ),
            (
                "a checksum that is not TCP's",
                with(&|h| h.csum_offset = 6.into()),
            ),
            (
                "a checksum far away",
                with(&|h| h.csum_offset = u16::MAX.into()),
            ),
            ("no checksum", with(&|h| h.flags = 0)),
            ("UDP", with(&|h| h.gso_type = 3)),
        ] {
            rig.refuses(&format!("{name}: {what}"), &header, &bytes);
        }
        rig.add(&chain(&with(&|h| h.gso_size = longest.into()), &bytes, &[]));
        assert!(
            rig.all_sent() == segment.pieces(longest),
            "the longest that fit"
        );
        assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
        let transport = segment.transport();
        let bad = |places: &[(usize, u8)]| {
            let mut bytes = bytes.clone();
            for (place, value) in places {
                bytes[*place] = *value;
            }
            bytes
        };
        let mut frames = vec![
            ("an unknown ethertype", bad(&[(12, 9)])),
            ("a second tag", bad(&[(12, 0x88), (13, 0xa8)])),
            (
                "a TCP header shorter than any",
                bad(&[(transport + 12, 0x40)]),
            ),
            (
                "a TCP header longer than the frame's",
                bytes[..transport + 20].to_vec(),
            ),
            ("no TCP header", bytes[..transport + 19].to_vec()),
            ("half an IP header", bytes[..24].to_vec()),
            (
                "one byte less than it says",
                bytes[..bytes.len() - 1].to_vec(),
            ),
            ("one byte more than it says", [&bytes[..], &[0]].concat()),
            ("another version", bad(&[(14, bytes[14] ^ 0x20)])),
        ];
        if segment.v6 {
            frames.extend([
                ("a part of a packet", bad(&[(20, 44)])),
                ("with a way to go", bad(&[(20, 43)])),
                ("UDP", bad(&[(20, 17)])),
                (
                    "options behind the end",
                    bad(&[(20, 60), (54, 60), (55, 255)]),
                ),
                (
                    "options without an end",
                    bad(&[(20, 0), (54, 0), (55, 0), (62, 0), (63, 0)]),
                ),
            ]);
        } else {
            frames.extend([
                ("an IP header shorter than any", bad(&[(14, 0x44)])),
                ("an IP header up to behind TCP's", bad(&[(14, 0x4f)])),
                ("the first part of a packet", bad(&[(20, 0x20)])),
                ("another part of a packet", bad(&[(21, 1)])),
                ("UDP", bad(&[(23, 17)])),
            ]);
        }
        for (what, frame) in frames {
            let frame = match what {
                "a TCP header longer than the frame's" => {
                    let mut short = Segment {
                        payload: Vec::new(),
                        ..segment.clone()
                    }
                    .to_do();
                    short[transport + 12] = 0x60;
                    short
                }
                _ => frame,
            };
            let header = Header {
                hdr_len: 0.into(),
                ..good
            };
            rig.refuses(&format!("{name}: {what}"), &header, &frame);
        }
    }
    // Not in more pieces than a frame can have.
    let many: Vec<u16> = (1..70).map(|part| part * 900).collect();
    rig.add(&chain(&v4.request(1000), &v4.to_do(), &many));
    assert!(rig.all_sent().is_empty());
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    assert_eq!(rig.counter(counter::MADE), 2 * 3);
    assert!(!rig.bench.needs_reset);
    rig.bench.guest.finish();
}

#[test]
fn s5_1_6_2_1_a_checksum_outside_the_frame_is_not_completed() {
    let mut rig = making(F::empty());
    let frame = [7; 100];
    for (start, offset) in [
        (0, 99),
        (99, 0),
        (98, 1),
        (100, 0),
        (u16::MAX, 0),
        (0, u16::MAX),
        (u16::MAX, u16::MAX),
    ] {
        let header = Header {
            flags: Header::NEEDS_CSUM,
            csum_start: start.into(),
            csum_offset: offset.into(),
            ..Header::default()
        };
        rig.refuses(&format!("{start} {offset}"), &header, &frame);
    }
    rig.refuses(
        "too long",
        &Header {
            flags: 1,
            ..Header::default()
        },
        &[7; 1519],
    );
    rig.bench.guest.finish();
}

#[test]
fn a_guest_that_changes_a_segment_meanwhile_sends_other_data_and_no_other_headers() {
    let mut rig = making(F::empty());
    let segment = Segment {
        flags: ACK | PSH,
        ..Segment::plain(600)
    };
    let bytes = segment.to_do();
    let len = u32::try_from(bytes.len()).unwrap();
    let address = rig.bench.guest.allocate(len);
    rig.bench.guest.write(address, &bytes);
    let there = Buffer::At {
        address,
        len,
        writable: false,
    };
    rig.add(&[readable_obj(&segment.request(2)), there]);
    rig.wire.take();
    assert_eq!(rig.wire.sent.len(), 256);
    rig.bench.guest.write(address, &vec![0xa5; bytes.len()]);
    let sent = rig.all_sent();
    let mut expected = segment.clone();
    expected.payload[512..].fill(0xa5);
    assert!(sent == expected.pieces(2));
    assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
    rig.bench.guest.finish();
}

/// Whether the checksum of the TCP header at `transport` is that of what follows it.
fn is_whole(frame: &[u8], transport: usize, addresses: std::ops::Range<usize>) -> bool {
    let tcp = &frame[transport..];
    let len = u16::try_from(tcp.len()).unwrap();
    let all = [&frame[addresses], &[0, 6], &len.to_be_bytes(), tcp].concat();
    // Over everything with the checksum in it, the sum is 0.
    checksum(&all) == 0xffff
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is wrong with it: the chain comes back, nothing but what the guest gave is sent, no frame is longer than the link's, and
    /// nobody panics.
    #[test]
    fn s5_1_6_2_1_anything_at_all_comes_back(
        segment in any_segment(),
        size in prop_oneof![1_u16..2000, any::<u16>()],
        changes in prop::collection::vec((0_usize..120, any::<u8>()), 0..6),
        (start, offset, gso) in (
            prop::option::weighted(0.2, any::<u16>()),
            prop::option::weighted(0.2, any::<u16>()),
            prop::option::weighted(0.2, any::<u8>()),
        ),
        end in prop_oneof![3 => Just(u16::MAX), 1 => any::<u16>()],
        cuts in prop::collection::vec(any::<u16>(), 0..20),
    ) {
        let mut rig = making(F::empty());
        let mut segment = segment;
        segment.payload.truncate(2000);
        let mut bytes = segment.to_do();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        bytes.truncate(14.max((usize::from(end) * bytes.len()) >> 16) + usize::from(end == u16::MAX));
        let mut header = segment.request(size);
        header.csum_start = start.map_or(header.csum_start, Into::into);
        header.csum_offset = offset.map_or(header.csum_offset, Into::into);
        header.gso_type = gso.unwrap_or(header.gso_type);
        rig.add(&chain(&header, &bytes, &cuts));
        let sent = rig.all_sent();
        prop_assert_eq!(rig.bench.guest.queue(TRANSMITQ).collect().len(), 1);
        prop_assert!(sent.len() <= bytes.len());
        let transport = usize::from(header.csum_start.get());
        for frame in &sent {
            prop_assert!(frame.len() <= 1518);
            if header.gso_type != 0 {
                let network = if frame[12] == 0x81 { 18 } else { 14 };
                let addresses = match frame[network] >> 4 {
                    4 => network + 12..network + 20,
                    _ => network + 8..network + 40,
                };
                prop_assert!(is_whole(frame, transport, addresses));
            }
        }
        prop_assert!(!rig.bench.needs_reset);
        rig.bench.guest.finish();
    }
}
