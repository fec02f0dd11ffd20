//! Gives out physical memory.

use std::ops::Range;

/// Free ranges, ascending and apart.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    free: Vec<Range<u64>>,
}

impl Memory {
    /// All of `range` is free.
    pub(super) fn new(range: Range<u64>) -> Self {
        Self { free: vec![range] }
    }

    /// Takes `taken` out, whether it was free or not.
    pub(super) fn take(&mut self, taken: &Range<u64>) {
        let mut left = Vec::new();
        for range in self.free.drain(..) {
            let below = range.start..range.end.min(taken.start);
            let above = range.start.max(taken.end)..range.end;
            left.extend(
                [below, above]
                    .into_iter()
                    .filter(|part| part.start < part.end),
            );
        }
        self.free = left;
    }

    /// The lowest free address where `bytes` bytes fit with the alignment `align` (a power of two); they are taken.
    pub(super) fn allocate(&mut self, bytes: u64, align: u64) -> Option<u64> {
        let start = self.free.iter().find_map(|range| {
            let start = range.start.checked_next_multiple_of(align)?;
            let end = start.checked_add(bytes)?;
            (end <= range.end).then_some(start)
        })?;
        self.take(&(start..start + bytes));
        Some(start)
    }

    /// Bytes that are free.
    pub(super) fn available(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_once() {
        let mut memory = Memory::new(0x1000..0x9000);
        memory.take(&(0x3000..0x5000));
        memory.take(&(0x8000..0x20000));
        assert_eq!(memory.available(), 0x5000);
        assert_eq!(memory.allocate(0x3000, 0x1000), Some(0x5000));
        assert_eq!(memory.allocate(0x1000, 0x2000), Some(0x2000));
        assert_eq!(memory.allocate(0x1000, 0x1000), Some(0x1000));
        assert_eq!(memory.allocate(0x1000, 0x1000), None);
        assert_eq!(memory.available(), 0);
    }

    #[test]
    fn what_is_taken_whole_leaves_nothing() {
        let mut memory = Memory::new(0x1000..0x2000);
        memory.take(&(0..0x3000));
        assert_eq!(memory.allocate(1, 1), None);
    }
}
