//! Invocation labels, which depend on the kernel's configuration.
//!
//! A PD image serves every kernel: it reads the labels from its configuration region, where the tool put those
//! of the kernel that the system image is built for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The invocation labels that a PD needs, by the names of the SDK's `invocations_all.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are the labels' own names")]
pub struct Labels {
    pub tcb_read_registers: u32,
    pub tcb_write_registers: u32,
    pub tcb_set_priority: u32,
    pub tcb_suspend: u32,
    pub tcb_resume: u32,
    pub tcb_bind_notification: u32,
    pub tcb_set_flags: u32,
    pub irq_ack_irq: u32,
    pub sched_context_consumed: u32,
    pub sched_context_yield_to: u32,
    pub arm_vspace_clean_data: u32,
    pub arm_vspace_invalidate_data: u32,
    pub arm_vspace_clean_invalidate_data: u32,
    pub arm_vspace_unify_instruction: u32,
    pub arm_smc_call: u32,
    pub arm_vcpu_set_tcb: u32,
    pub arm_vcpu_inject_irq: u32,
    pub arm_vcpu_read_regs: u32,
    pub arm_vcpu_write_regs: u32,
    pub arm_vcpu_ack_vppi: u32,
}

impl Labels {
    /// seL4 16.0.0 in the SDK's release, smp-release and benchmark configurations.
    pub const RELEASE: Self = Self::after(17, 27);
    /// seL4 16.0.0 in the SDK's debug and smp-debug configurations.
    pub const DEBUG: Self = Self::after(21, 31);

    /// The labels when TCB SetFlags and IRQAckIRQ have these values; all others keep their distance to them.
    const fn after(set_flags: u32, ack_irq: u32) -> Self {
        Self {
            tcb_read_registers: 2,
            tcb_write_registers: 3,
            tcb_set_priority: 6,
            tcb_suspend: 12,
            tcb_resume: 13,
            tcb_bind_notification: 14,
            tcb_set_flags: set_flags,
            irq_ack_irq: ack_irq,
            sched_context_consumed: ack_irq + 10,
            sched_context_yield_to: ack_irq + 11,
            arm_vspace_clean_data: ack_irq + 12,
            arm_vspace_invalidate_data: ack_irq + 13,
            arm_vspace_clean_invalidate_data: ack_irq + 14,
            arm_vspace_unify_instruction: ack_irq + 15,
            arm_smc_call: ack_irq + 16,
            arm_vcpu_set_tcb: ack_irq + 28,
            arm_vcpu_inject_irq: ack_irq + 29,
            arm_vcpu_read_regs: ack_irq + 30,
            arm_vcpu_write_regs: ack_irq + 31,
            arm_vcpu_ack_vppi: ack_irq + 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_agree_with_the_sdk() {
        let (release, debug) = (Labels::RELEASE, Labels::DEBUG);
        assert_eq!(
            (release.arm_vcpu_set_tcb, release.arm_vcpu_ack_vppi),
            (55, 59)
        );
        assert_eq!((debug.arm_vcpu_set_tcb, debug.arm_vcpu_ack_vppi), (59, 63));
        assert_eq!((release.arm_smc_call, debug.arm_smc_call), (43, 47));
        assert_eq!(
            (release.arm_vspace_clean_data, debug.arm_vspace_clean_data),
            (39, 43)
        );
        assert_eq!(
            (release.sched_context_yield_to, debug.sched_context_yield_to),
            (38, 42)
        );
    }
}
