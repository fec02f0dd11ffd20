//! Acknowledgements of TCP that arrive together, of which the guest gets the last.

use crate::rig::{GARBAGE, RECEIVEQ, Rig, WHOLE, frame};
use crate::run::{all_apart, joining, takes};
use crate::tcp::{ACK, CWR, FIN, PSH, Segment};
use proptest::prelude::*;
use sel4cp_backends::net::counter;
use sel4cp_model::net::{Features as F, Header};
use sel4cp_testing::writable;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;

/// Options that say these two times.
fn timestamps(own: u32, echoed: u32) -> Vec<u8> {
    [
        &[1, 1, 8, 10][..],
        &own.to_be_bytes(),
        &echoed.to_be_bytes(),
    ]
    .concat()
}

/// An acknowledgement of everything up to this byte.
fn of(acknowledged: u32) -> Segment {
    Segment {
        acknowledged,
        flags: ACK,
        ..Segment::plain(0)
    }
}

#[test]
fn the_last_one_says_all() {
    for v6 in [false, true] {
        for timed in [false, true] {
            for padding in [0, 6] {
                let frames: Vec<Vec<u8>> = (0..20_u16)
                    .map(|n| {
                        let options = timestamps(7 + u32::from(n / 4), 900 + u32::from(n));
                        let one = Segment {
                            v6,
                            id: 3 * n,
                            window: 1000 - 50 * n,
                            tcp_options: if timed { options } else { Vec::new() },
                            // Numbers wrap around.
                            ..of((u32::MAX - 10_000).wrapping_add(1448 * u32::from(n)))
                        };
                        [one.done(), vec![0xaa; padding]].concat()
                    })
                    .collect();
                let mut rig = joining(takes(), 40, 1536);
                let got = rig.at_once(&frames);
                let [(header, last, lens)] = &got[..] else {
                    panic!("{} frames", got.len());
                };
                assert_eq!((header.flags, header.gso_type), (0, 0));
                assert!(last == &frames[19], "v6 {v6}, timed {timed}");
                assert_eq!(lens.len(), 1);
                assert_eq!(rig.counter(counter::RECEIVED), 1);
                assert_eq!(rig.counter(counter::JOINED), 19);
                let bytes = u64::try_from(last.len()).unwrap();
                assert_eq!(rig.counter(counter::RECEIVED_BYTES), bytes);
                // The buffers of the others are offered again, without the guest.
                rig.wire.take();
                assert_eq!(rig.wire.buffers.len(), 39);
                // Nothing is kept for what arrives later.
                assert!(all_apart(&rig.at_once(&frames[19..])) == frames[19..]);
                rig.end();
            }
        }
    }
}

#[test]
fn buffers_that_were_emptied_come_back_one_by_one() {
    let accepted = takes() | F::MRG_RXBUF;
    // The device merges buffers itself, each of which holds a frame.
    let mut rig = Rig::agreed(F::empty(), accepted);
    for _ in 0..8 {
        rig.offer(&[writable(WHOLE)]);
    }
    let arrive = |rig: &mut Rig, from: u32| {
        for number in from..from + 3 {
            rig.wire.deliver(&of(100 * number).done(), GARBAGE);
        }
        rig.bench.turn();
        rig.wire.take();
        rig.bench.guest.queue(RECEIVEQ).collect().len()
    };
    // The two that were emptied first are offered one after the other.
    assert_eq!(arrive(&mut rig, 0), 1);
    assert_eq!(rig.wire.buffers.len(), 7);
    assert_eq!(arrive(&mut rig, 3), 1);
    assert_eq!(rig.wire.buffers.len(), 6);
    // The driver gives them back without a frame.
    assert!(!rig.bench.reset());
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    assert_eq!(rig.bench.trouble, None);
    rig.bench.restart(2, accepted.bits());
    rig.bench.guest.finish();
}

#[test]
fn what_tells_more_is_not_left_out() {
    type Change = fn(&mut Segment);
    let changes: [(&str, Change); 23] = [
        ("the same again", |next| next.acknowledged = 5000),
        ("less", |next| next.acknowledged = 4999),
        ("half the numbers more", |next| {
            next.acknowledged = 5000 + (1 << 31);
        }),
        ("a signal of congestion", |next| next.flags |= ECE),
        ("its answer", |next| next.flags |= CWR),
        ("an end", |next| next.flags |= FIN),
        ("a push", |next| next.flags |= PSH),
        ("a beginning", |next| next.flags |= SYN),
        ("a reset", |next| next.flags |= RST),
        ("something urgent", |next| next.flags |= URG),
        ("no acknowledgement", |next| next.flags = 0),
        ("a reserved flag", |next| next.reserved = 1),
        ("another place", |next| next.sequence += 1),
        ("data", |next| next.payload = vec![1; 4]),
        ("much data", |next| next.payload = vec![1; 400]),
        ("options of IP", |next| next.ip_options = vec![1; 4]),
        ("another protocol", |next| next.v6 = true),
        ("a tag", |next| next.tagged = true),
        ("the time", |next| next.tcp_options = timestamps(1, 2)),
        ("no options", |next| next.tcp_options = vec![1; 4]),
        ("the time otherwise", |next| {
            next.tcp_options = [&timestamps(1, 2)[2..], &[1, 1]].concat();
        }),
        ("a selective acknowledgement", |next| {
            next.tcp_options = [&[1, 1, 5, 10][..], &[9; 8]].concat();
        }),
        ("the time, and that", |next| {
            let selective = [&[1, 1, 5, 10][..], &[9; 8]].concat();
            next.tcp_options = [timestamps(1, 2), selective].concat();
        }),
    ];
    let mut cases = Vec::new();
    for (what, change) in changes {
        let mut next = of(6000);
        change(&mut next);
        cases.push((what, vec![of(5000).done(), next.done()]));
        // Nor is it left out itself.
        let mut first = of(4000);
        change(&mut first);
        if first.acknowledged == 4000 {
            cases.push((what, vec![first.done(), of(6000).done()]));
        }
    }
    // The link's header, IP's, TCP's: a byte of the second one, and of the first.
    for at in 0..54 {
        for changed in [0, 1] {
            let mut frames = vec![of(5000).done(), of(6000).done()];
            frames[changed][at] ^= 1;
            cases.push(("a byte", frames));
        }
    }
    let short = of(6000).done()[..53].to_vec();
    cases.push(("shorter than it says", vec![of(5000).done(), short]));
    let other = vec![of(5000).done(), frame(60), of(6000).done()];
    cases.push(("something in between", other));
    let data = Segment {
        flags: ACK,
        ..Segment::plain(500)
    };
    let between = vec![of(5000).done(), data.done(), of(6000).done()];
    cases.push(("data in between", between));
    for (what, frames) in cases {
        let mut rig = joining(takes(), 4, 1536);
        let got = rig.at_once(&frames);
        assert!(all_apart(&got) == frames, "{what}: {} frames", got.len());
        assert_eq!(rig.counter(counter::JOINED), 0, "{what}");
        rig.end();
    }
}

#[test]
fn s5_1_3_1_only_for_a_guest_that_takes_joined_segments() {
    let with = |features, v6| {
        let of = |number| Segment { v6, ..of(number) }.done();
        let frames = [of(1), of(2), of(3)];
        let mut rig = joining(features, 4, 4096);
        let got = rig.at_once(&frames);
        assert!(got.last().unwrap().1 == frames[2]);
        rig.end();
        got.len()
    };
    let some = F::MRG_RXBUF | F::GUEST_CSUM;
    assert_eq!((with(takes(), false), with(takes(), true)), (1, 1));
    let v4 = some | F::GUEST_TSO4;
    assert_eq!((with(v4, false), with(v4, true)), (1, 3));
    assert_eq!(with(some, false), 3);
    assert_eq!(with(F::GUEST_CSUM | F::LONG, false), 3, "it merges nothing");
}

#[test]
fn what_the_hardware_has_begun_stays_as_it_is() {
    for (at, value) in [(0, Header::NEEDS_CSUM), (0, 2), (1, Header::GSO_TCPV4)] {
        let mut rig = joining(takes(), 4, 1536);
        rig.wire.take();
        for one in [of(1).done(), of(2).done()] {
            let mut header = [0; 12];
            (header[at], header[10]) = (value, 1);
            rig.wire.deliver(&one, header);
        }
        rig.bench.turn();
        assert_eq!(rig.counter(counter::RECEIVED), 2);
        rig.end();
    }
}

/// Whether the second frame says all that the first one does: written down once more, on what they were made of.
fn says_all(later: &Segment, earlier: &Segment) -> bool {
    let rest = |one: &Segment| Segment {
        id: 0,
        acknowledged: 0,
        window: 0,
        tcp_options: one.tcp_options[..one.tcp_options.len().min(4)].to_vec(),
        ..one.clone()
    };
    let plain = |one: &Segment| {
        let options = &one.tcp_options;
        let fit = options.is_empty() || options.len() == 12 && options[..4] == [1, 1, 8, 10];
        fit && one.flags == ACK && one.payload.is_empty() && !one.tagged
    };
    let more = later.acknowledged.wrapping_sub(earlier.acknowledged);
    plain(later)
        && plain(earlier)
        && format!("{:?}", rest(later)) == format!("{:?}", rest(earlier))
        && (1..1 << 31).contains(&more)
}

fn segment() -> impl Strategy<Value = Segment> {
    let rarely = |what: u8| prop_oneof![12 => Just(0), 1 => Just(what)];
    let options = prop_oneof![
        4 => Just(Vec::new()),
        4 => any::<(u32, u32)>().prop_map(|(own, echoed)| timestamps(own, echoed)),
        1 => Just(vec![1; 8]),
    ];
    let numbers = prop_oneof![9 => 0_u32..9000, 1 => any::<u32>()];
    (
        any::<(u16, u16)>(),
        numbers,
        options,
        rarely(1),
        rarely(ECE),
        rarely(FIN),
    )
        .prop_map(
            |((id, window), acknowledged, tcp_options, bytes, ece, fin)| Segment {
                v6: id % 16 == 0,
                id,
                window,
                tcp_options,
                payload: vec![7; usize::from(bytes) * 300],
                flags: ACK | ece | fin,
                ..of(acknowledged)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// The guest gets all but those that the next one makes superfluous. A changed byte makes a checksum wrong, or the frame one of
    /// another flow, so that such frames stay, as do those that are too short.
    #[test]
    fn nothing_else_is_left_out(
        segments in prop::collection::vec((segment(), prop::option::weighted(0.1, any::<u8>())), 1..60),
        batch in 1_usize..20,
    ) {
        let mut rig = joining(takes(), 64, 1536);
        for batch in segments.chunks(batch) {
            let frames: Vec<Vec<u8>> = batch
                .iter()
                .enumerate()
                .map(|(number, (one, change))| {
                    let mut frame = one.done();
                    match change {
                        Some(at) if at % 8 == 0 => frame.truncate(14 + usize::from(*at) % 40),
                        // Never the same in two that follow one another.
                        Some(at) => {
                            let at = usize::from(*at) % frame.len();
                            frame[at] ^= u8::try_from(number + 1).unwrap();
                        }
                        None => {}
                    }
                    frame
                })
                .collect();
            let stays = |at: usize| {
                let (one, changed) = &batch[at];
                !matches!(batch.get(at + 1), Some((next, None)) if changed.is_none() && says_all(next, one))
            };
            let kept: Vec<Vec<u8>> =
                (0..batch.len()).filter(|at| stays(*at)).map(|at| frames[at].clone()).collect();
            let got = rig.at_once(&frames);
            prop_assert!(all_apart(&got) == kept);
        }
        rig.end();
    }
}
