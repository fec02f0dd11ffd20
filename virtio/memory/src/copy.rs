//! Copies between guest memory and ours, as fast as a racing guest allows.
//!
//! The guest may write the same bytes at the same time. A plain copy (`memcpy`) would then be a
//! data race, and the compiler could assume that there is none and read a byte twice. Here every
//! access to guest memory is a relaxed atomic one: a race with it is no data race, each byte is
//! read or written once, and on every 64-bit machine it costs what a plain access costs. The body
//! of a copy moves aligned 64-bit words, its ends move bytes.
//!
//! The accesses differ in size from those that the guest makes. That matters for what Rust's model
//! says about *threads of one program*, and the guest is none: for the machine, mixed sizes yield
//! some mixture of old and new bytes, which is all that we rely on.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// One byte of guest memory.
///
/// # Safety
/// `at` must be valid for reads and writes for as long as the result is used, and must be accessed
/// by nothing in this program but atomics.
unsafe fn byte<'a>(at: *mut u8) -> &'a AtomicU8 {
    // SAFETY: valid and only accessed atomically, as the caller promised; a byte is aligned.
    unsafe { AtomicU8::from_ptr(at) }
}

/// Eight bytes of guest memory.
///
/// # Safety
/// As for [`byte`], for eight bytes, and `at` must be a multiple of eight.
unsafe fn word<'a>(at: *mut u8) -> &'a AtomicU64 {
    // SAFETY: valid, aligned and only accessed atomically, as the caller promised.
    unsafe { AtomicU64::from_ptr(at.cast::<u64>()) }
}

/// How many bytes to go from `at` to the next multiple of a word, at most `len`.
fn lead(at: *const u8, len: usize) -> usize {
    (at.addr().wrapping_neg() & (WORD - 1)).min(len)
}

/// Copies guest memory at `from` into `to`.
///
/// # Safety
/// `from` must be valid for `to.len()` bytes, which nothing in this program accesses other than by
/// atomics.
pub(crate) unsafe fn copy_out(from: *mut u8, to: &mut [u8]) {
    let (head, rest) = to.split_at_mut(lead(from, to.len()));
    let mut at = from;
    for slot in head {
        // SAFETY: one of the bytes that the caller promised.
        *slot = unsafe { byte(at) }.load(Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
    // From here on `at` is aligned. Where our side is too, words can be stored whole; a target
    // that must not access unaligned words would otherwise take eight stores for each.
    // SAFETY: any bytes are valid `u64`s and the other way round.
    let (none, words, _) = unsafe { rest.align_to_mut::<u64>() };
    let tail = if none.is_empty() {
        let bytes = words.len() * WORD;
        for slot in words {
            // SAFETY: eight of the bytes that the caller promised, aligned since the lead.
            *slot = unsafe { word(at) }.load(Ordering::Relaxed);
            at = at.wrapping_add(WORD);
        }
        rest.get_mut(bytes..).unwrap_or_default()
    } else {
        let mut chunks = rest.chunks_exact_mut(WORD);
        for chunk in &mut chunks {
            // SAFETY: eight of the bytes that the caller promised, aligned since the lead.
            let value = unsafe { word(at) }.load(Ordering::Relaxed);
            chunk.copy_from_slice(&value.to_ne_bytes());
            at = at.wrapping_add(WORD);
        }
        chunks.into_remainder()
    };
    for slot in tail {
        // SAFETY: one of the bytes that the caller promised.
        *slot = unsafe { byte(at) }.load(Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
}

/// Like [`copy_out`], for a `to` whose length the compiler knows: descriptors and headers are
/// nearly always aligned whole words, and then this is a load for each and nothing else.
///
/// # Safety
/// As for [`copy_out`].
#[inline(always)]
pub(crate) unsafe fn copy_object(from: *mut u8, to: &mut [u8]) {
    if !to.len().is_multiple_of(WORD) || !from.addr().is_multiple_of(WORD) {
        // SAFETY: as the caller promised.
        return unsafe { copy_odd_object(from, to) };
    }
    let mut at = from;
    for chunk in to.chunks_exact_mut(WORD) {
        // SAFETY: eight of the bytes that the caller promised; `from` is aligned.
        let value = unsafe { word(at) }.load(Ordering::Relaxed);
        chunk.copy_from_slice(&value.to_ne_bytes());
        at = at.wrapping_add(WORD);
    }
}

/// What is left of [`copy_object`]: out of line, to keep the rest small.
///
/// # Safety
/// As for [`copy_out`].
#[inline(never)]
unsafe fn copy_odd_object(from: *mut u8, to: &mut [u8]) {
    // SAFETY: as the caller promised.
    unsafe { copy_out(from, to) };
}

/// Copies `from` to guest memory at `to`.
///
/// # Safety
/// `to` must be valid for `from.len()` bytes, which nothing in this program accesses other than by
/// atomics.
pub(crate) unsafe fn copy_in(from: &[u8], to: *mut u8) {
    let (head, rest) = from.split_at(lead(to, from.len()));
    let mut at = to;
    for value in head {
        // SAFETY: one of the bytes that the caller promised.
        unsafe { byte(at) }.store(*value, Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
    // SAFETY: any bytes are valid `u64`s. The same two cases as in `copy_out`.
    let (none, words, _) = unsafe { rest.align_to::<u64>() };
    let tail = if none.is_empty() {
        for value in words {
            // SAFETY: eight of the bytes that the caller promised, aligned since the lead.
            unsafe { word(at) }.store(*value, Ordering::Relaxed);
            at = at.wrapping_add(WORD);
        }
        rest.get(words.len() * WORD..).unwrap_or_default()
    } else {
        let mut chunks = rest.chunks_exact(WORD);
        for chunk in &mut chunks {
            let mut value = [0; WORD];
            value.copy_from_slice(chunk);
            // SAFETY: eight of the bytes that the caller promised, aligned since the lead.
            unsafe { word(at) }.store(u64::from_ne_bytes(value), Ordering::Relaxed);
            at = at.wrapping_add(WORD);
        }
        chunks.remainder()
    };
    for value in tail {
        // SAFETY: one of the bytes that the caller promised.
        unsafe { byte(at) }.store(*value, Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
}

/// Words that are moved in one round.
const ROUND: usize = 8;

/// Copies `len` bytes of guest memory from `from` to `to`, and gives what their 16-bit words, the first one from the first byte on,
/// add up to modulo 2¹⁶ − 1: of the bytes that were stored.
///
/// The two may overlap if `to` is at least two words before `from`: nothing is read that far behind what is written.
///
/// # Safety
/// Both must be valid for `len` bytes, which nothing in this program accesses other than by atomics.
pub(crate) unsafe fn copy_sum(from: *mut u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: as the caller promised.
    unsafe { sum_up::<true>(from, to, len) }
}

/// As [`copy_sum`], without the copy.
///
/// # Safety
/// `from` must be valid for `len` bytes, which nothing in this program accesses other than by atomics.
pub(crate) unsafe fn sum(from: *mut u8, len: usize) -> u64 {
    // SAFETY: as the caller promised.
    unsafe { sum_up::<false>(from, from, len) }
}

/// Both of them: whether it is to `COPY`.
///
/// # Safety
/// As for [`copy_sum`].
unsafe fn sum_up<const COPY: bool>(from: *mut u8, to: *mut u8, len: usize) -> u64 {
    let head = lead(to, len);
    // SAFETY: the first of the bytes that the caller promised.
    let first = unsafe { copy_bytes::<COPY>(from, to, head, 0) };
    let (start, place) = (from.wrapping_add(head), to.wrapping_add(head));
    let (moved, words) = match (len - head) / WORD {
        count if start.addr().is_multiple_of(WORD) => {
            // SAFETY: so many words follow, and both places are aligned.
            (count, unsafe { copy_words::<COPY>(start, place, count) })
        }
        0 | 1 => (0, 0),
        count => {
            // SAFETY: so many words follow; `to` is aligned since the lead, and `from` is not.
            (count - 1, unsafe { copy_shifted(start, place, count - 1) })
        }
    };
    // A word that begins with the second byte of a sum's word counts with its bytes exchanged.
    let words = (words & 0xffff_ffff) + (words >> 32);
    let words = if head.is_multiple_of(2) {
        words
    } else {
        words << 8
    };
    let done = head + moved * WORD;
    let (start, place) = (from.wrapping_add(done), to.wrapping_add(done));
    // SAFETY: the last of the bytes that the caller promised.
    first + words + unsafe { copy_bytes::<COPY>(start, place, len - done, head & 1) }
}

/// Part of [`copy_sum`]: byte for byte. `parity` is 1 if the first byte is the second of its word.
///
/// # Safety
/// As for [`copy_sum`].
unsafe fn copy_bytes<const COPY: bool>(
    from: *mut u8,
    to: *mut u8,
    len: usize,
    parity: usize,
) -> u64 {
    let mut sum = 0;
    for at in 0..len {
        // SAFETY: one of the bytes that the caller promised.
        let value = unsafe { byte(from.wrapping_add(at)) }.load(Ordering::Relaxed);
        if COPY {
            // SAFETY: as above.
            unsafe { byte(to.wrapping_add(at)) }.store(value, Ordering::Relaxed);
        }
        sum += u64::from(value) << (8 * ((at + parity) & 1));
    }
    sum
}

/// Part of [`copy_sum`]: `count` words between aligned places. Their halves are added up apart, so that no carry is to be
/// looked after: there are fewer than 2³¹.
///
/// # Safety
/// As for [`copy_sum`], for `count` words, and both places must be multiples of eight.
unsafe fn copy_words<const COPY: bool>(from: *mut u8, to: *mut u8, count: usize) -> u64 {
    let (mut low, mut high) = (0_u64, 0_u64);
    let mut step = |from: *mut u8, to: *mut u8| {
        // SAFETY: eight of the bytes that the caller promised, aligned.
        let value = unsafe { word(from) }.load(Ordering::Relaxed);
        if COPY {
            // SAFETY: as above.
            unsafe { word(to) }.store(value, Ordering::Relaxed);
        }
        let value = u64::from_le(value);
        low = low.wrapping_add(value & 0xffff_ffff);
        high = high.wrapping_add(value >> 32);
    };
    each(from, to, count, &mut step);
    low.wrapping_add(high)
}

/// Does `step` with the places of `count` words, several in one round.
#[inline(always)]
fn each(from: *mut u8, to: *mut u8, count: usize, step: &mut impl FnMut(*mut u8, *mut u8)) {
    let (mut from, mut to) = (from, to);
    for _ in 0..count / ROUND {
        for at in 0..ROUND {
            step(from.wrapping_add(at * WORD), to.wrapping_add(at * WORD));
        }
        (from, to) = (
            from.wrapping_add(ROUND * WORD),
            to.wrapping_add(ROUND * WORD),
        );
    }
    for at in 0..count % ROUND {
        step(from.wrapping_add(at * WORD), to.wrapping_add(at * WORD));
    }
}

/// Part of [`copy_sum`]: `count` words to an aligned place from one that is not. Each is put together from two aligned words of
/// the source, because a target that must not access unaligned words would otherwise take eight loads for it.
///
/// The last bytes that are read here are not used: whoever copies them reads them again.
///
/// # Safety
/// As for [`copy_sum`], for `count` words and one more; `to` must be a multiple of eight and `from` must be none.
unsafe fn copy_shifted(from: *mut u8, to: *mut u8, count: usize) -> u64 {
    let ahead = lead(from, WORD);
    let mut rest = 0_u64;
    for at in 0..ahead {
        // SAFETY: one of the first eight of the bytes that the caller promised.
        let value = unsafe { byte(from.wrapping_add(at)) }.load(Ordering::Relaxed);
        rest |= u64::from(value) << (8 * at);
    }
    // Between 8 and 56, as `from` is not aligned.
    let shift = (8 * ahead) & 63;
    let back = (64 - shift) & 63;
    let (mut low, mut high) = (0_u64, 0_u64);
    let mut step = |from: *mut u8, to: *mut u8| {
        // SAFETY: eight bytes that begin before the end of a word of the `count` and so end within the one more; aligned.
        let next = unsafe { word(from) }.load(Ordering::Relaxed);
        let next = u64::from_le(next);
        let value = rest | next << shift;
        rest = next >> back;
        // SAFETY: eight of the bytes that the caller promised, aligned.
        unsafe { word(to) }.store(value.to_le(), Ordering::Relaxed);
        low = low.wrapping_add(value & 0xffff_ffff);
        high = high.wrapping_add(value >> 32);
    };
    each(from.wrapping_add(ahead), to, count, &mut step);
    low.wrapping_add(high)
}

/// Sets `len` bytes of guest memory at `to` to `value`.
///
/// # Safety
/// `to` must be valid for `len` bytes, which nothing in this program accesses other than by
/// atomics.
pub(crate) unsafe fn fill(to: *mut u8, len: usize, value: u8) {
    let head = lead(to, len);
    let words = (len - head) / WORD;
    let tail = len - head - words * WORD;
    let mut at = to;
    for _ in 0..head {
        // SAFETY: one of the bytes that the caller promised.
        unsafe { byte(at) }.store(value, Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
    for _ in 0..words {
        // SAFETY: eight of the bytes that the caller promised, aligned since the lead.
        unsafe { word(at) }.store(u64::from_ne_bytes([value; WORD]), Ordering::Relaxed);
        at = at.wrapping_add(WORD);
    }
    for _ in 0..tail {
        // SAFETY: one of the bytes that the caller promised.
        unsafe { byte(at) }.store(value, Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
}
