//! Names of invocations for messages.

/// Every invocation of seL4 16.0.0's debug configuration, from label 1 on.
#[rustfmt::skip]
const NAMES: [&str; 65] = [
    "UntypedRetype", "TCBReadRegisters", "TCBWriteRegisters", "TCBCopyRegisters", "TCBConfigure",
    "TCBSetPriority", "TCBSetMCPriority", "TCBSetSchedParams", "TCBSetTimeoutEndpoint",
    "TCBSetIPCBuffer", "TCBSetSpace", "TCBSuspend", "TCBResume", "TCBBindNotification",
    "TCBUnbindNotification", "TCBSetBreakpoint", "TCBGetBreakpoint", "TCBUnsetBreakpoint",
    "TCBConfigureSingleStepping", "TCBSetTLSBase", "TCBSetFlags", "CNodeRevoke", "CNodeDelete",
    "CNodeCancelBadgedSends", "CNodeCopy", "CNodeMint", "CNodeMove", "CNodeMutate", "CNodeRotate",
    "IRQIssueIRQHandler", "IRQAckIRQ", "IRQSetIRQHandler", "IRQClearIRQHandler", "DomainSetSet",
    "DomainScheduleConfigure", "DomainScheduleSetStart", "SchedControlConfigureFlags",
    "SchedContextBind", "SchedContextUnbind", "SchedContextUnbindObject", "SchedContextConsumed",
    "SchedContextYieldTo", "ARMVSpaceClean_Data", "ARMVSpaceInvalidate_Data",
    "ARMVSpaceCleanInvalidate_Data", "ARMVSpaceUnify_Instruction", "ARMSMCCall", "ARMPageTableMap",
    "ARMPageTableUnmap", "ARMPageMap", "ARMPageUnmap", "ARMPageClean_Data",
    "ARMPageInvalidate_Data", "ARMPageCleanInvalidate_Data", "ARMPageUnify_Instruction",
    "ARMPageGetAddress", "ARMASIDControlMakePool", "ARMASIDPoolAssign", "ARMVCPUSetTCB",
    "ARMVCPUInjectIRQ", "ARMVCPUReadReg", "ARMVCPUWriteReg", "ARMVCPUAckVPPI",
    "ARMIRQIssueIRQHandlerTrigger", "ARMIRQIssueSGISignal",
];
/// Labels that only the debug configuration has.
const DEBUG_FIRST: u32 = 16;
/// How many those are.
const DEBUG_COUNT: u32 = 4;

/// The name of the invocation with this label.
pub(super) fn invocation(label: u32, debug: bool) -> &'static str {
    let label = if debug || label < DEBUG_FIRST {
        label
    } else {
        label.saturating_add(DEBUG_COUNT)
    };
    let index = usize::try_from(label)
        .ok()
        .and_then(|label| label.checked_sub(1));
    let name = index.and_then(|index| NAMES.get(index));
    name.copied().unwrap_or("an unknown invocation")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sel4cp_abi::label::Labels;

    #[test]
    fn names_agree_with_labels() {
        for (debug, labels) in [(false, Labels::RELEASE), (true, Labels::DEBUG)] {
            assert_eq!(
                invocation(labels.tcb_read_registers, debug),
                "TCBReadRegisters"
            );
            assert_eq!(invocation(labels.tcb_set_flags, debug), "TCBSetFlags");
            assert_eq!(
                invocation(labels.arm_vcpu_ack_vppi, debug),
                "ARMVCPUAckVPPI"
            );
        }
        assert_eq!(invocation(0, true), "an unknown invocation");
        assert_eq!(invocation(u32::MAX, false), "an unknown invocation");
    }
}
