//! A fake guest at the other end of a wire.
#![allow(dead_code, reason = "not every test uses everything")]

use sel4cp_model::vsock::Op;
use sel4cp_ring::layout::WirePair;
use sel4cp_ring::wire::{Header, Wire};
use sel4cp_services::{Endpoint, Socket};

/// What a guest's backend passes on.
pub(crate) struct Guest {
    pub(crate) pair: WirePair,
    pub(crate) wire: Wire,
}

pub(crate) fn header(op: Op, from: u32, to: u32) -> Header {
    Header {
        op: op as u16,
        kind: 1,
        from,
        to,
        buf_alloc: 100_000,
        ..Header::default()
    }
}

impl Guest {
    pub(crate) fn send(&mut self, header: &Header, bytes: &[u8]) {
        let mut rest = bytes;
        let header = Header {
            len: bytes.len() as u32,
            ..*header
        };
        let sent = self.wire.send(&header, |part| {
            let (now, later) = rest.split_at(part.len());
            part.copy_from_slice(now);
            rest = later;
        });
        assert!(sent.unwrap());
        self.wire.flush();
    }

    pub(crate) fn take(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(header) = self.wire.front().unwrap() {
            let mut bytes = vec![0; header.len as usize];
            self.wire.read(&mut bytes).unwrap();
            self.wire.done();
            all.push((header, bytes));
        }
        self.wire.flush();
        all
    }

    pub(crate) fn ops(&mut self) -> Vec<u16> {
        self.take().iter().map(|(header, _)| header.op).collect()
    }
}

/// As often as it asks for, which must end.
pub(crate) fn turn(endpoint: &mut Endpoint, mut serve: impl FnMut(&mut Socket<'_>)) {
    for _ in 0..1000 {
        if !endpoint.turn(&mut serve) {
            return;
        }
    }
    panic!("the endpoint does not come to rest");
}
