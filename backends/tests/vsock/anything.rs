//! The whole device between a guest and peers that send anything at all.

use crate::rig::{CID, PEERS, RX, Rig, TX};
use proptest::prelude::*;
use sel4cp_backends::vsock::counter;
use sel4cp_model::vsock::Header;
use sel4cp_ring::wire;
use sel4cp_testing::{readable, readable_obj, writable};
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Call {
    /// The guest sends a packet, whose payload has so many bytes.
    Guest(Header, usize),
    /// A peer does.
    Peer(usize, wire::Header),
    /// The guest offers a buffer.
    Offer(u32),
    /// A peer takes what is there.
    Take(usize),
    /// A peer starts again.
    Restart(usize),
    /// The guest's driver does.
    Reset,
}

fn operation() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(1u16), 3 => Just(2), 1 => Just(3), 1 => Just(4), 8 => Just(5), 2 => Just(6), 1 => Just(7), 1 => any::<u16>()]
}

fn kind() -> impl Strategy<Value = u16> {
    prop_oneof![9 => Just(1u16), 3 => Just(2), 1 => any::<u16>()]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0u32), 6 => 0u32..300, 1 => any::<u32>()]
}

prop_compose! {
    fn guest()(
        src in prop_oneof![20 => Just(CID), 1 => any::<u64>()],
        dst in prop_oneof![10 => Just(PEERS[0]), 5 => Just(PEERS[1]), 1 => any::<u64>()],
        ports in (0u32..3, 0u32..2),
        op in operation(),
        kind in kind(),
        len in length(),
        flags in prop_oneof![3 => Just(0u32), 1 => 0u32..4, 1 => any::<u32>()],
        credit in (0u32..2000, 0u32..500),
        more in prop_oneof![9 => Just(0usize), 1 => 0usize..50],
    ) -> Call {
        let header = Header {
            src_cid: src.into(),
            dst_cid: dst.into(),
            src_port: ports.0.into(),
            dst_port: ports.1.into(),
            len: len.into(),
            kind: kind.into(),
            op: op.into(),
            flags: flags.into(),
            buf_alloc: credit.0.into(),
            fwd_cnt: credit.1.into(),
        };
        // Mostly as long as it says.
        Call::Guest(header, (len as usize).min(300) + more)
    }
}

prop_compose! {
    fn peer()(
        which in 0usize..2,
        ports in (0u32..2, 0u32..3),
        op in operation(),
        kind in kind(),
        len in 0u32..300,
        flags in any::<u32>(),
        credit in (0u32..2000, 0u32..500),
    ) -> Call {
        Call::Peer(which, wire::Header {
            op,
            kind,
            flags,
            from: ports.0,
            to: ports.1,
            len,
            buf_alloc: credit.0,
            fwd_cnt: credit.1,
            reserved: 0,
        })
    }
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => guest(),
        10 => peer(),
        8 => (60u32..400).prop_map(Call::Offer),
        4 => (0usize..2).prop_map(Call::Take),
        1 => (0usize..2).prop_map(Call::Restart),
        1 => Just(Call::Reset),
    ]
}

/// What a side was sent in each connection, against what it gave credit for.
#[derive(Default)]
struct Account(HashMap<(u64, u32, u32), (u64, u64)>);

impl Account {
    /// The receiver gave credit: never more bytes than these in all since its connection began.
    fn promise(&mut self, key: (u64, u32, u32), buffer: u32, taken: u32) {
        let (_, promised) = self.0.entry(key).or_default();
        *promised = (*promised).max(u64::from(buffer) + u64::from(taken));
    }

    fn arrived(&mut self, key: (u64, u32, u32), length: usize) {
        let (sent, promised) = self.0.entry(key).or_default();
        *sent += length as u64;
        assert!(
            *sent <= *promised,
            "{key:?}: {sent} bytes, {promised} promised"
        );
    }

    fn end(&mut self, key: (u64, u32, u32)) {
        if let Some((sent, _)) = self.0.get_mut(&key) {
            *sent = 0;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_they_send_nobody_is_hurt(calls in prop::collection::vec(call(), 1..120)) {
        let mut rig = Rig::new();
        let mut account = Account::default();
        for call in calls {
            match call {
                Call::Guest(header, length) => {
                    let key = (header.dst_cid.get(), header.src_port.get(), header.dst_port.get());
                    account.promise(key, header.buf_alloc.get(), header.fwd_cnt.get());
                    if rig.bench.guest.queue(TX).free() >= 2 {
                        let buffers = [readable_obj(&header), readable(vec![1; length])];
                        rig.bench.guest.queue(TX).add(&buffers);
                        rig.bench.kick(TX);
                    }
                }
                Call::Peer(which, header) => {
                    let room = rig.peers[which].has_room(header.len).unwrap();
                    if room {
                        let payload = vec![2; header.len as usize];
                        rig.tell(which, &header, &payload);
                    }
                }
                Call::Offer(size) => {
                    if rig.bench.guest.queue(RX).free() >= 1 {
                        rig.bench.guest.queue(RX).add(&[writable(size)]);
                        rig.bench.kick(RX);
                    }
                }
                Call::Take(which) => {
                    for (header, bytes) in rig.arrived(which) {
                        prop_assert_eq!(header.len as usize, bytes.len());
                        prop_assert!((1..=7).contains(&header.op));
                        prop_assert!(header.flags < 4);
                    }
                }
                Call::Restart(which) => {
                    rig.peers[which] = rig.pairs[which].second();
                    rig.bench.turn();
                }
                Call::Reset => {
                    prop_assert!(rig.bench.reset());
                    rig.bench.restart(3, u64::MAX);
                    account = Account::default();
                }
            }
            for (header, bytes) in rig.got() {
                let key = (header.src_cid.get(), header.dst_port.get(), header.src_port.get());
                prop_assert!((1..=7).contains(&header.op.get()));
                account.arrived(key, bytes.len());
                if header.op.get() == 3 || header.op.get() == 1 || header.op.get() == 2 {
                    account.end(key);
                }
            }
            rig.bench.guest.queue(TX).collect();
            prop_assert!(!rig.bench.needs_reset && rig.bench.trouble.is_none());
            prop_assert!(rig.counter(counter::CONNECTIONS) <= 12);
        }
        // What is owed goes out once there is room for it; then everything is over.
        prop_assert!(rig.bench.reset());
        for which in [0, 1] {
            rig.arrived(which);
        }
        rig.bench.turn();
        prop_assert_eq!(rig.counter(counter::CONNECTIONS), 0);
        rig.end();
    }
}
