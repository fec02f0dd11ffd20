//! The link: one shared page and one channel between a VMM and a device's backend.
//!
//! It does what vhost-user does, without messages: each side writes its own words and notifies the other. Nothing
//! blocks, nothing is answered in place. The backend holds a [`DeviceEnd`], the VMM a [`VmmEnd`]; neither trusts the
//! other: every word is read once, checked, and used from a private copy.
//!
//! # A device's life
//! 1. The backend publishes what the device is and [announces](DeviceEnd::announce) it. A VMM that (re)starts asks
//!    for a reset; the backend acknowledges it; the device is [ready](VmmEnd::is_ready).
//! 2. The guest negotiates with the VMM, which writes features and queues into the page and sets DRIVER_OK. The
//!    backend takes a snapshot of it all ([`Event::Start`]) and serves.
//! 3. The guest kicks: the VMM sets the kicks word and notifies, unless it was still set. The backend clears it and looks at
//!    every queue. Interrupts come back in the same way, as bits.
//! 4. The guest writes 0 to Status: the VMM begins a new *generation* ([`VmmEnd::reset`]) and holds the vCPU that
//!    wrote. The backend stops ([`Event::Reset`]), waits until no request touches guest memory any more, and only
//!    then [acknowledges](DeviceEnd::acknowledge) the generation. Now Status may read 0, and it is back to 2.
//!
//! A backend that is started again announces itself again. What the VMM wrote is still in the page, so it gets the
//! whole state again: a reset that its earlier life did not finish, or a running session, marked
//! [`resumed`](Session::resumed). A VMM that is started again begins a new generation.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod config;
mod device;
mod facts;
mod gauge;
mod page;
mod vmm;

pub use device::{DeviceEnd, Event};
pub use facts::{Facts, QueueSetup, Session};
pub use gauge::{Gauge, names};
pub use page::{CONFIG_SIZE, COUNTERS, LinkPage, MAX_QUEUES};
pub use vmm::{Changes, VmmEnd};

/// Bits of the interrupts word, those of the InterruptStatus register (virtIO 1.2 §4.2.2).
pub mod interrupt {
    /// The device used a buffer.
    pub const USED_BUFFER: u32 = 1;
    /// Configuration or needs-reset changed.
    pub const CONFIGURATION: u32 = 2;
}
