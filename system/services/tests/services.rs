//! The services and their sockets, with a fake guest at the other end of the wire.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test states what must hold"
)]

mod common;

use common::{Guest, header, turn};
use proptest::prelude::*;
use sel4cp_model::vsock::{Op, Seq, Shutdown};
use sel4cp_ring::host;
use sel4cp_ring::wire::{Credit, Header};
use sel4cp_services::services::{self, DISCARD, ECHO, SOURCE};
use sel4cp_services::{CONNECTIONS, Endpoint, WINDOW, memory};

fn bench() -> (Guest, Endpoint) {
    let pair = host::wire().unwrap();
    let wire = pair.first();
    let memory = Box::leak(Box::new(memory()));
    let mut endpoint = Endpoint::new(pair.second(), memory);
    services::listen(&mut endpoint);
    (Guest { pair, wire }, endpoint)
}

fn connected(port: u32) -> (Guest, Endpoint) {
    let (mut guest, mut endpoint) = bench();
    guest.send(&header(Op::Request, 1000, port), b"");
    guest.send(&header(Op::CreditUpdate, 1000, port), b"");
    turn(&mut endpoint, services::serve);
    let answers = guest.take();
    assert_eq!(answers[0].0.op, Op::Response as u16);
    assert_eq!((answers[0].0.from, answers[0].0.to), (port, 1000));
    assert_eq!(answers[0].0.buf_alloc as usize, WINDOW);
    (guest, endpoint)
}

#[test]
fn echo_sends_back_and_ends_when_the_guest_does() {
    let (mut guest, mut endpoint) = connected(ECHO);
    guest.send(&header(Op::Rw, 1000, ECHO), b"hello");
    let shutdown = Header {
        flags: Shutdown::SEND.bits(),
        ..header(Op::Shutdown, 1000, ECHO)
    };
    guest.send(&shutdown, b"");
    turn(&mut endpoint, services::serve);
    let all = guest.take();
    assert_eq!(all[0].1, b"hello");
    assert_eq!(all[0].0.fwd_cnt, 5);
    assert_eq!((all[1].0.op, all[1].0.flags), (Op::Shutdown as u16, 3));
    assert_eq!(endpoint.len(), 1);
    guest.send(&header(Op::Rst, 1000, ECHO), b"");
    turn(&mut endpoint, services::serve);
    assert!(endpoint.is_empty());
    assert_eq!(guest.ops(), []);
}

#[test]
fn a_guest_that_closes_gets_a_reset_even_with_an_echo_under_way() {
    let (mut guest, mut endpoint) = connected(ECHO);
    // It has given no more credit than it has used: nothing can be echoed.
    let poor = Header {
        buf_alloc: 0,
        fwd_cnt: 0,
        ..header(Op::Rw, 1000, ECHO)
    };
    for _ in 0..8 {
        guest.send(&poor, &[1; 1000]);
    }
    turn(&mut endpoint, services::serve);
    guest.take();
    let close = Header {
        flags: 3,
        ..header(Op::Shutdown, 1000, ECHO)
    };
    guest.send(&close, b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops().last(), Some(&(Op::Rst as u16)));
    assert!(endpoint.is_empty());
}

#[test]
fn discard_gives_credit_back() {
    let (mut guest, mut endpoint) = connected(DISCARD);
    let mut credit = Credit::default();
    credit.announce(WINDOW as u32, 0);
    for _ in 0..100 {
        assert!(credit.take(4096), "the guest must wait for ever");
        guest.send(&header(Op::Rw, 1000, DISCARD), &[7; 4096]);
        turn(&mut endpoint, services::serve);
        for (header, _) in guest.take() {
            assert_eq!(header.op, Op::CreditUpdate as u16);
            credit.announce(header.buf_alloc, header.fwd_cnt);
        }
    }
}

#[test]
fn a_source_sends_what_fits_and_others_have_their_turn() {
    let (mut guest, mut endpoint) = bench();
    guest.send(&header(Op::Request, 1000, SOURCE), b"");
    turn(&mut endpoint, services::serve);
    let first = guest.take().split_off(1);
    let bytes: usize = first.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(bytes, 100_000, "all that the guest gave credit for");
    assert!(first[0].1.starts_with(b"@AB"));
    guest.send(&header(Op::Request, 1001, ECHO), b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops(), [Op::Response as u16]);
}

#[test]
fn nobody_listens_on_other_ports_or_to_messages_or_when_all_are_busy() {
    let (mut guest, mut endpoint) = bench();
    guest.send(&header(Op::Request, 1, 8), b"");
    let messages = Header {
        kind: 2,
        ..header(Op::Request, 1, SOURCE)
    };
    guest.send(&messages, b"");
    for op in [Op::Response, Op::Rw, Op::Shutdown, Op::CreditRequest] {
        guest.send(&header(op, 1, ECHO), b"");
    }
    guest.send(&header(Op::Rst, 1, ECHO), b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops(), [Op::Rst as u16; 6]);
    for port in 0..=CONNECTIONS as u32 {
        guest.send(&header(Op::Request, port, ECHO), b"");
    }
    turn(&mut endpoint, services::serve);
    let ops = guest.ops();
    let refused = ops.iter().filter(|op| **op == Op::Rst as u16);
    assert_eq!((ops.len(), refused.count()), (CONNECTIONS + 1, 1));
    // A guest's backend that starts again has forgotten them.
    let _fresh = guest.pair.first();
    turn(&mut endpoint, services::serve);
    assert!(endpoint.is_empty());
}

#[test]
fn who_breaks_a_rule_gets_a_reset() {
    for bad in [
        header(Op::Request, 1000, ECHO),
        header(Op::Response, 1000, ECHO),
        Header {
            op: 99,
            ..header(Op::Rw, 1000, ECHO)
        },
        Header {
            kind: 2,
            ..header(Op::Rw, 1000, ECHO)
        },
    ] {
        let (mut guest, mut endpoint) = connected(ECHO);
        guest.send(&bad, b"");
        turn(&mut endpoint, services::serve);
        assert_eq!(guest.ops(), [Op::Rst as u16], "{bad:?}");
        assert!(endpoint.is_empty());
    }
    let (mut guest, mut endpoint) = connected(ECHO);
    guest.send(&header(Op::Rw, 1000, ECHO), &[0; WINDOW]);
    guest.send(&header(Op::Rw, 1000, ECHO), &[0]);
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops(), [Op::Rst as u16]);
}

#[test]
fn a_service_connects_to_a_guest() {
    let (mut guest, mut endpoint) = bench();
    let own = endpoint.connect(5000).unwrap();
    let refused = endpoint.connect(5001).unwrap();
    turn(&mut endpoint, |_| {});
    assert_eq!(guest.ops(), [Op::Request as u16; 2]);
    guest.send(&header(Op::Rst, 5001, refused), b"");
    guest.send(&header(Op::Response, 5000, own), b"");
    guest.send(&header(Op::Rw, 5000, own), b"welcome");
    let mut heard: Vec<u8> = Vec::new();
    turn(&mut endpoint, |socket| {
        assert_eq!((socket.port(), socket.peer_port()), (own, 5000));
        let mut bytes = [0; 100];
        let count = socket.receive(&mut bytes);
        heard.extend_from_slice(&bytes[..count]);
        if count > 0 {
            assert_eq!(socket.send(b"thanks"), 6);
        }
    });
    assert_eq!(heard, b"welcome");
    assert!(endpoint.has(own) && !endpoint.has(refused));
    assert_eq!(guest.take()[0].1, b"thanks");
}

/// A packet of a socket of messages to the echo.
fn message(op: Op, flags: Seq) -> Header {
    Header {
        kind: 2,
        flags: flags.bits(),
        ..header(op, 1, ECHO)
    }
}

/// What comes back, with what ends each packet.
fn parts(guest: &mut Guest) -> Vec<(Vec<u8>, Seq)> {
    let all = guest.take().into_iter();
    let all = all.filter(|(header, _)| header.op == Op::Rw as u16);
    all.map(|(header, bytes)| {
        assert_eq!(header.kind, 2);
        (bytes, Seq::from_bits(header.flags).unwrap())
    })
    .collect()
}

fn with_messages() -> (Guest, Endpoint) {
    let (mut guest, mut endpoint) = bench();
    guest.send(&message(Op::Request, Seq::empty()), b"");
    turn(&mut endpoint, services::serve);
    let answers = guest.take();
    assert_eq!(
        (answers[0].0.op, answers[0].0.kind),
        (Op::Response as u16, 2)
    );
    (guest, endpoint)
}

#[test]
fn s5_10_6_6_an_echo_keeps_the_ends_of_messages() {
    let (mut guest, mut endpoint) = with_messages();
    for (bytes, end) in [
        (&b"one"[..], Seq::EOM),
        (b"tw", Seq::empty()),
        (b"o", Seq::EOM | Seq::EOR),
        // An empty one is none, and an end without bytes is that of what came before.
        (b"", Seq::EOM),
        (b"three", Seq::empty()),
        (b"", Seq::EOM),
        (b"four", Seq::empty()),
    ] {
        guest.send(&message(Op::Rw, end), bytes);
    }
    turn(&mut endpoint, services::serve);
    let expected = [
        (b"one".to_vec(), Seq::EOM),
        (b"two".to_vec(), Seq::EOM | Seq::EOR),
        (b"three".to_vec(), Seq::EOM),
        (b"four".to_vec(), Seq::empty()),
    ];
    assert_eq!(parts(&mut guest), expected);
    // The end comes when the bytes have gone already.
    guest.send(&message(Op::Rw, Seq::EOM), b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(parts(&mut guest), [(vec![], Seq::EOM)]);
    let shutdown = Header {
        flags: Shutdown::SEND.bits(),
        ..message(Op::Shutdown, Seq::empty())
    };
    guest.send(&shutdown, b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops(), [Op::Shutdown as u16]);
}

#[test]
fn s5_10_6_6_discard_takes_messages_and_ends() {
    let (mut guest, mut endpoint) = bench();
    let to = |op, flags: Seq| Header {
        to: DISCARD,
        ..message(op, flags)
    };
    guest.send(&to(Op::Request, Seq::empty()), b"");
    turn(&mut endpoint, services::serve);
    guest.send(&to(Op::Rw, Seq::empty()), b"begun");
    turn(&mut endpoint, services::serve);
    guest.send(&to(Op::Rw, Seq::EOM), b"");
    let close = Header {
        flags: 3,
        ..to(Op::Shutdown, Seq::empty())
    };
    guest.send(&close, b"");
    turn(&mut endpoint, services::serve);
    assert_eq!(guest.ops().last(), Some(&(Op::Rst as u16)));
    assert!(endpoint.is_empty());
}

/// In how many turns an echo brings so many bytes: one brings no more than the guest has room for, and every other one tells of it.
fn turns(bytes: usize, buffer: u32) -> usize {
    1000 + 2 * bytes / buffer as usize
}

proptest! {
    /// Whatever the messages, and however both sides cut them.
    #[test]
    fn s5_10_6_6_messages_come_back_whole(
        lengths in prop::collection::vec(1usize..9000, 1..8),
        cut in prop_oneof![1usize..20, 20usize..5000],
        buffer in prop_oneof![1u32..20, 20u32..20_000],
    ) {
        let (mut guest, mut endpoint) = with_messages();
        let mut packets = std::collections::VecDeque::new();
        for (number, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|at| (at * 3 + number) as u8).collect();
            let mut chunks = bytes.chunks(cut).peekable();
            while let Some(chunk) = chunks.next() {
                let end = if chunks.peek().is_none() { Seq::EOM } else { Seq::empty() };
                packets.push_back((chunk.to_vec(), end));
            }
        }
        let mut credit = Credit::default();
        credit.announce(WINDOW as u32, 0);
        let (mut got, mut messages, mut count) = (Vec::new(), Vec::new(), 0_u32);
        for _ in 0..turns(lengths.iter().sum(), buffer) + packets.len() {
            let rich = |header: Header| Header { buf_alloc: buffer, fwd_cnt: count, ..header };
            guest.send(&rich(message(Op::CreditUpdate, Seq::empty())), b"");
            if let Some((bytes, _)) = packets.front()
                && credit.take(bytes.len() as u32)
            {
                let (bytes, end) = packets.pop_front().unwrap();
                guest.send(&rich(message(Op::Rw, end)), &bytes);
            }
            endpoint.turn(services::serve);
            for (header, bytes) in guest.take() {
                prop_assert!(header.op != Op::Rst as u16);
                credit.announce(header.buf_alloc, header.fwd_cnt);
                count += bytes.len() as u32;
                got.extend(bytes);
                if header.flags & Seq::EOM.bits() != 0 {
                    messages.push(core::mem::take(&mut got));
                }
            }
            if messages.len() == lengths.len() {
                break;
            }
        }
        prop_assert!(got.is_empty() && packets.is_empty());
        let same = messages.iter().zip(&lengths).enumerate().all(|(number, (bytes, length))| {
            bytes.len() == *length && bytes.iter().enumerate().all(|(at, byte)| *byte == (at * 3 + number) as u8)
        });
        prop_assert!(same && messages.len() == lengths.len());
    }

    /// Whatever the pieces, whatever the credit: all comes back, in order.
    #[test]
    fn an_echo_is_what_was_sent(
        pieces in prop::collection::vec(1usize..5000, 1..60),
        buffer in prop_oneof![1u32..20, 20u32..20_000],
    ) {
        let (mut guest, mut endpoint) = bench();
        let rich = |header: Header, got: usize| Header {
            buf_alloc: buffer,
            fwd_cnt: got as u32,
            ..header
        };
        guest.send(&rich(header(Op::Request, 1, ECHO), 0), b"");
        let mut credit = Credit::default();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        let turns = turns(pieces.iter().sum(), buffer);
        let mut pieces = pieces.into_iter().peekable();
        for _ in 0..turns {
            endpoint.turn(services::serve);
            for (header, bytes) in guest.take() {
                prop_assert!(header.op != Op::Rst as u16);
                credit.announce(header.buf_alloc, header.fwd_cnt);
                got.extend(bytes);
            }
            let told = rich(header(Op::CreditUpdate, 1, ECHO), got.len());
            guest.send(&told, b"");
            if let Some(length) = pieces.next_if(|length| credit.take(*length as u32)) {
                let bytes: Vec<u8> = (0..length).map(|at| (at + sent.len()) as u8).collect();
                guest.send(&rich(header(Op::Rw, 1, ECHO), got.len()), &bytes);
                sent.extend(bytes);
            } else if pieces.peek().is_none() && got.len() == sent.len() {
                break;
            }
        }
        prop_assert!(got == sent, "{} of {}", got.len(), sent.len());
    }
}
