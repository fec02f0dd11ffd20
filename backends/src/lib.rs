//! Backends: the device models, each in a protection domain of its own.
//!
//! ```text
//!   VMM ◄── link ──► Backend ── step ──► Device (console, net, block) ◄── ring ──► driver
//!                       │                   │    (vsock) ◄── wires ──► services, other guests
//!                       │                   │
//!                       └──── Queues ───────┘   guest RAM
//! ```
//! [`Backend`] keeps a [`Device`] on its link: it announces it, builds its queues when the guest's driver is ready,
//! lets it work, interrupts the guest, and resets it. It is the one place where a guest's fault becomes
//! DEVICE_NEEDS_RESET (virtIO 1.2 §2.1.2), and where a reset waits until nothing in flight touches guest memory.
//!
//! A device knows its queues and its driver's ring, and nothing of the VMM, the transport or the kernel. `wiring`
//! makes a protection domain of it.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod backend;
pub mod block;
pub mod console;
pub mod net;
pub mod pause;
mod port;
mod queues;
pub mod vsock;
pub mod wiring;

pub use backend::{Backend, Device, Signals, Step, Trouble};
pub use port::{Port, PortEvent};
pub use queues::Queues;
