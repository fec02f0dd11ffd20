//! The binary interface of a protection domain, shared by the PD runtime, the bundled kernel and the tool.
//!
//! [`syscall`], [`message`], [`fault`], [`label`], [`slot`] and [`vcpu`] restate what the Microkit 2.3.0 and
//! seL4 16.0.0 give a PD on AArch64 (MCS, hypervisor build). [`config`] is our own: what the tool writes into
//! the configuration region of each PD, and [`uart`] a word of it. [`image`] is the bundled kernel's image format.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod config;
pub mod fault;
pub mod image;
pub mod label;
pub mod message;
pub mod slot;
pub mod syscall;
pub mod uart;
pub mod vcpu;
