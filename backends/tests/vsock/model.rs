//! The connections against a small model of them: whatever both sides send.

use proptest::prelude::*;
use sel4cp_backends::vsock::{Key, Side, Table, Verdict};
use sel4cp_model::vsock::Op;
use sel4cp_ring::wire::Header;
use std::collections::HashMap;

/// What the model remembers of one connection.
#[derive(Clone, Debug, Default)]
struct Known {
    opener: usize,
    kind: u16,
    established: bool,
    finished: [bool; 2],
    /// Bytes sent, and the highest promise: how many may have been sent in all.
    sent: [u64; 2],
    promised: [u64; 2],
}

#[derive(Clone, Debug)]
struct Call {
    side: usize,
    port: u32,
    op: u16,
    kind: u16,
    flags: u32,
    len: u32,
    buffer: u32,
    taken: u32,
}

fn call() -> impl Strategy<Value = Call> {
    let op = prop_oneof![8 => 1u16..=7, 6 => Just(5u16), 1 => Just(0), 1 => Just(9)];
    (
        0usize..2,
        0u32..3,
        op,
        prop_oneof![9 => Just(1u16), 2 => Just(2), 1 => Just(3)],
        prop_oneof![6 => Just(0u32), 1 => 0u32..4],
        prop_oneof![2 => Just(0u32), 3 => 1u32..60],
        0u32..100,
        0u32..100,
    )
        .prop_map(|(side, port, op, kind, flags, len, buffer, taken)| Call {
            side,
            port,
            op,
            kind,
            flags,
            // Mostly what is meant to have payload has some.
            len: if op == 5 { len } else { len / 40 },
            buffer,
            taken,
        })
}

const SIDES: [Side; 2] = [Side::Guest, Side::Peer];

/// What must come of a packet; the model is changed.
fn expect(model: &mut HashMap<u32, Known>, call: &Call, taken: u32) -> Verdict {
    let (me, other) = (call.side, 1 - call.side);
    let reset = call.op == Op::Rst as u16;
    let Some(known) = model.get_mut(&call.port) else {
        if reset {
            return Verdict::Ignore;
        }
        if call.op != Op::Request as u16 || call.len != 0 || !(1..=2).contains(&call.kind) {
            return Verdict::Refuse;
        }
        let mut known = Known {
            opener: me,
            kind: call.kind,
            ..Known::default()
        };
        known.promised[other] = call.buffer.into();
        if taken != 0 {
            known.promised[other] = 0;
        }
        model.insert(call.port, known);
        return Verdict::Pass(0);
    };
    if reset && call.len == 0 {
        model.remove(&call.port);
        return Verdict::Pass(0);
    }
    let answered = call.op == Op::Response as u16;
    let rw = call.op == Op::Rw as u16;
    let fine = !reset
        && call.kind == known.kind
        && (2..=7).contains(&call.op)
        && (rw || call.len == 0)
        && (!answered || (!known.established && me != known.opener))
        && (known.established || answered || (me == known.opener && matches!(call.op, 6 | 7)))
        && (!rw
            || (!known.finished[me] && known.sent[me] + u64::from(call.len) <= known.promised[me]));
    if !fine {
        model.remove(&call.port);
        return Verdict::Broken;
    }
    known.established |= answered;
    if rw {
        known.sent[me] += u64::from(call.len);
    }
    // What the receiver has taken cannot be more than was sent.
    if u64::from(taken) <= known.sent[other] {
        let promise = u64::from(taken) + u64::from(call.buffer);
        known.promised[other] = known.promised[other].max(promise);
    }
    let shutdown = call.op == Op::Shutdown as u16;
    known.finished[me] |= shutdown && call.flags & 2 != 0;
    let kept = shutdown || (rw && known.kind == 2);
    Verdict::Pass(if kept { call.flags & 3 } else { 0 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_packet_has_the_fate_that_the_model_gives_it(
        calls in prop::collection::vec(call(), 1..60),
    ) {
        let mut table = Table::default();
        let mut model = HashMap::new();
        for call in calls {
            let key = Key { wire: 1, guest: call.port, peer: 7 };
            // Half of the claims about what was taken can be true.
            let sent = model.get(&call.port).map_or(0, |known: &Known| known.sent[1 - call.side]);
            let taken = if call.taken % 2 == 0 {
                u32::try_from(sent).unwrap().min(call.taken)
            } else {
                call.taken
            };
            let header = Header {
                op: call.op,
                kind: call.kind,
                flags: call.flags,
                len: call.len,
                buf_alloc: call.buffer,
                fwd_cnt: taken,
                ..Header::default()
            };
            let expected = expect(&mut model, &call, taken);
            let verdict = table.packet(SIDES[call.side], key, &header, true);
            prop_assert_eq!(verdict, expected, "{:?}", call);
            if verdict == Verdict::Broken {
                for side in SIDES {
                    prop_assert_eq!(table.owed(side, |_| true).map(|owed| owed.0), Some(key));
                    table.paid(side, key);
                }
            }
            for side in SIDES {
                prop_assert_eq!(table.owed(side, |_| true), None);
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }

    /// Sides that are owed a RST, sides that go away, and tuples that are used again: nothing is left behind.
    #[test]
    fn nothing_stays_when_everybody_is_gone(
        calls in prop::collection::vec((call(), 0u8..6), 1..80),
    ) {
        let mut table = Table::default();
        for (call, then) in calls {
            let wire = (call.port % 2) as usize;
            let key = Key { wire, guest: call.port, peer: 7 };
            let header = Header {
                op: call.op, kind: call.kind, flags: call.flags, len: call.len,
                buf_alloc: call.buffer, fwd_cnt: call.taken, ..Header::default()
            };
            let _fate = table.packet(SIDES[call.side], key, &header, true);
            prop_assert!(table.len() <= 3);
            match then {
                0 => table.gone(Side::Guest, |_| true),
                1 => table.gone(Side::Peer, |key| key.wire == 1),
                2 | 3 => {
                    let side = SIDES[usize::from(then - 2)];
                    if let Some((key, _)) = table.owed(side, |_| true) {
                        table.paid(side, key);
                    }
                }
                _ => {}
            }
        }
        table.gone(Side::Guest, |_| true);
        table.gone(Side::Peer, |_| true);
        prop_assert!(table.is_empty());
    }
}
