//! sel4cp-memory.
