//! Connections that follow the rules.

use crate::rig::{BUFFER, CID, PEERS, RX, Rig, TX, answer, bytes, packet};
use sel4cp_backends::vsock::{CONNECTIONS, FROM_PEERS, counter};
use sel4cp_model::vsock::{Features as Own, Header, Op, Seq, Shutdown};
use sel4cp_queue::Features;
use sel4cp_ring::wire;
use sel4cp_testing::{readable, readable_obj, writable};

const STREAM: u16 = 1;
const SEQPACKET: u16 = 2;

#[test]
fn s5_10_the_device_is_a_socket_device() {
    let mut rig = Rig::new();
    let facts = *rig.bench.vmm.facts().unwrap();
    assert_eq!((facts.id, facts.features & 7), (19, 3));
    assert_eq!(facts.queue_max[..4], [256, 256, 16, 0]);
    assert_eq!(rig.bench.config()[..8], CID.to_le_bytes());
    rig.end();
}

#[test]
fn s5_10_6_5_bytes_go_both_ways_however_buffers_are_cut() {
    for features in [Features::all(), Features::empty()] {
        let mut rig = Rig::with(features, u64::MAX);
        rig.connect(STREAM);
        let sent = bytes(1234);
        let header = packet(Op::Rw, sent.len());
        let raw = zerocopy::IntoBytes::as_bytes(&header);
        // A header split over descriptors, with payload behind it in the same one.
        let buffers = [
            readable(&raw[..5]),
            readable(&raw[5..43]),
            readable([&raw[43..], &sent[..100]].concat()),
            readable(&sent[100..]),
        ];
        if features.contains(Features::INDIRECT_DESC) {
            rig.bench.guest.queue(TX).add_indirect(&buffers);
        } else {
            rig.bench.guest.queue(TX).add(&buffers);
        }
        rig.bench.kick(TX);
        let all = rig.arrived(0);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].0.from, all[0].0.to), (1000, 7));
        assert_eq!((all[0].0.buf_alloc, all[0].0.fwd_cnt), (BUFFER, 0));
        assert_eq!(all[0].1, sent);
        // The way back, in more pieces than one: buffers have 1000 bytes.
        let back = bytes(3001);
        rig.tell(0, &answer(Op::Rw, back.len()), &back);
        let got = rig.got();
        assert!(got.len() > 3);
        for (header, _) in &got {
            assert_eq!(header.src_cid.get(), PEERS[0]);
            assert_eq!((header.src_port.get(), header.dst_port.get()), (7, 1000));
            assert_eq!((header.op.get(), header.kind.get()), (Op::Rw as u16, 1));
            assert_eq!(header.buf_alloc.get(), 4000);
        }
        assert_eq!(got.concat_payload(), back);
        assert_eq!(rig.counter(counter::TRANSMITTED), 1234);
        assert_eq!(rig.counter(counter::RECEIVED), 3001);
        assert_eq!(rig.counter(counter::CONNECTIONS), 1);
        assert_eq!(rig.bench.guest.queue(TX).collect().len(), 2);
        rig.end();
    }
}

trait Payload {
    fn concat_payload(&self) -> Vec<u8>;
}

impl Payload for Vec<(Header, Vec<u8>)> {
    fn concat_payload(&self) -> Vec<u8> {
        self.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

#[test]
fn s5_10_6_6_messages_keep_their_ends() {
    let mut rig = Rig::connected(SEQPACKET);
    let both = (Seq::EOM | Seq::EOR).bits();
    let header = Header {
        kind: SEQPACKET.into(),
        flags: (both | 1 << 9).into(),
        ..packet(Op::Rw, 5)
    };
    rig.send(&header, b"hello");
    let all = rig.arrived(0);
    assert_eq!((all[0].0.flags, all[0].1.as_slice()), (both, &b"hello"[..]));
    let message = bytes(2500);
    let back = wire::Header {
        kind: SEQPACKET,
        flags: Seq::EOM.bits(),
        ..answer(Op::Rw, message.len())
    };
    rig.tell(0, &back, &message);
    let got = rig.got();
    let flags: Vec<u32> = got.iter().map(|(header, _)| header.flags.get()).collect();
    assert_eq!(flags, [0, 0, 1], "the last piece alone ends the message");
    assert_eq!(got.concat_payload(), message);
    rig.end();
}

#[test]
fn s5_10_3_messages_are_refused_to_a_driver_without_them() {
    let mut rig = Rig::with(Features::all(), !Own::SEQPACKET.bits());
    rig.offer(4, 100);
    let request = Header {
        kind: SEQPACKET.into(),
        ..packet(Op::Request, 0)
    };
    rig.send(&request, b"");
    assert_eq!(rig.got_ops(), [Op::Rst as u16]);
    let request = wire::Header {
        kind: SEQPACKET,
        ..answer(Op::Request, 0)
    };
    rig.tell(0, &request, b"");
    assert_eq!(rig.arrived_ops(0), [Op::Rst as u16]);
    assert_eq!(rig.got_ops(), []);
    rig.end();
}

#[test]
fn a_peer_connects_to_the_guest() {
    let mut rig = Rig::new();
    rig.offer(4, 100);
    rig.tell(1, &answer(Op::Request, 0), b"");
    let got = rig.got();
    assert_eq!(got[0].0.src_cid.get(), PEERS[1]);
    assert_eq!(got[0].0.op.get(), Op::Request as u16);
    let response = Header {
        dst_cid: PEERS[1].into(),
        ..packet(Op::Response, 0)
    };
    rig.send(&response, b"");
    assert_eq!(rig.arrived_ops(1), [Op::Response as u16]);
    assert_eq!(rig.arrived_ops(0), []);
    rig.tell(1, &answer(Op::Rw, 2), b"hi");
    assert_eq!(rig.got()[0].1, b"hi");
    rig.end();
}

#[test]
fn s5_10_6_3_who_asks_for_a_connection_may_say_more_about_its_buffer() {
    let mut rig = Rig::new();
    rig.offer(4, 1000);
    rig.send(&packet(Op::Request, 0), b"");
    let more = Header {
        buf_alloc: (BUFFER + 1).into(),
        ..packet(Op::CreditUpdate, 0)
    };
    rig.send(&more, b"");
    assert_eq!(
        rig.arrived_ops(0),
        [Op::Request as u16, Op::CreditUpdate as u16]
    );
    rig.tell(0, &answer(Op::Response, 0), b"");
    assert_eq!(rig.got_ops(), [Op::Response as u16]);
    let all = bytes(BUFFER as usize + 1);
    rig.offer(6, 1000);
    rig.tell(0, &answer(Op::Rw, all.len()), &all);
    assert_eq!(rig.got().concat_payload(), all);
    rig.end();
}

#[test]
fn s5_10_6_5_each_direction_is_shut_down_for_itself() {
    let mut rig = Rig::connected(STREAM);
    let shutdown = Header {
        flags: (Shutdown::SEND.bits() | 1 << 7).into(),
        ..packet(Op::Shutdown, 0)
    };
    rig.send(&shutdown, b"");
    assert_eq!(rig.arrived(0)[0].0.flags, Shutdown::SEND.bits());
    rig.tell(0, &answer(Op::Rw, 4), b"more");
    assert_eq!(rig.got()[0].1, b"more");
    let shutdown = wire::Header {
        flags: 3,
        ..answer(Op::Shutdown, 0)
    };
    rig.tell(0, &shutdown, b"");
    assert_eq!(rig.got_ops(), [Op::Shutdown as u16]);
    rig.send(&packet(Op::Rst, 0), b"");
    assert_eq!(rig.arrived_ops(0), [Op::Rst as u16]);
    assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    rig.end();
}

#[test]
fn nobody_is_there_for_an_unknown_cid_or_a_peer_that_does_not_listen() {
    let mut rig = Rig::new();
    rig.offer(4, 100);
    for cid in [0, 1, CID, 5, u64::MAX] {
        let request = Header {
            dst_cid: cid.into(),
            ..packet(Op::Request, 0)
        };
        rig.send(&request, b"");
        let got = rig.got();
        assert_eq!(got[0].0.src_cid.get(), cid, "in the name of who was asked");
        assert_eq!(got[0].0.op.get(), Op::Rst as u16);
        assert_eq!(
            (got[0].0.src_port.get(), got[0].0.dst_port.get()),
            (7, 1000)
        );
        rig.offer(1, 100);
    }
    rig.send(&packet(Op::Request, 0), b"");
    rig.tell(0, &answer(Op::Rst, 0), b"");
    assert_eq!(rig.got_ops(), [Op::Rst as u16]);
    assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    rig.end();
}

#[test]
fn a_full_table_refuses_and_leaves_everybody_a_share() {
    // Two peers, and what they leave to the guest.
    const SHARE: usize = FROM_PEERS / 2;
    let mut rig = Rig::new();
    for wire in [0, 1] {
        for port in 0..SHARE as u32 + 1 {
            rig.offer(1, 100);
            let request = wire::Header {
                from: port,
                ..answer(Op::Request, 0)
            };
            rig.tell(wire, &request, b"");
        }
        assert_eq!(rig.got_ops().len(), SHARE);
        assert_eq!(rig.arrived_ops(wire), [Op::Rst as u16]);
    }
    for port in 0..(CONNECTIONS - FROM_PEERS) as u32 {
        let request = Header {
            src_port: (5000 + port).into(),
            ..packet(Op::Request, 0)
        };
        rig.send(&request, b"");
        rig.bench.guest.queue(TX).collect();
    }
    assert_eq!(rig.arrived_ops(0).len(), CONNECTIONS - FROM_PEERS);
    let request = Header {
        src_port: 999.into(),
        ..packet(Op::Request, 0)
    };
    rig.send(&request, b"");
    assert_eq!(rig.got_ops(), [Op::Rst as u16]);
    assert_eq!(rig.counter(counter::CONNECTIONS), CONNECTIONS as u64);
    // Those of the guest go away with a reset, and its peers hear of it.
    assert!(rig.bench.reset());
    rig.bench.turn();
    assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    assert_eq!(rig.arrived_ops(0).len(), CONNECTIONS - FROM_PEERS + SHARE);
    assert_eq!(rig.arrived_ops(1).len(), SHARE);
    // Until its driver is there, nobody can connect.
    rig.tell(1, &answer(Op::Request, 0), b"");
    rig.bench.turn();
    assert_eq!(rig.arrived_ops(1), [Op::Rst as u16]);
    rig.bench.restart(3, u64::MAX);
    rig.connect(STREAM);
    rig.end();
}

#[test]
fn a_full_wire_delays_and_drops_nothing() {
    let mut rig = Rig::new();
    rig.offer(1, 100);
    rig.send(&packet(Op::Request, 0), b"");
    let generous = wire::Header {
        buf_alloc: u32::MAX,
        ..answer(Op::Response, 0)
    };
    assert_eq!(rig.arrived_ops(0), [Op::Request as u16]);
    rig.tell(0, &generous, b"");
    let sent = bytes(10 * 0x1_0000);
    for part in sent.chunks(0x1_0000) {
        rig.bench
            .guest
            .queue(TX)
            .add(&[readable_obj(&packet(Op::Rw, part.len())), readable(part)]);
    }
    rig.bench.kick(TX);
    assert!(rig.counter(counter::DELAYED) > 0);
    let mut arrived = Vec::new();
    for _ in 0..20 {
        for (_, payload) in rig.arrived(0) {
            arrived.extend(payload);
        }
    }
    assert!(arrived == sent, "{} of {}", arrived.len(), sent.len());
    rig.end();
}

#[test]
fn packets_for_the_guest_wait_for_its_buffers() {
    let mut rig = Rig::connected(STREAM);
    // All but one of the 16 buffers are left; use them up.
    for _ in 0..15 {
        rig.tell(0, &answer(Op::CreditUpdate, 0), b"");
    }
    rig.tell(0, &answer(Op::Rw, 3), b"abc");
    rig.tell(0, &answer(Op::Rw, 3), b"def");
    assert_eq!(rig.got().len(), 15);
    rig.bench
        .guest
        .queue(RX)
        .add(&[writable(10), writable(34), writable(16)]);
    rig.bench.guest.queue(RX).add(&[writable(100)]);
    assert!(rig.bench.guest.queue(RX).kick(), "the device asked for it");
    let _told = rig.bench.vmm.kick();
    assert_eq!(rig.got().concat_payload(), b"abcdef");
    rig.end();
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let mut rig = Rig::new();
    for round in 0..10_000_u32 {
        rig.offer(1 + (round % 2) as usize, 100);
        let port = 1000 + round;
        let from = |header: Header| Header {
            src_port: port.into(),
            ..header
        };
        let to = |header: wire::Header| wire::Header { to: port, ..header };
        rig.send(&from(packet(Op::Request, 0)), b"");
        rig.tell(0, &to(answer(Op::Response, 0)), b"");
        if round % 3 == 0 {
            rig.send(&from(packet(Op::Rw, 2)), b"hi");
        }
        if round % 2 == 0 {
            rig.send(&from(packet(Op::Rst, 0)), b"");
            rig.tell(0, &to(answer(Op::CreditUpdate, 0)), b"");
        } else {
            rig.tell(0, &to(answer(Op::Rst, 0)), b"");
        }
        rig.arrived(0);
        rig.got();
        rig.bench.guest.queue(TX).collect();
        assert_eq!(rig.counter(counter::CONNECTIONS), 0);
    }
    assert_eq!(rig.counter(counter::REQUESTED), 10_000);
    assert_eq!(rig.counter(counter::BROKEN), 0);
    rig.end();
}

#[test]
fn a_peer_that_starts_again_resets_its_connections_alone() {
    let mut rig = Rig::connected(STREAM);
    let other = Header {
        dst_cid: PEERS[1].into(),
        ..packet(Op::Request, 0)
    };
    rig.send(&other, b"");
    rig.tell(1, &answer(Op::Response, 0), b"");
    assert_eq!(rig.got_ops(), [Op::Response as u16]);
    rig.peers[0] = rig.pairs[0].second();
    let got = rig.got();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0.op.get(), Op::Rst as u16);
    assert_eq!(got[0].0.src_cid.get(), PEERS[0]);
    assert_eq!(rig.counter(counter::CONNECTIONS), 1);
    // Each peer has started once before.
    assert_eq!(rig.counter(counter::LOST), 3);
    rig.tell(1, &answer(Op::Rw, 1), b"x");
    assert_eq!(rig.got()[0].1, b"x");
    rig.connect(STREAM);
    rig.end();
}
