//! sel4cp-testing.
