//! The bundled kernel's decisions: who runs, who may do what, what a message holds.
//!
//! Everything here is plain data and works on the host. What touches hardware is behind [`machine::Machine`],
//! whose real implementation is in the program (`main.rs`) and whose fake one is in the tests.
//!
//! One event — a system call, a fault, an interrupt — is one method of [`kernel::Kernel`]; then
//! [`Kernel::schedule`](kernel::Kernel::schedule) says which thread runs next.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod budget;
pub mod capability;
pub mod context;
mod control;
pub mod description;
mod endpoint;
pub mod fault;
pub mod id;
mod interrupt;
mod invocation;
pub mod kernel;
pub mod list_register;
pub mod machine;
mod notification;
mod queue;
mod ready;
mod reply;
mod report;
mod schedule;
pub mod syndrome;
mod syscall;
pub mod thread;

#[cfg(test)]
mod tests;
