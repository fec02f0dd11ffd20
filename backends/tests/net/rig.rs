//! The device, its guest and its driver on one bench.

use crate::common::Bench;
use crate::common::wire::Wire;
use sel4cp_backends::{
    Trouble,
    net::{Net, Pauses},
};
use sel4cp_memory::{GuestAddress, HostRam};
use sel4cp_model::net::Features as NetFeatures;
use sel4cp_queue::Features;
use sel4cp_ring::PeerFault;
use sel4cp_ring::host;
use sel4cp_ring::layout::{DEVICE_SIZE, DeviceRegion};
use sel4cp_ring::request::{Completion, Header, status};
use sel4cp_testing::{Buffer, readable};

pub(crate) const RECEIVEQ: usize = 0;
pub(crate) const TRANSMITQ: usize = 1;
/// Bytes of the longest frame with its header.
pub(crate) const WHOLE: u32 = 12 + 14 + 1500;
/// What hardware may leave before a frame.
pub(crate) const GARBAGE: [u8; 12] = [0; 12];

pub(crate) struct Rig {
    pub(crate) bench: Bench<Net>,
    pub(crate) wire: Wire,
    pub(crate) region: DeviceRegion,
    pub(crate) frames: Option<HostRam>,
}

/// What may differ.
pub(crate) struct Setup {
    /// Entries of the guest's queues, and what it and the device offer of the ring.
    pub(crate) queues: [u16; 3],
    pub(crate) ring_features: Features,
    /// Bytes of the rings to the driver, and of frames that the device makes.
    pub(crate) ring: usize,
    pub(crate) frames: u64,
    pub(crate) mtu: u16,
    /// What the hardware offers to do to frames.
    pub(crate) offloads: NetFeatures,
    /// Where somebody tells of the guest's pauses.
    pub(crate) pauses: Option<Pauses>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            queues: [128, 128, 8],
            ring_features: Features::all(),
            ring: DEVICE_SIZE,
            frames: 0,
            mtu: 1500,
            offloads: NetFeatures::empty(),
            pauses: None,
        }
    }
}

impl Rig {
    pub(crate) fn new(ring: usize, mtu: u16) -> Self {
        Self::behind(ring, mtu, NetFeatures::empty())
    }

    /// Behind hardware that offers to do this to frames.
    pub(crate) fn behind(ring: usize, mtu: u16, offloads: NetFeatures) -> Self {
        Self::with(ring, mtu, offloads, 0)
    }

    /// The same, with so many bytes for frames that the device makes.
    pub(crate) fn with(ring: usize, mtu: u16, offloads: NetFeatures, frames: u64) -> Self {
        Self::of(Setup {
            ring,
            mtu,
            offloads,
            frames,
            ..Setup::default()
        })
    }

    pub(crate) fn of(setup: Setup) -> Self {
        let Setup { offloads, mtu, .. } = setup;
        let region = host::device(setup.ring).unwrap();
        let frames = match setup.frames {
            0 => None,
            bytes => Some(HostRam::new(GuestAddress::new(0), bytes).unwrap()),
        };
        let memory = frames.as_ref().map(HostRam::ram);
        let bench = Bench::new(&setup.queues, setup.ring_features, |ram| {
            Net::new(region, ram, memory, setup.pauses, [2, 0, 0, 0, 0, 7], mtu)
        });
        let wire = Wire::new(region, bench.guest.ram());
        let mut rig = Self {
            bench,
            wire,
            region,
            frames,
        };
        rig.wire.frames = memory;
        rig.wire.facts.features = offloads.bits();
        let facts = rig.wire.facts;
        rig.wire.ends.info.change(&facts);
        rig.bench.turn();
        assert!(rig.bench.vmm.facts().is_none());
        assert!(rig.wire.reset());
        rig
    }

    pub(crate) fn running(features: u64) -> Self {
        let mut rig = Self::new(DEVICE_SIZE, 1500);
        rig.bench.start(features);
        rig
    }

    /// Behind hardware that offers `hardware`, before a guest that accepts `features`: agreed on, and running.
    pub(crate) fn agreed(hardware: NetFeatures, features: NetFeatures) -> Self {
        let mut rig = Self::behind(DEVICE_SIZE, 1500, hardware);
        rig.bench.start(features.bits());
        rig.wire.take();
        if !rig.wire.resets.is_empty() {
            assert!(rig.wire.reset());
            rig.bench.turn();
        }
        rig
    }

    /// A reset gives back what was offered and not used.
    pub(crate) fn end(mut self) {
        assert!(!self.bench.reset());
        self.wire.reset();
        assert!(self.bench.turn().reset_done);
        self.bench.restart(2, 0);
        self.bench.guest.finish();
    }

    /// After a reset: a driver that accepts nothing, and agrees on nothing with the hardware.
    pub(crate) fn restart_plain(&mut self) {
        self.bench.restart(2, 0);
        self.wire.take();
        assert_eq!(self.wire.resets.last().map(|reset| reset.sector), Some(0));
        self.wire.reset();
    }

    pub(crate) fn send(&mut self, buffers: &[Buffer]) -> Vec<Vec<u8>> {
        self.bench.guest.queue(TRANSMITQ).add(buffers);
        self.bench.kick(TRANSMITQ);
        let sent = self.wire.sent();
        self.bench.turn();
        let used = self.bench.guest.queue(TRANSMITQ).collect();
        assert_eq!(
            used.iter().map(|used| used.len).collect::<Vec<_>>(),
            [0],
            "came back, once"
        );
        sent
    }

    pub(crate) fn offer(&mut self, buffers: &[Buffer]) {
        self.bench.guest.queue(RECEIVEQ).add(buffers);
        self.bench.kick(RECEIVEQ);
    }

    /// A frame arrives. What the guest gets: the contents of each used buffer.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.wire.deliver(frame, GARBAGE);
        self.bench.turn();
        let used = self.bench.guest.queue(RECEIVEQ).collect();
        used.into_iter().map(|used| used.bytes).collect()
    }

    /// The driver answers the request of `header` with an id that is none, and is trusted no more.
    pub(crate) fn lie(mut self, header: &Header, id: u16, len: u32) {
        self.wire.answer(Completion {
            id,
            ..Completion::of(header, status::OK, len)
        });
        self.bench.turn();
        assert_eq!(
            self.bench.trouble,
            Some(Trouble::Peer(PeerFault::Unexpected { id }))
        );
        assert!(self.bench.needs_reset);
        self.bench.guest.abandon();
    }

    pub(crate) fn counter(&self, counter: usize) -> u64 {
        self.bench.vmm.counter(counter)
    }
}

pub(crate) fn frame(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| u8::try_from(n % 241).unwrap())
        .collect()
}

pub(crate) fn plain() -> Buffer {
    readable([0; 12])
}

pub(crate) fn mergeable() -> u64 {
    NetFeatures::MRG_RXBUF.bits()
}
