//! The way out: from the multiplexer to the line.
#![forbid(unsafe_code)]

use super::line::Line;
use super::mux::{Mux, Next, Output, Source};
use sel4cp_pd as pd;

/// Output on its way.
pub(super) struct Out {
    mux: Mux,
    /// Prepared bytes, of which the first `sent` are gone.
    bytes: Output,
    sent: usize,
    next: Next,
}

impl Out {
    pub(super) fn new(mux: Mux) -> Self {
        Self {
            mux,
            bytes: Output::new(),
            sent: 0,
            next: Next::Nothing,
        }
    }

    /// See [`Mux::wake`].
    pub(super) fn wake(&mut self, source: usize) {
        self.mux.wake(source);
    }

    /// See [`Mux::note`].
    pub(super) fn note(&mut self, text: &str) {
        self.mux.note(text);
    }

    /// Sends a piece; true: go on, there may be more.
    pub(super) fn send<S: Source>(&mut self, line: &mut impl Line, sources: &mut [S]) -> bool {
        if self.bytes.is_empty() {
            self.next = self.mux.fill(sources, &mut self.bytes, pd::now());
        }
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        self.sent += line.send(rest);
        if self.sent < self.bytes.len() {
            return false;
        }
        let progress = self.sent > 0;
        self.bytes.clear();
        self.sent = 0;
        progress
    }

    /// Whether the line had no room for what is prepared.
    pub(super) fn is_blocked(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Whether there is anything that was not sent.
    pub(super) fn is_pending(&self) -> bool {
        self.is_blocked() || self.next != Next::Nothing
    }

    /// When to come back although nobody notifies.
    pub(super) fn wait_until(&self) -> Option<u64> {
        match self.next {
            Next::Wait(until) => Some(until),
            Next::Full | Next::Nothing => None,
        }
    }
}
