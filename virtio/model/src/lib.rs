//! What the virtIO 1.2 specification says, as data: device types, feature bits, configuration layouts, request
//! structures, the status register's rules and the virtio-mmio registers. No behaviour, no memory, no transport.
//!
//! Names are the specification's, mechanically: `VIRTIO_BLK_F_RO` is [`block::Features::RO`]. A host test compares
//! every value and layout with `virtio-bindings`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod block;
pub mod console;
pub mod features;
pub mod mmio;
pub mod net;
pub mod status;
pub mod vsock;

/// A device type (§5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceType {
    /// Network device (§5.1).
    Net = 1,
    /// Block device (§5.2).
    Block = 2,
    /// Console device (§5.3).
    Console = 3,
    /// Socket device (§5.10).
    Socket = 19,
}

impl DeviceType {
    /// The type with this device id, if this project knows it.
    pub const fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            1 => Self::Net,
            2 => Self::Block,
            3 => Self::Console,
            19 => Self::Socket,
            _ => return None,
        })
    }

    /// The name that people use for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Block => "block",
            Self::Console => "console",
            Self::Socket => "vsock",
        }
    }
}

impl core::fmt::Display for DeviceType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}
