//! What the drivers of virtIO hardware share: DMA memory, transports, queues of requests in flight.
//!
//! The virtqueues themselves and the transports are the virtio-drivers crate's. Here guest memory becomes what that
//! crate takes ([`dma::Piece`], which is proven to lie in a window the hardware may use), and requests get their
//! records back when the hardware is done with them ([`queue::Queue`]).

pub mod chains;
pub mod dma;
mod driver;
mod events;
pub mod pages;
pub mod port;
pub mod queue;
pub mod transport;

#[cfg(test)]
pub(crate) mod fake;

pub use driver::{Driver, Hardware, Serve};
