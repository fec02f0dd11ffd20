//! Queues of the threads that are ready, by priority.

use crate::id::{Id, Table};
use crate::queue::Queue;

/// A priority, as an index.
#[derive(Clone, Copy)]
struct Priority(u8);

impl Id for Priority {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The threads that are ready, by priority.
#[derive(Debug)]
pub(crate) struct Ready {
    queues: Table<Priority, Queue, 256>,
    /// Which queues are not empty.
    used: [u64; 4],
}

impl core::fmt::Debug for Priority {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl Ready {
    pub(crate) const fn new() -> Self {
        Self {
            queues: Table::new([Queue::EMPTY; 256]),
            used: [0; 4],
        }
    }

    /// The queue of a priority; [`Ready::update`] follows.
    pub(crate) fn queue(&mut self, priority: u8) -> &mut Queue {
        &mut self.queues[Priority(priority)]
    }

    pub(crate) fn update(&mut self, priority: u8) {
        let empty = self.queues[Priority(priority)].is_empty();
        let bit = 1 << (priority % 64);
        if let Some(word) = self.used.get_mut(usize::from(priority / 64)) {
            *word = if empty { *word & !bit } else { *word | bit };
        }
    }

    pub(crate) fn has(&self, priority: u8) -> bool {
        !self.queues[Priority(priority)].is_empty()
    }

    /// The highest priority with a ready thread.
    pub(crate) fn highest(&self) -> Option<u8> {
        let [low, middle, high, top] = self.used;
        let (word, first) = match (top, high, middle) {
            (0, 0, 0) => (low, 0),
            (0, 0, word) => (word, 64),
            (0, word, _) => (word, 128),
            (word, ..) => (word, 192),
        };
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        word.checked_ilog2().map(|bit| first + bit as u8)
    }
}
