//! System call numbers, passed in x7 of `svc #0`.

/// The number of a system call, as the kernel finds it in x7 (sign-extended to 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Syscall {
    /// Send and wait for the reply.
    Call = -1,
    /// Reply to the caller in the reply object, then receive.
    ReplyRecv = -2,
    /// Send without blocking, then receive with a reply object.
    NBSendRecv = -3,
    /// Send without blocking, then wait without a reply object.
    NBSendWait = -4,
    /// Send, blocking until somebody receives.
    Send = -5,
    /// Send if somebody is waiting to receive, else do nothing.
    NBSend = -6,
    /// Receive, blocking.
    Recv = -7,
    /// Receive if somebody is waiting to send, else return badge 0.
    NBRecv = -8,
    /// Receive without a reply object, blocking.
    Wait = -9,
    /// Receive without a reply object if something is there.
    NBWait = -10,
    /// Give up the rest of the budget.
    Yield = -11,
    /// Debug kernels only: print the character in x0.
    DebugPutChar = -12,
    /// Debug kernels only: print the scheduler's queues.
    DebugDumpScheduler = -13,
    /// Debug kernels only: stop the machine.
    DebugHalt = -14,
    /// Debug kernels only: the type of the capability in x0.
    DebugCapIdentify = -15,
    /// Debug kernels only: print the capability space.
    DebugSnapshot = -16,
    /// Debug kernels only: name a thread.
    DebugNameThread = -17,
}

impl Syscall {
    /// Every call, release kernels' first.
    pub const ALL: [Self; 17] = [
        Self::Call,
        Self::ReplyRecv,
        Self::NBSendRecv,
        Self::NBSendWait,
        Self::Send,
        Self::NBSend,
        Self::Recv,
        Self::NBRecv,
        Self::Wait,
        Self::NBWait,
        Self::Yield,
        Self::DebugPutChar,
        Self::DebugDumpScheduler,
        Self::DebugHalt,
        Self::DebugCapIdentify,
        Self::DebugSnapshot,
        Self::DebugNameThread,
    ];

    /// The call with the number that the kernel found in x7.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|call| *call as i64 == number)
    }
}
