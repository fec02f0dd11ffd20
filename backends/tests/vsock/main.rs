//! The socket device before a fake guest, with peers at the other ends of its wires (virtIO 1.2 §5.10).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test states what must hold"
)]

mod anything;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod hostile;
mod model;
mod resets;
mod rig;
