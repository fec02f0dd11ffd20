//! The driver of a virtio-blk disk: requests from the backend's ring become requests of the hardware, whose data
//! goes straight between the disk and guest memory.

pub mod disk;
mod polling;
pub mod request;
pub mod server;

#[cfg(test)]
mod tests;

pub use disk::Disk;
pub use server::{Server, Storage};
