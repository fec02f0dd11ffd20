//! The words of the page, and who writes which.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Most queues of a device.
pub const MAX_QUEUES: usize = 8;
/// Bytes of configuration space.
pub const CONFIG_SIZE: usize = 256;
/// Number of a device's counters.
pub const COUNTERS: usize = 16;

sel4cp_ring::shared! {
    /// The page. All zero is a link on which nothing has happened.
    pub struct LinkPage {
        /// What the backend writes.
        pub(crate) device: DeviceWords,
        /// What the VMM writes.
        pub(crate) vmm: VmmWords,
        /// Not 0: the guest has notified. The VMM sets it, the backend clears it.
        pub(crate) kicks: AtomicU32,
        /// Bits of [`interrupt`](crate::interrupt). The backend sets bits, the VMM takes them.
        pub(crate) interrupts: AtomicU32,
    }

    /// What the backend writes.
    pub(crate) struct DeviceWords {
        /// Counts the backend's lives, 0: none yet. Written last, after the facts.
        pub(crate) life: AtomicU32,
        /// The generation that the device has been reset to.
        pub(crate) acknowledged: AtomicU32,
        /// Not 0: the device cannot go on before a reset (virtIO 1.2 §2.1.2).
        pub(crate) needs_reset: AtomicU32,
        /// Device id (virtIO 1.2 §5).
        pub(crate) id: AtomicU32,
        /// Feature bits that the device offers.
        pub(crate) features: AtomicU64,
        /// Number of queues.
        pub(crate) queue_count: AtomicU32,
        /// Odd while the configuration is being written.
        pub(crate) config_sequence: AtomicU32,
        /// Most entries of each queue.
        pub(crate) queue_max: [AtomicU32; MAX_QUEUES],
        /// Used bytes of the configuration space.
        pub(crate) config_size: AtomicU32,
        /// Keeps what follows aligned.
        pub(crate) reserved: AtomicU32,
        /// Configuration space.
        pub(crate) config: [AtomicU32; CONFIG_SIZE / 4],
        /// Statistics, for whoever can read the page: [`Gauge`](crate::Gauge).
        pub(crate) counters: [AtomicU64; COUNTERS],
    }

    /// What the VMM writes.
    pub(crate) struct VmmWords {
        /// The generation that the device is to be in: a new one is a reset.
        pub(crate) generation: AtomicU32,
        /// The device status (virtIO 1.2 §2.1). Written after what it makes valid.
        pub(crate) status: AtomicU32,
        /// Feature bits that the driver accepted.
        pub(crate) features: AtomicU64,
        /// The queues as the driver set them up.
        pub(crate) queues: [QueueWords; MAX_QUEUES],
    }

    /// One queue.
    pub(crate) struct QueueWords {
        /// Guest-physical address of the descriptor table.
        pub(crate) descriptors: AtomicU64,
        /// Guest-physical address of the available ring.
        pub(crate) driver: AtomicU64,
        /// Guest-physical address of the used ring.
        pub(crate) device: AtomicU64,
        /// Number of entries.
        pub(crate) size: AtomicU32,
        /// 1: in use.
        pub(crate) ready: AtomicU32,
    }
}

const _: () = assert!(size_of::<LinkPage>() <= 0x1000);
