//! One connection: the line that is being read or answered.

use super::answer::Denied;
use crate::socket::Socket;

/// Most bytes of a line: the longest request and the longest name, and some.
pub(super) const LINE: usize = 64;

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not all there.
    Reading,
    /// It is to be answered; so many parts of the answer have been sent.
    Line(u8),
    /// It is an order that is with this guest's VMM, by its number.
    Ordered(usize, u32),
}

/// What is kept for one connection.
#[derive(Debug)]
pub struct Session {
    /// [`Socket::id`]; 0 is nobody's.
    connection: u64,
    line: heapless::Vec<u8, LINE>,
    overlong: bool,
    pub(super) step: Step,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// Nobody's.
    pub const fn new() -> Self {
        Self {
            connection: 0,
            line: heapless::Vec::new(),
            overlong: false,
            step: Step::Reading,
        }
    }

    /// Begins anew if it was another connection's.
    pub(super) fn is_for(&mut self, connection: u64) {
        if self.connection != connection {
            *self = Self {
                connection,
                ..Self::new()
            };
        }
    }

    /// Forgets the line.
    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.overlong = false;
    }

    /// Reads on, to the end of the line and no further; false when it is not all there. What a guest has sent when it closes its
    /// end is a line.
    pub(super) fn read(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut byte = [0];
        while socket.receive(&mut byte) == 1 {
            let [byte] = byte;
            if byte == b'\n' {
                return true;
            }
            self.overlong |= self.line.push(byte).is_err();
        }
        socket.is_finished() && !self.line.is_empty()
    }

    /// The line.
    pub(super) fn line(&self) -> Result<&str, Denied<'_>> {
        if self.overlong {
            return Err(Denied::Overlong);
        }
        core::str::from_utf8(&self.line).map_err(|_| Denied::NoText)
    }
}
