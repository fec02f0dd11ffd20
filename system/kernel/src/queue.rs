//! Queues of threads: doubly linked through one table, since a thread waits in one queue at most.

use crate::id::{Table, ThreadId};

/// A thread's neighbours in its queue.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    next: Option<ThreadId>,
    previous: Option<ThreadId>,
}

/// The neighbours of all threads.
#[derive(Debug)]
pub(crate) struct Links(Table<ThreadId, Link, { ThreadId::LIMIT }>);

/// A queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    first: Option<ThreadId>,
    last: Option<ThreadId>,
}

impl Links {
    pub(crate) const fn new() -> Self {
        let none = Link {
            next: None,
            previous: None,
        };
        Self(Table::new([none; ThreadId::LIMIT]))
    }
}

impl Queue {
    pub(crate) const EMPTY: Self = Self {
        first: None,
        last: None,
    };

    pub(crate) const fn first(&self) -> Option<ThreadId> {
        self.first
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push_front(&mut self, links: &mut Links, thread: ThreadId) {
        links.0[thread] = Link {
            next: self.first,
            previous: None,
        };
        match self.first.replace(thread) {
            Some(first) => links.0[first].previous = Some(thread),
            None => self.last = Some(thread),
        }
    }

    pub(crate) fn push_back(&mut self, links: &mut Links, thread: ThreadId) {
        links.0[thread] = Link {
            next: None,
            previous: self.last,
        };
        match self.last.replace(thread) {
            Some(last) => links.0[last].next = Some(thread),
            None => self.first = Some(thread),
        }
    }

    /// Inserts `thread` before the first that `goes_after` it.
    pub(crate) fn insert(
        &mut self,
        links: &mut Links,
        thread: ThreadId,
        goes_after: impl Fn(ThreadId) -> bool,
    ) {
        let mut next = self.first;
        while let Some(other) = next {
            if goes_after(other) {
                break;
            }
            next = links.0[other].next;
        }
        match next {
            None => self.push_back(links, thread),
            Some(next) if self.first == Some(next) => self.push_front(links, thread),
            Some(next) => {
                let previous = links.0[next].previous.replace(thread);
                links.0[thread] = Link {
                    next: Some(next),
                    previous,
                };
                if let Some(previous) = previous {
                    links.0[previous].next = Some(thread);
                }
            }
        }
    }

    /// Takes `thread` out; it must be in this queue.
    pub(crate) fn remove(&mut self, links: &mut Links, thread: ThreadId) {
        let Link { next, previous } = core::mem::take(&mut links.0[thread]);
        match previous {
            Some(previous) => links.0[previous].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => links.0[next].previous = previous,
            None => self.last = previous,
        }
    }

    pub(crate) fn pop(&mut self, links: &mut Links) -> Option<ThreadId> {
        let first = self.first?;
        self.remove(links, first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ThreadId {
        ThreadId::new(number).unwrap()
    }

    fn drain(queue: &mut Queue, links: &mut Links) -> Vec<u8> {
        core::iter::from_fn(|| queue.pop(links))
            .map(ThreadId::number)
            .collect()
    }

    #[test]
    fn both_ends_and_the_middle() {
        let (mut links, mut queue) = (Links::new(), Queue::EMPTY);
        for number in [1, 2, 3] {
            queue.push_back(&mut links, id(number));
        }
        queue.push_front(&mut links, id(0));
        queue.remove(&mut links, id(2));
        assert_eq!(drain(&mut queue, &mut links), [0, 1, 3]);
        assert!(queue.is_empty());
        assert_eq!(queue, Queue::EMPTY);
    }

    #[test]
    fn an_order_is_kept() {
        let (mut links, mut queue) = (Links::new(), Queue::EMPTY);
        for number in [5, 9, 1, 7, 3] {
            queue.insert(&mut links, id(number), |other| {
                usize::from(other.number()) > number
            });
        }
        queue.remove(&mut links, id(1));
        queue.remove(&mut links, id(9));
        assert_eq!(drain(&mut queue, &mut links), [3, 5, 7]);
    }
}
