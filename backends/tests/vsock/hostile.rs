//! Guests and peers that break rules: it ends one connection, or one device, and never more.

use crate::rig::{BUFFER, PEERS, Rig, TX, answer, bytes, packet};
use sel4cp_backends::Trouble;
use sel4cp_backends::vsock::counter;
use sel4cp_model::vsock::{Header, Op};
use sel4cp_ring::host;
use sel4cp_ring::wire::{self, MAX_PAYLOAD};
use sel4cp_testing::{Buffer, readable, readable_obj, writable};

const RST: u16 = Op::Rst as u16;

/// Two connections; the guest's packet `bad` of the first one ends that one, for both sides.
fn breaks(bad: &[Buffer]) {
    let mut rig = Rig::connected(1);
    let bystander = Header {
        src_port: 2000.into(),
        ..packet(Op::Request, 0)
    };
    let to_bystander = |header: wire::Header| wire::Header { to: 2000, ..header };
    rig.send(&bystander, b"");
    rig.tell(0, &to_bystander(answer(Op::Response, 0)), b"");
    assert_eq!(rig.got_ops(), [Op::Response as u16]);
    assert_eq!(rig.arrived_ops(0), [Op::Request as u16]);
    rig.bench.guest.queue(TX).add(bad);
    rig.bench.kick(TX);
    assert_eq!(rig.got_ops(), [RST], "{bad:?}");
    assert_eq!(rig.arrived_ops(0), [RST], "{bad:?}");
    assert_eq!(rig.counter(counter::BROKEN), 1);
    assert_eq!(rig.counter(counter::CONNECTIONS), 1);
    let rw = Header {
        op: (Op::Rw as u16).into(),
        len: 2.into(),
        ..bystander
    };
    rig.send(&rw, b"ok");
    assert_eq!(rig.arrived(0)[0].1, b"ok");
    rig.tell(0, &to_bystander(answer(Op::Rw, 2)), b"ok");
    assert_eq!(rig.got()[0].1, b"ok");
    // What comes late for the one that is gone is refused.
    rig.send(&packet(Op::Rw, 1), b"x");
    assert_eq!(rig.got_ops(), [RST]);
    rig.tell(0, &answer(Op::Rw, 1), b"x");
    assert_eq!(rig.arrived_ops(0), [RST]);
    assert!(!rig.bench.needs_reset);
    rig.end();
}

fn with(change: impl Fn(&mut Header)) -> Vec<Buffer> {
    let mut header = packet(Op::Rw, 4);
    change(&mut header);
    vec![readable_obj(&header), readable(b"1234")]
}

#[test]
fn a_bad_packet_ends_its_connection_and_no_other() {
    breaks(&with(|header| header.op = 0.into()));
    breaks(&with(|header| header.op = 8.into()));
    breaks(&with(|header| header.op = 0xffff.into()));
    breaks(&with(|header| header.kind = 2.into()));
    breaks(&with(|header| header.kind = 0.into()));
    breaks(&with(|header| header.kind = 77.into()));
    breaks(&with(|header| header.len = 5.into()));
    breaks(&with(|header| header.len = u32::MAX.into()));
    breaks(&with(|header| header.len = (MAX_PAYLOAD + 1).into()));
    breaks(&with(|header| header.op = (Op::CreditUpdate as u16).into()));
    // Payload that nobody gave credit for.
    breaks(&with(|header| header.op = RST.into()));
    breaks(&[readable_obj(&packet(Op::Request, 0))]);
    breaks(&[readable_obj(&packet(Op::Response, 0))]);
}

#[test]
fn s5_10_6_3_one_byte_more_than_the_credit_ends_the_connection() {
    let all = bytes(4001);
    breaks(&[readable_obj(&packet(Op::Rw, 4001)), readable(&all)]);
    let mut rig = Rig::connected(1);
    rig.send(&packet(Op::Rw, 4000), &all[..4000]);
    assert_eq!(rig.arrived(0)[0].1.len(), 4000);
    // 100 bytes were read: 100 more may come, and no more.
    let update = wire::Header {
        fwd_cnt: 100,
        ..answer(Op::CreditUpdate, 0)
    };
    rig.tell(0, &update, b"");
    rig.send(&packet(Op::Rw, 100), &all[..100]);
    assert_eq!(rig.arrived_ops(0), [Op::Rw as u16]);
    assert_eq!(rig.got_ops(), [Op::CreditUpdate as u16]);
    rig.send(&packet(Op::Rw, 1), b"x");
    assert_eq!(rig.arrived_ops(0), [RST]);
    assert_eq!(rig.got_ops(), [RST]);
    rig.end();
}

#[test]
fn s5_10_6_3_a_peer_is_held_to_the_guests_credit() {
    let mut rig = Rig::connected(1);
    let all = bytes(BUFFER as usize);
    rig.tell(0, &answer(Op::Rw, all.len()), &all);
    assert_eq!(rig.got().len(), 6);
    rig.tell(0, &answer(Op::Rw, 1), b"x");
    assert_eq!(rig.got_ops(), [RST]);
    assert_eq!(rig.arrived_ops(0), [RST]);
    rig.end();
}

#[test]
fn who_has_finished_sending_may_not_send() {
    let mut rig = Rig::connected(1);
    let shutdown = Header {
        flags: 2.into(),
        ..packet(Op::Shutdown, 0)
    };
    rig.send(&shutdown, b"");
    rig.send(&packet(Op::Rw, 1), b"x");
    assert_eq!(rig.arrived_ops(0), [Op::Shutdown as u16, RST]);
    assert_eq!(rig.got_ops(), [RST]);
    rig.end();
}

#[test]
fn a_request_may_only_be_answered_by_who_was_asked() {
    let mut rig = Rig::new();
    rig.offer(4, 100);
    rig.send(&packet(Op::Request, 0), b"");
    rig.send(&packet(Op::Response, 0), b"");
    assert_eq!(rig.arrived_ops(0), [Op::Request as u16, RST]);
    assert_eq!(rig.got_ops(), [RST]);
    rig.send(&packet(Op::Request, 0), b"");
    rig.send(&packet(Op::Rw, 1), b"x");
    assert_eq!(rig.arrived_ops(0), [Op::Request as u16, RST]);
    assert_eq!(rig.got_ops(), [RST]);
    rig.end();
}

#[test]
fn strangers_get_a_reset_and_a_reset_gets_nothing() {
    let mut rig = Rig::new();
    rig.offer(16, 100);
    for op in [
        Op::Response,
        Op::Shutdown,
        Op::Rw,
        Op::CreditUpdate,
        Op::CreditRequest,
    ] {
        rig.send(&packet(op, 0), b"");
        assert_eq!(rig.got_ops(), [RST], "{op:?}");
        rig.tell(0, &answer(op, 0), b"");
        assert_eq!(rig.arrived_ops(0), [RST], "{op:?}");
    }
    rig.send(&packet(Op::Rst, 0), b"");
    rig.tell(0, &answer(Op::Rst, 0), b"");
    assert_eq!(rig.got_ops(), []);
    assert_eq!(rig.arrived_ops(0), []);
    for kind in [0, 3, 0xffff] {
        let request = Header {
            kind: kind.into(),
            ..packet(Op::Request, 0)
        };
        rig.send(&request, b"");
        assert_eq!(rig.got_ops(), [RST]);
    }
    assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    rig.end();
}

#[test]
fn packets_without_a_header_or_in_anothers_name_go_nowhere() {
    let mut rig = Rig::connected(1);
    let forged = Header {
        src_cid: 9.into(),
        ..packet(Op::Rst, 0)
    };
    rig.send(&forged, b"");
    let half = zerocopy::IntoBytes::as_bytes(&packet(Op::Rst, 0))[..43].to_vec();
    rig.bench.guest.queue(TX).add(&[readable(half)]);
    rig.bench.guest.queue(TX).add(&[writable(44)]);
    rig.bench.kick(TX);
    assert_eq!(rig.counter(counter::DROPPED), 3);
    assert_eq!(rig.bench.guest.queue(TX).collect().len(), 4);
    assert_eq!(rig.counter(counter::CONNECTIONS), 1);
    rig.end();
}

#[test]
fn a_guest_that_takes_no_answers_waits_and_nobody_else_does() {
    let mut rig = Rig::new();
    for port in 0..100_u32 {
        let request = Header {
            src_port: port.into(),
            dst_cid: 77.into(),
            ..packet(Op::Request, 0)
        };
        rig.bench.guest.queue(TX).add(&[readable_obj(&request)]);
    }
    rig.bench.kick(TX);
    assert_eq!(rig.bench.guest.queue(TX).collect().len(), 64);
    rig.offer(128, 100);
    assert_eq!(rig.got_ops().len(), 100);
    assert_eq!(rig.bench.guest.queue(TX).collect().len(), 36);
    rig.end();
}

#[test]
fn a_buffer_too_small_for_a_packet_breaks_the_device() {
    let mut rig = Rig::new();
    rig.bench.guest.queue(0).add(&[writable(59)]);
    rig.bench.kick(0);
    rig.bench.assert_broken();
    // Its peers are told.
    rig.tell(0, &answer(Op::Request, 0), b"");
    rig.bench.turn();
    assert_eq!(rig.arrived_ops(0), [RST]);
    rig.end();
}

#[test]
fn a_peer_that_breaks_the_wire_is_gone_until_it_starts_again() {
    let mut rig = Rig::connected(1);
    let bad = wire::Header {
        len: MAX_PAYLOAD + 1,
        ..answer(Op::Rw, 0)
    };
    host::lie(&mut rig.peers[0], &bad);
    rig.peers[0].flush();
    assert_eq!(rig.got_ops(), [RST]);
    assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    assert!(matches!(rig.bench.trouble, Some(Trouble::Wire(_))));
    rig.send(&packet(Op::Request, 0), b"");
    assert_eq!(rig.got_ops(), [RST]);
    let other = Header {
        dst_cid: PEERS[1].into(),
        ..packet(Op::Request, 0)
    };
    rig.send(&other, b"");
    assert_eq!(rig.arrived_ops(1), [Op::Request as u16]);
    rig.peers[0] = rig.pairs[0].second();
    rig.bench.turn();
    rig.peers[0].front().unwrap();
    rig.arrived(0);
    rig.connect(1);
    assert!(!rig.bench.needs_reset);
    rig.end();
}

#[test]
fn a_connection_that_ends_in_the_middle_of_a_packet_ends_its_rest() {
    let mut rig = Rig::new();
    rig.connect(1);
    // 15 buffers are left; the packet needs five of the small ones that follow.
    for _ in 0..15 {
        rig.tell(0, &answer(Op::CreditUpdate, 0), b"");
    }
    rig.got();
    rig.offer(2, 60 + 200);
    rig.tell(0, &answer(Op::Rw, 1000), &bytes(1000));
    rig.tell(0, &answer(Op::CreditUpdate, 0), b"");
    assert_eq!(rig.got_ops().len(), 2);
    rig.send(&packet(Op::Rst, 0), b"");
    rig.offer(4, 300);
    assert_eq!(rig.got_ops(), []);
    // The update was for nobody any more.
    assert_eq!(rig.arrived_ops(0), [RST, RST]);
    rig.end();
}
