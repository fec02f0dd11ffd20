//! Sockets for native protection domains, over wires to guests (virtIO 1.2 §5.10).
//!
//! ```text
//!   guest ── vsock backend ── wire ──► Endpoint ── turn ──► serve(Socket): receive, send, finish
//! ```
//! [`services`] has the services that every guest finds at CID 2, [`control`] the one that looks after guests, and [`domain`] is the
//! protection domain that they run in.
//!
//! An [`Endpoint`] is one end of one wire, with connections and memory of its own, so that no guest can take what another
//! one needs. A protection domain that is notified calls [`Endpoint::turn`] with the function that serves one connection; it
//! gets every open one as a [`Socket`]: of bytes, or of messages if it [listens](Endpoint::listen_for_messages) for those. Nothing blocks and nothing is lost: what there is no room for is not sent, and what is
//! not received stays where the guest sees that there is no credit for more.
//!
//! ```
//! # use sel4cp_services::{Endpoint, Socket, memory};
//! # use sel4cp_pd::Once;
//! # static BUFFERS: Once<sel4cp_services::Memory> = Once::new(memory());
//! # let pair = sel4cp_ring::host::wire()?;
//! // A service that says how long the lines are: at each turn, for each connection.
//! fn serve(socket: &mut Socket<'_>) {
//!     let mut bytes = [0; 100];
//!     let count = socket.receive(&mut bytes);
//!     if count > 0 {
//!         socket.send(format!("{count} bytes\n").as_bytes());
//!     }
//!     if socket.is_finished() {
//!         socket.finish();
//!     }
//! }
//! let mut endpoint = Endpoint::new(pair.second(), BUFFERS.take().unwrap());
//! endpoint.listen(7000);
//! while endpoint.turn(serve) {}
//! if endpoint.take_notify() { /* channel.notify() */ }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod buffer;
pub mod control;
pub mod domain;
mod endpoint;
pub mod services;
mod socket;

pub use buffer::{Buffer, WINDOW};
pub use endpoint::{CONNECTIONS, Endpoint, Memory, PORTS, memory};
pub use sel4cp_model::vsock::{Seq, SocketType};
pub use socket::Socket;
