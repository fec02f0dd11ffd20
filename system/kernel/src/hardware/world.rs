//! What EL1 and EL0 see of the processor: a domain's world or a guest's, switched as little as possible.
//!
//! A guest's registers stay loaded while domains run, until another guest runs. With the host extensions (`host.rs`)
//! only HCR_EL2 changes between a guest and a domain, and TTBR0_EL2 between domains. Without them these change: HCR_EL2,
//! VTTBR_EL2, and CNTKCTL_EL1, SCTLR_EL1 or CPACR_EL1 when the guest's would be felt at EL0.
//! (QEMU empties its TLB at each write of SCTLR_EL1 that changes it, and is slow at each write of any.)

use super::gic::{Gic, MAINTENANCE, VIRTUAL_ON, VIRTUAL_TIMER};
use super::host;
use super::mmu::Spaces;
use super::registers::{self, read, write};
use super::vcpu::Vcpu;
use aarch64_cpu::registers::{CNTKCTL_EL1, CPACR_EL1, HCR_EL2, SCTLR_EL1};
use sel4cp_abi::vcpu::VcpuRegister;
use sel4cp_kernel::id::{SpaceId, Table, ThreadId, VcpuId};
use sel4cp_kernel::list_register::ListRegister;
use sel4cp_kernel::thread::{Owner, Thread};

/// HCR_EL2 for everybody: stage 2, AArch64, interrupts and SErrors to EL2, secure monitor calls trapped.
const COMMON: u64 = HCR_EL2::VM::SET.value
    | HCR_EL2::RW::SET.value
    | HCR_EL2::AMO::SET.value
    | HCR_EL2::IMO::SET.value
    | HCR_EL2::FMO::SET.value
    | HCR_EL2::TSC::SET.value;
/// HCR_EL2 for domains: EL0 only, its exceptions to EL2; stage 1 off and its memory cacheable, whatever the guest's
/// registers say.
const DOMAIN: u64 = COMMON | HCR_EL2::TGE::SET.value | HCR_EL2::DC::SET.value;
/// The same with the host extensions: EL0 of the kernel's own regime, which has a stage 1 and no stage 2.
const DOMAIN_HOST: u64 = COMMON | HCR_EL2::TGE::SET.value | HCR_EL2::E2H::SET.value;
/// HCR_EL2 for guests: WFI and WFE trapped.
const GUEST: u64 = COMMON | HCR_EL2::TWI::SET.value | HCR_EL2::TWE::SET.value;
/// The same with the host extensions.
const GUEST_HOST: u64 = GUEST | HCR_EL2::E2H::SET.value;

/// Bits of SCTLR_EL1 without a name in the register crate, by what they do.
mod sctlr {
    /// AArch32 only: CP15BEN, ITD, SED.
    pub(super) const AARCH32: u64 = 1 << 5 | 1 << 7 | 1 << 8;
    /// How exceptions of EL1 synchronise: EOS, IESB, EIS.
    pub(super) const SYNCHRONISATION: u64 = 1 << 11 | 1 << 21 | 1 << 22;
    /// EL1's access to EL0's memory and contexts: TSCXT, SPAN, EPAN; nTLSMD, LSMAOE (AArch32). Linux sets EPAN on every
    /// core, also where it means nothing.
    pub(super) const OTHERS: u64 = 1 << 20 | 1 << 23 | 1 << 28 | 1 << 29 | 1 << 57;
    /// Reserved bits that are one on a core without extensions.
    pub(super) const RESERVED: u64 = 0x30d0_0800;
    /// CP15BEN.
    pub(super) const CP15BEN: u64 = 1 << 5;
}

/// SCTLR_EL1 for domains: caches, cache maintenance and CTR_EL0 at EL0, WFI and WFE not trapped.
pub(super) const SCTLR_DOMAIN: u64 = sctlr::RESERVED
    | sctlr::CP15BEN
    | SCTLR_EL1::C::SET.value
    | SCTLR_EL1::I::SET.value
    | SCTLR_EL1::UCT::SET.value
    | SCTLR_EL1::UCI::SET.value
    | SCTLR_EL1::NTWI::SET.value
    | SCTLR_EL1::NTWE::SET.value;
/// Bits of SCTLR_EL1 that may differ from that while a domain runs: what acts at EL1 only (M is taken as 0 anyway), in
/// AArch32 only, or harmlessly at EL0 (SA0, DZE; a trapped WFI or WFE is skipped).
const SCTLR_FREE: u64 = SCTLR_EL1::M::SET.value
    | SCTLR_EL1::SA::SET.value
    | SCTLR_EL1::SA0::SET.value
    | SCTLR_EL1::NAA::SET.value
    | SCTLR_EL1::DZE::SET.value
    | SCTLR_EL1::NTWI::SET.value
    | SCTLR_EL1::NTWE::SET.value
    | SCTLR_EL1::WXN::SET.value
    | SCTLR_EL1::EE::SET.value
    | sctlr::AARCH32
    | sctlr::SYNCHRONISATION
    | sctlr::OTHERS;
/// CNTKCTL_EL1 for domains: EL0 may read the physical counter and use the physical timer.
pub(super) const CNTKCTL_DOMAIN: u64 =
    CNTKCTL_EL1::EL0PCTEN::SET.value | CNTKCTL_EL1::EL0PTEN::SET.value;
/// Bits of CNTKCTL_EL1 that may be set while a domain runs: EL0 may read the virtual counter, and the event stream.
const CNTKCTL_FREE: u64 = CNTKCTL_EL1::EL0VCTEN::SET.value
    | CNTKCTL_EL1::EVNTEN::SET.value
    | CNTKCTL_EL1::EVNTDIR::SET.value
    | CNTKCTL_EL1::EVNTI.mask << 4
    | CNTKCTL_EL1::EVNTIS::SET.value;
/// CPACR_EL1 that allows the FPU.
pub(super) const CPACR_ALLOW: u64 = CPACR_EL1::FPEN::TrapNothing.value;

/// The state of the processor below EL2.
#[repr(C)]
pub(super) struct World {
    list_registers: u8,
    /// The vCPU whose registers are loaded.
    loaded: Option<VcpuId>,
    /// Whether it runs, or a domain does.
    guest: bool,
    /// VTTBR_EL2.
    stage_2: u64,
    /// TTBR0_EL2, of the domain that last ran; with the host extensions only.
    stage_1: u64,
    /// While a domain runs: whether these hold a domain's value and the guest's is saved. Never for long with the host
    /// extensions.
    swapped_sctlr: bool,
    swapped_cntkctl: bool,
    swapped_cpacr: bool,
    /// Private interrupts that were taken and not deactivated.
    timer_active: bool,
    maintenance_active: bool,
    /// Whether the virtual timer's interrupt is off in the distributor.
    timer_off: bool,
    spaces: Spaces,
    vcpus: Table<VcpuId, Vcpu, { VcpuId::LIMIT }>,
}

impl World {
    pub(super) const fn new() -> Self {
        Self {
            spaces: Table::new([0; SpaceId::LIMIT]),
            vcpus: Table::new([const { Vcpu::new() }; VcpuId::LIMIT]),
            list_registers: 0,
            loaded: None,
            guest: false,
            stage_2: 0,
            stage_1: 0,
            swapped_sctlr: true,
            swapped_cntkctl: true,
            swapped_cpacr: true,
            timer_active: false,
            maintenance_active: false,
            timer_off: false,
        }
    }

    pub(super) fn start(&mut self, spaces: Spaces, list_registers: u8) {
        write!("hcr_el2", if host::is_on() { DOMAIN_HOST } else { DOMAIN });
        self.spaces = spaces;
        self.list_registers = list_registers.min(Vcpu::LIST_REGISTERS);
    }

    pub(super) const fn list_registers(&self) -> u8 {
        self.list_registers
    }

    /// The vCPU that runs, if one does.
    pub(super) fn running(&self) -> Option<VcpuId> {
        self.loaded.filter(|_| self.guest)
    }

    /// Makes the world that of a thread.
    pub(super) fn enter(&mut self, gic: &mut Gic, thread: &Thread) {
        let space = self.spaces[thread.space];
        match thread.owner {
            Owner::Vcpu(vcpu) => self.enter_guest(gic, vcpu),
            Owner::Domain(_) => {
                self.enter_domain(thread.fpu);
                if host::is_on() {
                    if self.stage_1 != space {
                        self.stage_1 = space;
                        write!("ttbr0_el2", space);
                    }
                    return;
                }
            }
        }
        if self.stage_2 != space {
            self.stage_2 = space;
            write!("vttbr_el2", space);
        }
    }

    fn enter_domain(&mut self, fpu: bool) {
        if host::is_on() {
            if self.guest {
                self.guest = false;
                write!("hcr_el2", DOMAIN_HOST);
            }
            return;
        }
        if self.guest {
            self.guest = false;
            write!("hcr_el2", DOMAIN);
            let sctlr = read!("sctlr_el1");
            if is_felt(VcpuRegister::SctlrEl1, sctlr) {
                self.swap_sctlr(sctlr);
            }
            let cntkctl = read!("cntkctl_el1");
            if is_felt(VcpuRegister::CntkctlEl1, cntkctl) {
                self.swap_cntkctl(cntkctl);
            }
        }
        if fpu && !self.swapped_cpacr {
            if let Some(vcpu) = self.loaded {
                self.vcpus[vcpu].set(VcpuRegister::CpacrEl1, read!("cpacr_el1"));
            }
            write!("cpacr_el1", CPACR_ALLOW);
            self.swapped_cpacr = true;
        }
    }

    /// Puts a domain's SCTLR_EL1 in the place of the guest's.
    #[cold]
    fn swap_sctlr(&mut self, guest: u64) {
        if let Some(vcpu) = self.loaded {
            self.vcpus[vcpu].set(VcpuRegister::SctlrEl1, guest);
        }
        self.swapped_sctlr = true;
        write!("sctlr_el1", SCTLR_DOMAIN);
    }

    /// Puts a domain's CNTKCTL_EL1 in the place of the guest's.
    #[cold]
    fn swap_cntkctl(&mut self, guest: u64) {
        if let Some(vcpu) = self.loaded {
            self.vcpus[vcpu].set(VcpuRegister::CntkctlEl1, guest);
        }
        self.swapped_cntkctl = true;
        write!("cntkctl_el1", CNTKCTL_DOMAIN);
    }

    fn enter_guest(&mut self, gic: &mut Gic, vcpu: VcpuId) {
        if self.loaded != Some(vcpu) {
            self.load(gic, vcpu);
        } else if self.guest {
            return;
        }
        let saved = &self.vcpus[vcpu];
        if self.swapped_cntkctl {
            self.swapped_cntkctl = false;
            registers::set(
                VcpuRegister::CntkctlEl1,
                saved.get(VcpuRegister::CntkctlEl1),
            );
        }
        if self.swapped_sctlr {
            self.swapped_sctlr = false;
            registers::set(VcpuRegister::SctlrEl1, saved.get(VcpuRegister::SctlrEl1));
        }
        if self.swapped_cpacr {
            self.swapped_cpacr = false;
            registers::set(VcpuRegister::CpacrEl1, saved.get(VcpuRegister::CpacrEl1));
        }
        write!("hcr_el2", if host::is_on() { GUEST_HOST } else { GUEST });
        self.guest = true;
        if self.maintenance_active {
            self.maintenance_active = false;
            gic.deactivate(MAINTENANCE);
        }
        self.update_timer(gic, vcpu);
    }

    /// Replaces the registers that are loaded by those of another vCPU. What differs while a domain runs is in its
    /// saved state afterwards.
    #[cold]
    fn load(&mut self, gic: &mut Gic, vcpu: VcpuId) {
        if let Some(old) = self.loaded {
            for register in [
                VcpuRegister::SctlrEl1,
                VcpuRegister::CntkctlEl1,
                VcpuRegister::CpacrEl1,
            ] {
                if self.holds(old, register) {
                    self.vcpus[old].set(register, registers::get(register));
                }
            }
            self.vcpus[old].save(gic, self.list_registers);
        }
        // The old one's timer is disabled now, so that its line is low.
        if self.timer_active {
            self.timer_active = false;
            gic.deactivate(VIRTUAL_TIMER);
        }
        self.vcpus[vcpu].load(gic, self.list_registers);
        self.loaded = Some(vcpu);
        self.swapped_sctlr = true;
        self.swapped_cntkctl = true;
        self.swapped_cpacr = true;
    }

    /// Makes the virtual timer's interrupt possible, or not, for the vCPU that is about to run.
    fn update_timer(&mut self, gic: &mut Gic, vcpu: VcpuId) {
        if self.vcpus[vcpu].timer_masked {
            // An active interrupt does not happen again, and needs no mask.
            if !self.timer_active && !self.timer_off {
                self.timer_off = true;
                gic.set_enabled(VIRTUAL_TIMER, false);
            }
            return;
        }
        if self.timer_off {
            self.timer_off = false;
            gic.set_enabled(VIRTUAL_TIMER, true);
        }
        if self.timer_active {
            self.timer_active = false;
            gic.deactivate(VIRTUAL_TIMER);
        }
    }

    /// The virtual timer's interrupt came; whether it is an event of the running vCPU. It stays active: else it comes
    /// again when the vCPU runs.
    pub(super) fn timer_event(&mut self) -> bool {
        self.timer_active = true;
        let Some(vcpu) = self.running() else {
            return false;
        };
        self.vcpus[vcpu].timer_masked = true;
        true
    }

    /// The maintenance interrupt came; the list register whose interrupt was ended, of the running vCPU.
    pub(super) fn maintenance(&mut self, gic: &mut Gic) -> Option<Option<u8>> {
        let Some(vcpu) = self.running() else {
            // It comes again when the vCPU runs.
            self.maintenance_active = true;
            return None;
        };
        let ended = gic.ended().filter(|index| *index < self.list_registers);
        if let Some(index) = ended {
            let value = gic.list_register(index).without_end();
            gic.set_list_register(index, value);
            self.vcpus[vcpu].set_list_register(index, value);
        }
        gic.deactivate(MAINTENANCE);
        Some(ended)
    }

    /// The guest acknowledged its timer's interrupt: it may happen again when the vCPU runs.
    pub(super) fn unmask_timer(&mut self, vcpu: VcpuId) {
        self.vcpus[vcpu].timer_masked = false;
    }

    /// Whether the processor holds this register of a vCPU, or its saved state does.
    fn holds(&self, vcpu: VcpuId, register: VcpuRegister) -> bool {
        if self.loaded != Some(vcpu) {
            return false;
        }
        match register {
            VcpuRegister::SctlrEl1 => !self.swapped_sctlr,
            VcpuRegister::CpacrEl1 => !self.swapped_cpacr,
            VcpuRegister::CntkctlEl1 => !self.swapped_cntkctl,
            _ => true,
        }
    }

    pub(super) fn read(&self, vcpu: VcpuId, register: VcpuRegister) -> u64 {
        if self.holds(vcpu, register) {
            registers::get(register)
        } else {
            self.vcpus[vcpu].get(register)
        }
    }

    pub(super) fn write(&mut self, vcpu: VcpuId, register: VcpuRegister, value: u64) {
        if !self.holds(vcpu, register) {
            self.vcpus[vcpu].set(register, value);
            return;
        }
        // A domain is running, which must not feel it.
        match register {
            VcpuRegister::SctlrEl1 if is_felt(register, value) => self.swap_sctlr(value),
            VcpuRegister::CntkctlEl1 if is_felt(register, value) => self.swap_cntkctl(value),
            _ => registers::set(register, value),
        }
    }

    pub(super) fn seen(&self, vcpu: VcpuId, index: u8) -> ListRegister {
        self.vcpus[vcpu].list_register(index)
    }

    pub(super) fn inject(&mut self, gic: &mut Gic, vcpu: VcpuId, index: u8, value: ListRegister) {
        if self.loaded == Some(vcpu) {
            gic.set_list_register(index, value);
        } else {
            self.vcpus[vcpu].set_list_register(index, value);
        }
    }
}

/// Whether a domain would feel this value of a guest's register.
fn is_felt(register: VcpuRegister, value: u64) -> bool {
    match register {
        _ if host::is_on() => false,
        VcpuRegister::SctlrEl1 => (value ^ SCTLR_DOMAIN) & !SCTLR_FREE != 0,
        VcpuRegister::CntkctlEl1 => value & !CNTKCTL_FREE != 0,
        _ => false,
    }
}

impl super::Hardware {
    /// Lets the domain that runs use counter and timer; false when it could before.
    pub(super) fn allow_timer(&mut self) -> bool {
        let world = &mut self.world;
        let changes = !host::is_on() && !world.swapped_cntkctl;
        if changes {
            world.swap_cntkctl(read!("cntkctl_el1"));
        }
        changes
    }

    /// Prepares the processor for a wait: no vCPU runs, so that its events come when it does.
    pub(super) fn rest(&mut self) {
        self.world.enter_domain(false);
    }

    /// Prepares the processor for a thread.
    pub(super) fn enter(&mut self, id: ThreadId, thread: &Thread) {
        self.world.enter(&mut self.gic, thread);
        self.fpu.run(id, thread.fpu);
    }

    /// Gives the FPU to a thread that used it.
    pub(super) fn give_fpu(&mut self, thread: ThreadId) {
        self.fpu.give(thread);
    }
}

/// The virtual interface is on from a vCPU's first run on.
const _: () = assert!(VIRTUAL_ON == 1);
