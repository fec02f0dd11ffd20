//! The driver's side of a device's ring: requests in, completions out, and no trust in the backend.

use sel4cp_pd::{Channel, log};
use sel4cp_ring::request::{Completion, Entry, Header, Segment};
use sel4cp_ring::{Consumer, PeerFault, Producer};

/// The rings towards one backend.
pub struct Port {
    requests: Consumer<Entry>,
    completions: Producer<Completion>,
    backend: Channel,
    /// The last request was not taken because there might be no room for its completion.
    starved: bool,
    /// The backend's words make no sense: there is nothing to do until it notifies again.
    stuck: bool,
    /// Faults of the backend that may still be reported.
    reports: u8,
}

/// Most faults of a backend that are reported: it must not be able to fill the log.
const REPORTS: u8 = 8;

impl Port {
    /// The port to the PD behind `backend`.
    pub const fn new(
        requests: Consumer<Entry>,
        completions: Producer<Completion>,
        backend: Channel,
    ) -> Self {
        Self {
            requests,
            completions,
            backend,
            starved: false,
            stuck: false,
            reports: REPORTS,
        }
    }

    /// Takes the next request, its segments into `segments`, when its completion and those of `outstanding`
    /// others will have room.
    pub fn next(&mut self, outstanding: usize, segments: &mut [Segment]) -> Option<Header> {
        self.stuck = false;
        for _ in 0..2 {
            match self.try_next(outstanding, segments) {
                Ok(next) => return next,
                Err(fault) => self.report(fault),
            }
            if !self.meet_again() {
                break;
            }
        }
        self.stuck = true;
        None
    }

    fn try_next(
        &mut self,
        outstanding: usize,
        segments: &mut [Segment],
    ) -> Result<Option<Header>, PeerFault> {
        self.starved = !self.completions.has_room(needed(outstanding))?;
        if self.starved {
            return Ok(None);
        }
        self.requests.pop_request(segments)
    }

    /// Answers a request.
    pub fn complete(&mut self, completion: Completion) {
        // There is room: `next` saw to it, and only the backend could have made it less.
        if let Err(fault) = self.completions.push(completion) {
            self.report(fault);
        }
    }

    /// Shows the backend what was taken and answered, and notifies it if it wants to know.
    pub fn flush(&mut self) {
        let answered = self.completions.publish();
        let taken = self.requests.release();
        if answered || taken {
            self.backend.defer_notify();
        }
    }

    /// Asks for a notification when there is more to do; true if there is already. `outstanding` as in
    /// [`next`](Self::next).
    pub fn arm(&mut self, outstanding: usize) -> bool {
        if self.stuck {
            return false;
        }
        let more = if self.starved {
            self.completions.arm(needed(outstanding))
        } else {
            self.requests.arm()
        };
        more.unwrap_or_else(|fault| {
            self.report(fault);
            false
        })
    }

    /// The PD behind the port.
    pub const fn backend(&self) -> Channel {
        self.backend
    }

    /// Meets a backend that has started again where it is now; false if it has not.
    #[cold]
    fn meet_again(&mut self) -> bool {
        let restarted = self.requests.peer_restarted() | self.completions.peer_restarted();
        if restarted {
            // What was taken must not be there again.
            if self.requests.release() {
                self.backend.notify();
            }
            self.requests.resynchronize();
            self.completions.resynchronize();
        }
        restarted
    }

    #[cold]
    fn report(&mut self, fault: PeerFault) {
        if self.reports != 0 {
            self.reports -= 1;
            log!("backend behind {}: {fault}", self.backend);
        }
    }
}

/// Slots of the completion ring for one request more than are outstanding.
fn needed(outstanding: usize) -> u32 {
    u32::try_from(outstanding)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}
