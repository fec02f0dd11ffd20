//! sel4cp-vmm.
