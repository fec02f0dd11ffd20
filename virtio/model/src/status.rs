//! The device status field (virtIO 1.2 §2.1).

use bitflags::bitflags;

bitflags! {
    /// Device status bits (virtIO 1.2 §2.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The guest has found the device.
        #[doc(alias = "VIRTIO_CONFIG_S_ACKNOWLEDGE")]
        const ACKNOWLEDGE = 1;
        /// The guest knows how to drive the device.
        #[doc(alias = "VIRTIO_CONFIG_S_DRIVER")]
        const DRIVER = 2;
        /// The driver is set up and ready.
        #[doc(alias = "VIRTIO_CONFIG_S_DRIVER_OK")]
        const DRIVER_OK = 4;
        /// Features are negotiated.
        #[doc(alias = "VIRTIO_CONFIG_S_FEATURES_OK")]
        const FEATURES_OK = 8;
        /// The device cannot go on before a reset (§2.1.2).
        #[doc(alias = "VIRTIO_CONFIG_S_NEEDS_RESET")]
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up.
        #[doc(alias = "VIRTIO_CONFIG_S_FAILED")]
        const FAILED = 128;
    }
}
