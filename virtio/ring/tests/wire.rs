//! Wires: packets arrive whole, and a peer that breaks a rule is left alone until it starts again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]
#![cfg(not(loom))]

use proptest::prelude::*;
use sel4cp_ring::layout::WirePair;
use sel4cp_ring::wire::{Credit, Header, MAX_PAYLOAD, Wire};
use sel4cp_ring::{PeerFault, host};

fn header(from: u32, len: usize) -> Header {
    Header {
        op: 5,
        kind: 1,
        from,
        len: u32::try_from(len).unwrap(),
        ..Header::default()
    }
}

fn send(wire: &mut Wire, header: &Header, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let sent = wire.send(header, |part| {
        let (now, later) = rest.split_at(part.len());
        part.copy_from_slice(now);
        rest = later;
    });
    sent.unwrap()
}

fn take(wire: &mut Wire, chunk: usize) -> Option<(Header, Vec<u8>)> {
    let header = wire.front().unwrap()?;
    let mut bytes = Vec::new();
    while wire.left() > 0 {
        let mut part = vec![0; chunk];
        let count = wire.read(&mut part).unwrap();
        bytes.extend(&part[..count]);
    }
    wire.done();
    Some((header, bytes))
}

fn pair() -> (WirePair, Wire, Wire) {
    let pair = host::wire().unwrap();
    (pair, pair.first(), pair.second())
}

#[test]
fn a_full_wire_refuses_payload_and_still_takes_what_ends_a_connection() {
    let (_, mut one, mut two) = pair();
    let bytes = vec![7; MAX_PAYLOAD as usize];
    let whole = header(1, bytes.len());
    assert!(send(&mut one, &whole, &bytes));
    assert!(!send(&mut one, &whole, &bytes), "the reserve stays");
    let part = one.room().unwrap();
    assert!(part > 0 && part < MAX_PAYLOAD);
    assert!(send(
        &mut one,
        &header(2, part as usize),
        &bytes[..part as usize]
    ));
    assert_eq!(one.room().unwrap(), 0);
    assert!(one.tell(&header(3, 0)).unwrap());
    assert!(!one.wait_for_room(16).unwrap());
    one.flush();
    assert_eq!(take(&mut two, 4096).unwrap(), (whole, bytes));
    two.flush();
    assert!(two.take_notify(), "the other end asked for room");
    assert_eq!(take(&mut two, 4096).unwrap().0.from, 2);
    assert_eq!(take(&mut two, 4096).unwrap().0.from, 3);
    assert_eq!(take(&mut two, 4096), None);
    assert!(
        one.wait_for_room(MAX_PAYLOAD).unwrap() || {
            two.flush();
            one.wait_for_room(MAX_PAYLOAD).unwrap()
        }
    );
}

#[test]
fn a_packet_is_given_back_with_its_last_byte() {
    let (pair, mut one, mut two) = pair();
    assert!(send(&mut one, &header(1, 40), &[9; 40]));
    one.flush();
    two.front().unwrap().unwrap();
    assert_eq!(two.read(&mut [0; 17]).unwrap(), 16);
    two.flush();
    // Whoever takes over finds the packet from its header on.
    let mut again = pair.second();
    assert_eq!(take(&mut again, 16).unwrap(), (header(1, 40), vec![9; 40]));
    assert!(one.restarted() && !one.restarted());
}

#[test]
fn a_packet_that_is_too_long_ends_the_wire_until_its_sender_starts_again() {
    let (pair, _, mut two) = pair();
    let bad = Header {
        len: MAX_PAYLOAD + 1,
        ..header(1, 0)
    };
    raw(pair, &bad);
    assert!(matches!(two.front(), Err(PeerFault::Payload { .. })));
    assert!(!two.works());
    assert!(matches!(two.take_fault(), Some(PeerFault::Payload { .. })));
    assert_eq!(two.take_fault(), None);
    assert_eq!(two.front().unwrap(), None);
    assert!(!two.has_room(0).unwrap());
    let mut one = pair.first();
    assert!(two.restarted() && two.works());
    assert!(send(&mut one, &header(2, 3), b"abc"));
    one.flush();
    assert_eq!(take(&mut two, 16).unwrap(), (header(2, 3), b"abc".to_vec()));
}

#[test]
fn a_packet_that_is_not_all_there_ends_the_wire() {
    let (pair, _one, mut two) = pair();
    raw(pair, &header(1, 100));
    assert!(matches!(
        two.front(),
        Err(PeerFault::Torn {
            expected: 9,
            found: 2
        })
    ));
    assert!(two.wait().is_ok_and(|more| !more));
}

/// Publishes a header, and no payload whatever it says.
fn raw(pair: WirePair, header: &Header) {
    let mut liar = pair.first();
    host::lie(&mut liar, header);
    liar.flush();
}

proptest! {
    #[test]
    fn packets_arrive_whole_and_in_order(
        lengths in prop::collection::vec(0usize..3000, 1..60),
        chunk in 16usize..1000,
    ) {
        let (_, mut one, mut two) = pair();
        let mut expected = std::collections::VecDeque::new();
        for (number, length) in lengths.into_iter().enumerate() {
            let head = header(u32::try_from(number).unwrap(), length);
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + number).to_le_bytes()[0]).collect();
            while !send(&mut one, &head, &bytes) {
                one.flush();
                prop_assert_eq!(take(&mut two, chunk), expected.pop_front());
                two.flush();
            }
            expected.push_back((head, bytes));
        }
        one.flush();
        while let Some(next) = expected.pop_front() {
            prop_assert_eq!(take(&mut two, chunk), Some(next));
        }
        prop_assert_eq!(take(&mut two, chunk), None);
    }

    /// §5.10.6.3: never more than the receiver's buffer, and all of it.
    #[test]
    fn s5_10_6_3_credit_is_exact(
        buffer in 0u32..5000,
        start: u32,
        steps in prop::collection::vec((0u32..2000, 0u32..2000), 0..50),
    ) {
        // `start` bytes have gone both ways before: the counters wrap.
        let mut credit = Credit::default();
        credit.announce(u32::MAX, 0);
        prop_assert!(credit.take(start));
        prop_assert!(credit.take(credit.free()));
        let mut taken_out = u32::MAX;
        credit.announce(buffer, taken_out);
        let mut used = 0;
        for (send, take) in steps {
            prop_assert_eq!(credit.free(), buffer - used);
            prop_assert_eq!(credit.take(send), send <= buffer - used);
            if send <= buffer - used { used += send; }
            let take = take.min(used);
            used -= take;
            taken_out = taken_out.wrapping_add(take);
            credit.announce(buffer, taken_out);
            // A receiver that claims more than it got gets nothing more.
            credit.announce(buffer, taken_out.wrapping_add(used).wrapping_add(1));
        }
    }
}
