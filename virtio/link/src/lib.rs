//! sel4cp-link.
