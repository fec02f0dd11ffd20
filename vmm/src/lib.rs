//! sel4cp-vmm.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod exit;
pub mod gic;
pub mod image;
pub mod psci;
