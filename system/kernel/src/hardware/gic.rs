//! The GICv2: distributor, CPU interface, and the virtual interface's control registers.
//!
//! The CPU interface is in split mode: the end of an interrupt only drops its priority, and it cannot happen again
//! until it is deactivated. So a device's interrupt is off from its arrival to its acknowledgement without a write to
//! the distributor's masks.

use super::host;
use super::window::device;
use arm_gic::gicv2::registers::{Gicc, Gicd, GicdCtlr};
use core::num::NonZero;
use core::ptr::NonNull;
use safe_mmio::fields::{ReadPure, ReadPureWrite};
use safe_mmio::{UniqueMmioPointer, field};
use sel4cp_abi::image::Interrupt;
use sel4cp_kernel::list_register::ListRegister;

const DISTRIBUTOR: usize = 0x0800_0000;
const CPU_INTERFACE: usize = 0x0801_0000;
const VIRTUAL_CONTROL: usize = 0x0803_0000;

/// What the kernel maps of it: everything up to the virtual CPU interface.
pub(super) const RANGE: core::ops::Range<usize> = DISTRIBUTOR..0x0804_0000;

/// Maintenance of the virtual interface.
pub(super) const MAINTENANCE: u16 = 25;
/// The kernel's timer: CNTHP.
pub(super) const KERNEL_TIMER: u16 = 26;
/// The domains' timer: CNTP.
const DOMAIN_TIMER: u16 = 30;
/// The guests' virtual timer.
pub(super) const VIRTUAL_TIMER: u16 = 27;
/// One past the last INTID.
const INTERRUPTS: usize = 1020;
/// First INTID that means "nothing".
const SPECIAL: u16 = 1020;
/// The INTID in GICC_IAR.
const INTID: u32 = 0x3ff;
/// GICC_CTLR: enabled, split end of interrupt.
const CPU_CONTROL: u32 = 1 | 1 << 9;
/// Priority of all interrupts.
const PRIORITY: u32 = 0x8080_8080;
/// GICH_HCR: the virtual interface is on.
pub(super) const VIRTUAL_ON: u32 = 1;

/// Registers of the virtual interface for the hypervisor (GICH).
#[repr(C)]
pub(super) struct Gich {
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

const fn registers<T>(address: usize) -> UniqueMmioPointer<'static, T> {
    let Some(address) = NonZero::new(device(address)) else {
        unreachable!()
    };
    // SAFETY: QEMU's virt machine has the GICv2 at these addresses, mapped as device memory; no domain may map
    // them (the image's check), and there is one `Gic`.
    unsafe { UniqueMmioPointer::new(NonNull::without_provenance(address)) }
}

/// The INTID of the hardware for one of the kernel's, or the other way round: with the host extensions the two physical
/// timers have changed places.
fn hardware_intid(number: u16) -> u16 {
    match number {
        KERNEL_TIMER if host::is_on() => DOMAIN_TIMER,
        DOMAIN_TIMER if host::is_on() => KERNEL_TIMER,
        _ => number,
    }
}

/// Writes one of a row of registers, if there is one.
fn set<const N: usize>(
    mut row: UniqueMmioPointer<'_, [ReadPureWrite<u32>; N]>,
    index: usize,
    value: u32,
) {
    if let Some(mut register) = row.get(index) {
        register.write(value);
    }
}

/// The interrupt controller.
pub(super) struct Gic {
    distributor: UniqueMmioPointer<'static, Gicd>,
    cpu: UniqueMmioPointer<'static, Gicc>,
    virt: UniqueMmioPointer<'static, Gich>,
    /// Device interrupts that wait for their acknowledgement, a bit each.
    active: [u64; INTERRUPTS.div_ceil(64)],
}

impl Gic {
    pub(super) const fn new() -> Self {
        Self {
            distributor: registers(DISTRIBUTOR),
            cpu: registers(CPU_INTERFACE),
            virt: registers(VIRTUAL_CONTROL),
            active: [0; INTERRUPTS.div_ceil(64)],
        }
    }

    /// Starts it with the kernel's interrupts enabled, and returns how many list registers there are.
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
        for number in [MAINTENANCE, KERNEL_TIMER, VIRTUAL_TIMER] {
            self.set_enabled(number, true);
        }
        (field!(self.virt, vtr).read() & 0x3f) as u8 + 1
    }

    /// Enables or disables an interrupt.
    pub(super) fn set_enabled(&mut self, number: u16, enabled: bool) {
        let number = hardware_intid(number);
        let (index, bit) = (usize::from(number / 32), 1 << (number % 32));
        if enabled {
            set(field!(self.distributor, isenabler), index, bit);
        } else {
            set(field!(self.distributor, icenabler), index, bit);
        }
    }

    /// Takes the interrupt that is pending, if one is, and drops its priority; it stays active. Software-generated ones
    /// are of this core, the only one.
    pub(super) fn take(&mut self) -> Option<u16> {
        let taken = field!(self.cpu, iar).read();
        let number = (taken & INTID) as u16;
        if number >= SPECIAL {
            return None;
        }
        field!(self.cpu, eoir).write(taken);
        Some(hardware_intid(number))
    }

    /// Lets an active interrupt happen again.
    pub(super) fn deactivate(&mut self, number: u16) {
        let number = u32::from(hardware_intid(number));
        // SAFETY: GICC_DIR is a write-only register; a write of an active INTID only changes the controller's state.
        unsafe { field!(self.cpu, dir).write_unsafe(number) };
    }

    /// Remembers that a device's interrupt waits for its acknowledgement.
    pub(super) fn remember(&mut self, number: u16) {
        if let Some(word) = self.active.get_mut(usize::from(number / 64)) {
            *word |= 1 << (number % 64);
        }
    }

    /// A domain acknowledges an interrupt.
    pub(super) fn finish(&mut self, number: u16) {
        let bit = 1 << (number % 64);
        if let Some(word) = self.active.get_mut(usize::from(number / 64))
            && *word & bit != 0
        {
            *word &= !bit;
            self.deactivate(number);
        }
    }

    /// Sets a shared interrupt's trigger and target, and enables it.
    fn configure(&mut self, interrupt: &Interrupt) {
        let Ok(intid) = u16::try_from(interrupt.number) else {
            return;
        };
        let number = usize::from(hardware_intid(intid));
        if let Some(mut register) = field!(self.distributor, icfgr).get(number / 16) {
            let bit = 2 << (number % 16 * 2);
            let old = register.read();
            register.write(if interrupt.trigger == Interrupt::EDGE {
                old | bit
            } else {
                old & !bit
            });
        }
        if let Some(mut register) = field!(self.distributor, itargetsr).get(number / 4) {
            // SAFETY: GICD_ITARGETSR: all four go to this core, the only one.
            unsafe { register.write_unsafe(0x0101_0101) };
        }
        self.set_enabled(intid, true);
    }

    /// GICH_HCR.
    pub(super) fn set_virtual_control(&mut self, value: u32) {
        field!(self.virt, hcr).write(value);
    }

    /// GICH_VMCR and GICH_APR.
    pub(super) fn virtual_state(&mut self) -> (u32, u32) {
        (
            field!(self.virt, vmcr).read(),
            field!(self.virt, apr).read(),
        )
    }

    /// Sets GICH_VMCR and GICH_APR.
    pub(super) fn set_virtual_state(&mut self, (vmcr, apr): (u32, u32)) {
        field!(self.virt, vmcr).write(vmcr);
        field!(self.virt, apr).write(apr);
    }

    /// The list register whose interrupt was ended first, if there is one.
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

    /// A list register.
    pub(super) fn list_register(&mut self, index: u8) -> ListRegister {
        let register = field!(self.virt, lr)
            .get(usize::from(index))
            .map(|r| r.read());
        ListRegister(register.unwrap_or(0))
    }

    /// Sets a list register.
    pub(super) fn set_list_register(&mut self, index: u8, value: ListRegister) {
        set(field!(self.virt, lr), usize::from(index), value.0);
    }
}

impl super::Hardware {
    /// Enables a device's interrupt.
    pub(crate) fn enable_interrupt(&mut self, interrupt: &Interrupt) {
        self.gic.configure(interrupt);
    }
}
