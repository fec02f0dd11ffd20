//! sel4cp-ring.
