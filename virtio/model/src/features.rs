//! Feature bits that every device shares, and their negotiation (§2.2, §6).

use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Device-independent feature bits (§6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Descriptors may point to a table of descriptors (§2.7.5.3).
        #[doc(alias = "VIRTIO_RING_F_INDIRECT_DESC")]
        const INDIRECT_DESC = 1 << 28;
        /// `used_event` and `avail_event` (§2.7.7, §2.7.10).
        #[doc(alias = "VIRTIO_RING_F_EVENT_IDX")]
        const EVENT_IDX = 1 << 29;
        /// Compliance with version 1 of the specification (§6.1).
        #[doc(alias = "VIRTIO_F_VERSION_1")]
        const VERSION_1 = 1 << 32;
        /// The device's memory access is limited or translated by the platform (§6).
        #[doc(alias = "VIRTIO_F_ACCESS_PLATFORM")]
        const ACCESS_PLATFORM = 1 << 33;
        /// Packed virtqueues (§2.8).
        #[doc(alias = "VIRTIO_F_RING_PACKED")]
        const RING_PACKED = 1 << 34;
        /// Buffers are used in the order in which they were made available (§6).
        #[doc(alias = "VIRTIO_F_IN_ORDER")]
        const IN_ORDER = 1 << 35;
        /// Memory accesses are ordered as the platform defines (§6).
        #[doc(alias = "VIRTIO_F_ORDER_PLATFORM")]
        const ORDER_PLATFORM = 1 << 36;
        /// A queue can be reset on its own (§2.6.1).
        #[doc(alias = "VIRTIO_F_RING_RESET")]
        const RING_RESET = 1 << 40;
        const _ = !0;
    }
}

impl Features {
    /// What each of our devices offers besides its own bits.
    pub const COMMON: Self = Self::INDIRECT_DESC
        .union(Self::EVENT_IDX)
        .union(Self::VERSION_1);
}

/// Why a device does not accept the driver's features: FEATURES_OK stays clear (§3.1.1 step 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The driver set bits that were not offered (§2.2.1): these.
    NotOffered(u64),
    /// The driver did not accept VERSION_1 (§6.2: a device may refuse).
    Legacy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(bits) => {
                write!(
                    f,
                    "driver accepted feature bits {bits:#x}, which were not offered"
                )
            }
            Self::Legacy => {
                f.write_str("driver did not accept VERSION_1; legacy drivers are not served")
            }
        }
    }
}

/// Whether a device that offered `offered` accepts `driver` (§3.1.1, §6.1, §6.2).
///
/// # Errors
/// [`Refusal`] says which rule the driver broke.
pub const fn negotiate(offered: u64, driver: u64) -> Result<u64, Refusal> {
    if driver & !offered != 0 {
        Err(Refusal::NotOffered(driver & !offered))
    } else if driver & Features::VERSION_1.bits() == 0 {
        Err(Refusal::Legacy)
    } else {
        Ok(driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_2_1_only_offered_bits_are_accepted() {
        let offered = Features::COMMON.bits() | 1 << 5;
        assert_eq!(negotiate(offered, offered), Ok(offered));
        assert_eq!(
            negotiate(offered, offered | 1 << 9),
            Err(Refusal::NotOffered(1 << 9))
        );
    }

    #[test]
    fn s6_2_legacy_drivers_are_refused() {
        assert_eq!(
            negotiate(Features::COMMON.bits(), 1 << 28),
            Err(Refusal::Legacy)
        );
    }
}
