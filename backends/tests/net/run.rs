//! TCP segments that arrive one after another, and come to the guest as one (virtIO 1.2 §5.1.6.4).

use crate::rig::{RECEIVEQ, Rig, frame};
use crate::tcp::{ACK, CWR, FIN, Segment, apart};
use proptest::prelude::*;
use sel4cp_backends::net::counter;
use sel4cp_model::net::{Features as F, Header};
use sel4cp_ring::request::{Completion, status};
use sel4cp_testing::writable;
use zerocopy::FromBytes;

/// What a guest takes whose segments are joined.
pub(crate) fn takes() -> F {
    F::MRG_RXBUF | F::GUEST_CSUM | F::LONG
}

/// Before a guest that accepts `features` and has `count` buffers of `size` bytes, behind hardware that merges buffers and no more.
pub(crate) fn joining(features: F, count: usize, size: u32) -> Rig {
    let mut rig = Rig::agreed(F::MRG_RXBUF, features);
    for _ in 0..count {
        rig.offer(&[writable(size)]);
    }
    rig
}

/// What the guest gets: each frame's header, and the lengths of its buffers.
pub(crate) type Got = Vec<(Header, Vec<u8>, Vec<usize>)>;

impl Rig {
    /// Frames that have all arrived when the device looks.
    pub(crate) fn at_once(&mut self, frames: &[Vec<u8>]) -> Got {
        for frame in frames {
            for completion in self.wire.merge(frame, None) {
                self.wire.answer(completion);
            }
        }
        self.bench.turn();
        let used = self.bench.guest.queue(RECEIVEQ).collect();
        let mut used = used.into_iter().map(|used| used.bytes);
        let mut got = Vec::new();
        while let Some(first) = used.next() {
            let number = usize::from(u16::from_le_bytes([first[10], first[11]]));
            let mut buffers = vec![first];
            buffers.extend(used.by_ref().take(number - 1));
            assert_eq!(buffers.len(), number);
            let whole = buffers.concat();
            let (header, frame) = Header::read_from_prefix(&whole).unwrap();
            got.push((
                header,
                frame.to_vec(),
                buffers.iter().map(Vec::len).collect(),
            ));
        }
        got
    }
}

pub(crate) fn all_apart(got: &Got) -> Vec<Vec<u8>> {
    got.iter()
        .flat_map(|(header, frame, _)| apart(header, frame))
        .collect()
}

#[test]
fn s5_1_6_4_1_segments_become_one() {
    for (v6, options, size) in [
        (false, 0, 4096),
        (true, 0, 4096),
        (false, 12, 1536),
        (true, 40, 1600),
    ] {
        let long = Segment {
            v6,
            tcp_options: vec![1; options],
            ..Segment::plain(20_000)
        };
        let mut rig = joining(takes(), 60, size);
        let got = rig.at_once(&long.pieces(1400));
        let [(header, frame, lens)] = &got[..] else {
            panic!("{} frames", got.len());
        };
        let request = long.request(1400);
        assert_eq!(
            (header.flags, header.gso_type),
            (request.flags, request.gso_type)
        );
        assert_eq!(
            (header.hdr_len, header.gso_size),
            (request.hdr_len, request.gso_size)
        );
        assert_eq!(
            (header.csum_start, header.csum_offset),
            (request.csum_start, request.csum_offset)
        );
        assert!(
            *frame == long.to_do(),
            "v6 {v6}, {options} bytes of options"
        );
        // All are full but the last: 15 frames came in as many buffers.
        let bytes = 12 + frame.len();
        let size = usize::try_from(size).unwrap();
        assert_eq!(lens.len(), bytes.div_ceil(size));
        assert!(lens[..lens.len() - 1].iter().all(|len| *len == size));
        assert_eq!(rig.counter(counter::RECEIVED), 1);
        assert_eq!(rig.counter(counter::JOINED), 14);
        assert_eq!(
            rig.counter(counter::RECEIVED_BYTES),
            frame.len().try_into().unwrap()
        );
        assert!(rig.bench.take_interrupt());
        // What was emptied is offered again, without the guest.
        rig.wire.take();
        assert_eq!(rig.wire.buffers.len(), 60 - lens.len());
        // And holds frames as before.
        let more = long.pieces(1448 - u16::try_from(options).unwrap());
        let got = rig.at_once(&more);
        assert_eq!(got.len(), 1);
        assert!(all_apart(&got) == more);
        rig.end();
    }
}

#[test]
fn what_does_not_belong_together_stays_apart() {
    let long = Segment::plain(2800);
    let whole = long.pieces(1400);
    // The second one with something else in it, and good checksums.
    let second = |change: fn(&mut Segment)| {
        let mut next = Segment {
            sequence: long.sequence.wrapping_add(1400),
            id: long.id.wrapping_add(1),
            payload: long.payload[1400..].to_vec(),
            ..long.clone()
        };
        change(&mut next);
        vec![whole[0].clone(), next.done()]
    };
    // A byte of the second one is another.
    let flipped = |at: usize| {
        let mut frames = whole.clone();
        frames[1][at] ^= 1;
        frames
    };
    let mut cases = vec![
        ("flags", second(|next| next.flags = ACK | FIN)),
        ("flags", second(|next| next.flags = ACK | CWR)),
        ("flags", second(|next| next.flags = 0)),
        (
            "sequence",
            second(|next| next.sequence = next.sequence.wrapping_add(1)),
        ),
        ("the same again", vec![whole[0].clone(), whole[0].clone()]),
        (
            "identification",
            second(|next| next.id = next.id.wrapping_add(1)),
        ),
        (
            "options of TCP",
            second(|next| next.tcp_options = vec![1; 4]),
        ),
        ("options of IP", second(|next| next.ip_options = vec![1; 4])),
        ("a longer one", second(|next| next.payload.push(0))),
        ("no data", second(|next| next.payload.clear())),
        ("a few bytes", second(|next| next.payload.truncate(100))),
        ("another protocol", second(|next| next.v6 = true)),
        ("a tag", second(|next| next.tagged = true)),
        (
            "a frame that is none of TCP",
            vec![whole[0].clone(), frame(1400)],
        ),
        (
            "padding",
            vec![whole[0].clone(), [&whole[1][..], &[0; 4]].concat()],
        ),
        (
            "shorter than it says",
            vec![whole[0].clone(), whole[1][..1000].to_vec()],
        ),
    ];
    // The link's header, IP's (version, service, length, identification, fragments, lifetime, protocol, sum, addresses), TCP's (ports,
    // sequence, acknowledgement, offset, flags, window, sum, urgent), data.
    for at in (0..54).chain([54, 1000, 1453]) {
        cases.push(("a byte", flipped(at)));
    }
    for (what, frames) in cases {
        for size in [1536, 4096] {
            let mut rig = joining(takes(), 4, size);
            let got = rig.at_once(&frames);
            assert_eq!(got.len(), 2, "{what}");
            assert!(all_apart(&got) == frames, "{what}");
            assert_eq!(rig.counter(counter::JOINED), 0, "{what}");
            rig.end();
        }
    }
    // The first one asks for its data to be passed on, is not intact, or is the last one of its size.
    let pushed = [Segment::plain(1400).done(), whole[1].clone()];
    let mut broken = whole.clone();
    broken[0][100] ^= 1;
    let mut after = Segment::plain(2400).pieces(1400);
    after.push(long.pieces(1200).remove(2));
    for (frames, count) in [(&pushed[..], 2), (&broken, 2), (&after, 2)] {
        let mut rig = joining(takes(), 4, 4096);
        let got = rig.at_once(frames);
        assert_eq!(got.len(), count);
        assert!(all_apart(&got) == frames);
        rig.end();
    }
}

#[test]
fn s5_1_6_4_1_only_what_the_guest_takes_is_joined() {
    let with = |features, v6| {
        let long = Segment {
            v6,
            ..Segment::plain(5000)
        };
        let mut rig = joining(features, 8, 4096);
        let got = rig.at_once(&long.pieces(1400));
        assert!(all_apart(&got) == long.pieces(1400));
        rig.end();
        got.len()
    };
    let some = F::MRG_RXBUF | F::GUEST_CSUM;
    assert_eq!((with(takes(), false), with(takes(), true)), (1, 1));
    let v4 = some | F::GUEST_TSO4;
    assert_eq!((with(v4, false), with(v4, true)), (1, 4));
    let v6 = some | F::GUEST_TSO6;
    assert_eq!((with(v6, false), with(v6, true)), (4, 1));
    assert_eq!(with(some, false), 4);
    assert_eq!(
        with(F::MRG_RXBUF | F::LONG, false),
        4,
        "§5.1.3.1: without checksums"
    );
    assert_eq!(with(F::GUEST_CSUM | F::LONG, false), 4, "it merges nothing");
}

#[test]
fn what_the_hardware_has_begun_stays_as_it_is() {
    for (at, value) in [(0, Header::NEEDS_CSUM), (0, 2), (1, Header::GSO_TCPV4)] {
        let mut rig = joining(F::LONG | F::GUEST_CSUM | F::MRG_RXBUF, 4, 4096);
        let pieces = Segment::plain(2800).pieces(1400);
        rig.wire.take();
        for piece in &pieces {
            let mut header = [0; 12];
            (header[at], header[10]) = (value, 1);
            rig.wire.deliver(piece, header);
        }
        rig.bench.turn();
        let used = rig.bench.guest.queue(RECEIVEQ).collect();
        assert_eq!(used.len(), 2);
        for (used, piece) in used.iter().zip(&pieces) {
            assert!(used.bytes[at] == value && used.bytes[12..] == piece[..]);
        }
        rig.end();
    }
}

#[test]
fn a_packet_is_no_longer_than_it_can_say() {
    for v6 in [false, true] {
        let headers = if v6 { 60 } else { 40 };
        let mut long = Segment {
            v6,
            flags: ACK,
            ..Segment::plain(0xffff - headers)
        };
        let mut rig = joining(takes(), 128, 4096);
        let got = rig.at_once(&long.pieces(1460));
        assert_eq!(got.len(), 1);
        assert!(got[0].1 == long.to_do());
        // A byte more is one too many, and so is what follows.
        long.payload = vec![7; 0xffff - headers];
        let mut pieces = long.pieces(1460);
        let next = Segment {
            sequence: long
                .sequence
                .wrapping_add(long.payload.len().try_into().unwrap()),
            id: long.id.wrapping_add(pieces.len().try_into().unwrap()),
            payload: vec![8; 1460],
            ..long.clone()
        };
        pieces.pop();
        let last = long.payload.len() / 1460 * 1460;
        let full = Segment {
            sequence: long.sequence.wrapping_add(last.try_into().unwrap()),
            id: long.id.wrapping_add(pieces.len().try_into().unwrap()),
            payload: vec![7; 1460],
            ..long.clone()
        };
        pieces.extend([full.done(), next.done()]);
        let got = rig.at_once(&pieces);
        assert_eq!(got.len(), 3, "neither of the last two follows");
        assert!(all_apart(&got) == pieces);
        rig.end();
    }
}

#[test]
fn a_reset_in_between_loses_nothing() {
    let long = Segment::plain(20_000);
    let mut rig = joining(takes(), 20, 4096);
    let pieces = long.pieces(1400);
    // The driver gives everything back in the same turn: what came before is joined and given to the guest.
    for piece in &pieces {
        for completion in rig.wire.merge(piece, None) {
            rig.wire.answer(completion);
        }
    }
    assert!(!rig.bench.reset());
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    rig.bench.restart(2, takes().bits());
    rig.wire.take();
    rig.wire.reset();
    rig.bench.turn();
    for _ in 0..20 {
        rig.offer(&[writable(4096)]);
    }
    let got = rig.at_once(&pieces);
    assert_eq!(got.len(), 1);
    assert!(all_apart(&got) == pieces);
    rig.end();
}

#[test]
fn a_buffer_that_fails_ends_a_run() {
    let pieces = Segment::plain(5600).pieces(1400);
    let mut rig = joining(takes(), 8, 4096);
    for piece in &pieces[..2] {
        for completion in rig.wire.merge(piece, None) {
            rig.wire.answer(completion);
        }
    }
    let (header, _) = rig.wire.buffers.remove(0);
    rig.wire.answer(Completion::of(&header, status::ERROR, 0));
    for piece in &pieces[2..] {
        for completion in rig.wire.merge(piece, None) {
            rig.wire.answer(completion);
        }
    }
    rig.bench.turn();
    let used = rig.bench.guest.queue(RECEIVEQ).collect();
    let lens: Vec<usize> = used.iter().map(|used| used.bytes.len()).collect();
    assert_eq!(lens, [66 + 2800, 0, 66 + 2800]);
    rig.end();
}

/// What happens to a frame before it arrives.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    IsLost,
    Twice,
    Changed(u16, u8),
    Short(u16),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Arrives),
        1 => Just(Fate::IsLost),
        1 => Just(Fate::Twice),
        1 => (0_u16..80, 1..=u8::MAX).prop_map(|(at, with)| Fate::Changed(at, with)),
        1 => any::<(u16, u8)>().prop_map(|(at, with)| Fate::Changed(at, with)),
        1 => any::<u16>().prop_map(Fate::Short),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever arrives, the guest can cut into what arrived, in its order.
    #[test]
    fn nothing_is_lost(
        flows in prop::collection::vec((any::<(bool, u16, u32)>(), 0_usize..3, 1_usize..9000, 200_u16..1400), 1..6),
        fates in prop::collection::vec(fate(), 64),
        sizes in prop::collection::vec(prop_oneof![Just(4096_u32), Just(1536), 1526_u32..5000], 64),
        batch in 1_usize..30,
    ) {
        let mut rig = joining(takes(), 0, 0);
        let mut frames = Vec::new();
        let mut fates = fates.into_iter();
        for ((v6, id, sequence), options, bytes, size) in flows {
            let long = Segment { v6, id, sequence, tcp_options: vec![1; 4 * options], ..Segment::plain(bytes) };
            for mut piece in long.pieces(size) {
                match fates.next().unwrap_or(Fate::Arrives) {
                    Fate::Arrives => {}
                    Fate::IsLost => continue,
                    Fate::Twice => frames.push(piece.clone()),
                    Fate::Changed(at, with) => {
                        let at = usize::from(at) % piece.len();
                        piece[at] ^= with;
                    }
                    Fate::Short(len) => piece.truncate(14.max(usize::from(len) % (piece.len() + 1))),
                }
                frames.push(piece);
            }
        }
        let mut sizes = sizes.into_iter().cycle();
        let (mut got, mut offered) = (Vec::new(), 0);
        for frames in frames.chunks(batch) {
            while offered < 40 {
                rig.offer(&[writable(sizes.next().unwrap())]);
                offered += 1;
            }
            let more = rig.at_once(frames);
            offered -= more.iter().map(|(.., lens)| lens.len()).sum::<usize>();
            got.extend(more);
        }
        prop_assert!(all_apart(&got) == frames);
        let count = |counter| rig.counter(counter);
        prop_assert_eq!(count(counter::RECEIVED), u64::try_from(got.len()).unwrap());
        prop_assert_eq!(
            count(counter::RECEIVED) + count(counter::JOINED),
            u64::try_from(frames.len()).unwrap()
        );
        rig.end();
    }
}
