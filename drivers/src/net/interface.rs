//! The hardware: what it is (§5.1.4), and its two queues.

use crate::virtio::queue::Queue;
use crate::virtio::transport::{ANY_LAYOUT, Trouble, field8, field16, negotiate};
use core::mem::offset_of;
use sel4cp_model::features::Features as Common;
use sel4cp_model::net::{Config, Features, Header, RECEIVEQ, STATUS_LINK_UP, TRANSMITQ};
use sel4cp_ring::net::{Interface as Facts, Offload};
use virtio_drivers::transport::Transport;

/// Descriptors of the receive queue: as many as QEMU allows.
pub const RECEIVE_SIZE: usize = 1024;
/// Descriptors of the transmit queue.
pub const TRANSMIT_SIZE: usize = 512;
/// Receive buffers of at most two segments that fit, besides the one that waits.
const RECEIVE_BUFFERS: u16 = 512;
/// Frames of at most two segments that fit, with the header's.
const TRANSMIT_BUFFERS: u16 = 170;

/// What is used of the hardware, if it has it.
const WANTED: Features = Features::MAC
    .union(Features::MTU)
    .union(Features::STATUS)
    .union(Features::TRANSMIT_OFFLOADS);

/// A network interface.
pub struct Interface<T> {
    pub(super) transport: T,
    /// What is agreed on with the hardware, and what it could do to frames.
    features: Features,
    offloads: Features,
    /// Bytes before each frame.
    header: u32,
    /// What the backend is told.
    facts: Facts,
}

impl<T: Transport> Interface<T> {
    /// Resets the interface behind `transport` and sets it up with its queues.
    ///
    /// # Errors
    /// [`Trouble`] says why it cannot be used.
    pub fn start<R>(
        transport: T,
        receive: &mut Queue<R, RECEIVE_SIZE>,
        transmit: &mut Queue<R, TRANSMIT_SIZE>,
    ) -> Result<Self, Trouble> {
        let mut interface = Self {
            transport,
            features: Features::empty(),
            offloads: Features::empty(),
            header: Header::SIZE,
            facts: Facts::default(),
        };
        interface.set_up(receive, transmit, Features::empty())?;
        Ok(interface)
    }

    /// Resets the interface and sets it up with its queues, which must have nothing in flight, and with those of its features for
    /// receiving that the guest takes: offloads, and merged buffers.
    ///
    /// # Errors
    /// [`Trouble`] says why it cannot be used.
    pub fn set_up<R>(
        &mut self,
        receive: &mut Queue<R, RECEIVE_SIZE>,
        transmit: &mut Queue<R, TRANSMIT_SIZE>,
        taken: Features,
    ) -> Result<(), Trouble> {
        let transport = &mut self.transport;
        let legacy = transport.requires_legacy_layout();
        let has = Features::from_bits_truncate(transport.read_device_features());
        // A shorter header cannot be where the guest expects it.
        let received = if legacy {
            Features::empty()
        } else {
            Features::RECEIVE_OFFLOADS | Features::MRG_RXBUF
        };
        self.offloads = has & (Features::TRANSMIT_OFFLOADS | received);
        let taken = taken & received;
        let wanted = WANTED | taken.consistent_offloads() | (taken & Features::MRG_RXBUF);
        let agreed = negotiate(transport, wanted.bits())?;
        if legacy && agreed & ANY_LAYOUT == 0 {
            // The header would have to be a piece of its own, also in the guest's buffers.
            return Err(Trouble::Lacks(ANY_LAYOUT));
        }
        let event_idx = agreed & Common::EVENT_IDX.bits() != 0;
        receive.set_up(transport, RECEIVEQ, event_idx)?;
        transmit.set_up(transport, TRANSMITQ, event_idx)?;
        transport.finish_init();
        self.header = if legacy {
            Header::LEGACY_SIZE
        } else {
            Header::SIZE
        };
        self.features = Features::from_bits_truncate(agreed);
        self.facts = self.read_facts()?;
        Ok(())
    }

    /// What the backend is told.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the hardware does what `offload` asks for.
    pub fn does(&self, offload: &Offload) -> bool {
        let with = |feature| self.features.contains(feature);
        let kind = match offload.gso_type & !Header::GSO_ECN {
            0 => offload.gso_type == 0,
            Header::GSO_TCPV4 => with(Features::HOST_TSO4),
            Header::GSO_TCPV6 => with(Features::HOST_TSO6),
            _ => false,
        };
        let ecn = offload.gso_type & Header::GSO_ECN == 0 || with(Features::HOST_ECN);
        kind && ecn && (!offload.needs_csum || with(Features::CSUM))
    }

    /// Bytes that the hardware has before each frame (§5.1.6).
    pub const fn header(&self) -> u32 {
        self.header
    }

    /// Whether it goes on in the next buffer with a frame that is longer than one.
    pub const fn merges(&self) -> bool {
        self.features.contains(Features::MRG_RXBUF)
    }

    /// Reads the configuration space again; true if something has changed.
    ///
    /// # Errors
    /// The configuration space is too small.
    pub fn refresh(&mut self) -> Result<bool, Trouble> {
        let facts = self.read_facts()?;
        let old = core::mem::replace(&mut self.facts, facts);
        Ok(old != facts)
    }

    fn read_facts(&self) -> Result<Facts, Trouble> {
        Ok(self.transport.read_consistent(|| self.read_once())?)
    }

    /// The configuration space's fields, those that the features make valid.
    fn read_once(&self) -> virtio_drivers::Result<Facts> {
        let transport = &self.transport;
        let with = |feature| self.features.contains(feature);
        let mut facts = Facts {
            mtu: 1500,
            link_up: 1,
            transmit_buffers: TRANSMIT_BUFFERS,
            receive_buffers: RECEIVE_BUFFERS,
            features: self.offloads.bits(),
            ..Facts::default()
        };
        if with(Features::MAC) {
            for (index, byte) in facts.mac.iter_mut().enumerate() {
                *byte = field8(transport, offset_of!(Config, mac) + index)?;
            }
        }
        if with(Features::STATUS) {
            let status = field16(transport, offset_of!(Config, status))?;
            facts.link_up = status & STATUS_LINK_UP;
        }
        if with(Features::MTU) {
            facts.mtu = field16(transport, offset_of!(Config, mtu))?;
        }
        Ok(facts)
    }
}
