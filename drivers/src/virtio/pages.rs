//! Which pages of the DMA memory are in use: a bitmap, first fit.

/// Most pages that are managed; a larger region's rest is not used.
pub const MAX_PAGES: usize = 1024;
const WORDS: usize = MAX_PAGES / 64;

/// The pages of a region, by their numbers from 0.
pub struct Pages {
    /// Bit set: in use.
    used: [u64; WORDS],
    count: usize,
}

impl Pages {
    /// A region of `count` free pages, at most [`MAX_PAGES`].
    pub const fn new(count: usize) -> Self {
        let count = if count > MAX_PAGES { MAX_PAGES } else { count };
        Self {
            used: [0; WORDS],
            count,
        }
    }

    /// Takes `count` pages in a row: the number of the first, or `None` if there are none (or none are wanted).
    pub fn take(&mut self, count: usize) -> Option<usize> {
        let last = self.count.checked_sub(count).filter(|_| count != 0)?;
        let first =
            (0..=last).find(|first| !(*first..*first + count).any(|page| self.is_used(page)))?;
        self.mark(first, count, true);
        Some(first)
    }

    /// Gives `count` pages from `first` back.
    pub fn give_back(&mut self, first: usize, count: usize) {
        self.mark(first, count, false);
    }

    fn is_used(&self, page: usize) -> bool {
        self.used
            .get(page / 64)
            .is_none_or(|word| word >> (page % 64) & 1 != 0)
    }

    fn mark(&mut self, first: usize, count: usize, used: bool) {
        for page in first..first.saturating_add(count).min(MAX_PAGES) {
            if let Some(word) = self.used.get_mut(page / 64) {
                let bit = 1 << (page % 64);
                *word = if used { *word | bit } else { *word & !bit };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_given_once_until_they_come_back() {
        let mut pages = Pages::new(130);
        assert_eq!(pages.take(100), Some(0));
        assert_eq!(pages.take(31), None);
        assert_eq!(pages.take(30), Some(100));
        assert_eq!(pages.take(1), None);
        pages.give_back(60, 10);
        assert_eq!(pages.take(11), None);
        assert_eq!((pages.take(4), pages.take(6)), (Some(60), Some(64)));
    }

    #[test]
    fn impossible_wishes_are_refused() {
        let mut pages = Pages::new(5000);
        assert_eq!(pages.take(0), None);
        assert_eq!(pages.take(MAX_PAGES + 1), None);
        assert_eq!(pages.take(usize::MAX), None);
        assert_eq!(pages.take(MAX_PAGES), Some(0));
    }
}
