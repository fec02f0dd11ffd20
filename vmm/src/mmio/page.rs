//! The part of the register page that belongs to one device: written by us, read by the guest at any time.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_link::CONFIG_SIZE;
use sel4cp_model::mmio::{self, Register};

/// VendorID (§4.2.2): "s4cp".
const VENDOR: u32 = u32::from_le_bytes(*b"s4cp");

/// A device's register file. The page is mapped as device memory on both sides, where stores happen in their order:
/// relaxed ones suffice.
pub(super) struct Page {
    words: &'static [AtomicU32],
}

impl Page {
    pub(super) fn new(words: &'static [AtomicU32]) -> Self {
        Self { words }
    }

    #[cfg(test)]
    pub(super) fn words(&self) -> &'static [AtomicU32] {
        self.words
    }

    fn word(&self, offset: u64) -> Option<&AtomicU32> {
        self.words.get(usize::try_from(offset / 4).ok()?)
    }

    fn store(&self, offset: u64, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Relaxed);
        }
    }

    pub(super) fn show(&self, register: Register, value: u32) {
        self.store(register as u64, value);
    }

    /// What never changes while a device is there; id 0: no device.
    pub(super) fn show_identity(&self, id: u32) {
        for (register, value) in [
            (Register::MagicValue, mmio::MAGIC),
            (Register::Version, mmio::VERSION),
            (Register::VendorID, VENDOR),
            (Register::DeviceID, id),
            // §4.2.2: a region that does not exist has length −1; so has its base.
            (Register::SHMLenLow, u32::MAX),
            (Register::SHMLenHigh, u32::MAX),
            (Register::SHMBaseLow, u32::MAX),
            (Register::SHMBaseHigh, u32::MAX),
            (Register::QueueReset, 0),
        ] {
            self.show(register, value);
        }
    }

    /// Replaces the configuration and returns its new generation, `generation` being the present one.
    ///
    /// The generation changes before and after (§2.5.1): a guest that reads at the same time on another CPU sees two
    /// different ones, or all of the old, or all of the new.
    pub(super) fn show_config(&self, bytes: &[u8; CONFIG_SIZE], generation: u32) -> u32 {
        let (words, _) = bytes.as_chunks::<4>();
        self.show(Register::ConfigGeneration, generation.wrapping_add(1));
        for (offset, bytes) in (mmio::CONFIG..).step_by(4).zip(words) {
            self.store(offset, u32::from_le_bytes(*bytes));
        }
        let generation = generation.wrapping_add(2);
        self.show(Register::ConfigGeneration, generation);
        generation
    }

    /// Up to eight bytes at `offset`, zeros beyond the file.
    pub(super) fn read(&self, offset: u64, size: u8) -> u64 {
        let mut bytes = [0; 8];
        for (byte, step) in bytes.iter_mut().zip(0..).take(size.into()) {
            let at = offset.saturating_add(step);
            let word = self.word(at).map_or(0, |word| word.load(Relaxed));
            *byte = (word >> (8 * (at % 4))).to_le_bytes()[0];
        }
        u64::from_le_bytes(bytes)
    }
}
