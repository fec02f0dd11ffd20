//! The configurations of those who talk through sockets: the vsock backends and the native services.

use super::{Config, Header, MAX_CHILDREN, MAX_DEVICES, MAX_GUESTS, Name, Program, Region, Ring};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most peers of a guest's sockets, and most guests of the native services: the services and all guests but itself.
pub const MAX_WIRES: usize = MAX_GUESTS;
/// Bytes of the receive buffers of one guest's connections with the native services.
pub const SOCKET_BYTES: usize = 0x14_0000;

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
        /// Number of used entries of `guests`; 0 where no guest may use the control service.
        pub guest_count: u32,
        /// Wires to the guests that have sockets.
        pub wires: [Wire; MAX_WIRES],
        /// Receive buffers, [`SOCKET_BYTES`] for each of those.
        pub buffers: Region,
        /// Page in which the supervisor says who has faulted, read-only, and its channel.
        pub domains: Ring,
        /// Number of used entries of `children`.
        pub child_count: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// The names of the supervisor's children, by their ids.
        pub children: [Name; MAX_CHILDREN],
        /// All guests, with sockets or without, for the control service.
        pub guests: [ControlledGuest; MAX_GUESTS],
    }

    /// A guest, as the control service sees it.
    pub struct ControlledGuest {
        /// Its name.
        pub name: Name,
        /// Its CID; 0: it has no sockets.
        pub cid: u64,
        /// What it may ask the control service: an [`Access`].
        pub access: u32,
        /// The id of its VMM among the supervisor's children.
        pub vmm: u32,
        /// Page shared with the VMM, and its channel.
        pub page: Ring,
        /// Number of used entries of `devices`.
        pub device_count: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Its devices.
        pub devices: [Observed; MAX_DEVICES],
    }

    /// A device whose counters are shown.
    pub struct Observed {
        /// Device id (virtIO 1.2 §5).
        pub kind: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Link page between VMM and backend, read-only.
        pub link: Region,
    }
}

/// What a guest may ask the control service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Access {
    /// Nothing: for this guest there is no such service.
    None = 0,
    /// The states of guests and PDs, and the counters of devices.
    Status = 1,
    /// That, and to pause, resume, restart and power off guests.
    All = 2,
}

impl Access {
    /// The access with this number; what is none is [`Access::None`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Status,
            2 => Self::All,
            _ => Self::None,
        }
    }
}

impl Observed {
    /// No device.
    pub const NONE: Self = Self {
        kind: 0,
        reserved: 0,
        link: Region::NONE,
    };
}

impl ControlledGuest {
    /// No guest.
    pub const NONE: Self = Self {
        name: Name { bytes: [0; 32] },
        cid: 0,
        access: Access::None as u32,
        vmm: 0,
        page: Ring::NONE,
        device_count: 0,
        reserved: 0,
        devices: [Observed::NONE; MAX_DEVICES],
    };
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
