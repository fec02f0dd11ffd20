//! A guest's RAM as we have it mapped: checks claims, and moves bytes and words in and out.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::copy;
use crate::{GuestAddress, GuestRange, Pod, Span, Sum};

/// Our mapping must sit like the guest's addresses do, modulo this: then what is aligned for the
/// guest is aligned for us. A descriptor, at 16, has the largest alignment that virtIO asks for.
const CONGRUENT: u64 = 16;

/// A guest's RAM, mapped at one place in our address space.
///
/// A handle: copies name the same memory.
#[derive(Clone, Copy)]
pub struct GuestRam {
    base: NonNull<u8>,
    start: GuestAddress,
    len: u64,
}

// SAFETY: all accesses through it are atomic, so it does not matter which thread makes them.
unsafe impl Send for GuestRam {}
// SAFETY: as above.
unsafe impl Sync for GuestRam {}

impl GuestRam {
    /// The guest's RAM of `len` bytes from guest-physical `start`, which we have mapped at `base`.
    ///
    /// # Errors
    /// [`BadRam`] if the numbers cannot describe a RAM; nothing has been touched then.
    ///
    /// # Safety
    /// For as long as the result or a copy of it is in use, the `len` bytes at `base` must be
    /// mapped readable and writable as normal memory, and this program must access them only
    /// through `GuestRam`s (no reference to any of them may exist).
    pub unsafe fn new(base: *mut u8, start: GuestAddress, len: u64) -> Result<Self, BadRam> {
        let Some(pointer) = NonNull::new(base) else {
            return Err(BadRam::Null);
        };
        // `isize::MAX` is as far as pointer arithmetic may go; 64 bits of address must suffice.
        let fits = isize::try_from(len).is_ok()
            && u64::try_from(base.addr()).is_ok_and(|base| base.checked_add(len).is_some());
        if len == 0 || !fits || start.checked_add(len).is_none() {
            return Err(BadRam::Length { start, len });
        }
        if !same_alignment(base, start) {
            return Err(BadRam::Alignment {
                base: base.addr(),
                start,
            });
        }
        Ok(Self {
            base: pointer,
            start,
            len,
        })
    }

    /// The guest-physical address of the first byte.
    #[must_use]
    pub const fn start(&self) -> GuestAddress {
        self.start
    }

    /// Size in bytes, never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no empty RAM")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Proves that a claimed range lies inside this RAM. An empty range is inside if its start is
    /// inside or just past the end.
    ///
    /// # Errors
    /// [`OutsideRam`] with both ranges, if any byte lies outside or the range wraps around.
    #[inline]
    pub fn check(&self, range: GuestRange) -> Result<Span, OutsideRam> {
        // `len - offset` cannot wrap once `offset <= len`: no sum of two claims is ever formed.
        match range.start().checked_offset_from(self.start) {
            Some(offset) if offset <= self.len && u64::from(range.len()) <= self.len - offset => {
                Ok(Span::proven(offset, range.len()))
            }
            _ => Err(OutsideRam {
                range,
                start: self.start,
                len: self.len,
            }),
        }
    }

    /// A span's guest-physical address, for a report.
    #[must_use]
    pub fn address_of(&self, span: Span) -> GuestAddress {
        // At most `start + len`, which `new` has formed without overflow.
        GuestAddress::new(self.start.value().saturating_add(span.offset()))
    }

    /// Reads a structure from the span's beginning, wherever it lies: one access for each byte.
    /// `None` if the span is shorter than `T`.
    #[inline]
    #[must_use]
    pub fn read<T: Pod>(&self, span: Span) -> Option<T> {
        if size_of::<T>() > span.len() as usize {
            return None;
        }
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: `value` is ours alone, as long as this slice, and initialised: with zeroes.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>())
        };
        // SAFETY: `pointer` proves the span to be inside this RAM, and it has enough bytes.
        unsafe { copy::copy_object(self.pointer(span), bytes) };
        // SAFETY: `T` is `FromBytes`, so any bytes are a value.
        Some(unsafe { value.assume_init() })
    }

    /// Writes a structure to the span's beginning. `None` (and nothing is written) if the span is
    /// shorter than `T`.
    #[inline]
    #[must_use = "nothing was written if the span is too short"]
    pub fn write<T: Pod>(&self, span: Span, value: &T) -> Option<()> {
        let bytes = value.as_bytes();
        if bytes.len() > span.len() as usize {
            return None;
        }
        self.write_bytes(span, bytes);
        Some(())
    }

    /// Copies from the span's beginning into `to`, as much as both have. Returns how much.
    #[inline]
    pub fn read_bytes(&self, span: Span, to: &mut [u8]) -> usize {
        let len = to.len().min(span.len() as usize);
        if let Some(to) = to.get_mut(..len) {
            // SAFETY: `pointer` proves the span to be inside this RAM, and `to` is no longer.
            unsafe { copy::copy_out(self.pointer(span), to) };
        }
        len
    }

    /// Copies `from` to the span's beginning, as much as both have. Returns how much.
    #[inline]
    pub fn write_bytes(&self, span: Span, from: &[u8]) -> usize {
        let len = from.len().min(span.len() as usize);
        if let Some(from) = from.get(..len) {
            // SAFETY: `pointer` proves the span to be inside this RAM, and `from` is no longer.
            unsafe { copy::copy_in(from, self.pointer(span)) };
        }
        len
    }

    /// Copies from the span's beginning to that of `at` in `to`, as much as both have, and adds up what it copies.
    ///
    /// It is fastest when both begin at the same place modulo 8. Inside one RAM they may overlap, if `at` begins 16 bytes or more before
    /// the span.
    pub fn copy_sum(&self, span: Span, to: &GuestRam, at: Span) -> Sum {
        let len = span.len().min(at.len()) as usize;
        // SAFETY: `pointer` proves both spans to be inside their RAM, and neither is shorter than `len`.
        let words = unsafe { copy::copy_sum(self.pointer(span), to.pointer(at), len) };
        Sum::of(words, len)
    }

    /// Adds up the span's bytes.
    #[must_use]
    pub fn sum(&self, span: Span) -> Sum {
        let at = self.pointer(span);
        let len = span.len() as usize;
        // SAFETY: `pointer` proves all of the span to be inside this RAM.
        Sum::of(unsafe { copy::sum(at, len) }, len)
    }

    /// Sets every byte of the span to `value`.
    pub fn fill(&self, span: Span, value: u8) {
        // SAFETY: `pointer` proves all of the span to be inside this RAM.
        unsafe { copy::fill(self.pointer(span), span.len() as usize, value) };
    }

    /// The word `at` bytes into the span, for atomic access. `None` if it is not wholly inside, or
    /// not aligned to its size.
    #[inline]
    #[must_use]
    pub fn word<W: WordSize>(&self, span: Span, at: u32) -> Option<Word<W>> {
        let place = span.slice(at, W::SIZE)?;
        let aligned = self.address_of(place).is_aligned_to(u64::from(W::SIZE));
        aligned.then_some(Word {
            offset: place.offset(),
            size: PhantomData,
        })
    }

    /// `count` words from `at` bytes into the span, for atomic access to each. `None` if they are
    /// not wholly inside or not aligned, or if `count` is not a power of two.
    #[must_use]
    pub fn words<W: WordSize>(&self, span: Span, at: u32, count: u32) -> Option<Words<W>> {
        let first = self.word::<W>(span, at)?;
        span.slice(at, count.checked_mul(W::SIZE)?)?;
        count.is_power_of_two().then(|| Words {
            first,
            mask: count - 1,
        })
    }

    /// Loads a word, with no order relative to other accesses.
    #[inline]
    #[must_use]
    pub fn load<W: WordSize>(&self, word: Word<W>) -> W {
        // SAFETY: `pointer` proves the word to be inside this RAM, `word` that it is aligned.
        unsafe { W::load(self.pointer(word.span()), Ordering::Relaxed) }
    }

    /// Loads a word before all later accesses: what the guest wrote before it stored this value is
    /// visible to them.
    #[inline]
    #[must_use]
    pub fn load_acquire<W: WordSize>(&self, word: Word<W>) -> W {
        // SAFETY: `pointer` proves the word to be inside this RAM, `word` that it is aligned.
        unsafe { W::load(self.pointer(word.span()), Ordering::Acquire) }
    }

    /// Stores a word, with no order relative to other accesses.
    #[inline]
    pub fn store<W: WordSize>(&self, word: Word<W>, value: W) {
        // SAFETY: `pointer` proves the word to be inside this RAM, `word` that it is aligned.
        unsafe { W::store(self.pointer(word.span()), value, Ordering::Relaxed) }
    }

    /// Stores a word after all earlier accesses: a guest that sees this value sees them too.
    #[inline]
    pub fn store_release<W: WordSize>(&self, word: Word<W>, value: W) {
        // SAFETY: `pointer` proves the word to be inside this RAM, `word` that it is aligned.
        unsafe { W::store(self.pointer(word.span()), value, Ordering::Release) }
    }

    /// Where we have the span mapped: valid for all of its bytes.
    ///
    /// # Panics
    /// If the span was proven against another, larger RAM: a mistake in this program, which no
    /// guest can provoke. It is checked because memory safety must not depend on it.
    #[inline]
    fn pointer(&self, span: Span) -> *mut u8 {
        let inside = span.offset() <= self.len && u64::from(span.len()) <= self.len - span.offset();
        assert!(
            inside,
            "a span of another RAM: {span:?}, but this RAM has {:#x} bytes",
            self.len
        );
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`new` found `len` to fit an isize"
        )]
        let offset = span.offset() as usize;
        self.base.as_ptr().wrapping_add(offset)
    }
}

/// Whether host pointer and guest address agree modulo [`CONGRUENT`].
fn same_alignment(base: *mut u8, start: GuestAddress) -> bool {
    u64::try_from(base.addr())
        .is_ok_and(|base| base.wrapping_sub(start.value()).is_multiple_of(CONGRUENT))
}

impl fmt::Debug for GuestRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RAM of {:#x} bytes at {}", self.len, self.start)
    }
}

/// The place of a naturally aligned word inside a RAM, proven.
pub struct Word<W> {
    offset: u64,
    size: PhantomData<W>,
}

impl<W: WordSize> Word<W> {
    #[inline]
    const fn span(self) -> Span {
        Span::proven(self.offset, W::SIZE)
    }
}

impl<W> Clone for Word<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Word<W> {}

impl<W> fmt::Debug for Word<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RAM + {:#x}", self.offset)
    }
}

/// A ring of naturally aligned words inside a RAM, proven; their number is a power of two.
#[derive(Clone, Copy, Debug)]
pub struct Words<W> {
    first: Word<W>,
    mask: u32,
}

impl<W: WordSize> Words<W> {
    /// The word with this index, which counts modulo the number of words: that is how the indices
    /// of virtIO's rings count, and so there is no index that fails.
    #[inline]
    #[must_use]
    pub fn at(self, index: u32) -> Word<W> {
        let bytes = u64::from(index & self.mask) * u64::from(W::SIZE);
        // Inside the span that `GuestRam::words` was given.
        Word {
            offset: self.first.offset.wrapping_add(bytes),
            size: PhantomData,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The sizes that have atomic accesses: `u16`, `u32`, `u64`. In memory they are little-endian.
pub trait WordSize: Copy + sealed::Sealed {
    /// Size and alignment in bytes.
    const SIZE: u32;

    /// Loads the word at `at`.
    ///
    /// # Safety
    /// `at` must be valid for [`WordSize::SIZE`] bytes, aligned to as many, and accessed by nothing
    /// in this program but atomics. `order` must be one that a load can have.
    #[doc(hidden)]
    unsafe fn load(at: *mut u8, order: Ordering) -> Self;

    /// Stores the word at `at`.
    ///
    /// # Safety
    /// As for [`WordSize::load`].
    #[doc(hidden)]
    unsafe fn store(at: *mut u8, value: Self, order: Ordering);
}

/// One size.
macro_rules! word_size {
    ($word:ty, $atomic:ty, $size:literal) => {
        impl sealed::Sealed for $word {}

        impl WordSize for $word {
            const SIZE: u32 = $size;

            #[inline]
            unsafe fn load(at: *mut u8, order: Ordering) -> Self {
                // SAFETY: valid, aligned and accessed atomically only, as the caller promised.
                <$word>::from_le(unsafe { <$atomic>::from_ptr(at.cast()) }.load(order))
            }

            #[inline]
            unsafe fn store(at: *mut u8, value: Self, order: Ordering) {
                // SAFETY: valid, aligned and accessed atomically only, as the caller promised.
                unsafe { <$atomic>::from_ptr(at.cast()) }.store(value.to_le(), order);
            }
        }
    };
}

word_size!(u16, AtomicU16, 2);
word_size!(u32, AtomicU32, 4);
word_size!(u64, AtomicU64, 8);

/// A claim that failed: the guest named memory that it does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutsideRam {
    /// What the guest claimed.
    pub range: GuestRange,
    /// Where its RAM starts.
    pub start: GuestAddress,
    /// How long its RAM is, in bytes.
    pub len: u64,
}

impl fmt::Display for OutsideRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, start, len } = self;
        write!(f, "{range} is not in RAM, which is {start} + {len:#x}")
    }
}

impl core::error::Error for OutsideRam {}

/// Numbers that cannot describe a guest's RAM: our own configuration is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRam {
    /// It is mapped at address 0.
    Null,
    /// It is empty, or wraps around the guest's addresses or ours.
    Length {
        /// Guest-physical start.
        start: GuestAddress,
        /// Length in bytes.
        len: u64,
    },
    /// Our mapping and the guest's addresses differ modulo 16.
    Alignment {
        /// Where we have it mapped.
        base: usize,
        /// Guest-physical start.
        start: GuestAddress,
    },
}

impl fmt::Display for BadRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "guest RAM is mapped at 0; expected a mapping"),
            Self::Length { start, len } => write!(
                f,
                "guest RAM at {start} has {len:#x} bytes; expected at least 1, ending below 2^64"
            ),
            Self::Alignment { base, start } => write!(
                f,
                "guest RAM at {start} is mapped at {base:#x}; expected the two to be equal \
                 modulo {CONGRUENT}"
            ),
        }
    }
}

impl core::error::Error for BadRam {}
