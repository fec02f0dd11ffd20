//! What is known about each interrupt: 32 of them to a word of every kind, words 0 banked for each vCPU.

use super::{FIRST_SPI, INTERRUPTS, MAX_VCPUS, Version};

/// Words of SPIs.
const SPI_WORDS: usize = (INTERRUPTS / 32 - 1) as usize;
const SPIS: usize = SPI_WORDS * 32;
/// The list registers hold five bits of priority, the upper ones of the register's eight.
pub(super) const PRIORITY_SHIFT: u8 = 3;
const PRIORITY_MASK: u8 = 0xff << PRIORITY_SHIFT;
/// GICD_CTLR: group 0 is forwarded, group 1 is forwarded (§4.3.1, without security extensions).
const CONTROL_MASK: u32 = 3;
/// The SGIs' bits in word 0.
const SGIS: u32 = 0xffff;
/// GICD_IROUTER: affinity 3 to 0. There is no Interrupt_Routing_Mode: GICD_TYPER.No1N says so.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// 32 interrupts: a bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits {
    /// Forwarded to the CPU interface.
    pub(super) enabled: u32,
    /// Latched: an edge, an SGI, or software.
    pub(super) pending: u32,
    /// The line's level.
    pub(super) line: u32,
    /// Set active by software; what is active in a list register is in flight.
    pub(super) active: u32,
    /// Edge-triggered.
    pub(super) edge: u32,
    /// Group 1.
    pub(super) group: u32,
    /// In a list register of some vCPU.
    pub(super) in_flight: u32,
}

/// What a vCPU has for itself.
#[derive(Clone, Copy)]
struct Bank {
    bits: Bits,
    priorities: [u8; 32],
    /// For each SGI, the vCPUs that have sent it and whose SGI was not delivered yet.
    sources: [u8; 16],
    /// SPIs that go to this vCPU: the first of their targets (§3.2.3, the 1-N model).
    targeted: [u32; SPI_WORDS],
    /// GICR_WAKER.ProcessorSleep: nothing is to be forwarded (IHI 0069H §12.11).
    asleep: bool,
}

/// All interrupts.
pub(super) struct Interrupts {
    pub(super) control: u32,
    banks: [Bank; MAX_VCPUS],
    shared: [Bits; SPI_WORDS],
    priorities: [u8; SPIS],
    targets: [u8; SPIS],
    /// GICD_IROUTER, as the guest has written it.
    routes: [u64; SPIS],
    version: Version,
    vcpus: u8,
}

/// An interrupt that a vCPU may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) intid: u16,
    pub(super) priority: u8,
    pub(super) group: u8,
}

impl Bits {
    /// Pending in the GIC's sense: latched, or a line with a level that is high.
    pub(super) const fn is_pending(&self) -> u32 {
        self.pending | self.line & !self.edge
    }

    /// What may go into a list register, where the distributor forwards `groups`.
    const fn candidates(&self, control: u32) -> u32 {
        let group_0 = if control & 1 != 0 { !self.group } else { 0 };
        let group_1 = if control & 2 != 0 { self.group } else { 0 };
        self.is_pending() & self.enabled & !self.active & !self.in_flight & (group_0 | group_1)
    }
}

impl Interrupts {
    pub(super) fn new(version: Version, vcpus: u8) -> Self {
        // A GICv2's SGIs cannot be disabled; a GICv3's can, and its redistributors sleep at first.
        let (enabled, asleep) = match version {
            Version::V2 => (SGIS, false),
            Version::V3 => (0, true),
        };
        let bank = Bank {
            bits: Bits {
                enabled,
                pending: 0,
                line: 0,
                active: 0,
                edge: SGIS,
                group: 0,
                in_flight: 0,
            },
            priorities: [0; 32],
            sources: [0; 16],
            targeted: [0; SPI_WORDS],
            asleep,
        };
        // Route 0 is the first vCPU's.
        let target = match version {
            Version::V2 => 0,
            Version::V3 => 1,
        };
        let mut interrupts = Self {
            control: 0,
            banks: [bank; MAX_VCPUS],
            shared: [Bits::default(); SPI_WORDS],
            priorities: [0; SPIS],
            targets: [target; SPIS],
            routes: [0; SPIS],
            version,
            vcpus,
        };
        interrupts.retarget();
        interrupts
    }

    /// The state after power-on. Lines are inputs and keep their level.
    pub(super) fn reset(&mut self) {
        let old = core::mem::replace(self, Self::new(self.version, self.vcpus));
        for (bank, old) in self.banks.iter_mut().zip(&old.banks) {
            bank.bits.line = old.bits.line;
        }
        for (bits, old) in self.shared.iter_mut().zip(&old.shared) {
            bits.line = old.line;
        }
    }

    /// The word `index` as `vcpu` sees it.
    pub(super) fn bits(&self, vcpu: u8, index: usize) -> Option<&Bits> {
        match index.checked_sub(1) {
            None => Some(&self.bank(vcpu)?.bits),
            Some(shared) => self.shared.get(shared),
        }
    }

    pub(super) fn bits_mut(&mut self, vcpu: u8, index: usize) -> Option<&mut Bits> {
        match index.checked_sub(1) {
            None => Some(&mut self.bank_mut(vcpu)?.bits),
            Some(shared) => self.shared.get_mut(shared),
        }
    }

    fn bank(&self, vcpu: u8) -> Option<&Bank> {
        self.banks.get(usize::from(vcpu))
    }

    fn bank_mut(&mut self, vcpu: u8) -> Option<&mut Bank> {
        self.banks.get_mut(usize::from(vcpu))
    }

    /// The word that has `intid`, and its bit.
    fn locate(intid: u16) -> (usize, u32) {
        (usize::from(intid / 32), 1 << (intid % 32))
    }

    pub(super) fn set_control(&mut self, value: u32) {
        self.control = value & CONTROL_MASK;
    }

    pub(super) fn set_line(&mut self, vcpu: u8, intid: u16, high: bool) {
        let (word, bit) = Self::locate(intid);
        // SGIs have no line.
        if intid < 16 {
            return;
        }
        if let Some(bits) = self.bits_mut(vcpu, word) {
            let rises = high && bits.line & bit == 0;
            if rises {
                bits.pending |= bit & bits.edge;
            }
            bits.line = if high {
                bits.line | bit
            } else {
                bits.line & !bit
            };
        }
    }

    pub(super) fn line(&self, vcpu: u8, intid: u16) -> bool {
        let (word, bit) = Self::locate(intid);
        self.bits(vcpu, word)
            .is_some_and(|bits| bits.line & bit != 0)
    }

    pub(super) fn is_forwarded(&self, vcpu: u8, intid: u16) -> bool {
        let (word, bit) = Self::locate(intid);
        self.bits(vcpu, word).is_some_and(|bits| {
            let of_group = if bits.group & bit == 0 { 1 } else { 2 };
            bits.enabled & bit != 0 && self.control & of_group != 0
        })
    }

    /// Whether it is in a list register, while its line has a level that is low.
    pub(super) fn is_held_low(&self, vcpu: u8, intid: u16) -> bool {
        let (word, bit) = Self::locate(intid);
        self.bits(vcpu, word)
            .is_some_and(|bits| bits.in_flight & !bits.line & !bits.edge & bit != 0)
    }

    /// Its group, 0 or 1.
    pub(super) fn group(&self, vcpu: u8, intid: u16) -> u8 {
        let (word, bit) = Self::locate(intid);
        let one = self.bits(vcpu, word);
        one.is_some_and(|bits| bits.group & bit != 0).into()
    }

    pub(super) fn set_in_flight(&mut self, vcpu: u8, intid: u16, value: bool) {
        let (word, bit) = Self::locate(intid);
        if let Some(bits) = self.bits_mut(vcpu, word) {
            bits.in_flight = if value {
                bits.in_flight | bit
            } else {
                bits.in_flight & !bit
            };
        }
    }

    /// The most urgent candidate: lowest priority value, then lowest id.
    pub(super) fn best(&self, vcpu: u8) -> Option<Candidate> {
        let bank = self.bank(vcpu)?;
        let private = bank.bits.candidates(self.control);
        let mut best = None;
        self.consider(&mut best, private, &bank.bits, 0, &bank.priorities);
        let (priorities, _) = self.priorities.as_chunks::<32>();
        let words = self.shared.iter().zip(&bank.targeted).zip(priorities);
        for (first, ((bits, targeted), priorities)) in (FIRST_SPI..).step_by(32).zip(words) {
            let candidates = bits.candidates(self.control) & targeted;
            self.consider(&mut best, candidates, bits, first, priorities);
        }
        best
    }

    fn consider(
        &self,
        best: &mut Option<Candidate>,
        mut candidates: u32,
        bits: &Bits,
        first: u16,
        priorities: &[u8; 32],
    ) {
        while candidates != 0 {
            let lowest = candidates.trailing_zeros();
            candidates &= candidates - 1;
            let index = lowest.to_le_bytes()[0];
            let priority = priorities.get(usize::from(index)).copied().unwrap_or(0);
            if best.is_none_or(|best| priority < best.priority) {
                *best = Some(Candidate {
                    intid: first + u16::from(index),
                    priority,
                    group: u8::from(bits.group >> lowest & 1 != 0),
                });
            }
        }
    }

    /// The interrupt went into a list register of `vcpu`.
    pub(super) fn take(&mut self, vcpu: u8, intid: u16) {
        let (word, bit) = Self::locate(intid);
        let mut remains = false;
        if let Some(sources) = self.sources_mut(vcpu, usize::from(intid)) {
            // One delivery for each sender (§3.2.2, SGIs).
            *sources &= sources.wrapping_sub(1);
            remains = *sources != 0;
        }
        if let Some(bits) = self.bits_mut(vcpu, word) {
            bits.in_flight |= bit;
            if !remains {
                bits.pending &= !bit;
            }
        }
    }

    /// The vCPUs that have sent SGI `index` to `vcpu`.
    pub(super) fn sources(&self, vcpu: u8, index: usize) -> u8 {
        self.bank(vcpu)
            .and_then(|bank| bank.sources.get(index))
            .copied()
            .unwrap_or(0)
    }

    fn sources_mut(&mut self, vcpu: u8, index: usize) -> Option<&mut u8> {
        self.bank_mut(vcpu)?.sources.get_mut(index)
    }

    /// Changes the senders of SGI `index` to `vcpu`.
    pub(super) fn change_sources(&mut self, vcpu: u8, index: usize, set: u8, clear: u8) {
        let all = self.all_vcpus();
        let Some(sources) = self.sources_mut(vcpu, index) else {
            return;
        };
        *sources = (*sources | set & all) & !clear;
        let bit = 1 << index;
        let pending = *sources != 0;
        if let Some(bits) = self.bits_mut(vcpu, 0) {
            bits.pending = if pending {
                bits.pending | bit
            } else {
                bits.pending & !bit
            };
        }
    }

    pub(super) fn vcpus(&self) -> u8 {
        self.vcpus
    }

    /// A bit for each vCPU.
    pub(super) fn all_vcpus(&self) -> u8 {
        0xff_u8
            .checked_shr(8_u32.saturating_sub(self.vcpus.into()))
            .unwrap_or(0)
    }

    pub(super) fn priority(&self, vcpu: u8, intid: usize) -> u8 {
        let priority = match intid.checked_sub(32) {
            None => self.bank(vcpu).and_then(|bank| bank.priorities.get(intid)),
            Some(shared) => self.priorities.get(shared),
        };
        priority.copied().unwrap_or(0)
    }

    pub(super) fn set_priority(&mut self, vcpu: u8, intid: usize, value: u8) {
        let priority = match intid.checked_sub(32) {
            None => self
                .bank_mut(vcpu)
                .and_then(|bank| bank.priorities.get_mut(intid)),
            Some(shared) => self.priorities.get_mut(shared),
        };
        if let Some(priority) = priority {
            *priority = value & PRIORITY_MASK;
        }
    }

    /// The targets of an interrupt; a private one has the vCPU itself.
    pub(super) fn target(&self, vcpu: u8, intid: usize) -> u8 {
        match intid.checked_sub(32) {
            None => 1 << (vcpu & 7),
            Some(shared) => self.targets.get(shared).copied().unwrap_or(0),
        }
    }

    pub(super) fn set_target(&mut self, intid: usize, value: u8) {
        let value = value & self.all_vcpus();
        let target = intid
            .checked_sub(32)
            .and_then(|shared| self.targets.get_mut(shared));
        if let Some(target) = target {
            *target = value;
            self.retarget();
        }
    }

    /// GICD_IROUTER of an SPI.
    pub(super) fn route(&self, intid: usize) -> u64 {
        let shared = intid.checked_sub(32);
        let route = shared.and_then(|shared| self.routes.get(shared));
        route.copied().unwrap_or(0)
    }

    /// Sends an SPI to the vCPU with this affinity; to none, if none has it.
    pub(super) fn set_route(&mut self, intid: usize, value: u64) {
        let Some(shared) = intid.checked_sub(32) else {
            return;
        };
        let affinity = value & AFFINITY;
        let vcpu = (0..self.vcpus).find(|vcpu| u64::from(*vcpu) == affinity);
        if let (Some(route), Some(target)) =
            (self.routes.get_mut(shared), self.targets.get_mut(shared))
        {
            *route = affinity;
            *target = vcpu.map_or(0, |vcpu| 1 << vcpu);
            self.retarget();
        }
    }

    /// Makes an SGI of a GICv3 pending at `vcpu`, if it is in one of `groups` (a bit each).
    pub(super) fn raise(&mut self, vcpu: u8, intid: u8, groups: u8) {
        let bit = 1 << (intid & 15);
        if let Some(bits) = self.bits_mut(vcpu, 0) {
            let of_group = if bits.group & bit == 0 { 1 } else { 2 };
            if groups & of_group != 0 {
                bits.pending |= bit;
            }
        }
    }

    pub(super) fn is_asleep(&self, vcpu: u8) -> bool {
        self.bank(vcpu).is_some_and(|bank| bank.asleep)
    }

    pub(super) fn set_asleep(&mut self, vcpu: u8, asleep: bool) {
        if let Some(bank) = self.bank_mut(vcpu) {
            bank.asleep = asleep;
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Which SPIs go to which vCPU. With only one vCPU a GICv2's all go to it, whatever their targets say (§4.3.12).
    fn retarget(&mut self) {
        let alone = self.vcpus == 1 && self.version == Version::V2;
        let (targets, _) = self.targets.as_chunks::<32>();
        for (bank, vcpu) in self.banks.iter_mut().zip(0_u32..) {
            for (word, targets) in bank.targeted.iter_mut().zip(targets) {
                *word = 0;
                for (bit, target) in targets.iter().enumerate() {
                    let first = if alone { 0 } else { target.trailing_zeros() };
                    *word |= u32::from(first == vcpu) << bit;
                }
            }
        }
    }
}
