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
    /// Those that are with the driver.
    taken: [Option<Taken>; SLOTS],
    in_flight: u32,
}

/// A place that is with the driver.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// The head of the chain that comes to its end with it.
    pub(super) head: Option<u16>,
}

impl Slots {
    pub(super) fn new(memory: Option<GuestRam>) -> Self {
        let mut slots = Self {
            memory,
            free: heapless::Vec::new(),
            taken: [None; SLOTS],
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

    /// The memory, and a free place in it, for the driver.
    pub(super) fn take(&mut self) -> Option<(u16, Span, GuestRam)> {
        let memory = self.memory?;
        let slot = *self.free.last()?;
        let offset = u64::from(slot) * u64::from(SLOT);
        let start = memory.start().checked_add(offset)?;
        let place = memory.check(GuestRange::new(start, SLOT)).ok()?;
        self.free.pop();
        if let Some(taken) = self.taken.get_mut(usize::from(slot)) {
            *taken = Some(Taken { head: None });
        }
        self.in_flight += 1;
        Some((slot, place, memory))
    }

    /// The chain with this head comes to its end with this place, which is taken.
    pub(super) fn ends(&mut self, slot: u16, head: u16) {
        if let Some(Some(taken)) = self.taken.get_mut(usize::from(slot)) {
            taken.head = Some(head);
        }
    }

    /// Takes a place back from the driver; `None` if the driver did not have it.
    pub(super) fn give_back(&mut self, slot: u16) -> Option<Taken> {
        let taken = self.taken.get_mut(usize::from(slot))?.take()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        // There is room: it was taken from there.
        let _room = self.free.push(slot);
        Some(taken)
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
