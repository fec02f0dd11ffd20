//! Console device (§5.3).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Queue that the device fills with input (§5.3.2).
pub const RECEIVEQ: u16 = 0;
/// Queue that the driver fills with output (§5.3.2).
pub const TRANSMITQ: u16 = 1;

bitflags! {
    /// Feature bits (§5.3.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `cols` and `rows` are valid.
        #[doc(alias = "VIRTIO_CONSOLE_F_SIZE")]
        const SIZE = 1 << 0;
        /// Several ports and a control queue.
        #[doc(alias = "VIRTIO_CONSOLE_F_MULTIPORT")]
        const MULTIPORT = 1 << 1;
        /// `emerg_wr` is valid.
        #[doc(alias = "VIRTIO_CONSOLE_F_EMERG_WRITE")]
        const EMERG_WRITE = 1 << 2;
    }
}

/// Configuration space (§5.3.4).
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
#[doc(alias = "virtio_console_config")]
pub struct Config {
    /// Columns, with SIZE.
    pub cols: U16,
    /// Rows, with SIZE.
    pub rows: U16,
    /// Largest number of ports, with MULTIPORT.
    pub max_nr_ports: U32,
    /// Writing a character prints it, with EMERG_WRITE.
    pub emerg_wr: U32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// `virtio-bindings` has no console header, so the offsets are the specification's own table.
    #[test]
    fn s5_3_4_configuration_layout() {
        assert_eq!(
            (
                offset_of!(Config, rows),
                offset_of!(Config, max_nr_ports),
                offset_of!(Config, emerg_wr)
            ),
            (2, 4, 8)
        );
        assert_eq!(size_of::<Config>(), 12);
    }
}
