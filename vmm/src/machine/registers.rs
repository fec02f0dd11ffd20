//! System registers that the kernel does not give to guests.

use super::{INSTRUCTION, Machine};
use crate::exit::{Purpose, SystemRegister};
use crate::gic::Version;
use crate::report::Cause;
use crate::vcpu::{Context, Exception};
use sel4cp_pd::Vcpu;

/// ICC_SRE_EL1: the CPU interface is system registers, and there is nothing to bypass it. All of it is fixed.
const INTERRUPT_REGISTERS: u64 = 0b111;
/// Groups of SGIs: a bit each.
const GROUP_0: u8 = 1;
const BOTH_GROUPS: u8 = 3;

impl Machine {
    /// Serves an access. What belongs to debug or to the performance monitors reads as zero and ignores writes, which
    /// says to a guest that there are none in use. A GICv3's guest has some of that. All others are undefined.
    #[cold]
    pub(super) fn system_register(
        &mut self,
        vcpu: Vcpu,
        register: SystemRegister,
    ) -> Result<(), Cause> {
        let v3 = self.gic.version() == Version::V3;
        let mut context = Context::new(vcpu);
        let value = match (register.purpose(), register.read) {
            (Purpose::Debug, _) => 0,
            (Purpose::InterruptRegistersEnable, _) if v3 => INTERRUPT_REGISTERS,
            (purpose @ (Purpose::GenerateSgi | Purpose::GenerateSgiOfGroup0), false) if v3 => {
                let groups = if purpose == Purpose::GenerateSgi {
                    BOTH_GROUPS
                } else {
                    GROUP_0
                };
                let value = context.x(register.register)?;
                self.gic.generate_sgi(vcpu.id(), groups, value);
                self.deliver()?;
                0
            }
            _ => return Ok(context.take(Exception::Undefined)?),
        };
        let next = context.pc()?.wrapping_add(INSTRUCTION);
        let to = if register.read { register.register } else { 31 };
        Ok(context.finish(next, to, value)?)
    }
}
