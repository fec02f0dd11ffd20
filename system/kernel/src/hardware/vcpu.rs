//! A vCPU's state while another is loaded.

use super::gic::{Gic, Interface, VIRTUAL_ON};
use super::registers;
use sel4cp_abi::vcpu::VcpuRegister as R;
use sel4cp_kernel::list_register::ListRegister;

/// SCTLR_EL1 of a vCPU before its VMM writes it, as seL4 sets it: reserved bits, CP15BEN, UCT, nTWI, nTWE, UCI.
const SCTLR: u64 = 0x30d0_0800 | 1 << 5 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26;

const _: () = assert!(R::SctlrEl1 as usize == 0);

/// Registers that are saved and loaded with a vCPU, but for those that change between guest and domain.
const SWITCHED: [R; 20] = [
    R::Ttbr0El1,
    R::Ttbr1El1,
    R::TcrEl1,
    R::MairEl1,
    R::AmairEl1,
    R::ContextidrEl1,
    R::ActlrEl1,
    R::Afsr0El1,
    R::Afsr1El1,
    R::EsrEl1,
    R::FarEl1,
    R::ParEl1,
    R::VbarEl1,
    R::TpidrEl1,
    R::VmpidrEl2,
    R::SpEl1,
    R::ElrEl1,
    R::SpsrEl1,
    R::CntvCvalEl0,
    R::CntvoffEl2,
];

/// The state.
pub(super) struct Vcpu {
    registers: [u64; R::COUNT],
    list_registers: [ListRegister; Self::LIST_REGISTERS as usize],
    interface: Interface,
    /// Whether its VMM has not yet acknowledged the virtual timer's event.
    pub(super) timer_masked: bool,
}

impl Vcpu {
    /// Most list registers that are kept.
    pub(super) const LIST_REGISTERS: u8 = 16;

    pub(super) const fn new() -> Self {
        // SCTLR_EL1 is the first field.
        let mut registers = [0; R::COUNT];
        let [first, ..] = &mut registers;
        *first = SCTLR;
        Self {
            registers,
            list_registers: [ListRegister(0); Self::LIST_REGISTERS as usize],
            interface: Interface {
                control: 0,
                active: [0; 2],
            },
            timer_masked: false,
        }
    }

    pub(super) fn get(&self, register: R) -> u64 {
        let value = self.registers.get(register as usize);
        value.copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, register: R, value: u64) {
        if let Some(place) = self.registers.get_mut(register as usize) {
            *place = value;
        }
    }

    pub(super) fn list_register(&self, index: u8) -> ListRegister {
        let value = self.list_registers.get(usize::from(index));
        value.copied().unwrap_or_default()
    }

    pub(super) fn set_list_register(&mut self, index: u8, value: ListRegister) {
        if let Some(place) = self.list_registers.get_mut(usize::from(index)) {
            *place = value;
        }
    }

    /// Saves everything that is loaded but for what changes between guest and domain, and disables the timer.
    pub(super) fn save(&mut self, gic: &mut Gic, list_registers: u8) {
        for register in SWITCHED {
            self.set(register, registers::get(register));
        }
        self.set(R::CntvCtlEl0, registers::get(R::CntvCtlEl0));
        registers::set(R::CntvCtlEl0, 0);
        self.interface = gic.virtual_state();
        for index in 0..list_registers {
            self.set_list_register(index, gic.list_register(index));
        }
    }

    /// Loads everything but what changes between guest and domain.
    pub(super) fn load(&self, gic: &mut Gic, list_registers: u8) {
        for register in SWITCHED {
            registers::set(register, self.get(register));
        }
        registers::set(R::CntvCtlEl0, self.get(R::CntvCtlEl0));
        gic.set_virtual_control(0);
        gic.set_virtual_state(self.interface);
        for index in 0..list_registers {
            gic.set_list_register(index, self.list_register(index));
        }
        gic.set_virtual_control(VIRTUAL_ON);
    }
}
