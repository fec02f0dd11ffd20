//! Lists of values in one array: what each request in flight consists of.

/// No entry. Entries are numbered from 1, so that all zero is the empty beginning.
const END: u16 = 0;

/// Lists of `T`, `N` entries (at most 65,535) in all lists together.
pub struct Chains<T, const N: usize> {
    values: [T; N],
    next: [u16; N],
    /// First of the entries that were in a list and are free again.
    free: u16,
    /// The last entry that was ever used.
    used: u16,
    /// Entries in lists.
    taken: u16,
}

/// A list. It must go back to the [`Chains`] that it came from.
#[derive(Debug)]
pub struct Chain {
    first: u16,
    last: u16,
    len: u16,
}

impl<T: Copy, const N: usize> Chains<T, N> {
    /// No lists; `value` fills the array and is never seen.
    pub const fn new(value: T) -> Self {
        const { assert!(N <= u16::MAX as usize) };
        Self {
            values: [value; N],
            next: [0; N],
            free: END,
            used: 0,
            taken: 0,
        }
    }

    /// Entries that are free.
    pub const fn left(&self) -> usize {
        N.saturating_sub(self.taken as usize)
    }

    /// A list of `values`, `None` if not all of them fit.
    pub fn put(&mut self, values: impl Iterator<Item = T>) -> Option<Chain> {
        let mut chain = Chain {
            first: END,
            last: END,
            len: 0,
        };
        for value in values {
            let Some(entry) = self.entry() else {
                self.free(chain);
                return None;
            };
            if let Some(place) = index(entry).and_then(|index| self.values.get_mut(index)) {
                *place = value;
            }
            match chain.last {
                END => chain.first = entry,
                last => self.link(last, entry),
            }
            chain.last = entry;
            chain.len += 1;
            self.taken += 1;
        }
        Some(chain)
    }

    /// The list's values, in order.
    pub fn iter(&self, chain: &Chain) -> impl Iterator<Item = T> + '_ {
        let mut entry = chain.first;
        (0..chain.len).filter_map(move |_| {
            let index = index(entry)?;
            entry = *self.next.get(index)?;
            self.values.get(index).copied()
        })
    }

    /// Frees the list's entries.
    pub fn free(&mut self, chain: Chain) {
        if chain.len != 0 {
            self.link(chain.last, self.free);
            self.free = chain.first;
            self.taken = self.taken.saturating_sub(chain.len);
        }
    }

    fn entry(&mut self) -> Option<u16> {
        if self.free != END {
            let entry = self.free;
            self.free = self.following(entry);
            return Some(entry);
        }
        if usize::from(self.used) >= N {
            return None;
        }
        self.used += 1;
        Some(self.used)
    }

    fn following(&self, entry: u16) -> u16 {
        let next = index(entry).and_then(|index| self.next.get(index));
        next.copied().unwrap_or(END)
    }

    fn link(&mut self, entry: u16, to: u16) {
        if let Some(next) = index(entry).and_then(|index| self.next.get_mut(index)) {
            *next = to;
        }
    }
}

/// Where an entry lies in the arrays.
fn index(entry: u16) -> Option<usize> {
    usize::from(entry).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_values_and_give_their_entries_back() {
        let mut chains = Chains::<u32, 8>::new(0);
        let all = |chains: &Chains<u32, 8>, chain: &Chain| chains.iter(chain).collect::<Vec<_>>();
        for round in 0..5 {
            let a = chains.put([round, 2, 3].into_iter()).unwrap();
            let b = chains.put([4].into_iter()).unwrap();
            let empty = chains.put([].into_iter()).unwrap();
            let c = chains.put([5, 6, 7, 8].into_iter()).unwrap();
            assert!(chains.put([9].into_iter()).is_none());
            assert_eq!(chains.left(), 0);
            assert_eq!(all(&chains, &a), [round, 2, 3]);
            assert_eq!(all(&chains, &b), [4]);
            assert_eq!(all(&chains, &empty), []);
            chains.free(b);
            chains.free(empty);
            assert_eq!(chains.left(), 1);
            assert_eq!(all(&chains, &c), [5, 6, 7, 8]);
            chains.free(c);
            chains.free(a);
            assert_eq!(chains.left(), 8);
        }
    }
}
