//! Capabilities, and how a CPtr finds one.

use crate::id::{DomainId, SpaceId, ThreadId, VcpuId};
use sel4cp_abi::slot::{BADGE_FAULT, BADGE_PPC};

/// Slots of a domain's capability table: nine bits of a CPtr.
pub const SLOTS: usize = 512;
/// Slots of its root: the upper six bits of a CPtr; slot 0 is the table.
pub const ROOT_SLOTS: usize = 64;
/// Bits that select a slot of the table.
const SLOT_BITS: u32 = 9;
/// Where the root's bits start.
const ROOT_SHIFT: u32 = 58;

/// A badge, in a byte or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Badge {
    /// None: a domain's own capability.
    #[default]
    None,
    /// A protected call on this channel of the callee.
    Call(u8),
    /// A fault of the child or vCPU with this id.
    Fault(u8),
    /// A notification on this channel of the receiver.
    Channel(u8),
}

impl Badge {
    /// The word that the receiver sees.
    pub const fn word(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Call(channel) => BADGE_PPC | channel as u64,
            Self::Fault(id) => BADGE_FAULT | id as u64,
            Self::Channel(channel) => 1 << (channel & 63),
        }
    }
}

/// A capability. Objects of a domain are named by the domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cap {
    /// None.
    #[default]
    Null,
    /// A domain's endpoint, to send and receive.
    Endpoint(DomainId, Badge),
    /// A domain's notification, to signal and wait.
    Notification(DomainId, Badge),
    /// A domain's reply object.
    Reply(DomainId),
    /// The monitor's endpoint, where this domain's faults and its wish to be passive go.
    Monitor(DomainId),
    /// An address space.
    Space(SpaceId),
    /// A thread.
    Thread(ThreadId),
    /// The scheduling context that this thread started with.
    Budget(ThreadId),
    /// A virtual CPU.
    Vcpu(VcpuId),
    /// An interrupt, by its INTID.
    Interrupt(u16),
    /// Secure monitor calls.
    SecureCall,
}

impl Cap {
    /// The number of its type, as seL4 16.0.0's `DebugCapIdentify` gives it.
    pub const fn kind(self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Endpoint(..) | Self::Monitor(_) => 4,
            Self::Notification(..) => 6,
            Self::Reply(_) => 8,
            Self::Space(_) => 9,
            Self::Thread(_) => 12,
            Self::Vcpu(_) => 15,
            Self::Interrupt(_) => 16,
            Self::Budget(_) => 22,
            Self::SecureCall => 25,
        }
    }

    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Endpoint(..) | Self::Monitor(_) => "endpoint",
            Self::Notification(..) => "notification",
            Self::Reply(_) => "reply",
            Self::Space(_) => "VSpace",
            Self::Thread(_) => "TCB",
            Self::Vcpu(_) => "VCPU",
            Self::Interrupt(_) => "IRQ handler",
            Self::Budget(_) => "scheduling context",
            Self::SecureCall => "SMC",
        }
    }
}

/// Why a CPtr finds no slot, as a fault message tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// The slot holds no fitting capability.
    Missing,
    /// Bits that must be zero are not: how many bits were left, and how many of them must be zero.
    Guard {
        /// Bits of the CPtr that were not resolved yet.
        left: u8,
        /// Bits of the guard.
        bits: u8,
    },
}

/// The capabilities of a domain.
#[derive(Debug)]
pub struct CapSpace {
    slots: [Cap; SLOTS],
    roots: [Cap; ROOT_SLOTS],
}

impl CapSpace {
    /// No capabilities.
    pub const fn new() -> Self {
        Self {
            slots: [Cap::Null; SLOTS],
            roots: [Cap::Null; ROOT_SLOTS],
        }
    }

    /// Puts `cap` into a slot of the table.
    pub fn insert(&mut self, slot: u64, cap: Cap) {
        let slot = usize::try_from(slot).ok();
        if let Some(place) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            *place = cap;
        }
    }

    /// Puts `cap` into a slot of the root.
    pub fn insert_root(&mut self, slot: u32, cap: Cap) {
        if let Some(place) = self.roots.get_mut(slot as usize) {
            *place = cap;
        }
    }

    /// The capability in the slot that `cptr` names; an empty slot holds [`Cap::Null`].
    ///
    /// # Errors
    /// When `cptr` names no slot.
    pub fn lookup(&self, cptr: u64) -> Result<Cap, LookupFailure> {
        #[expect(clippy::cast_possible_truncation, reason = "six and nine bits")]
        let (root, slot) = ((cptr >> ROOT_SHIFT) as usize, cptr as usize & (SLOTS - 1));
        let missing = Err(LookupFailure::Missing);
        if root != 0 {
            return self.roots.get(root).copied().map_or(missing, Ok);
        }
        if cptr >> SLOT_BITS != 0 {
            return Err(LookupFailure::Guard { left: 58, bits: 49 });
        }
        self.slots.get(slot).copied().map_or(missing, Ok)
    }

    /// The same for a vCPU's thread, which has an empty table of nine bits.
    ///
    /// # Errors
    /// When `cptr` names no slot.
    pub const fn lookup_empty(cptr: u64) -> Result<Cap, LookupFailure> {
        if cptr >> SLOT_BITS != 0 {
            return Err(LookupFailure::Guard { left: 64, bits: 55 });
        }
        Ok(Cap::Null)
    }
}

impl Default for CapSpace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_takes_little_room() {
        assert_eq!(size_of::<Cap>(), 4);
    }

    #[test]
    fn cptrs_find_slots_of_the_table_and_of_the_root() {
        let mut space = CapSpace::new();
        space.insert(511, Cap::SecureCall);
        space.insert(512, Cap::SecureCall);
        space.insert_root(5, Cap::Interrupt(33));
        assert_eq!(space.lookup(511), Ok(Cap::SecureCall));
        assert_eq!(space.lookup(1), Ok(Cap::Null));
        assert_eq!(space.lookup(5 << 58), Ok(Cap::Interrupt(33)));
        assert_eq!(space.lookup(5 << 58 | 77), Ok(Cap::Interrupt(33)));
        assert_eq!(space.lookup(63 << 58), Ok(Cap::Null));
        let guard = LookupFailure::Guard { left: 58, bits: 49 };
        assert_eq!(space.lookup(512), Err(guard));
        assert_eq!(space.lookup(1 << 57), Err(guard));
    }

    #[test]
    fn badges_are_those_of_the_microkit() {
        assert_eq!(Badge::Call(61).word(), 1 << 63 | 61);
        assert_eq!(Badge::Fault(3).word(), 1 << 62 | 3);
        assert_eq!(Badge::Channel(5).word(), 32);
    }
}
