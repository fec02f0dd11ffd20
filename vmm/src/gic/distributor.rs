//! Reads and writes of a GICv2's distributor (IHI 0048B §4.3), and of what a GICv3 has kept of it.
//!
//! Everything that a guest can do here has an answer: reserved registers and wrong widths read as zero and ignore
//! writes.

use super::registers::Register;
use super::{Gic, INTERRUPTS, Version};

/// GICD_IIDR: 'S' for the product, Arm's code for who made the architecture.
pub(super) const IMPLEMENTER: u32 = 0x5300_043b;
/// GICD_PIDR4..7, GICD_PIDR0..3, GICD_CIDR0..3 as Arm's GICv2 has them; PIDR2 says the architecture's version, 2.
const IDENTIFICATION: [u8; 12] = [
    0x04, 0x00, 0x00, 0x00, 0x90, 0xb4, 0x2b, 0x00, 0x0d, 0xf0, 0x05, 0xb1,
];
/// The SGIs' bits in word 0.
const SGIS: u32 = 0xffff;

impl Gic {
    /// What a load of `size` bytes at `offset` of the distributor by `vcpu` gets.
    pub fn read(&self, vcpu: u8, offset: u64, size: u8) -> u64 {
        match self.version() {
            Version::V2 => self.load(vcpu, Register::at(offset), offset, size),
            Version::V3 => self.read_distributor(offset, size),
        }
    }

    /// A store of `size` bytes at `offset` of the distributor by `vcpu`.
    pub fn write(&mut self, vcpu: u8, offset: u64, size: u8, value: u64) {
        match self.version() {
            Version::V2 => self.store(vcpu, Register::at(offset), offset, size, value),
            Version::V3 => self.write_distributor(offset, size, value),
        }
    }

    /// What a load from `register`, which is at `offset`, gets.
    pub(super) fn load(&self, vcpu: u8, register: Option<Register>, offset: u64, size: u8) -> u64 {
        let Some(register) = register else {
            return 0;
        };
        match size {
            4 if offset.is_multiple_of(4) => self.word(vcpu, register).into(),
            1 if register.has_bytes() => {
                let [b0, b1, b2, b3] = self.word(vcpu, register).to_le_bytes();
                let byte = match offset % 4 {
                    0 => b0,
                    1 => b1,
                    2 => b2,
                    _ => b3,
                };
                byte.into()
            }
            _ => 0,
        }
    }

    /// A store to `register`, which is at `offset`.
    pub(super) fn store(
        &mut self,
        vcpu: u8,
        register: Option<Register>,
        offset: u64,
        size: u8,
        value: u64,
    ) {
        let Some(register) = register else {
            return;
        };
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match size {
            4 if offset.is_multiple_of(4) => {
                if register.has_bytes() {
                    for (lane, byte) in [b0, b1, b2, b3].into_iter().enumerate() {
                        self.write_byte(vcpu, register, lane, byte);
                    }
                } else {
                    self.write_word(vcpu, register, u32::from_le_bytes([b0, b1, b2, b3]));
                }
            }
            1 if register.has_bytes() => {
                let lane = usize::try_from(offset % 4).unwrap_or(0);
                self.write_byte(vcpu, register, lane, b0);
            }
            _ => {}
        }
    }

    fn word(&self, vcpu: u8, register: Register) -> u32 {
        let interrupts = &self.interrupts;
        let bits = |index: usize| interrupts.bits(vcpu, index).copied().unwrap_or_default();
        let bytes =
            |byte: &dyn Fn(usize) -> u8| u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]);
        match register {
            Register::Control => interrupts.control,
            Register::Type => {
                u32::from(INTERRUPTS / 32 - 1)
                    | u32::from(interrupts.vcpus().saturating_sub(1)) << 5
            }
            Register::Implementer => IMPLEMENTER,
            Register::Group(index) => bits(index).group,
            Register::SetEnable(index) | Register::ClearEnable(index) => bits(index).enabled,
            // What is in a list register is pending or active, or both: that is not known.
            Register::SetPending(index) | Register::ClearPending(index) => {
                let bits = bits(index);
                bits.is_pending() | bits.in_flight
            }
            Register::SetActive(index) | Register::ClearActive(index) => {
                let bits = bits(index);
                bits.active | bits.in_flight
            }
            Register::Priority(first) => bytes(&|lane| interrupts.priority(vcpu, first + lane)),
            Register::Target(first) if first < usize::from(INTERRUPTS) => {
                bytes(&|lane| interrupts.target(vcpu, first + lane))
            }
            Register::Configuration(index) => {
                let half = bits(index / 2).edge >> (16 * (index % 2));
                (0..16).fold(0, |word, bit| word | (half >> bit & 1) << (2 * bit + 1))
            }
            Register::ClearSgi(first) | Register::SetSgi(first) => {
                bytes(&|lane| interrupts.sources(vcpu, first + lane))
            }
            Register::Identification(index) => {
                IDENTIFICATION.get(index).copied().unwrap_or(0).into()
            }
            Register::Target(_) | Register::Generate => 0,
        }
    }

    fn write_byte(&mut self, vcpu: u8, register: Register, lane: usize, value: u8) {
        let interrupts = &mut self.interrupts;
        match register {
            Register::Priority(first) => interrupts.set_priority(vcpu, first + lane, value),
            Register::Target(first) => interrupts.set_target(first + lane, value),
            Register::ClearSgi(first) => interrupts.change_sources(vcpu, first + lane, 0, value),
            Register::SetSgi(first) => interrupts.change_sources(vcpu, first + lane, value, 0),
            _ => {}
        }
    }

    fn write_word(&mut self, vcpu: u8, register: Register, value: u32) {
        // A GICv2's SGIs are always enabled, edge-triggered, and made pending by their own registers.
        let v2 = self.version() == Version::V2;
        let without_sgis = |index: usize| {
            if index == 0 && v2 {
                value & !SGIS
            } else {
                value
            }
        };
        match register {
            Register::Control => self.interrupts.set_control(value),
            Register::Generate => self.generate(vcpu, value),
            Register::ClearActive(index) => self.clear_active(vcpu, index, value),
            Register::Configuration(index) => self.configure(vcpu, index, value),
            Register::Group(index) => self.change(vcpu, index, |bits| bits.group = value),
            Register::SetEnable(index) => self.change(vcpu, index, |bits| bits.enabled |= value),
            Register::ClearEnable(index) => {
                let value = without_sgis(index);
                self.change(vcpu, index, |bits| bits.enabled &= !value);
            }
            Register::SetPending(index) => {
                let value = without_sgis(index);
                self.change(vcpu, index, |bits| bits.pending |= value);
            }
            Register::ClearPending(index) => {
                let value = without_sgis(index);
                self.change(vcpu, index, |bits| bits.pending &= !value);
            }
            Register::SetActive(index) => self.change(vcpu, index, |bits| bits.active |= value),
            _ => {}
        }
    }

    fn change(&mut self, vcpu: u8, index: usize, how: impl FnOnce(&mut super::interrupts::Bits)) {
        if let Some(bits) = self.interrupts.bits_mut(vcpu, index) {
            how(bits);
        }
    }

    /// GICD_ICFGR: the upper one of an interrupt's two bits says that it is edge-triggered. SGIs' and PPIs' are fixed.
    fn configure(&mut self, vcpu: u8, index: usize, value: u32) {
        if index < 2 {
            return;
        }
        let half = (0..16).fold(0, |half, bit| half | (value >> (2 * bit + 1) & 1) << bit);
        let shift = 16 * (index % 2);
        self.change(vcpu, index / 2, |bits| {
            bits.edge = bits.edge & !(0xffff << shift) | half << shift;
        });
    }

    /// GICD_ICACTIVER. What is active in a list register cannot be reached: the guest that deactivates it here
    /// (instead of ending it) gets the next one in the same list register.
    fn clear_active(&mut self, vcpu: u8, index: usize, value: u32) {
        let mut held = 0;
        self.change(vcpu, index, |bits| {
            bits.active &= !value;
            held = bits.in_flight & value;
            bits.in_flight &= !value;
        });
        let first = u16::try_from(32 * index).unwrap_or(INTERRUPTS);
        for intid in (0..32)
            .filter(|bit| held >> bit & 1 != 0)
            .map(|bit| first + bit)
        {
            for (lists, owner) in self.lists.iter_mut().zip(0..) {
                if index != 0 || owner == vcpu {
                    lists.deactivate(intid);
                }
            }
        }
    }

    /// GICD_SGIR (§4.3.15): filter 0 the list, 1 all others, 2 the writer.
    fn generate(&mut self, vcpu: u8, value: u32) {
        let [low, _, list, filter] = value.to_le_bytes();
        let own = 1 << (vcpu & 7);
        let targets = match filter & 3 {
            0 => list,
            1 => !own,
            2 => own,
            _ => return,
        } & self.interrupts.all_vcpus();
        for target in (0..self.vcpus).filter(|target| targets >> target & 1 != 0) {
            self.interrupts
                .change_sources(target, usize::from(low & 15), own, 0);
        }
    }
}
