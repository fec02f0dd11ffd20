//! The configurations of those who talk through sockets: the vsock backends and the native services.

use super::{Config, Header, MAX_WIRES, Name, Program, Region, Ring};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

plain! {
    /// A wire of sockets, and who is at its other end.
    pub struct Wire {
        /// The peer's CID (virtIO 1.2 §5.10.4).
        pub cid: u64,
        /// 1: this end is the first.
        pub first: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Wire region and channel towards the peer.
        pub ring: Ring,
    }

    /// The configuration of a guest's vsock backend.
    pub struct VsockConfig {
        /// Header.
        pub header: Header,
        /// The device's name.
        pub device: Name,
        /// Link page and channel towards the VMM.
        pub link: Ring,
        /// Guest RAM; `bus` is its guest-physical address.
        pub ram: Region,
        /// The guest's CID.
        pub cid: u64,
        /// Number of used entries of `wires`.
        pub wire_count: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Wires to whom the guest may talk to.
        pub wires: [Wire; MAX_WIRES],
    }

    /// The configuration of the native services.
    pub struct ServicesConfig {
        /// Header.
        pub header: Header,
        /// Number of used entries of `wires`.
        pub wire_count: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Wires to the guests that have sockets.
        pub wires: [Wire; MAX_WIRES],
    }
}

impl Wire {
    /// No wire.
    pub const NONE: Self = Self {
        cid: 0,
        first: 0,
        reserved: 0,
        ring: Ring::NONE,
    };
}

config! {
    VsockConfig: [Vsock];
    ServicesConfig: [Services];
}
