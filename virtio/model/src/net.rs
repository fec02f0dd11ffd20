//! Network device (§5.1).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Queue of buffers for received packets (§5.1.2).
pub const RECEIVEQ: u16 = 0;
/// Queue of packets to transmit (§5.1.2).
pub const TRANSMITQ: u16 = 1;
/// Queue of commands, behind one pair of the others (§5.1.2).
pub const CONTROLQ: u16 = 2;

bitflags! {
    /// Feature bits (§5.1.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The device handles packets with a partial checksum.
        #[doc(alias = "VIRTIO_NET_F_CSUM")]
        const CSUM = 1 << 0;
        /// The driver handles packets with a partial checksum.
        #[doc(alias = "VIRTIO_NET_F_GUEST_CSUM")]
        const GUEST_CSUM = 1 << 1;
        /// The driver may choose its offloads again at any time.
        #[doc(alias = "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS")]
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        /// `mtu` is valid.
        #[doc(alias = "VIRTIO_NET_F_MTU")]
        const MTU = 1 << 3;
        /// `mac` is valid.
        #[doc(alias = "VIRTIO_NET_F_MAC")]
        const MAC = 1 << 5;
        /// The driver can receive TSOv4.
        #[doc(alias = "VIRTIO_NET_F_GUEST_TSO4")]
        const GUEST_TSO4 = 1 << 7;
        /// The driver can receive TSOv6.
        #[doc(alias = "VIRTIO_NET_F_GUEST_TSO6")]
        const GUEST_TSO6 = 1 << 8;
        /// The driver can receive TSO with ECN.
        #[doc(alias = "VIRTIO_NET_F_GUEST_ECN")]
        const GUEST_ECN = 1 << 9;
        /// The driver can receive UFO.
        #[doc(alias = "VIRTIO_NET_F_GUEST_UFO")]
        const GUEST_UFO = 1 << 10;
        /// The device can receive TSOv4.
        #[doc(alias = "VIRTIO_NET_F_HOST_TSO4")]
        const HOST_TSO4 = 1 << 11;
        /// The device can receive TSOv6.
        #[doc(alias = "VIRTIO_NET_F_HOST_TSO6")]
        const HOST_TSO6 = 1 << 12;
        /// The device can receive TSO with ECN.
        #[doc(alias = "VIRTIO_NET_F_HOST_ECN")]
        const HOST_ECN = 1 << 13;
        /// The device can receive UFO.
        #[doc(alias = "VIRTIO_NET_F_HOST_UFO")]
        const HOST_UFO = 1 << 14;
        /// The driver can merge receive buffers.
        #[doc(alias = "VIRTIO_NET_F_MRG_RXBUF")]
        const MRG_RXBUF = 1 << 15;
        /// `status` is valid.
        #[doc(alias = "VIRTIO_NET_F_STATUS")]
        const STATUS = 1 << 16;
        /// There is a control queue.
        #[doc(alias = "VIRTIO_NET_F_CTRL_VQ")]
        const CTRL_VQ = 1 << 17;
        /// Several pairs of queues.
        #[doc(alias = "VIRTIO_NET_F_MQ")]
        const MQ = 1 << 22;
    }
}

impl Features {
    /// What a device can do to the packets that it transmits.
    pub const TRANSMIT_OFFLOADS: Self = Self::CSUM
        .union(Self::HOST_TSO4)
        .union(Self::HOST_TSO6)
        .union(Self::HOST_ECN);
    /// What a driver can take of the packets that it receives.
    pub const RECEIVE_OFFLOADS: Self = Self::GUEST_CSUM.union(Self::LONG).union(Self::GUEST_ECN);
    /// With one of them a received packet may be longer than the link's frames.
    pub const LONG: Self = Self::GUEST_TSO4.union(Self::GUEST_TSO6);

    /// Those of the offloads that depend on nothing that is missing (§5.1.3.1).
    #[must_use]
    pub const fn consistent_offloads(self) -> Self {
        let mut all = self.intersection(Self::TRANSMIT_OFFLOADS.union(Self::RECEIVE_OFFLOADS));
        if !all.contains(Self::CSUM) {
            all = all.difference(Self::TRANSMIT_OFFLOADS);
        }
        if !all.contains(Self::GUEST_CSUM) {
            all = all.difference(Self::RECEIVE_OFFLOADS);
        }
        all
    }
}

/// `status`: the link is up (§5.1.4).
#[doc(alias = "VIRTIO_NET_S_LINK_UP")]
pub const STATUS_LINK_UP: u16 = 1;
/// Smallest MTU that a device may offer (§5.1.4.1).
pub const MIN_MTU: u16 = 68;
/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER: u32 = 14;
/// Bytes of the 802.1Q tag that a frame may carry besides.
pub const VLAN_TAG: u32 = 4;

/// Configuration space up to `mtu` (§5.1.4).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_net_config")]
pub struct Config {
    /// MAC address, with MAC.
    pub mac: [u8; 6],
    /// Link status, with STATUS.
    pub status: U16,
    /// Largest number of queue pairs, with MQ.
    pub max_virtqueue_pairs: U16,
    /// Largest payload of a frame in bytes, with MTU.
    pub mtu: U16,
}

/// What precedes each packet with VERSION_1 (§5.1.6).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_net_hdr")]
pub struct Header {
    /// NEEDS_CSUM 1, DATA_VALID 2, RSC_INFO 4.
    pub flags: u8,
    /// 0: not a segmented packet.
    pub gso_type: u8,
    /// Bytes of headers that each segment repeats.
    pub hdr_len: U16,
    /// Bytes of payload of each segment.
    pub gso_size: U16,
    /// Where the checksum starts.
    pub csum_start: U16,
    /// Where it goes, from there.
    pub csum_offset: U16,
    /// Buffers that a received packet fills, with MRG_RXBUF (else 1 with VERSION_1).
    pub num_buffers: U16,
}

impl Header {
    /// `flags`: the checksum from `csum_start` on is to be completed, and put `csum_offset` bytes behind that.
    #[doc(alias = "VIRTIO_NET_HDR_F_NEEDS_CSUM")]
    pub const NEEDS_CSUM: u8 = 1;
    /// `gso_type`: TCP over IPv4.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_TCPV4")]
    pub const GSO_TCPV4: u8 = 1;
    /// `gso_type`: TCP over IPv6.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_TCPV6")]
    pub const GSO_TCPV6: u8 = 4;
    /// Bit of `gso_type`: the TCP header has ECN bits.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_ECN")]
    pub const GSO_ECN: u8 = 0x80;
    /// Bytes.
    pub const SIZE: u32 = 12;
    /// Bytes before `num_buffers`: the whole header of a legacy device without MRG_RXBUF.
    pub const LEGACY_SIZE: u32 = 10;
}

/// A command by which the driver says which offloads it takes from now on (§5.1.6.5.6).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_net_ctrl_hdr")]
pub struct OffloadsCommand {
    /// What it is about.
    pub class: u8,
    /// What is to be done.
    pub command: u8,
    /// The bits of [`Features`].
    pub offloads: U64,
}

impl OffloadsCommand {
    /// `class`.
    #[doc(alias = "VIRTIO_NET_CTRL_GUEST_OFFLOADS")]
    pub const CLASS: u8 = 5;
    /// `command`.
    #[doc(alias = "VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET")]
    pub const SET: u8 = 0;
}

/// The device has done what a command asks for (§5.1.6.5).
#[doc(alias = "VIRTIO_NET_OK")]
pub const COMMAND_OK: u8 = 0;
/// It has not.
#[doc(alias = "VIRTIO_NET_ERR")]
pub const COMMAND_ERR: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use virtio_bindings::virtio_net as c;

    #[test]
    fn s5_1_values_are_those_of_virtio_bindings() {
        for (ours, bit) in [
            (Features::CSUM, c::VIRTIO_NET_F_CSUM),
            (Features::GUEST_CSUM, c::VIRTIO_NET_F_GUEST_CSUM),
            (
                Features::CTRL_GUEST_OFFLOADS,
                c::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
            ),
            (Features::MTU, c::VIRTIO_NET_F_MTU),
            (Features::MAC, c::VIRTIO_NET_F_MAC),
            (Features::GUEST_TSO4, c::VIRTIO_NET_F_GUEST_TSO4),
            (Features::GUEST_TSO6, c::VIRTIO_NET_F_GUEST_TSO6),
            (Features::GUEST_ECN, c::VIRTIO_NET_F_GUEST_ECN),
            (Features::GUEST_UFO, c::VIRTIO_NET_F_GUEST_UFO),
            (Features::HOST_TSO4, c::VIRTIO_NET_F_HOST_TSO4),
            (Features::HOST_TSO6, c::VIRTIO_NET_F_HOST_TSO6),
            (Features::HOST_ECN, c::VIRTIO_NET_F_HOST_ECN),
            (Features::HOST_UFO, c::VIRTIO_NET_F_HOST_UFO),
            (Features::MRG_RXBUF, c::VIRTIO_NET_F_MRG_RXBUF),
            (Features::STATUS, c::VIRTIO_NET_F_STATUS),
            (Features::CTRL_VQ, c::VIRTIO_NET_F_CTRL_VQ),
            (Features::MQ, c::VIRTIO_NET_F_MQ),
        ] {
            assert_eq!(ours.bits(), 1 << bit, "{ours:?}");
        }
        assert_eq!(u32::from(STATUS_LINK_UP), c::VIRTIO_NET_S_LINK_UP);
        for (ours, theirs) in [
            (Header::NEEDS_CSUM, c::VIRTIO_NET_HDR_F_NEEDS_CSUM),
            (Header::GSO_TCPV4, c::VIRTIO_NET_HDR_GSO_TCPV4),
            (Header::GSO_TCPV6, c::VIRTIO_NET_HDR_GSO_TCPV6),
            (Header::GSO_ECN, c::VIRTIO_NET_HDR_GSO_ECN),
        ] {
            assert_eq!(u32::from(ours), theirs);
        }
        for (ours, theirs) in [
            (OffloadsCommand::CLASS, c::VIRTIO_NET_CTRL_GUEST_OFFLOADS),
            (OffloadsCommand::SET, c::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET),
            (COMMAND_OK, c::VIRTIO_NET_OK),
            (COMMAND_ERR, c::VIRTIO_NET_ERR),
        ] {
            assert_eq!(u32::from(ours), theirs);
        }
        assert_eq!(
            offset_of!(OffloadsCommand, offloads),
            size_of::<c::virtio_net_ctrl_hdr>()
        );
        assert_eq!(
            size_of::<Header>(),
            size_of::<c::virtio_net_hdr_mrg_rxbuf>()
        );
        assert_eq!(Header::LEGACY_SIZE as usize, size_of::<c::virtio_net_hdr>());
        assert_eq!(
            offset_of!(Header, num_buffers),
            offset_of!(c::virtio_net_hdr_mrg_rxbuf, num_buffers)
        );
        assert_eq!(
            offset_of!(Config, mtu),
            offset_of!(c::virtio_net_config, mtu)
        );
        assert_eq!(
            offset_of!(Config, status),
            offset_of!(c::virtio_net_config, status)
        );
    }
}
