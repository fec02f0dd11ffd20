//! An input is a list of packets, from a guest and from its peers, and of ends of either.
//!
//! Found wrong is a panic, a packet that goes on without a connection, a byte beyond what its receiver gave credit
//! for, a connection that the model does not know, or one that stays when everybody is gone.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sel4cp_backends::vsock::{CONNECTIONS, Key, Side, Table, Verdict};
use sel4cp_ring::wire::Header;
use std::collections::HashMap;

#[derive(Arbitrary, Debug)]
enum Call {
    /// The numbers are small, so that they hit something.
    Packet {
        guest: bool,
        wire: bool,
        ports: u8,
        op: u8,
        kind: u8,
        flags: u32,
        len: u16,
        buf_alloc: u16,
        fwd_cnt: u16,
    },
    /// A side of a wire's connections is gone.
    Gone { guest: bool, wire: bool },
    /// A side gets the RST that it is owed.
    Paid { guest: bool },
}

/// Bytes that passed and that may pass, from the guest and from the peer.
type Known = [(u64, u64); 2];

const REQUEST: u16 = 1;
const RST: u16 = 3;
const RW: u16 = 5;

fn side(guest: bool) -> Side {
    if guest { Side::Guest } else { Side::Peer }
}

fuzz_target!(|calls: Vec<Call>| {
    let mut table = Table::default();
    table.share(2);
    let mut model: HashMap<(usize, u32, u32), Known> = HashMap::new();
    for call in calls {
        match call {
            Call::Packet {
                guest,
                wire,
                ports,
                op,
                kind,
                flags,
                len,
                buf_alloc,
                fwd_cnt,
            } => {
                let key = Key {
                    wire: usize::from(wire),
                    guest: u32::from(ports) & 3,
                    peer: u32::from(ports) >> 2 & 1,
                };
                let name = (key.wire, key.guest, key.peer);
                let header = Header {
                    op: u16::from(op % 9),
                    kind: u16::from(kind % 4),
                    flags,
                    len: len.into(),
                    buf_alloc: buf_alloc.into(),
                    fwd_cnt: fwd_cnt.into(),
                    ..Header::default()
                };
                let was_open = table.is_open(key);
                let verdict = table.packet(side(guest), key, &header, true);
                let (me, other) = if guest { (0, 1) } else { (1, 0) };
                if let Verdict::Pass(flags) = verdict {
                    assert!((1..=7).contains(&header.op) && flags < 4);
                    assert!(was_open != (header.op == REQUEST));
                    if header.op == REQUEST {
                        model.insert(name, Known::default());
                    }
                    let known = model.get_mut(&name).expect("it was opened");
                    if header.op == RW {
                        known[me].0 += u64::from(header.len);
                        assert!(known[me].0 <= known[me].1);
                    }
                    let promise = u64::from(fwd_cnt) + u64::from(buf_alloc);
                    if header.op != RST && u64::from(fwd_cnt) <= known[other].0 {
                        known[other].1 = known[other].1.max(promise);
                    }
                }
                if !table.is_open(key) {
                    model.remove(&name);
                }
            }
            Call::Gone { guest, wire } => {
                let wire = usize::from(wire);
                table.gone(side(guest), |key| key.wire == wire);
                assert!(table.owed(side(guest), |key| key.wire == wire).is_none());
                model.retain(|name, _| name.0 != wire);
            }
            Call::Paid { guest } => {
                if let Some((key, _)) = table.owed(side(guest), |_| true) {
                    table.paid(side(guest), key);
                }
            }
        }
        assert!(model.len() <= table.len() && table.len() <= CONNECTIONS);
    }
    table.gone(Side::Guest, |_| true);
    table.gone(Side::Peer, |_| true);
    assert!(table.is_empty());
});
