//! Fault messages: their labels and the order of their message registers.

/// What a fault message is about: its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Fault {
    /// A capability could not be used.
    Cap = 1,
    /// MR0–7 x0–x7, then FaultIP, SP, LR, SPSR and the number.
    UnknownSyscall = 2,
    /// IP, SP, SPSR, number, code.
    UserException = 3,
    /// A debug event.
    Debug = 4,
    /// data, consumed.
    Timeout = 5,
    /// IP, address (guest-physical for a vCPU), prefetch flag, ESR.
    Vm = 6,
    /// List register, or −1.
    VgicMaintenance = 7,
    /// ESR.
    Vcpu = 8,
    /// INTID of the private peripheral interrupt.
    VppiEvent = 9,
}

impl Fault {
    /// The fault with this message label.
    pub const fn from_label(label: u64) -> Option<Self> {
        Some(match label {
            1 => Self::Cap,
            2 => Self::UnknownSyscall,
            3 => Self::UserException,
            4 => Self::Debug,
            5 => Self::Timeout,
            6 => Self::Vm,
            7 => Self::VgicMaintenance,
            8 => Self::Vcpu,
            9 => Self::VppiEvent,
            _ => return None,
        })
    }
}
