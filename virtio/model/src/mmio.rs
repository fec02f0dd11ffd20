//! The virtio-mmio register file, version 2 (§4.2.2).

/// Value of [`Register::MagicValue`]: "virt", little-endian.
pub const MAGIC: u32 = 0x7472_6976;
/// Value of [`Register::Version`] for a modern device.
pub const VERSION: u32 = 2;
/// Offset of the device's configuration space.
pub const CONFIG: u64 = 0x100;
/// Bytes of one device's register file, configuration space included.
pub const SIZE: u64 = 0x200;

/// InterruptStatus and InterruptACK: a buffer has been used (§4.2.2).
pub const INTERRUPT_USED_BUFFER: u32 = 1;
/// InterruptStatus and InterruptACK: the configuration has changed (§4.2.2).
pub const INTERRUPT_CONFIG_CHANGE: u32 = 2;

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $offset:literal $access:ident,)*) => {
        /// A register of the transport, by its offset (§4.2.2, table 4.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u64)]
        pub enum Register { $($(#[$doc])* $name = $offset,)* }

        impl Register {
            /// All registers, in the order of their offsets.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The register at `offset` from the start of a device's register file.
            pub const fn from_offset(offset: u64) -> Option<Self> {
                match offset {
                    $($offset => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether a driver may write it.
            pub const fn is_writable(self) -> bool {
                match self { $(Self::$name => matches!(Access::$access, Access::W | Access::RW),)* }
            }
        }
    };
}

/// How a driver may use a register.
#[derive(Clone, Copy)]
#[allow(clippy::upper_case_acronyms, reason = "the specification's letters")]
enum Access {
    R,
    W,
    RW,
}

registers! {
    /// "virt".
    MagicValue = 0x000 R,
    /// 2.
    Version = 0x004 R,
    /// Device type; 0: no device.
    DeviceID = 0x008 R,
    /// Who made it.
    VendorID = 0x00c R,
    /// 32 feature bits, chosen by DeviceFeaturesSel.
    DeviceFeatures = 0x010 R,
    /// Which 32 device feature bits are shown.
    DeviceFeaturesSel = 0x014 W,
    /// 32 feature bits that the driver accepts, chosen by DriverFeaturesSel.
    DriverFeatures = 0x020 W,
    /// Which 32 driver feature bits are set.
    DriverFeaturesSel = 0x024 W,
    /// Which queue the following registers are about.
    QueueSel = 0x030 W,
    /// Largest size of the queue; 0: no such queue.
    QueueNumMax = 0x034 R,
    /// Size of the queue.
    QueueNum = 0x038 W,
    /// Whether the queue is live.
    QueueReady = 0x044 RW,
    /// The queue with this number has new buffers.
    QueueNotify = 0x050 W,
    /// Why the device interrupts.
    InterruptStatus = 0x060 R,
    /// Reasons that have been handled.
    InterruptACK = 0x064 W,
    /// Device status (§2.1).
    Status = 0x070 RW,
    /// Descriptor area, low half.
    QueueDescLow = 0x080 W,
    /// Descriptor area, high half.
    QueueDescHigh = 0x084 W,
    /// Driver area (available ring), low half.
    QueueDriverLow = 0x090 W,
    /// Driver area, high half.
    QueueDriverHigh = 0x094 W,
    /// Device area (used ring), low half.
    QueueDeviceLow = 0x0a0 W,
    /// Device area, high half.
    QueueDeviceHigh = 0x0a4 W,
    /// Which shared memory region is shown.
    SHMSel = 0x0ac W,
    /// Its length, low half; −1 in both: no such region.
    SHMLenLow = 0x0b0 R,
    /// Its length, high half.
    SHMLenHigh = 0x0b4 R,
    /// Its base, low half.
    SHMBaseLow = 0x0b8 R,
    /// Its base, high half.
    SHMBaseHigh = 0x0bc R,
    /// Reset of one queue (§2.6.1), where RING_RESET was negotiated.
    QueueReset = 0x0c0 RW,
    /// Changes whenever the configuration changes (§2.5.1).
    ConfigGeneration = 0x0fc R,
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtio_bindings::virtio_mmio as c;

    #[test]
    fn s4_2_2_offsets_are_those_of_virtio_bindings() {
        for (register, offset) in [
            (Register::MagicValue, c::VIRTIO_MMIO_MAGIC_VALUE),
            (Register::Version, c::VIRTIO_MMIO_VERSION),
            (Register::DeviceID, c::VIRTIO_MMIO_DEVICE_ID),
            (Register::VendorID, c::VIRTIO_MMIO_VENDOR_ID),
            (Register::DeviceFeatures, c::VIRTIO_MMIO_DEVICE_FEATURES),
            (
                Register::DeviceFeaturesSel,
                c::VIRTIO_MMIO_DEVICE_FEATURES_SEL,
            ),
            (Register::DriverFeatures, c::VIRTIO_MMIO_DRIVER_FEATURES),
            (
                Register::DriverFeaturesSel,
                c::VIRTIO_MMIO_DRIVER_FEATURES_SEL,
            ),
            (Register::QueueSel, c::VIRTIO_MMIO_QUEUE_SEL),
            (Register::QueueNumMax, c::VIRTIO_MMIO_QUEUE_NUM_MAX),
            (Register::QueueNum, c::VIRTIO_MMIO_QUEUE_NUM),
            (Register::QueueReady, c::VIRTIO_MMIO_QUEUE_READY),
            (Register::QueueNotify, c::VIRTIO_MMIO_QUEUE_NOTIFY),
            (Register::InterruptStatus, c::VIRTIO_MMIO_INTERRUPT_STATUS),
            (Register::InterruptACK, c::VIRTIO_MMIO_INTERRUPT_ACK),
            (Register::Status, c::VIRTIO_MMIO_STATUS),
            (Register::QueueDescLow, c::VIRTIO_MMIO_QUEUE_DESC_LOW),
            (Register::QueueDescHigh, c::VIRTIO_MMIO_QUEUE_DESC_HIGH),
            (Register::QueueDriverLow, c::VIRTIO_MMIO_QUEUE_AVAIL_LOW),
            (Register::QueueDriverHigh, c::VIRTIO_MMIO_QUEUE_AVAIL_HIGH),
            (Register::QueueDeviceLow, c::VIRTIO_MMIO_QUEUE_USED_LOW),
            (Register::QueueDeviceHigh, c::VIRTIO_MMIO_QUEUE_USED_HIGH),
            (Register::ConfigGeneration, c::VIRTIO_MMIO_CONFIG_GENERATION),
        ] {
            assert_eq!(register as u64, u64::from(offset), "{register:?}");
        }
        assert_eq!(CONFIG, u64::from(c::VIRTIO_MMIO_CONFIG));
        assert_eq!(INTERRUPT_USED_BUFFER, c::VIRTIO_MMIO_INT_VRING);
        assert_eq!(INTERRUPT_CONFIG_CHANGE, c::VIRTIO_MMIO_INT_CONFIG);
    }

    #[test]
    fn s4_2_2_every_offset_finds_its_register() {
        for offset in 0..CONFIG {
            match Register::from_offset(offset) {
                Some(register) => assert_eq!(register as u64, offset),
                None => assert!(Register::ALL.iter().all(|r| *r as u64 != offset)),
            }
        }
        assert!(Register::Status.is_writable() && !Register::InterruptStatus.is_writable());
    }
}
