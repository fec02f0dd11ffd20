//! sel4cp-drivers.
