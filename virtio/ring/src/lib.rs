//! Rings between protection domains: single producer, single consumer, in shared memory.
//!
//! The two ends do not trust each other. A ring holds plain data and indices, never pointers; every end keeps
//! its own index in private memory, checks the other's each time it reads it ([`PeerFault`]), copies an entry
//! out before it looks at it, and survives whatever the other writes.
//!
//! - [`Producer`] and [`Consumer`] are the roles. Entries are staged and then published in one step
//!   ([`Producer::publish`], [`Consumer::release`]), which also answers whether the peer asked to be notified.
//! - A peer asks by arming an event index ([`Producer::arm`], [`Consumer::arm`]); arming looks again
//!   afterwards, so that nothing that arrived in between is missed. An event index expires by itself.
//! - [`layout`] places the rings of a region: [`layout::BytePair`] (serial lines, logs),
//!   [`layout::DeviceRegion`] (block, net) and [`layout::WirePair`] (vsock).
//! - [`request`], [`block`], [`net`] and [`info`] are what flows through a device region, [`wire`] what flows between
//!   sockets.
//! - [`mod@shared`] is for pages of atomics: the timer's, the serial driver's state, the link. [`control`] has those of the
//!   control service.
//!
//! # The shape of one end's work
//! ```
//! # let pair = sel4cp_ring::host::byte_pair(sel4cp_ring::layout::BYTE_PAIR_SIZE)?;
//! # let (mut to_driver, _) = pair.client();
//! # let (mut from_client, _) = pair.driver();
//! // The producing end: stage, publish, notify if asked.
//! let staged = to_driver.push_slice(b"hello")?;
//! assert_eq!(staged, 5);
//! if to_driver.publish() { /* channel.notify() */ }
//!
//! // The consuming end: until arming finds nothing more.
//! let mut bytes = [0; 16];
//! loop {
//!     while from_client.pop_slice(&mut bytes)? > 0 { /* use them */ }
//!     if from_client.release() { /* channel.notify() */ }
//!     if !from_client.arm()? { break }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), no_std)]

pub mod block;
mod consumer;
pub mod control;
mod fault;
#[cfg(not(any(target_os = "none", loom)))]
pub mod host;
pub mod info;
pub mod layout;
pub mod net;
mod producer;
pub mod request;
pub mod shared;
mod slot;
mod spsc;
mod sync;
pub mod wire;

pub use consumer::Consumer;
pub use fault::{Misfit, PeerFault};
pub use producer::Producer;
pub use slot::Slot;
pub use spsc::{Control, Ring};
