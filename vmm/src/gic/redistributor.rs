//! Reads and writes of what a GICv3 has besides a GICv2's registers (IHI 0069H §12.8 to §12.11): routes and an
//! identification of its own in the distributor, the redistributors, and the system registers that make SGIs.
//!
//! There is one security state (GICD_CTLR.DS), affinity routing is always on, and there are no LPIs. A vCPU's
//! affinity is its number.

use super::distributor::IMPLEMENTER;
use super::registers::Register;
use super::{FIRST_SPI, Gic, INTERRUPTS, REDISTRIBUTOR_SIZE};

/// GICD_CTLR: ARE and DS, which are always one.
const CONTROL: u32 = 1 << 6 | 1 << 4;
/// GICD_TYPER: an SPI has one target (No1N); ids have ten bits (IDbits); the number of SPIs.
const TYPE: u32 = 1 << 25 | 9 << 19 | (INTERRUPTS / 32 - 1) as u32;
/// GICD_IROUTER of the first SPI: eight bytes each.
const ROUTES: u64 = 0x6000 + 8 * FIRST_SPI as u64;
const ROUTES_END: u64 = 0x6000 + 8 * INTERRUPTS as u64;
/// GICD_ or GICR_PIDR4..7, PIDR0..3, CIDR0..3 as Arm's GIC-500 has them; PIDR2 says the architecture's version, 3.
const IDENTIFICATION: [u8; 12] = [
    0x44, 0x00, 0x00, 0x00, 0x92, 0xb4, 0x3b, 0x00, 0x0d, 0xf0, 0x05, 0xb1,
];
/// Bytes of a redistributor's first frame; the second has the SGIs' and PPIs' registers.
const FRAME: u64 = 0x1_0000;
/// GICR_TYPER.Last: no redistributor follows.
const LAST: u64 = 1 << 4;
/// GICR_WAKER.
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// A register of a redistributor's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// GICR_IIDR.
    Implementer,
    /// GICR_TYPER, of eight bytes.
    Type,
    /// GICR_WAKER.
    Waker,
    /// GICR_PIDR, GICR_CIDR.
    Identification(usize),
}

impl Control {
    /// The register that `offset` is in. GICR_CTLR is among those that read as zero: it is about LPIs and about waiting,
    /// and nothing takes time here.
    fn at(offset: u64) -> Option<Self> {
        match offset {
            0x0004..0x0008 => Some(Self::Implementer),
            0x0008..0x0010 => Some(Self::Type),
            0x0014..0x0018 => Some(Self::Waker),
            _ => match Register::identification(offset) {
                Some(Register::Identification(index)) => Some(Self::Identification(index)),
                _ => None,
            },
        }
    }
}

/// What a load of `size` bytes at `offset` gets of a register of four bytes.
fn word(value: u32, offset: u64, size: u8) -> u64 {
    if size == 4 && offset.is_multiple_of(4) {
        value.into()
    } else {
        0
    }
}

/// What a load of `size` bytes at `offset` gets of a register of eight bytes: all of it, or a half.
const fn part(value: u64, offset: u64, size: u8) -> u64 {
    match (size, offset % 8) {
        (8, 0) => value,
        (4, 0) => value & 0xffff_ffff,
        (4, 4) => value >> 32,
        _ => 0,
    }
}

/// What a register of eight bytes holds after a store of `size` bytes at `offset`.
const fn with_part(old: u64, offset: u64, size: u8, value: u64) -> u64 {
    match (size, offset % 8) {
        (8, 0) => value,
        (4, 0) => old & !0xffff_ffff | value & 0xffff_ffff,
        (4, 4) => old & 0xffff_ffff | value << 32,
        _ => old,
    }
}

/// The SPI whose route is at `offset`.
fn routed(offset: u64) -> Option<usize> {
    if !(ROUTES..ROUTES_END).contains(&offset) {
        return None;
    }
    usize::try_from((offset - ROUTES) / 8 + u64::from(FIRST_SPI)).ok()
}

fn identification(index: usize) -> u32 {
    IDENTIFICATION.get(index).copied().unwrap_or(0).into()
}

impl Gic {
    /// What a load from the distributor gets; who loads does not matter.
    pub(super) fn read_distributor(&self, offset: u64, size: u8) -> u64 {
        if let Some(intid) = routed(offset) {
            return part(self.interrupts.route(intid), offset, size);
        }
        let value = match Register::of_distributor(offset) {
            Some(Register::Control) => self.interrupts.control | CONTROL,
            Some(Register::Type) => TYPE,
            Some(Register::Identification(index)) => identification(index),
            register => return self.load(0, register, offset, size),
        };
        word(value, offset, size)
    }

    /// A store to the distributor.
    pub(super) fn write_distributor(&mut self, offset: u64, size: u8, value: u64) {
        match routed(offset) {
            Some(intid) => {
                let route = with_part(self.interrupts.route(intid), offset, size, value);
                self.interrupts.set_route(intid, route);
            }
            None => self.store(0, Register::of_distributor(offset), offset, size, value),
        }
    }

    /// The vCPU whose redistributor `offset` is in, and the offset in there.
    fn redistributor(&self, offset: u64) -> Option<(u8, u64)> {
        let vcpu = u8::try_from(offset / REDISTRIBUTOR_SIZE).ok()?;
        (vcpu < self.vcpus).then_some((vcpu, offset % REDISTRIBUTOR_SIZE))
    }

    /// What a load of `size` bytes at `offset` of the redistributors gets.
    pub fn read_redistributor(&self, offset: u64, size: u8) -> u64 {
        let Some((vcpu, offset)) = self.redistributor(offset) else {
            return 0;
        };
        if let Some(offset) = offset.checked_sub(FRAME) {
            return self.load(vcpu, Register::of_private_frame(offset), offset, size);
        }
        let number = u64::from(vcpu);
        match Control::at(offset) {
            Some(Control::Type) => {
                let last = if vcpu + 1 == self.vcpus { LAST } else { 0 };
                part(number << 32 | number << 8 | last, offset, size)
            }
            Some(Control::Implementer) => word(IMPLEMENTER, offset, size),
            Some(Control::Waker) => {
                let asleep = self.interrupts.is_asleep(vcpu);
                let waker = if asleep {
                    PROCESSOR_SLEEP | CHILDREN_ASLEEP
                } else {
                    0
                };
                word(waker, offset, size)
            }
            Some(Control::Identification(index)) => word(identification(index), offset, size),
            None => 0,
        }
    }

    /// A store of `size` bytes at `offset` of the redistributors.
    pub fn write_redistributor(&mut self, offset: u64, size: u8, value: u64) {
        let Some((vcpu, offset)) = self.redistributor(offset) else {
            return;
        };
        if let Some(offset) = offset.checked_sub(FRAME) {
            self.store(
                vcpu,
                Register::of_private_frame(offset),
                offset,
                size,
                value,
            );
        } else if Control::at(offset) == Some(Control::Waker)
            && size == 4
            && offset.is_multiple_of(4)
        {
            let asleep = value & u64::from(PROCESSOR_SLEEP) != 0;
            self.interrupts.set_asleep(vcpu, asleep);
        }
    }

    /// A write to a system register that generates SGIs, ICC_SGI1R_EL1 or one of its kind (IHI 0069H §12.2), by
    /// `vcpu`, which can reach SGIs of `groups` (bit 0: group 0, bit 1: group 1).
    pub fn generate_sgi(&mut self, vcpu: u8, groups: u8, value: u64) {
        let [
            list_0,
            list_1,
            affinity_1,
            intid,
            affinity_2,
            mode,
            affinity_3,
            _,
        ] = value.to_le_bytes();
        let intid = intid & 15;
        let range = mode >> 4;
        let list = u16::from_le_bytes([list_0, list_1]);
        let all_others = mode & 1 != 0;
        let here = (affinity_3, affinity_2, affinity_1, range) == (0, 0, 0, 0);
        for target in 0..self.vcpus {
            let listed = here && list.checked_shr(target.into()).unwrap_or(0) & 1 != 0;
            let reached = if all_others { target != vcpu } else { listed };
            if reached {
                self.interrupts.raise(target, intid, groups);
            }
        }
    }
}
