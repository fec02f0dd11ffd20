//! The runtime of a protection domain (PD): what stands between a program and the Microkit's binary interface.
//!
//! A program is a function that sets up and a [`Handler`] that reacts:
//!
//! ```
//! use sel4cp_pd::{self as pd, Channel, ChannelSet, Handler};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn notified(&mut self, channels: ChannelSet) {
//!         for channel in channels {
//!             channel.defer_notify();
//!         }
//!     }
//! }
//!
//! pd::protection_domain!(init = || Echo);
//! ```
//!
//! On the target the macro emits the program's entry. On the host the same program compiles, its calls to the
//! kernel are recorded by [`host`], and the answers come from the test.
//!
//! # Trust
//! The configuration region is written by the tool when the image is built; it is trusted. Everything in a
//! region shared with another PD is not, which is why such memory is only handed out as atomics, as a checked
//! ring or as guest memory.
#![cfg_attr(target_os = "none", no_std)]

pub mod cache;
mod channel;
mod child;
mod config;
mod event;
mod fault;
mod handler;
pub mod log;
mod message;
mod once;
mod region;
mod report;
mod smc;
mod state;
mod time;
pub mod timer;

#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(not(target_os = "none"))]
use host as sys;
#[cfg(target_os = "none")]
mod target;
#[cfg(target_os = "none")]
use target as sys;

pub use channel::{Channel, ChannelSet};
pub use child::{Child, Vcpu};
pub use config::{ConfigError, config};
pub use fault::{Cause, Fault};
pub use handler::Handler;
pub use message::{get_mr, set_mr};
pub use once::Once;
pub use region::{
    RegionError, byte_rings, bytes, claim, device_rings, guest_ram, own, shared, wire_rings, words,
};
pub use sel4cp_abi as abi;
pub use sel4cp_abi::message::{Error, MessageInfo};
pub use sel4cp_abi::vcpu::VcpuRegister;
pub use sel4cp_memory::GuestRam;
pub use smc::smc_call;
pub use sys::{is_passive, name};
pub use time::{frequency, now, yield_now};

/// Where programs of this runtime start: the linker script's base.
pub const ENTRY: u64 = 0x20_0000;

/// What the entry macro needs.
#[doc(hidden)]
pub mod private {
    #[cfg(not(target_os = "none"))]
    pub use crate::host::explain;
    #[cfg(target_os = "none")]
    pub use crate::target::run;
}

/// Makes the program a protection domain: `init` is called once at each start and returns the [`Handler`].
///
/// Emits the entry on the target, and on the host a `main` that says what the program is.
#[macro_export]
macro_rules! protection_domain {
    (init = $init:expr $(,)?) => {
        /// What the start code calls, on a fresh stack and with fresh data.
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        extern "C" fn sel4cp_main() -> ! {
            $crate::private::run($init)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            $crate::private::explain(env!("CARGO_CRATE_NAME"), $init);
        }
    };
}
