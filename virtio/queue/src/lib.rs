//! sel4cp-queue.
