//! The interrupt controller: a GICv2 or a GICv3, as the machine has it.
//!
//! The CPU interface is in split mode: the end of an interrupt only drops its priority, and it cannot happen again
//! until it is deactivated. So a device's interrupt is off from its arrival to its acknowledgement without a write to
//! the distributor's masks.

mod v2;
mod v3;

use super::host;
use super::window::device;
use core::num::NonZero;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::{ReadPure, ReadPureWrite};
use sel4cp_abi::image::{GIC_END, GIC_START, GICR_END, GICR_START, Interrupt};
use sel4cp_kernel::list_register::ListRegister;

const DISTRIBUTOR: usize = GIC_START as usize;
/// GICD_PIDR2 of a GICv2, with the architecture's version in bits 4 to 7. A GICv3 has it elsewhere; here is nothing, which reads as zero.
const IDENTIFICATION: usize = DISTRIBUTOR + 0xfe8;
/// A GICv2's.
const CPU_INTERFACE: usize = 0x0801_0000;
const VIRTUAL_CONTROL: usize = 0x0803_0000;
/// A GICv3's.
const REDISTRIBUTOR: usize = GICR_START as usize;

/// What the kernel maps of it: everything up to the virtual CPU interface, and a redistributor.
pub(super) const RANGES: [core::ops::Range<usize>; 2] = [
    DISTRIBUTOR..GIC_END as usize,
    REDISTRIBUTOR..GICR_END as usize,
];

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
/// Priority of all interrupts.
const PRIORITY: u32 = 0x8080_8080;
/// GICH_HCR, ICH_HCR_EL2: the virtual interface is on.
pub(super) const VIRTUAL_ON: u32 = 1;

const fn registers<T>(address: usize) -> UniqueMmioPointer<'static, T> {
    let Some(address) = NonZero::new(device(address)) else {
        unreachable!()
    };
    // SAFETY: QEMU's virt machine has its GIC at these addresses, mapped as device memory; no domain may map
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

/// Sets the trigger of an interrupt in its register (GICD_ICFGR, GICR_ICFGR).
fn set_trigger(mut register: UniqueMmioPointer<'_, ReadPureWrite<u32>>, number: usize, edge: bool) {
    let bit = 2 << (number % 16 * 2);
    let old = register.read();
    register.write(if edge { old | bit } else { old & !bit });
}

/// What the virtual CPU interface holds of a vCPU, besides its list registers.
#[derive(Clone, Copy)]
pub(super) struct Interface {
    /// GICH_VMCR, ICH_VMCR_EL2.
    pub(super) control: u32,
    /// Active priorities: GICH_APR and nothing, or ICH_AP0R0_EL2 and ICH_AP1R0_EL2.
    pub(super) active: [u32; 2],
}

/// The controller that there is.
enum Registers {
    V2(v2::Registers),
    V3(v3::Registers),
}

/// Calls a method of the controller that there is.
macro_rules! call {
    ($gic:ident . $method:ident ( $($argument:expr),* )) => {
        match &mut $gic.registers {
            Registers::V2(registers) => registers.$method($($argument),*),
            Registers::V3(registers) => registers.$method($($argument),*),
        }
    };
}

/// The interrupt controller.
pub(super) struct Gic {
    registers: Registers,
    /// Device interrupts that wait for their acknowledgement, a bit each.
    active: [u64; INTERRUPTS.div_ceil(64)],
}

impl Gic {
    pub(super) const fn new() -> Self {
        Self {
            registers: Registers::V2(v2::Registers::new()),
            active: [0; INTERRUPTS.div_ceil(64)],
        }
    }

    /// Starts it with the kernel's interrupts enabled, and returns how many list registers there are.
    pub(super) fn start(&mut self) -> u8 {
        // Not by the processor's ID_AA64PFR0_EL1.GIC: QEMU's a64fx says that it has a GICv3's registers in a machine with a GICv2.
        if registers::<ReadPure<u32>>(IDENTIFICATION).read() >> 4 & 0xf != 2 {
            self.registers = Registers::V3(v3::Registers::new());
        }
        let list_registers = call!(self.start());
        for number in [MAINTENANCE, KERNEL_TIMER, VIRTUAL_TIMER] {
            self.set_enabled(number, true);
        }
        list_registers
    }

    /// Enables or disables an interrupt.
    pub(super) fn set_enabled(&mut self, number: u16, enabled: bool) {
        call!(self.set_enabled(hardware_intid(number), enabled));
    }

    /// Takes the interrupt that is pending, if one is, and drops its priority; it stays active. Software-generated ones
    /// are of this core, the only one.
    pub(super) fn take(&mut self) -> Option<u16> {
        call!(self.take()).map(hardware_intid)
    }

    /// Lets an active interrupt happen again.
    pub(super) fn deactivate(&mut self, number: u16) {
        call!(self.deactivate(hardware_intid(number)));
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

    /// Sets an interrupt's trigger and target, and enables it.
    fn configure(&mut self, interrupt: &Interrupt) {
        let Ok(number) = u16::try_from(interrupt.number) else {
            return;
        };
        let edge = interrupt.trigger == Interrupt::EDGE;
        call!(self.configure(hardware_intid(number), edge));
        self.set_enabled(number, true);
    }

    /// GICH_HCR, ICH_HCR_EL2.
    pub(super) fn set_virtual_control(&mut self, value: u32) {
        call!(self.set_virtual_control(value));
    }

    /// What the virtual CPU interface holds.
    pub(super) fn virtual_state(&mut self) -> Interface {
        call!(self.virtual_state())
    }

    /// Sets it.
    pub(super) fn set_virtual_state(&mut self, state: Interface) {
        call!(self.set_virtual_state(state));
    }

    /// The list register whose interrupt was ended first, if there is one.
    pub(super) fn ended(&mut self) -> Option<u8> {
        call!(self.ended())
    }

    /// A list register.
    pub(super) fn list_register(&mut self, index: u8) -> ListRegister {
        call!(self.list_register(index))
    }

    /// Sets a list register.
    pub(super) fn set_list_register(&mut self, index: u8, value: ListRegister) {
        call!(self.set_list_register(index, value));
    }
}

impl super::Hardware {
    /// Enables a device's interrupt.
    pub(crate) fn enable_interrupt(&mut self, interrupt: &Interrupt) {
        self.gic.configure(interrupt);
    }
}
