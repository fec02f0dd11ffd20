//! The virtual machine monitor: one for each guest.
//!
//! # One exit
//! ```text
//!  guest          str w1, [x0]              a store to a virtIO device's register page, which is read-only
//!    │            VM fault: pc, address, syndrome
//!    ▼
//!  exit           Access { ip, address, syndrome }                            pure decoding
//!    │
//!  machine        which phase is the guest in?                                power
//!    │
//!  bus            address → device 2, offset 0x50
//!    │
//!  vcpu           x1: one ReadRegisters of 12 words, if the register has to be read at all
//!    │
//!  mmio           QueueNotify: sets a bit on the link ──► Effect::Notify ──► backend's channel
//!    │
//!  vcpu           pc + 4: one WriteRegisters of one word, which lets the guest go on
//! ```
//! Interrupts come the other way: a backend sets a bit on its link and notifies; `mmio` shows it in InterruptStatus,
//! `gic` finds it pending, enabled and most urgent, and it goes into a list register. A vCPU that sleeps is woken.
//!
//! # Who does what
//! - Pure, numbers in and numbers out: [`exit`], [`psci`], [`image`], [`gic`], [`bus`].
//! - With memory or a vCPU: [`mmio`], [`uart`], [`load`], [`drain`], [`vcpu`].
//! - [`machine`] holds them together, and [`report`] tells why it ended. [`guest`] draws the memory map.
//!
//! # Trust
//! The guest may do anything. What it writes is checked where it is used; what it does that hardware would refuse
//! is refused as hardware does, with an abort or an undefined instruction in the guest; what cannot be served stops this
//! guest, with a report. Backends may write anything into their link pages: `sel4cp_link` checks that.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod bus;
pub mod drain;
pub mod exit;
pub mod gic;
pub mod guest;
pub mod image;
pub mod load;
pub mod machine;
pub mod mmio;
pub mod psci;
pub mod report;
pub mod uart;
pub mod vcpu;

use machine::Machine;

/// Sets the VMM up; a configuration that does not fit stops this protection domain, with a line that says why.
pub fn init() -> Machine {
    match Machine::new() {
        Ok(machine) => machine,
        Err(error) => sel4cp_pd::fatal!("{error}"),
    }
}
