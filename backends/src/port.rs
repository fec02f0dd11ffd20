//! A block or net device's end of its ring, with the agreement about lives and resets.

use sel4cp_ring::info::{Facts, Reader};
use sel4cp_ring::layout::{BackendEnds, DeviceRegion};
use sel4cp_ring::request::{Completion, Entry, Header, RESET, Segment};
use sel4cp_ring::{Consumer, PeerFault, Producer};

/// How far a reset of the driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    /// None: requests flow.
    Done,
    /// To be sent when there is room.
    Wanted,
    /// Sent.
    Sent,
}

/// The backend's end of a device region.
pub struct Port {
    info: Reader,
    requests: Producer<Entry>,
    completions: Consumer<Completion>,
    /// This life's mark on its requests.
    tag: u16,
    /// The driver's life.
    epoch: Option<u32>,
    reset: Reset,
    reset_id: u16,
    /// What resets say of the guest.
    agreed: u64,
    /// The driver broke a rule: nothing goes on before it restarts.
    failed: Option<PeerFault>,
    /// What is staged cannot wait.
    urgent: bool,
    notify: bool,
}

/// What came from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// A request of this life was completed.
    Completed(Completion),
    /// The driver holds nothing any more: requests that were not completed never will be.
    Reset,
}

impl Port {
    /// Takes the backend's end and asks the driver to give back whatever an earlier life gave it.
    pub fn new(region: DeviceRegion) -> Self {
        let BackendEnds {
            info,
            requests,
            completions,
        } = region.backend();
        let [low, high, ..] = requests.epoch().to_le_bytes();
        Self {
            info,
            tag: u16::from_le_bytes([low, high]),
            requests,
            completions,
            epoch: None,
            reset: Reset::Wanted,
            reset_id: *RESET_IDS.start(),
            agreed: 0,
            failed: None,
            urgent: false,
            notify: false,
        }
    }

    /// What the driver says about its hardware, when it is new. A driver that has started again is reset.
    pub fn facts<F: Facts>(&mut self) -> Option<F> {
        if !self.info.changed() {
            return None;
        }
        let snapshot = self.info.read::<F>()?;
        let known = self.epoch.replace(snapshot.epoch);
        if known.is_some_and(|known| known != snapshot.epoch) {
            self.reset();
        }
        Some(snapshot.facts)
    }

    /// Asks the driver to give back everything; [`PortEvent::Reset`] follows. Until then nothing can be submitted.
    pub fn reset(&mut self) {
        self.reset = Reset::Wanted;
    }

    /// Tells the driver what the guest has agreed to (a [`RESET`]'s `sector`), if that is news: by a reset.
    pub fn agree(&mut self, features: u64) {
        if core::mem::replace(&mut self.agreed, features) != features {
            self.reset();
        }
    }

    /// Fails while the driver is one that broke a rule.
    ///
    /// # Errors
    /// The rule that it broke.
    pub fn working(&self) -> Result<(), PeerFault> {
        self.failed.map_or(Ok(()), Err)
    }

    /// A completion that the driver had no right to give: it is trusted no more.
    pub fn unexpected(&mut self, id: u16) -> PeerFault {
        let fault = PeerFault::Unexpected { id };
        let _same = self.check::<()>(Err(fault));
        fault
    }

    /// Whether requests can flow.
    pub fn is_open(&self) -> bool {
        self.reset == Reset::Done && self.failed.is_none()
    }

    /// Stages a request; false when there is no room for it now. [`flush`](Self::flush) shows it to the driver.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn submit(&mut self, header: Header, segments: &[Segment]) -> Result<bool, PeerFault> {
        self.urgent = true;
        self.submit_later(header, segments)
    }

    /// The same, for a request that need not be shown to the driver before the next one that must.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn submit_later(
        &mut self,
        header: Header,
        segments: &[Segment],
    ) -> Result<bool, PeerFault> {
        if !self.is_open() {
            return Ok(false);
        }
        let tag = self.tag;
        let result = self
            .requests
            .push_request(Header { tag, ..header }, segments);
        self.check(result)
    }

    /// Asks to be woken when a request with `segments` segments fits. True: it does already.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn wait_for_room(&mut self, segments: usize) -> Result<bool, PeerFault> {
        if !self.is_open() {
            return Ok(false);
        }
        self.urgent = true;
        let entries = u32::try_from(segments)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let result = self.requests.arm(entries);
        self.check(result)
    }

    /// Whether a request with `segments` segments fits now.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn has_room(&mut self, segments: usize) -> Result<bool, PeerFault> {
        let entries = u32::try_from(segments)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let result = self.requests.has_room(entries);
        self.check(result)
    }

    /// The next thing that came from the driver.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn take(&mut self) -> Result<Option<PortEvent>, PeerFault> {
        if self.failed.is_some() && !self.recover() {
            return Ok(None);
        }
        if self.reset == Reset::Wanted {
            self.send_reset()?;
        }
        // Strangers are skipped, at most as many as there can be at once.
        for _ in 0..self.completions.capacity() {
            let result = self.completions.pop();
            let Some(completion) = self.check(result)? else {
                return Ok(None);
            };
            if completion.tag != self.tag {
                // For an earlier life.
                continue;
            }
            if !RESET_IDS.contains(&completion.id) {
                return Ok(Some(PortEvent::Completed(completion)));
            }
            if self.reset == Reset::Sent && completion.id == self.reset_id {
                self.reset = Reset::Done;
                return Ok(Some(PortEvent::Reset));
            }
        }
        Ok(None)
    }

    #[cold]
    fn send_reset(&mut self) -> Result<(), PeerFault> {
        self.urgent = true;
        self.reset_id = match self.reset_id.checked_add(1) {
            Some(next) => next,
            None => *RESET_IDS.start(),
        };
        let header = Header {
            id: self.reset_id,
            tag: self.tag,
            op: RESET,
            sector: self.agreed,
            ..Header::default()
        };
        let result = self.requests.push_request(header, &[]);
        if self.check(result)? {
            self.reset = Reset::Sent;
        } else {
            let result = self.requests.arm(1);
            self.check(result)?;
        }
        Ok(())
    }

    /// Shows the driver what was submitted and taken.
    pub fn flush(&mut self) {
        self.urgent = false;
        self.notify |= self.requests.publish();
        self.notify |= self.completions.release();
    }

    /// Shows the driver what was taken, and what was submitted if it cannot wait, or is `due` all the same: whether it did.
    pub fn flush_if(&mut self, due: bool) -> bool {
        let flushes = due || self.urgent;
        if flushes {
            self.flush();
        } else {
            self.notify |= self.completions.release();
        }
        flushes
    }

    /// Asks to be woken by the driver's next completion. True: there is one already.
    ///
    /// # Errors
    /// The driver's fault.
    pub fn wait(&mut self) -> Result<bool, PeerFault> {
        if self.failed.is_some() {
            return Ok(false);
        }
        let result = self.completions.arm();
        self.check(result)
    }

    /// Whether the driver is to be notified; asked once.
    pub fn take_notify(&mut self) -> bool {
        core::mem::take(&mut self.notify)
    }

    /// Notes a fault of the peer on its way to the caller.
    fn check<T>(&mut self, result: Result<T, PeerFault>) -> Result<T, PeerFault> {
        if let Err(fault) = result {
            self.fail(fault);
        }
        result
    }

    #[cold]
    fn fail(&mut self, fault: PeerFault) {
        self.requests.discard();
        self.failed = Some(fault);
        // Asked now, so that the answer later is about a start after this.
        self.requests.peer_restarted();
        self.completions.peer_restarted();
    }

    /// Meets a driver that has started again after its fault.
    #[cold]
    fn recover(&mut self) -> bool {
        if !self.requests.peer_restarted() {
            return false;
        }
        self.requests.resynchronize();
        self.completions.resynchronize();
        self.failed = None;
        self.reset();
        true
    }
}

/// The ids of resets, above those of any chain. They count, so that the completion of a reset that was given up is not
/// taken for that of a later one.
const RESET_IDS: core::ops::RangeInclusive<u16> = 0xc000..=0xffff;
