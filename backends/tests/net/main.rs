//! The network device before a fake guest and a wire in memory (virtIO 1.2 §5.1).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]

mod acknowledgements;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod cut;
mod hostile;
mod life;
mod merged;
mod moderation;
mod requests;
mod rig;
mod run;
mod tcp;
