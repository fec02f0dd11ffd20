//! What a device is, and what a driver has set up: copies, checked where they are made.

use crate::page::{DeviceWords, MAX_QUEUES, QueueWords, VmmWords};
use core::sync::atomic::Ordering::Relaxed;

/// What a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Device id (virtIO 1.2 §5).
    pub id: u32,
    /// Feature bits that it offers.
    pub features: u64,
    /// Most entries of each queue; 0: there is no such queue.
    pub queue_max: [u16; MAX_QUEUES],
}

impl Facts {
    /// Most entries of queue `index`, 0 when there is no such queue (virtIO 1.2 §4.2.2, QueueNumMax).
    pub fn queue_max(&self, index: u32) -> u16 {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.queue_max.get(index))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn store(&self, words: &DeviceWords) {
        words.id.store(self.id, Relaxed);
        words.features.store(self.features, Relaxed);
        let mut count = 0;
        for (index, (word, max)) in (1..).zip(words.queue_max.iter().zip(self.queue_max)) {
            word.store(u32::from(max), Relaxed);
            if max != 0 {
                count = index;
            }
        }
        words.queue_count.store(count, Relaxed);
    }

    /// A copy; what is out of range becomes "no such queue".
    pub(crate) fn load(words: &DeviceWords) -> Self {
        let mut facts = Self {
            id: words.id.load(Relaxed),
            features: words.features.load(Relaxed),
            queue_max: [0; MAX_QUEUES],
        };
        let count = usize::try_from(words.queue_count.load(Relaxed)).unwrap_or(0);
        let queues = facts.queue_max.iter_mut().zip(&words.queue_max);
        for (max, word) in queues.take(count) {
            *max = u16::try_from(word.load(Relaxed))
                .ok()
                .filter(|max| *max <= 1 << 15 && max.is_power_of_two())
                .unwrap_or(0);
        }
        facts
    }
}

/// A queue as the driver set it up (virtIO 1.2 §4.2.2, the Queue… registers). Addresses are the guest's claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSetup {
    /// Number of entries.
    pub size: u16,
    /// In use.
    pub ready: bool,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring ("driver area").
    pub driver: u64,
    /// Guest-physical address of the used ring ("device area").
    pub device: u64,
}

impl QueueSetup {
    pub(crate) fn store(&self, words: &QueueWords) {
        words.descriptors.store(self.descriptors, Relaxed);
        words.driver.store(self.driver, Relaxed);
        words.device.store(self.device, Relaxed);
        words.size.store(u32::from(self.size), Relaxed);
        words.ready.store(u32::from(self.ready), Relaxed);
    }

    /// A copy; a size above `max` makes it a queue that is not in use.
    pub(crate) fn load(words: &QueueWords, max: u16) -> Self {
        let size = u16::try_from(words.size.load(Relaxed))
            .ok()
            .filter(|size| *size <= max);
        Self {
            size: size.unwrap_or(0),
            ready: words.ready.load(Relaxed) == 1 && size.is_some(),
            descriptors: words.descriptors.load(Relaxed),
            driver: words.driver.load(Relaxed),
            device: words.device.load(Relaxed),
        }
    }
}

/// What the driver and the device agreed on, from DRIVER_OK to the next reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The features, a subset of those that the device offers.
    pub features: u64,
    /// The queues; those that the device does not have are not ready.
    pub queues: [QueueSetup; MAX_QUEUES],
    /// An earlier life of this backend served this session: buffers that it took and did not return are unknown.
    pub resumed: bool,
}

impl Session {
    pub(crate) fn load(words: &VmmWords, facts: &Facts) -> Self {
        let mut session = Self {
            features: words.features.load(Relaxed) & facts.features,
            ..Self::default()
        };
        let queues = words.queues.iter().zip(facts.queue_max);
        for (queue, (words, max)) in session.queues.iter_mut().zip(queues) {
            *queue = QueueSetup::load(words, max);
        }
        session
    }
}
