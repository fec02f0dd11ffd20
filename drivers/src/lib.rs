//! Native drivers, one protection domain each.
#![cfg_attr(target_os = "none", no_std)]

pub mod block;
pub mod net;
pub mod power;
pub mod serial;
pub mod supervisor;
pub mod timer;
pub mod virtio;
