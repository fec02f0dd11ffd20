//! Invocations of virtual CPUs.

use super::{Answer, Outcome, Refusal, Request};
use crate::id::VcpuId;
use crate::kernel::Kernel;
use crate::list_register;
use crate::machine::Machine;
use sel4cp_abi::message::Error;
use sel4cp_abi::vcpu::VcpuRegister;

/// The guests' virtual timer, the one private interrupt with an event.
const VIRTUAL_TIMER: u64 = 27;
/// The last INTID that seL4 knows on this board.
const LAST_INTERRUPT: u64 = 159;
/// Registers by field number.
const FIELDS: [VcpuRegister; VcpuRegister::COUNT] = {
    use VcpuRegister as R;
    [
        R::SctlrEl1,
        R::CpacrEl1,
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
        R::CntvCtlEl0,
        R::CntvCvalEl0,
        R::CntvoffEl2,
        R::CntkctlEl1,
    ]
};

/// The register with this field number.
fn register(field: u64) -> Result<VcpuRegister, Refusal> {
    let index = usize::try_from(field).ok();
    let register = index.and_then(|index| FIELDS.get(index));
    register.copied().ok_or(Refusal::InvalidArgument(1))
}

impl<M: Machine> Kernel<M> {
    pub(super) fn invoke_vcpu(&mut self, request: Request, vcpu: VcpuId) -> Outcome {
        let labels = &self.labels;
        match request.label {
            label if label == labels.arm_vcpu_inject_irq => {
                request.needs(1)?;
                self.inject(vcpu, self.word(request.thread, 0))
            }
            label if label == labels.arm_vcpu_ack_vppi => {
                request.needs(1)?;
                match self.word(request.thread, 0) {
                    VIRTUAL_TIMER => {}
                    0..=LAST_INTERRUPT => return Err(Refusal::InvalidArgument(0)),
                    _ => return Err(Refusal::Range(0, LAST_INTERRUPT)),
                }
                self.machine.unmask_virtual_timer(vcpu);
                Ok(Answer::Empty)
            }
            label if label == labels.arm_vcpu_read_regs => {
                request.needs(1)?;
                let register = register(self.word(request.thread, 0))?;
                Ok(Answer::Word(self.machine.read_vcpu(vcpu, register)))
            }
            label if label == labels.arm_vcpu_write_regs => {
                request.needs(2)?;
                let register = register(self.word(request.thread, 0))?;
                let value = self.word(request.thread, 1);
                self.machine.write_vcpu(vcpu, register, value);
                Ok(Answer::Empty)
            }
            // A vCPU keeps the thread that it was made with: SetTCB is among what is refused.
            _ => Err(Refusal::IllegalOperation),
        }
    }

    fn inject(&mut self, vcpu: VcpuId, argument: u64) -> Outcome {
        let machine = &self.machine;
        let result = list_register::inject(argument, machine.list_registers(), |index| {
            machine.seen_list_register(vcpu, index)
        });
        match result {
            Ok((index, value)) => {
                self.machine.set_list_register(vcpu, index, value);
                Ok(Answer::Empty)
            }
            Err(refused) if refused.error == Error::DeleteFirst => Err(Refusal::DeleteFirst),
            Err(refused) => Err(Refusal::Range(0, refused.highest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_the_order_of_their_numbers() {
        for (number, field) in FIELDS.into_iter().enumerate() {
            assert_eq!(field as usize, number);
        }
        assert_eq!(register(24), Err(Refusal::InvalidArgument(1)));
        assert_eq!(register(u64::MAX), Err(Refusal::InvalidArgument(1)));
    }
}
