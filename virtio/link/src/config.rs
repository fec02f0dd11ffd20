//! Configuration space: written by the backend, read by the VMM, never half (virtIO 1.2 §2.5.1).

use crate::page::{CONFIG_SIZE, DeviceWords};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::fence;

/// How often a reader tries again when the writer is at work.
const ATTEMPTS: u32 = 8;

/// Writes `bytes`, as many as there is room for, and zeros after them.
pub(crate) fn store(words: &DeviceWords, bytes: &[u8]) {
    // From the last even value: an earlier life may have ended in the middle.
    let sequence = words.config_sequence.load(Relaxed) & !1;
    words
        .config_sequence
        .store(sequence.wrapping_add(1), Relaxed);
    // The odd value is out before any word: pairs with the reader's fence.
    fence(Release);
    let size = u32::try_from(bytes.len().min(CONFIG_SIZE)).unwrap_or(0);
    words.config_size.store(size, Relaxed);
    let mut chunks = bytes.chunks(4);
    for word in &words.config {
        let mut padded = [0; 4];
        for (to, from) in padded.iter_mut().zip(chunks.next().unwrap_or_default()) {
            *to = *from;
        }
        word.store(u32::from_le_bytes(padded), Relaxed);
    }
    // Release: the words are out before the even value.
    words
        .config_sequence
        .store(sequence.wrapping_add(2), Release);
}

/// A copy of the whole space with its generation, or `None` when the writer does not come to rest.
pub(crate) fn load(words: &DeviceWords, bytes: &mut [u8; CONFIG_SIZE]) -> Option<u32> {
    for _ in 0..ATTEMPTS {
        // Acquire: the words are read after it.
        let before = words.config_sequence.load(Acquire);
        if before & 1 != 0 {
            continue;
        }
        let (chunks, _) = bytes.as_chunks_mut::<4>();
        for (chunk, word) in chunks.iter_mut().zip(&words.config) {
            *chunk = word.load(Relaxed).to_le_bytes();
        }
        // The words are read before the sequence is looked at again.
        fence(Acquire);
        if words.config_sequence.load(Relaxed) == before {
            return Some(before >> 1);
        }
    }
    None
}
