//! sel4cp-model.
