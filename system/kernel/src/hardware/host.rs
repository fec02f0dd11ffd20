//! The host extensions (FEAT_VHE), used where the processor has them.
//!
//! With them (HCR_EL2.E2H), domains run at EL0 of the kernel's own translation regime (HCR_EL2.TGE), so that the TLB
//! entries of a guest and of the domain that last ran both outlive a change between the two, and nothing of EL1 is felt
//! by a domain: an exit costs no register but HCR_EL2. Without them a domain runs in the guests' regime, behind stage 2.
//!
//! What is different with them:
//! - page tables of domains are the kernel's kind (stage 1, ASID), and hold the kernel's window;
//! - a guest's registers have names of their own (`SCTLR_EL12`, …): the usual ones are EL2's;
//! - TCR_EL2, CPTR_EL2 and CNTHCTL_EL2 have another format, and SCTLR_EL2 also acts at EL0;
//! - the physical timer of EL0 is EL2's (CNTHP), so the kernel takes EL1's (CNTP) for itself, out of the guests' reach.

use aarch64_cpu::registers::{HCR_EL2, Readable};

/// Whether the host extensions are in use: the first instructions have decided.
pub(super) fn is_on() -> bool {
    HCR_EL2.is_set(HCR_EL2::E2H)
}
