//! A fake guest: the driver's side of virtqueues, for tests of devices on the host.
//!
//! ```
//! use sel4cp_memory::Span;
//! use sel4cp_queue::{Features, GuestFault, Queue, Served};
//! use sel4cp_testing::{Guest, readable, writable};
//!
//! let mut guest = Guest::new();
//! guest.add_queue(16, Features::all());
//! let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config())?;
//!
//! guest.queue(0).add(&[readable(b"ping"), writable(8)]);
//! assert!(guest.queue(0).kick());
//!
//! let mut segments = [Span::EMPTY; 16];
//! let batch = queue.serve::<GuestFault>(&mut segments, |mut reader, mut writer| {
//!     let mut word = [0; 4];
//!     reader.read_exact(&mut word)?;
//!     writer.write_all(&word.map(|byte| byte.to_ascii_uppercase()))?;
//!     Ok(Served::Done(writer.written()))
//! })?;
//! assert!(batch.interrupt);
//! assert_eq!(guest.queue(0).collect()[0].bytes, b"PING");
//! guest.finish();
//! # Ok::<(), GuestFault>(())
//! ```
//!
//! What it checks without being asked, whenever it collects what the device has used: each chain
//! comes back exactly once, under its own number, with no more bytes than there was room for; and
//! the device has written to no descriptor and to no buffer that was there to be read.
//! [`Guest::finish`], or else the end of the test, finds the chains that never came back.
//!
//! It can misbehave as well: [`Driver::write_descriptor`] and its neighbours write whatever they
//! are told to. A queue that was treated so keeps no accounts any more.
//!
//! This library states what must hold by panicking: a failed check is a failed test.
#![forbid(unsafe_code)]

mod buffer;
mod driver;
mod guest;
mod heap;
mod hostile;
pub mod request;

pub use buffer::{Buffer, readable, readable_obj, writable};
pub use driver::{ChainId, Driver, Used};
pub use guest::Guest;
