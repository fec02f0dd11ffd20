//! Places for frames that are made here, in memory that the hardware reads.

use sel4cp_memory::{GuestRam, GuestRange, Span};

/// How many places there are: as many frames with a header as the hardware's queue holds.
pub(super) const SLOTS: usize = 256;
/// Bytes of a place.
pub(super) const SLOT: u32 = 2048;

/// The places, each free or with the driver.
pub(super) struct Slots {
    memory: Option<GuestRam>,
    /// Those that are free. The last one to come back is the next to be taken: its pages are the ones that were used last.
    free: heapless::Vec<u16, SLOTS>,
    /// Whether each is with the driver.
    taken: [bool; SLOTS],
    in_flight: u32,
}

impl Slots {
    pub(super) fn new(memory: Option<GuestRam>) -> Self {
        let mut slots = Self {
            memory,
            free: heapless::Vec::new(),
            taken: [false; SLOTS],
            in_flight: 0,
        };
        let bytes = memory.map_or(0, |memory| memory.len());
        let count = usize::try_from(bytes / u64::from(SLOT)).unwrap_or(SLOTS);
        for slot in (0..count.min(SLOTS)).rev() {
            // There are fewer than 2¹⁶, and there is room for all.
            let _room = u16::try_from(slot).map(|slot| slots.free.push(slot));
        }
        slots
    }

    /// The memory, and a free place in it.
    pub(super) fn take(&mut self) -> Option<(u16, Span, GuestRam)> {
        let memory = self.memory?;
        let slot = *self.free.last()?;
        let offset = u64::from(slot) * u64::from(SLOT);
        let start = memory.start().checked_add(offset)?;
        let place = memory.check(GuestRange::new(start, SLOT)).ok()?;
        self.free.pop();
        if let Some(taken) = self.taken.get_mut(usize::from(slot)) {
            *taken = true;
        }
        self.in_flight += 1;
        Some((slot, place, memory))
    }

    /// Takes a place back from the driver; false if the driver did not have it.
    pub(super) fn give_back(&mut self, slot: u16) -> bool {
        match self.taken.get_mut(usize::from(slot)) {
            Some(taken) if *taken => *taken = false,
            _ => return false,
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        // There is room: it was taken from there.
        self.free.push(slot).is_ok()
    }

    /// Takes all places back from a driver that holds nothing any more.
    pub(super) fn abandon(&mut self) {
        for slot in (0_u16..).take(SLOTS) {
            self.give_back(slot);
        }
    }

    /// Places that are with the driver.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether there are any at all.
    pub(super) fn exist(&self) -> bool {
        self.in_flight != 0 || !self.free.is_empty()
    }
}
