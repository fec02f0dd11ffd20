//! What the driver needs of a serial line; a PL011 on the target, a fake in tests.

/// A serial line with queues of its own, none of which is waited for.
pub trait Line {
    /// Sends bytes, from the first, as many as there is room for now; returns how many.
    fn send(&mut self, bytes: &[u8]) -> usize;
    /// The next byte that has come in.
    fn receive(&mut self) -> Option<u8>;
    /// Whether everything sent has left the machine.
    fn is_idle(&self) -> bool;
    /// Whether there is nothing left to send, or so little that the line does not interrupt about it.
    fn is_almost_idle(&self) -> bool;
    /// Chooses what interrupts: bytes coming in, room for bytes to send.
    fn listen(&mut self, incoming: bool, room: bool);
}
