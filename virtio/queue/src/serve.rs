//! Serving a device that answers at once, with a closure: no chain can be forgotten.

use sel4cp_memory::Span;

use crate::buffer::{Reader, Writer};
use crate::fault::GuestFault;
use crate::queue::Queue;

/// What a device did with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is done, and the device wrote that many bytes from the first writable one on.
    Done(u32),
    /// The device cannot go on now (back-pressure). The chain stays where it is, unused, and
    /// serving ends.
    Later,
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The queue is empty, and the driver notifies the device of the next chain.
    Drained,
    /// The device said [`Served::Later`]: it must serve again once it can, without a notification.
    Later,
    /// The driver keeps adding chains as fast as they are served: the device must serve again, after
    /// having looked at whatever else it does.
    Budget,
}

/// The result of serving a queue once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the driver waits for the interrupt"]
pub struct Batch {
    /// How many chains were completed.
    pub chains: u32,
    /// Whether the driver wants an interrupt for them.
    pub interrupt: bool,
    /// Why it ended.
    pub end: End,
}

impl Queue {
    /// Calls `device` for each available chain, completes those that are done, publishes them
    /// together, and asks to be notified of the next, until there are none.
    ///
    /// At most twice as many chains as the queue has descriptors are served in one call, so that a
    /// guest cannot keep a device here for ever.
    ///
    /// # Errors
    /// The guest's fault or the device's own error. What was completed before it has been published.
    pub fn serve<E: From<GuestFault>>(
        &mut self,
        segments: &mut [Span],
        mut device: impl FnMut(Reader<'_>, Writer<'_>) -> Result<Served, E>,
    ) -> Result<Batch, E> {
        let budget = u32::from(self.size()) * 2;
        let mut batch = Batch {
            chains: 0,
            interrupt: false,
            end: End::Budget,
        };
        self.disable_notifications();
        let result = loop {
            match self.serve_available(segments, &mut device, &mut batch, budget) {
                Ok(Some(end)) => {
                    batch.end = end;
                    break Ok(());
                }
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            batch.interrupt |= self.publish();
            match self.enable_notifications() {
                Ok(true) => self.disable_notifications(),
                Ok(false) => {
                    batch.end = End::Drained;
                    break Ok(());
                }
                Err(fault) => break Err(fault.into()),
            }
        };
        batch.interrupt |= self.publish();
        result.map(|()| batch)
    }

    /// Serves until the queue looks empty (`None`) or there is a reason to end.
    fn serve_available<E: From<GuestFault>>(
        &mut self,
        segments: &mut [Span],
        device: &mut impl FnMut(Reader<'_>, Writer<'_>) -> Result<Served, E>,
        batch: &mut Batch,
        budget: u32,
    ) -> Result<Option<End>, E> {
        while batch.chains < budget {
            let Some((token, chain)) = self.pop(segments)? else {
                return Ok(None);
            };
            // The token was popped from this very queue just now, and is the last one: neither
            // `complete` nor `put_back` can refuse it.
            match device(chain.reader(), chain.writer()) {
                Ok(Served::Done(written)) => {
                    let _fresh = self.complete(token, written);
                    batch.chains += 1;
                }
                Ok(Served::Later) => {
                    let _last = self.put_back(token);
                    return Ok(Some(End::Later));
                }
                Err(error) => {
                    // Nobody has it: a reset must not wait for it.
                    let _last = self.put_back(token);
                    return Err(error);
                }
            }
        }
        Ok(Some(End::Budget))
    }
}
