//! The shadow of one vCPU's list registers.

/// Most list registers of a vCPU (GICv2: GICH_VTR allows 64; hardware has 4).
const MAX: usize = 16;

/// What is known about a list register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing is in it.
    Free,
    /// This interrupt is in it, pending or active: only its end will tell.
    Holds(u16),
    /// This interrupt is in it, and the guest deactivated it in the distributor, which cannot reach the list
    /// register: it can be used again, but for the same interrupt only.
    Released(u16),
    /// A stand-in for this interrupt is in it, which the guest does not see: it can be used again.
    Parked(u16),
    /// The kernel says that something active is in it.
    Foreign,
}

/// The list registers of one vCPU.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    slots: [Slot; MAX],
    /// How many there are, as far as is known.
    count: usize,
    /// Whether one may be [`Slot::Released`].
    released: bool,
}

impl Lists {
    pub(super) const fn new() -> Self {
        Self {
            slots: [Slot::Free; MAX],
            count: MAX,
            released: false,
        }
    }

    /// All are free again; their number stays known.
    pub(super) fn forget(&mut self) {
        self.slots = [Slot::Free; MAX];
    }

    fn used(&self) -> impl Iterator<Item = (u8, Slot)> {
        (0..).zip(self.slots.iter().take(self.count).copied())
    }

    /// The list register for an injection of `intid`. From the lowest, so that the first refusal tells the number; a stand-in's
    /// before a free one, so that a stand-in never comes before an interrupt of the same priority.
    pub(super) fn place(&self, intid: u16) -> Option<u8> {
        let with = |wanted: fn(Slot, u16) -> bool| {
            self.used()
                .find(|(_, slot)| wanted(*slot, intid))
                .map(|(index, _)| index)
        };
        let released = self
            .released
            .then(|| with(|slot, intid| slot == Slot::Released(intid)));
        released
            .flatten()
            .or_else(|| with(|slot, _| matches!(slot, Slot::Parked(_))))
            .or_else(|| with(|slot, _| slot == Slot::Free))
    }

    /// The list register that has `intid`.
    pub(super) fn holder(&self, intid: u16) -> Option<u8> {
        self.used()
            .find(|(_, slot)| *slot == Slot::Holds(intid))
            .map(|(index, _)| index)
    }

    pub(super) fn park(&mut self, index: u8, intid: u16) {
        self.set(index, Slot::Parked(intid));
    }

    pub(super) fn hold(&mut self, index: u8, intid: u16) {
        self.set(index, Slot::Holds(intid));
    }

    /// There is no list register `index`, nor any above it.
    pub(super) fn limit(&mut self, index: u8) {
        self.count = usize::from(index);
    }

    /// The kernel refused to overwrite it. The interrupt that is still active there, if it is known.
    pub(super) fn refuse(&mut self, index: u8) -> Option<u16> {
        match self.get(index)? {
            Slot::Released(intid) | Slot::Holds(intid) => {
                self.set(index, Slot::Holds(intid));
                Some(intid)
            }
            Slot::Free | Slot::Parked(_) | Slot::Foreign => {
                self.set(index, Slot::Foreign);
                None
            }
        }
    }

    /// What was in it has ended. What that was; `None` for a register that there is not.
    pub(super) fn release(&mut self, index: u8) -> Option<Slot> {
        let slot = self.get(index)?;
        self.set(index, Slot::Free);
        Some(slot)
    }

    /// The guest deactivated `intid` in the distributor.
    pub(super) fn deactivate(&mut self, intid: u16) {
        for slot in &mut self.slots {
            if *slot == Slot::Holds(intid) {
                *slot = Slot::Released(intid);
                self.released = true;
            }
        }
    }

    /// Whether an interrupt may be in one of them. A released one counts: it may be pending all the same.
    pub(super) fn holds_any(&self) -> bool {
        self.held().next().is_some()
    }

    pub(super) fn held(&self) -> impl Iterator<Item = u16> {
        self.used().filter_map(|(_, slot)| match slot {
            Slot::Holds(intid) | Slot::Released(intid) => Some(intid),
            Slot::Free | Slot::Parked(_) | Slot::Foreign => None,
        })
    }

    /// Whether nothing is in any of them, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.used().all(|(_, slot)| slot == Slot::Free)
    }

    fn get(&self, index: u8) -> Option<Slot> {
        self.slots.get(usize::from(index)).copied()
    }

    fn set(&mut self, index: u8, to: Slot) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            *slot = to;
        }
    }
}
