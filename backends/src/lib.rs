//! sel4cp-backends.
