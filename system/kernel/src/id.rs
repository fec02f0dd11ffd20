//! Numbers of objects, and tables that they index without a check that could fail.

use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// A number that indexes a [`Table`].
pub trait Id: Copy {
    /// The number.
    fn index(self) -> usize;
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident < $limit:literal;)*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(u8);

        impl $name {
            /// How many there can be.
            pub const LIMIT: usize = $limit;

            /// The id with this number, if there can be one.
            #[expect(clippy::cast_possible_truncation, reason = "below 128")]
            pub const fn new(number: usize) -> Option<Self> {
                if number < Self::LIMIT { Some(Self(number as u8)) } else { None }
            }

            /// The number.
            pub const fn number(self) -> u8 {
                self.0
            }
        }

        impl Id for $name {
            fn index(self) -> usize {
                usize::from(self.0)
            }
        }
    )* };
}

ids! {
    /// A protection domain: also its endpoint, its notification and its reply object.
    DomainId < 64;
    /// A thread, and the scheduling context that it starts with: domains first, then vCPUs.
    ThreadId < 128;
    /// A virtual CPU.
    VcpuId < 64;
    /// An address space; its VMID is one more.
    SpaceId < 128;
}

impl DomainId {
    /// The domain's thread.
    pub const fn thread(self) -> ThreadId {
        ThreadId(self.0)
    }
}

/// One `T` for each id of a kind; `N` is the kind's limit, a power of two.
#[derive(Debug)]
pub struct Table<I, T, const N: usize> {
    items: [T; N],
    kind: PhantomData<I>,
}

impl<I, T, const N: usize> Table<I, T, N> {
    /// A table of these items.
    pub const fn new(items: [T; N]) -> Self {
        const { assert!(N.is_power_of_two()) };
        Self {
            items,
            kind: PhantomData,
        }
    }
}

impl<I: Id, T, const N: usize> Index<I> for Table<I, T, N> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        match self.items.get(id.index() & (N - 1)) {
            Some(item) => item,
            None => unreachable!(),
        }
    }
}

impl<I: Id, T, const N: usize> IndexMut<I> for Table<I, T, N> {
    fn index_mut(&mut self, id: I) -> &mut T {
        match self.items.get_mut(id.index() & (N - 1)) {
            Some(item) => item,
            None => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_below_their_limit() {
        assert_eq!(DomainId::new(63).map(DomainId::number), Some(63));
        assert_eq!(DomainId::new(64), None);
        assert_eq!(ThreadId::new(127).map(Id::index), Some(127));
    }
}
