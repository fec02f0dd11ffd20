//! Guest memory: what a guest claims, what has been proven about it, and the only code that
//! touches its bytes.
//!
//! ```text
//!   GuestAddress, GuestRange      a claim: any number a guest may have written
//!        │  GuestRam::check
//!        ▼
//!   Span, Word<W>                 proven: inside this RAM (and aligned, for a word)
//!        │  GuestRam::{read, write, load, store, …}
//!        ▼
//!   private copies                ours: may be looked at as often as we like
//! ```
//!
//! The guest runs while we look. Nothing here hands out a reference to guest memory, so every look
//! is a copy, and what was checked in a copy stays true.
//!
//! A RAM may start at any guest-physical address. No arithmetic on claims can overflow, and no
//! claim can reach a panic. No heap, no operating system.
#![cfg_attr(not(any(test, feature = "host")), no_std)]

mod address;
mod copy;
#[cfg(any(test, feature = "host"))]
mod host;
mod pod;
mod ram;
mod sum;
#[cfg(test)]
mod tests;

pub use address::{GuestAddress, GuestRange, Span};
#[cfg(any(test, feature = "host"))]
pub use host::HostRam;
pub use pod::{Le16, Le32, Le64, Pod};
pub use ram::{BadRam, GuestRam, OutsideRam, Word, WordSize, Words};
pub use sum::Sum;
