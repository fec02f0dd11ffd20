//! The device's side of a split virtqueue (virtIO 1.2 §2.7): between a guest and a backend.
//!
//! ```text
//!   kick ──► pop ──► (Token, Chain) ──► Reader, Writer, or the chain's spans for DMA
//!                       │
//!                       ▼
//!            complete(token, written) … ──► publish ──► interrupt the guest?
//!                                              │
//!            enable_notifications ◄────────────┘  more work meanwhile? again
//! ```
//!
//! A device that answers at once uses [`Queue::serve`], which does all of that around a closure and
//! forgets no chain. One that answers later keeps [`Token`]s; a token completes once, and only in
//! the queue that it came from: not in what the guest sets up there after a reset.
//!
//! Whatever the guest writes, at whatever time, leads to a result or to a [`GuestFault`] within a
//! bounded number of steps: each shared word is read once into a private copy, and what is used is
//! the copy. Neither the transport nor any device type is known here.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod buffer;
mod chain;
mod fault;
mod layout;
mod notify;
mod queue;
mod serve;

pub use buffer::{Reader, Spans, Writer};
pub use chain::Chain;
pub use fault::{Direction, GuestFault};
pub use layout::{
    Area, AvailableFlags, Config, Descriptor, DescriptorFlags, Features, MAX_SIZE, UsedElement,
    UsedFlags,
};
pub use notify::need_event;
pub use queue::{Queue, StaleToken, Token};
pub use serve::{Batch, End, Served};
