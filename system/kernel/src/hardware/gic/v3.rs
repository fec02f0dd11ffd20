//! The GICv3's registers: distributor, this core's redistributor, and the CPU interface, which is system registers.

use super::super::registers::{read, write};
use super::{
    DISTRIBUTOR, Interface, PRIORITY, REDISTRIBUTOR, SPECIAL, registers, set, set_trigger,
};
use arm_gic::gicv3::registers::{Gicd, GicdCtlr, GicrSgi, Waker};
use safe_mmio::{UniqueMmioPointer, field};
use sel4cp_kernel::list_register::ListRegister;

/// First INTID of the distributor's; those before are the redistributor's.
const SHARED: u16 = 32;
/// GICD_CTLR with one security state: affinity routing (ARE), group 1.
const CONTROL: GicdCtlr = GicdCtlr::ARE_S.union(GicdCtlr::EnableGrp1NS);
/// ICC_SRE_EL2: system registers, for EL1 too.
const SYSTEM_REGISTERS: u64 = 0xf;
/// ICC_CTLR_EL1: split end of interrupt (EOImode).
const CPU_CONTROL: u64 = 1 << 1;

/// The controller.
pub(super) struct Registers {
    distributor: UniqueMmioPointer<'static, Gicd>,
    redistributor: UniqueMmioPointer<'static, GicrSgi>,
}

impl Registers {
    pub(super) const fn new() -> Self {
        Self {
            distributor: registers(DISTRIBUTOR),
            redistributor: registers(REDISTRIBUTOR),
        }
    }

    /// Starts it with nothing enabled, and returns how many list registers there are.
    pub(super) fn start(&mut self) -> u8 {
        let lines =
            field!(self.distributor, typer).read().num_spis() as usize + usize::from(SHARED);
        field!(self.distributor, ctlr).write(GicdCtlr::empty());
        self.settle();
        field!(self.distributor, ctlr).write(GicdCtlr::ARE_S);
        self.settle();
        for index in 1..lines / 32 {
            set(field!(self.distributor, icenabler), index, u32::MAX);
            set(field!(self.distributor, icactiver), index, u32::MAX);
            set(field!(self.distributor, igroupr), index, u32::MAX);
        }
        for index in 8..lines / 4 {
            set(field!(self.distributor, ipriorityr), index, PRIORITY);
        }
        self.wake();
        let mut private = field!(self.redistributor, sgi);
        set(field!(private, icenabler), 0, u32::MAX);
        set(field!(private, icactiver), 0, u32::MAX);
        set(field!(private, igroupr), 0, u32::MAX);
        for index in 0..8 {
            set(field!(private, ipriorityr), index, PRIORITY);
        }
        field!(self.distributor, ctlr).write(CONTROL);
        self.settle();
        write!("S3_4_C12_C9_5", SYSTEM_REGISTERS); // ICC_SRE_EL2
        aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
        write!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
        write!("S3_0_C12_C12_4", CPU_CONTROL); // ICC_CTLR_EL1
        write!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
        aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
        let vtr = read!("S3_4_C12_C11_1"); // ICH_VTR_EL2
        (vtr & 0x1f) as u8 + 1
    }

    /// Waits until the distributor has done what it was told (GICD_CTLR.RWP).
    fn settle(&mut self) {
        while field!(self.distributor, ctlr)
            .read()
            .contains(GicdCtlr::RWP)
        {}
    }

    /// Wakes this core's redistributor.
    fn wake(&mut self) {
        let mut common = field!(self.redistributor, gicr);
        let mut waker = field!(common, waker);
        waker.modify(|value| value.difference(Waker::PROCESSOR_SLEEP));
        while waker.read().contains(Waker::CHILDREN_ASLEEP) {}
    }

    pub(super) fn set_enabled(&mut self, number: u16, enabled: bool) {
        let (index, bit) = (usize::from(number / 32), 1 << (number % 32));
        let mut private = field!(self.redistributor, sgi);
        match (enabled, number < SHARED) {
            (true, true) => set(field!(private, isenabler), 0, bit),
            (false, true) => set(field!(private, icenabler), 0, bit),
            (true, false) => set(field!(self.distributor, isenabler), index, bit),
            (false, false) => set(field!(self.distributor, icenabler), index, bit),
        }
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        let taken = read!("S3_0_C12_C12_0"); // ICC_IAR1_EL1
        let number = u16::try_from(taken).unwrap_or(SPECIAL);
        if number >= SPECIAL {
            return None;
        }
        write!("S3_0_C12_C12_1", taken); // ICC_EOIR1_EL1
        Some(number)
    }

    pub(super) fn deactivate(&mut self, number: u16) {
        write!("S3_0_C12_C11_1", number.into()); // ICC_DIR_EL1
    }

    pub(super) fn configure(&mut self, number: u16, edge: bool) {
        let place = usize::from(number);
        let mut private = field!(self.redistributor, sgi);
        if number < SHARED {
            if let Some(register) = field!(private, icfgr).get(place / 16) {
                set_trigger(register, place, edge);
            }
            return;
        }
        if let Some(register) = field!(self.distributor, icfgr).get(place / 16) {
            set_trigger(register, place, edge);
        }
        // To the core with affinity 0.0.0.0, the only one.
        if let Some(mut register) =
            field!(self.distributor, irouter).get(place - usize::from(SHARED))
        {
            register.write(0);
        }
    }

    pub(super) fn set_virtual_control(&mut self, value: u32) {
        write!("S3_4_C12_C11_0", value.into()); // ICH_HCR_EL2
    }

    #[expect(clippy::cast_possible_truncation, reason = "registers of 32 bits")]
    pub(super) fn virtual_state(&mut self) -> Interface {
        Interface {
            control: read!("S3_4_C12_C11_7") as u32, // ICH_VMCR_EL2
            // ICH_AP0R0_EL2, ICH_AP1R0_EL2: of 32 levels, which is all that an injection has.
            active: [read!("S3_4_C12_C8_0") as u32, read!("S3_4_C12_C9_0") as u32],
        }
    }

    pub(super) fn set_virtual_state(&mut self, state: Interface) {
        let [first, second] = state.active;
        write!("S3_4_C12_C11_7", state.control.into());
        write!("S3_4_C12_C8_0", first.into());
        write!("S3_4_C12_C9_0", second.into());
    }

    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    pub(super) fn ended(&mut self) -> Option<u8> {
        let ended = read!("S3_4_C12_C11_3"); // ICH_EISR_EL2
        (ended != 0).then(|| ended.trailing_zeros() as u8)
    }

    pub(super) fn list_register(&mut self, index: u8) -> ListRegister {
        ListRegister::from_v3(list::get(index))
    }

    pub(super) fn set_list_register(&mut self, index: u8, value: ListRegister) {
        list::set(index, value.to_v3());
    }
}

/// ICH_LR0_EL2 to ICH_LR15_EL2, by number.
mod list {
    use super::{read, write};

    macro_rules! registers {
        ($($index:literal $name:literal)*) => {
            pub(super) fn get(index: u8) -> u64 {
                match index {
                    $($index => read!($name),)*
                    _ => 0,
                }
            }

            pub(super) fn set(index: u8, value: u64) {
                match index {
                    $($index => write!($name, value),)*
                    _ => {}
                }
            }
        };
    }

    registers! {
        0 "S3_4_C12_C12_0" 1 "S3_4_C12_C12_1" 2 "S3_4_C12_C12_2" 3 "S3_4_C12_C12_3"
        4 "S3_4_C12_C12_4" 5 "S3_4_C12_C12_5" 6 "S3_4_C12_C12_6" 7 "S3_4_C12_C12_7"
        8 "S3_4_C12_C13_0" 9 "S3_4_C12_C13_1" 10 "S3_4_C12_C13_2" 11 "S3_4_C12_C13_3"
        12 "S3_4_C12_C13_4" 13 "S3_4_C12_C13_5" 14 "S3_4_C12_C13_6" 15 "S3_4_C12_C13_7"
    }
}
