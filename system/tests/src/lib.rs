//! sel4cp-tests.
