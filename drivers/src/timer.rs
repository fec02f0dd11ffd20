//! Wakes VMMs whose guests sleep: deadlines on the physical timer.
