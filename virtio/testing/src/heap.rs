//! The fake guest's memory allocator: first fit, in whole 16-byte units.

use std::collections::BTreeMap;

/// Every piece begins and ends at a multiple of this.
const UNIT: u64 = 16;

/// Which parts of the RAM are free: length by offset.
#[derive(Debug)]
pub(crate) struct Heap {
    free: BTreeMap<u64, u64>,
}

impl Heap {
    pub(crate) fn new(len: u64) -> Self {
        Self {
            free: BTreeMap::from([(0, len / UNIT * UNIT)]),
        }
    }

    /// The offset of `len` free bytes.
    pub(crate) fn allocate(&mut self, len: u64, alignment: u64) -> u64 {
        let len = len.max(1).next_multiple_of(UNIT);
        let alignment = alignment.max(UNIT);
        let found = self.free.iter().find_map(|(&offset, &size)| {
            let at = offset.next_multiple_of(alignment);
            (at + len <= offset + size).then_some((offset, size, at))
        });
        assert!(
            found.is_some(),
            "the fake guest has no {len} bytes of RAM left: give it more"
        );
        let (offset, size, at) = found.unwrap_or_default();
        self.free.remove(&offset);
        if at != offset {
            self.free.insert(offset, at - offset);
        }
        if at + len != offset + size {
            self.free.insert(at + len, offset + size - at - len);
        }
        at
    }

    /// Takes back what `allocate` gave for `len`.
    pub(crate) fn free(&mut self, mut offset: u64, len: u64) {
        let mut len = len.max(1).next_multiple_of(UNIT);
        if let Some(after) = self.free.remove(&(offset + len)) {
            len += after;
        }
        if let Some((&before, &size)) = self.free.range(..offset).next_back()
            && before + size == offset
        {
            self.free.remove(&before);
            offset = before;
            len += size;
        }
        self.free.insert(offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_together() {
        let mut heap = Heap::new(256);
        let a = heap.allocate(1, 1);
        let b = heap.allocate(17, 64);
        let c = heap.allocate(100, 1);
        assert_eq!((a, b), (0, 64));
        for (offset, len) in [(a, 1), (c, 100), (b, 17)] {
            heap.free(offset, len);
        }
        assert_eq!(heap.free, BTreeMap::from([(0, 256)]));
    }

    #[test]
    #[should_panic(expected = "give it more")]
    fn a_full_heap_says_so() {
        let mut heap = Heap::new(64);
        heap.allocate(65, 1);
    }
}
