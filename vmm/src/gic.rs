//! The guest's interrupt controller, of the hardware's version, because the CPU interface is the hardware's own: it
//! presents what is in the vCPU's list registers.
//!
//! | version | emulated here | the hardware's |
//! |---|---|---|
//! | GICv2 (Arm IHI 0048B) | distributor | CPU interface: GICV, mapped into the guest |
//! | GICv3 (Arm IHI 0069H) | distributor, redistributors, SGIs and ICC_SRE_EL1, which trap | CPU interface: the other system registers |
//!
//! §s are the GICv2's unless they say otherwise.
//!
//! ```text
//!   device line ─┐
//!   SGI ─────────┤ pending, line   enabled, group, target   priority    free list register
//!   timer PPI ───┘      └───────────────── candidate ──────────┘ best ──────────┘ InjectIRQ
//!                                             ▲                                     │
//!                              resampled ─────┴──── VGICMaintenance ◄── guest's end of interrupt
//! ```
//! List registers cannot be read back, and the kernel overwrites one without a word, even an active one (it
//! compares with a copy that it updates only when it switches vCPUs). So this module keeps its own truth: what is
//! pending stays pending here until it goes into a list register that is known to be free, and a list register is free
//! only after the kernel said that what was in it has ended. The price: between InjectIRQ and the end of interrupt it is
//! unknown whether the guest has acknowledged, an interrupt that is disabled in this time is still delivered once, and an
//! edge that comes then is delivered again afterwards.
//!
//! One thing is replaced: an interrupt whose line, which has a level, the guest has just let fall at the device. Whether it
//! was only pending, and is gone with its line, or active: nobody has to hear of its end. So a stand-in takes its place
//! that the guest does not see ([`Gic::retire`]), and the end of interrupt, for which no list register is found,
//! lowers the running priority and exits no more (§5.3.1, GICH_HCR.EOICount; ICH_HCR_EL2.EOIcount): an exit of three for
//! each interrupt of a device. A kernel cannot be asked to leave out the exit, nor to empty a list register.
//!
//! Pure: it says what to inject ([`Gic::next`]) and is told what became of it ([`Gic::injected`]).

mod distributor;
mod interrupts;
mod lists;
mod redistributor;
mod registers;

#[cfg(test)]
mod tests;

use interrupts::Interrupts;
use lists::{Lists, Slot};
pub use sel4cp_abi::config::MAX_VCPUS;
use sel4cp_abi::message::Error;

/// Number of interrupt ids: 16 SGIs, 16 PPIs, 96 SPIs.
pub const INTERRUPTS: u16 = 128;
/// The first SPI.
pub const FIRST_SPI: u16 = 32;
/// The virtual timer's PPI.
pub const TIMER: u16 = 27;

/// The lowest priority of an injection.
const LOWEST: u8 = 31;

/// Bytes of a GICv3's redistributor: two frames for each vCPU.
pub const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// The version of the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// GICv2.
    V2,
    /// GICv3, with affinity routing and one security state.
    V3,
}

/// The interrupt controller of one guest.
pub struct Gic {
    interrupts: Interrupts,
    lists: [Lists; MAX_VCPUS],
    vcpus: u8,
    /// The guest takes stand-ins too: it has both groups enabled and masks no priority. So there are none.
    sees_all: bool,
}

/// What is to be put into a list register next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The interrupt's id.
    pub intid: u16,
    /// 0 to 31, lower is more urgent.
    pub priority: u8,
    /// 0 or 1.
    pub group: u8,
    /// Which list register.
    pub list_register: u8,
}

impl Gic {
    /// A GICv2 after reset, for `vcpus` vCPUs (1 to [`MAX_VCPUS`]).
    pub fn new(vcpus: u8) -> Self {
        Self::of(Version::V2, vcpus)
    }

    /// The controller after reset, for `vcpus` vCPUs (1 to [`MAX_VCPUS`]).
    pub fn of(version: Version, vcpus: u8) -> Self {
        Self {
            interrupts: Interrupts::new(version, vcpus),
            lists: [const { Lists::new() }; MAX_VCPUS],
            vcpus,
            sees_all: false,
        }
    }

    /// Resets it as the guest's power-on does. Device lines keep their level; what is in list registers is forgotten,
    /// so they must have been drained (see `drain`).
    pub fn reset(&mut self) {
        self.interrupts.reset();
        for lists in &mut self.lists {
            lists.forget();
        }
        self.sees_all = false;
    }

    /// Which one it is.
    pub fn version(&self) -> Version {
        self.interrupts.version()
    }

    /// A line's level has been sampled: an SPI, or a PPI of `vcpu`. Other ids are ignored.
    pub fn set_line(&mut self, vcpu: u8, intid: u16, high: bool) {
        self.interrupts.set_line(vcpu, intid, high);
    }

    /// The level of a line.
    pub fn line(&self, vcpu: u8, intid: u16) -> bool {
        self.interrupts.line(vcpu, intid)
    }

    /// Whether the guest has the interrupt enabled and the distributor passes it on.
    pub fn is_forwarded(&self, vcpu: u8, intid: u16) -> bool {
        self.interrupts.is_forwarded(vcpu, intid)
    }

    /// What to inject into `vcpu` now: its most urgent candidate, if a list register is free for it. To be called
    /// again after [`injected`](Self::injected), until there is none.
    pub fn next(&self, vcpu: u8) -> Option<Injection> {
        if self.interrupts.is_asleep(vcpu) {
            return None;
        }
        let candidate = self.interrupts.best(vcpu)?;
        let list_register = self.list(vcpu)?.place(candidate.intid)?;
        Some(Injection {
            intid: candidate.intid,
            priority: candidate.priority >> interrupts::PRIORITY_SHIFT,
            group: candidate.group,
            list_register,
        })
    }

    /// What became of an injection. A refusal of the list register is dealt with here: there are fewer of them than
    /// was assumed ([`Error::RangeError`]), or it holds something active ([`Error::DeleteFirst`]); the interrupt
    /// stays pending.
    ///
    /// # Errors
    /// Any other refusal, which is a mistake of ours.
    pub fn injected(
        &mut self,
        vcpu: u8,
        injection: Injection,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(lists) = self.lists.get_mut(usize::from(vcpu)) else {
            return Ok(());
        };
        match result {
            Ok(()) => {
                lists.hold(injection.list_register, injection.intid);
                self.interrupts.take(vcpu, injection.intid);
                Ok(())
            }
            Err(Error::RangeError) if injection.list_register > 0 => {
                lists.limit(injection.list_register);
                Ok(())
            }
            Err(Error::DeleteFirst) => {
                if let Some(intid) = lists.refuse(injection.list_register) {
                    self.interrupts.set_in_flight(vcpu, intid, true);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The guest has acknowledged `intid` at its device, on `vcpu`: what to inject in its place so that its end causes no exit,
    /// if that can be. What becomes of it goes to [`retired`](Self::retired).
    ///
    /// The stand-in is pending, as all that is injected, with the lowest priority and in the other group: a guest that uses one
    /// group, or masks the lowest priority, does not see it. One that does see it gets an interrupt without a cause, once.
    pub fn retire(&self, vcpu: u8, intid: u16) -> Option<Injection> {
        if self.sees_all || !self.interrupts.is_held_low(vcpu, intid) {
            return None;
        }
        Some(Injection {
            intid,
            priority: LOWEST,
            group: 1 - self.interrupts.group(vcpu, intid),
            list_register: self.list(vcpu)?.holder(intid)?,
        })
    }

    /// What became of a stand-in. Where the kernel refuses it, the exit for the end of the interrupt comes as ever.
    ///
    /// # Errors
    /// A refusal that is a mistake of ours.
    pub fn retired(
        &mut self,
        vcpu: u8,
        injection: Injection,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        match result {
            Ok(()) => {
                if let Some(lists) = self.lists.get_mut(usize::from(vcpu)) {
                    lists.park(injection.list_register, injection.intid);
                }
                self.interrupts.set_in_flight(vcpu, injection.intid, false);
                Ok(())
            }
            Err(Error::DeleteFirst) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The guest has ended what was in a list register: which interrupt that was, so that its line can be sampled again.
    pub fn ended(&mut self, vcpu: u8, list_register: u8) -> Option<u16> {
        let slot = self
            .lists
            .get_mut(usize::from(vcpu))?
            .release(list_register)?;
        if let Slot::Holds(intid) | Slot::Released(intid) = slot {
            self.interrupts.set_in_flight(vcpu, intid, false);
            return Some(intid);
        }
        self.sees_all |= matches!(slot, Slot::Parked(_));
        None
    }

    /// Whether an interrupt is pending for `vcpu`, delivered or not: WFI must not wait then, whatever the guest
    /// masks in its own registers. A redistributor that sleeps asks for its vCPU to be woken, too.
    pub fn is_pending(&self, vcpu: u8) -> bool {
        self.list(vcpu).is_some_and(Lists::holds_any) || self.interrupts.best(vcpu).is_some()
    }

    /// The interrupts that may be in list registers of `vcpu`, in any state.
    pub fn in_flight(&self, vcpu: u8) -> impl Iterator<Item = u16> {
        self.list(vcpu).into_iter().flat_map(Lists::held)
    }

    /// Whether the list registers of `vcpu` are empty, of stand-ins too.
    pub fn is_empty(&self, vcpu: u8) -> bool {
        self.list(vcpu).is_none_or(Lists::is_empty)
    }

    fn list(&self, vcpu: u8) -> Option<&Lists> {
        self.lists.get(usize::from(vcpu))
    }
}
