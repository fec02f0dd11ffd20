//! sel4cp-kernel.
