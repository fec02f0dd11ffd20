//! The same work for our queue and for the `virtio-queue` crate, for our ring and for the `rtrb` crate.
//!
//! ```sh
//! cargo bench -p sel4cp-bench     # times, by criterion
//! cargo xtask test --host         # among others: instructions, by callgrind, which no neighbour disturbs
//! ```
//!
//! What is compared must do the same: both queues find the same bytes in guest memories of the same size, check the same
//! chains, and leave the same used ring behind; a test compares the memories. Both are used in the fastest way that their interfaces offer.
#![forbid(unsafe_code)]

pub mod guest;
pub mod queue;
pub mod ring;
