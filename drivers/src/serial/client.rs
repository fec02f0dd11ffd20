//! A client's rings.
#![forbid(unsafe_code)]

use super::mux::Source;
use sel4cp_pd::Channel;
use sel4cp_ring::layout::BytePair;
use sel4cp_ring::{Consumer, PeerFault, Producer};

/// One client: a console, an early console or a log.
pub(super) struct Client {
    name: &'static str,
    channel: Channel,
    /// What it writes.
    from: Consumer<u8>,
    /// What it reads.
    to: Producer<u8>,
    /// How it broke the rules of a ring, if it did since it has started.
    fault: Option<PeerFault>,
    /// The fault has been reported.
    reported: bool,
}

impl Client {
    pub(super) fn new(name: &'static str, channel: Channel, rings: BytePair) -> Self {
        let (from, to) = rings.driver();
        Self {
            name,
            channel,
            from,
            to,
            fault: None,
            reported: false,
        }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel
    }

    /// Whether it can be given a byte. If not, it will notify when it has made room. One that breaks the rules
    /// gets nothing, but does not keep others from their input either.
    pub(super) fn has_room(&mut self) -> bool {
        let half = self.to.capacity() / 2;
        match self.to.has_room(1) {
            Ok(true) => true,
            Ok(false) => self.to.arm(half).unwrap_or(true),
            Err(fault) => {
                let restarted = self.to.peer_restarted();
                if self.fault(fault, restarted) {
                    self.to.resynchronize();
                }
                true
            }
        }
    }

    /// Gives it a byte, for which it has room; it sees the byte after [`finish`](Self::finish).
    pub(super) fn give(&mut self, byte: u8) {
        // If it breaks the rules at this moment, it is told about when it is asked for room the next time.
        let _ = self.to.push(byte);
    }

    /// Shows the client what it was given and what was taken from it.
    pub(super) fn finish(&mut self) {
        let given = self.to.publish();
        if self.from.release() | given {
            self.channel.defer_notify();
        }
    }

    /// A fault that has not been reported, and whose it is.
    pub(super) fn report(&mut self) -> Option<(&'static str, PeerFault)> {
        if core::mem::replace(&mut self.reported, true) {
            return None;
        }
        self.reported = self.fault.is_some();
        Some((self.name, self.fault?))
    }

    /// Remembers a fault in a ring whose client has started again, or not, since it was last in order. True: it has,
    /// so meet it where it is.
    fn fault(&mut self, fault: PeerFault, restarted: bool) -> bool {
        if restarted {
            self.fault = None;
            self.reported = false;
        } else {
            self.fault.get_or_insert(fault);
        }
        restarted
    }

    /// Whether bytes are there; if not, the client will notify.
    fn look(&mut self) -> Result<bool, PeerFault> {
        let waiting = self.from.available()? > 0 || self.from.arm()?;
        // All is in order: a start up to now excuses no fault from now on.
        self.from.peer_restarted();
        Ok(waiting)
    }
}

impl Source for Client {
    fn is_waiting(&mut self) -> bool {
        match self.look() {
            Ok(waiting) => waiting,
            Err(fault) => {
                let restarted = self.from.peer_restarted();
                if !self.fault(fault, restarted) {
                    return false;
                }
                self.from.resynchronize();
                self.look().unwrap_or(false)
            }
        }
    }

    fn peek(&mut self, bytes: &mut [u8]) -> usize {
        let mut count = 0;
        for (offset, to) in (0..).zip(bytes) {
            match self.from.peek(offset) {
                Ok(Some(byte)) => *to = byte,
                // A fault shows again, and is treated, when the client is asked the next time.
                Ok(None) | Err(_) => break,
            }
            count += 1;
        }
        count
    }

    fn take(&mut self, count: usize) {
        self.from.skip(u32::try_from(count).unwrap_or(u32::MAX));
    }
}
