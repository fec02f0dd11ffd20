//! The device, its guest and the ends of its wires on one bench.

use crate::common::Bench;
use sel4cp_backends::vsock::{Line, Vsock};
use sel4cp_model::vsock::{Header, Op};
use sel4cp_queue::Features;
use sel4cp_ring::host;
use sel4cp_ring::layout::WirePair;
use sel4cp_ring::wire::{self, Wire};
use sel4cp_testing::{readable, readable_obj, writable};
use zerocopy::FromBytes;

pub(crate) const RX: usize = 0;
pub(crate) const TX: usize = 1;
/// The guest, and who is at the end of each wire.
pub(crate) const CID: u64 = 3;
pub(crate) const PEERS: [u64; 2] = [2, 4];
/// The guest's receive buffer.
pub(crate) const BUFFER: u32 = 5000;

pub(crate) struct Rig {
    pub(crate) bench: Bench<Vsock>,
    pub(crate) peers: Vec<Wire>,
    pub(crate) pairs: Vec<WirePair>,
}

/// A packet of the guest to port 7 of the services, from its port 1000.
pub(crate) fn packet(op: Op, len: usize) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: PEERS[0].into(),
        src_port: 1000.into(),
        dst_port: 7.into(),
        len: (len as u32).into(),
        kind: 1.into(),
        op: (op as u16).into(),
        buf_alloc: BUFFER.into(),
        ..Header::default()
    }
}

/// A packet of the services from port 7 to the guest's port 1000.
pub(crate) fn answer(op: Op, len: usize) -> wire::Header {
    wire::Header {
        op: op as u16,
        kind: 1,
        from: 7,
        to: 1000,
        len: len as u32,
        buf_alloc: 4000,
        ..wire::Header::default()
    }
}

pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Features::all(), u64::MAX)
    }

    pub(crate) fn with(ring: Features, accept: u64) -> Self {
        let pairs: Vec<WirePair> = PEERS.iter().map(|_| host::wire().unwrap()).collect();
        let mut bench = Bench::new(&[128, 128, 16], ring, |_| {
            let mut vsock = Vsock::new(CID);
            for (pair, cid) in pairs.iter().zip(PEERS) {
                assert!(vsock.add(Line::new(cid, pair.first())));
            }
            vsock
        });
        let peers = pairs.iter().map(|pair| pair.second()).collect();
        bench.start(accept);
        Self {
            bench,
            peers,
            pairs,
        }
    }

    /// The device starts again under the running guest.
    pub(crate) fn revive(&mut self) {
        let mut vsock = Vsock::new(CID);
        for (pair, cid) in self.pairs.iter().zip(PEERS) {
            assert!(vsock.add(Line::new(cid, pair.first())));
        }
        self.bench.revive(vsock);
    }

    /// The guest offers `count` buffers of `size` bytes, whether or not the device asked for them.
    pub(crate) fn offer(&mut self, count: usize, size: u32) {
        for _ in 0..count {
            self.bench.guest.queue(RX).add(&[writable(size)]);
        }
        self.bench.kick(RX);
    }

    /// The guest sends a packet.
    pub(crate) fn send(&mut self, header: &Header, payload: &[u8]) {
        let mut buffers = vec![readable_obj(header)];
        if !payload.is_empty() {
            buffers.push(readable(payload));
        }
        self.bench.guest.queue(TX).add(&buffers);
        self.bench.kick(TX);
        self.bench.turn();
    }

    /// What the guest got since it last looked.
    pub(crate) fn got(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.bench.turn();
        let used = self.bench.guest.queue(RX).collect();
        let split = |used: sel4cp_testing::Used| {
            let (header, rest) = Header::read_from_prefix(&used.bytes).unwrap();
            assert_eq!(rest.len(), header.len.get() as usize);
            assert_eq!(header.dst_cid.get(), CID);
            (header, rest.to_vec())
        };
        used.into_iter().map(split).collect()
    }

    /// The operations of what the guest got.
    pub(crate) fn got_ops(&mut self) -> Vec<u16> {
        let got = self.got();
        got.iter().map(|(header, _)| header.op.get()).collect()
    }

    /// What arrived at the end of a wire. The peer then sleeps.
    pub(crate) fn arrived(&mut self, wire: usize) -> Vec<(wire::Header, Vec<u8>)> {
        let mut all = Vec::new();
        let peer = &mut self.peers[wire];
        while let Some(header) = peer.front().unwrap() {
            let mut payload = vec![0; header.len as usize];
            assert_eq!(peer.read(&mut payload).unwrap(), payload.len());
            peer.done();
            all.push((header, payload));
        }
        peer.flush();
        assert!(!peer.wait().unwrap());
        if peer.take_notify() {
            self.bench.turn();
        }
        all
    }

    /// The operations of what arrived.
    pub(crate) fn arrived_ops(&mut self, wire: usize) -> Vec<u16> {
        let all = self.arrived(wire);
        all.iter().map(|(header, _)| header.op).collect()
    }

    /// The peer at the end of a wire sends a packet.
    pub(crate) fn tell(&mut self, wire: usize, header: &wire::Header, payload: &[u8]) {
        let mut rest = payload;
        let peer = &mut self.peers[wire];
        let sent = peer.send(header, |part| {
            let (now, later) = rest.split_at(part.len());
            part.copy_from_slice(now);
            rest = later;
        });
        assert!(sent.unwrap(), "the wire is full");
        peer.flush();
        if peer.take_notify() {
            self.bench.turn();
        }
    }

    /// A connection from the guest's port 1000 to the services' port 7, with 4000 bytes of credit, and 16 buffers.
    pub(crate) fn connected(kind: u16) -> Self {
        let mut rig = Self::new();
        rig.connect(kind);
        rig
    }

    pub(crate) fn connect(&mut self, kind: u16) {
        self.offer(16, 1000);
        let request = Header {
            kind: kind.into(),
            ..packet(Op::Request, 0)
        };
        self.send(&request, b"");
        assert_eq!(self.arrived_ops(0), [Op::Request as u16]);
        let response = wire::Header {
            kind,
            ..answer(Op::Response, 0)
        };
        self.tell(0, &response, b"");
        assert_eq!(self.got_ops(), [Op::Response as u16]);
    }

    pub(crate) fn counter(&self, counter: usize) -> u64 {
        self.bench.vmm.counter(counter)
    }

    /// Buffers that the guest still offers are no mistake.
    pub(crate) fn end(self) {
        self.bench.guest.abandon();
    }
}
