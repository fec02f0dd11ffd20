//! The driver of a virtio-net interface: buffers of the backend's ring become buffers of the hardware, which
//! sends from guest memory and receives into it.

pub mod frame;
pub mod interface;
pub mod server;

#[cfg(test)]
mod tests;

pub use interface::Interface;
pub use server::{Server, Storage};
