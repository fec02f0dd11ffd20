//! The block device before a fake guest and a disk in memory (virtIO 1.2 §5.2).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]

#[path = "../common/mod.rs"]
mod common;
mod life;
mod queues;
mod requests;
mod rig;
