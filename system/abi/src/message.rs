//! Message info words, the IPC buffer and the errors of invocations.

/// Message registers of one message, in words.
pub const MAX_LENGTH: usize = 120;
/// Message registers that travel in CPU registers (x2 to x5).
pub const REGISTERS: usize = 4;
/// Words of the IPC buffer before its first message register (the tag).
pub const BUFFER_FIRST: usize = 1;

/// A message info word: length in bits 0–6, extra capabilities 7–8, unwrapped 9–11, label 12–63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageInfo(pub u64);

impl MessageInfo {
    /// A message with `label` and `length` message registers; lengths above [`MAX_LENGTH`] are cut there, as
    /// the kernel does.
    pub const fn new(label: u64, length: usize) -> Self {
        let length = if length > MAX_LENGTH {
            MAX_LENGTH
        } else {
            length
        };
        Self(label << 12 | length as u64)
    }

    /// The label: what is asked, or the error of an invocation.
    pub const fn label(self) -> u64 {
        self.0 >> 12
    }

    /// The number of message registers, at most [`MAX_LENGTH`].
    pub const fn length(self) -> usize {
        let length = (self.0 & 0x7f) as u8;
        if length as usize > MAX_LENGTH {
            MAX_LENGTH
        } else {
            length as usize
        }
    }

    /// The number of capabilities sent along.
    pub const fn extra_caps(self) -> u8 {
        (self.0 >> 7 & 3) as u8
    }
}

/// Why an invocation was refused: the label of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// An argument is wrong.
    InvalidArgument = 1,
    /// The capability is of another type, or there is none.
    InvalidCapability = 2,
    /// The call is not allowed now.
    IllegalOperation = 3,
    /// An argument is out of range.
    RangeError = 4,
    /// An argument is not aligned.
    AlignmentError = 5,
    /// A capability could not be found.
    FailedLookup = 6,
    /// The message has too few registers.
    TruncatedMessage = 7,
    /// What is there must be deleted first (an active list register).
    DeleteFirst = 8,
    /// What is there must be revoked first.
    RevokeFirst = 9,
    /// Out of memory.
    NotEnoughMemory = 10,
}

impl Error {
    /// The error that a reply's label stands for, if it is one; label 0 is success.
    pub const fn from_label(label: u64) -> Option<Self> {
        Some(match label {
            1 => Self::InvalidArgument,
            2 => Self::InvalidCapability,
            3 => Self::IllegalOperation,
            4 => Self::RangeError,
            5 => Self::AlignmentError,
            6 => Self::FailedLookup,
            7 => Self::TruncatedMessage,
            8 => Self::DeleteFirst,
            9 => Self::RevokeFirst,
            10 => Self::NotEnoughMemory,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_keeps_label_and_length() {
        let info = MessageInfo::new(61, 12);
        assert_eq!(
            (info.label(), info.length(), info.extra_caps()),
            (61, 12, 0)
        );
        assert_eq!(MessageInfo::new(0, 500).length(), MAX_LENGTH);
        assert_eq!(MessageInfo(0x7f).length(), MAX_LENGTH);
    }

    #[test]
    fn error_labels_are_one_to_ten() {
        assert_eq!(Error::from_label(0), None);
        assert_eq!(Error::from_label(8), Some(Error::DeleteFirst));
        assert_eq!(
            (1..=10)
                .filter_map(Error::from_label)
                .map(|e| e as u64)
                .sum::<u64>(),
            55
        );
        assert_eq!(Error::from_label(11), None);
    }
}
