//! The GICv2's registers.

use super::{
    CPU_INTERFACE, DISTRIBUTOR, Interface, PRIORITY, SPECIAL, VIRTUAL_CONTROL, registers, set,
};
use arm_gic::gicv2::registers::{Gicc, Gicd, GicdCtlr};
use safe_mmio::fields::{ReadPure, ReadPureWrite};
use safe_mmio::{UniqueMmioPointer, field};
use sel4cp_kernel::list_register::ListRegister;

/// The INTID in GICC_IAR.
const INTID: u32 = 0x3ff;
/// GICC_CTLR: enabled, split end of interrupt.
const CPU_CONTROL: u32 = 1 | 1 << 9;

/// Registers of the virtual interface for the hypervisor (GICH).
#[repr(C)]
struct Gich {
    hcr: ReadPureWrite<u32>,
    vtr: ReadPure<u32>,
    vmcr: ReadPureWrite<u32>,
    reserved_0: u32,
    misr: ReadPure<u32>,
    reserved_1: [u32; 3],
    eisr: [ReadPure<u32>; 2],
    reserved_2: [u32; 2],
    elrsr: [ReadPure<u32>; 2],
    reserved_3: [u32; 46],
    apr: ReadPureWrite<u32>,
    reserved_4: [u32; 3],
    lr: [ReadPureWrite<u32>; 64],
}

const _: () = {
    assert!(core::mem::offset_of!(Gich, eisr) == 0x20);
    assert!(core::mem::offset_of!(Gich, apr) == 0xf0);
    assert!(core::mem::offset_of!(Gich, lr) == 0x100);
};

/// The controller.
pub(super) struct Registers {
    distributor: UniqueMmioPointer<'static, Gicd>,
    cpu: UniqueMmioPointer<'static, Gicc>,
    virt: UniqueMmioPointer<'static, Gich>,
}

impl Registers {
    pub(super) const fn new() -> Self {
        Self {
            distributor: registers(DISTRIBUTOR),
            cpu: registers(CPU_INTERFACE),
            virt: registers(VIRTUAL_CONTROL),
        }
    }

    /// Starts it with nothing enabled, and returns how many list registers there are.
    pub(super) fn start(&mut self) -> u8 {
        let lines = field!(self.distributor, typer).read().num_irqs() as usize;
        field!(self.distributor, ctlr).write(GicdCtlr::empty());
        for index in 0..lines / 32 {
            set(field!(self.distributor, icenabler), index, u32::MAX);
            set(field!(self.distributor, icactiver), index, u32::MAX);
            set(field!(self.distributor, igroupr), index, 0);
        }
        for index in 0..lines / 4 {
            set(field!(self.distributor, ipriorityr), index, PRIORITY);
        }
        field!(self.distributor, ctlr).write(GicdCtlr::EnableGrp0);
        field!(self.cpu, pmr).write(0xff);
        field!(self.cpu, ctlr).write(CPU_CONTROL);
        (field!(self.virt, vtr).read() & 0x3f) as u8 + 1
    }

    pub(super) fn set_enabled(&mut self, number: u16, enabled: bool) {
        let (index, bit) = (usize::from(number / 32), 1 << (number % 32));
        if enabled {
            set(field!(self.distributor, isenabler), index, bit);
        } else {
            set(field!(self.distributor, icenabler), index, bit);
        }
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        let taken = field!(self.cpu, iar).read();
        let number = (taken & INTID) as u16;
        if number >= SPECIAL {
            return None;
        }
        field!(self.cpu, eoir).write(taken);
        Some(number)
    }

    pub(super) fn deactivate(&mut self, number: u16) {
        // SAFETY: GICC_DIR is a write-only register; a write of an active INTID only changes the controller's state.
        unsafe { field!(self.cpu, dir).write_unsafe(number.into()) };
    }

    pub(super) fn configure(&mut self, number: u16, edge: bool) {
        let number = usize::from(number);
        if let Some(register) = field!(self.distributor, icfgr).get(number / 16) {
            super::set_trigger(register, number, edge);
        }
        if let Some(mut register) = field!(self.distributor, itargetsr).get(number / 4) {
            // SAFETY: GICD_ITARGETSR: all four go to this core, the only one.
            unsafe { register.write_unsafe(0x0101_0101) };
        }
    }

    pub(super) fn set_virtual_control(&mut self, value: u32) {
        field!(self.virt, hcr).write(value);
    }

    pub(super) fn virtual_state(&mut self) -> Interface {
        Interface {
            control: field!(self.virt, vmcr).read(),
            active: [field!(self.virt, apr).read(), 0],
        }
    }

    pub(super) fn set_virtual_state(&mut self, state: Interface) {
        let [active, _] = state.active;
        field!(self.virt, vmcr).write(state.control);
        field!(self.virt, apr).write(active);
    }

    pub(super) fn ended(&mut self) -> Option<u8> {
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        for (index, first) in [(0, 0), (1, 32)] {
            let ended = field!(self.virt, eisr).get(index).map_or(0, |r| r.read());
            if ended != 0 {
                return Some(first + ended.trailing_zeros() as u8);
            }
        }
        None
    }

    pub(super) fn list_register(&mut self, index: u8) -> ListRegister {
        let register = field!(self.virt, lr)
            .get(usize::from(index))
            .map(|r| r.read());
        ListRegister(register.unwrap_or(0))
    }

    pub(super) fn set_list_register(&mut self, index: u8, value: ListRegister) {
        set(field!(self.virt, lr), usize::from(index), value.0);
    }
}
