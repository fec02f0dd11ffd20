//! The key chord that moves the input: Ctrl-] and then a digit, `n` or Ctrl-] itself.
#![forbid(unsafe_code)]

/// Ctrl-].
pub const CHORD: u8 = 0x1d;

/// What a byte from the line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A byte for the guest that has the input.
    Byte(u8),
    /// The first half of a chord.
    Half,
    /// The input goes to this guest, counted from 0.
    Guest(usize),
    /// The input goes to the next guest.
    Next,
    /// A chord that means nothing.
    Unknown,
}

/// Tells chords from bytes.
#[derive(Debug, Default)]
pub struct Keys {
    half: bool,
}

impl Keys {
    /// The meaning of the next byte.
    pub fn press(&mut self, byte: u8) -> Key {
        if !core::mem::take(&mut self.half) {
            self.half = byte == CHORD;
            return if self.half {
                Key::Half
            } else {
                Key::Byte(byte)
            };
        }
        match byte {
            CHORD => Key::Byte(CHORD),
            b'n' | b'N' => Key::Next,
            b'1'..=b'9' => Key::Guest(usize::from(byte - b'1')),
            _ => Key::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_are_told_from_bytes() {
        let mut keys = Keys::default();
        let all = b"a\x1d2\r\x1d\x1dn\x1dn\x1d0x".map(|byte| keys.press(byte));
        let expected = [
            Key::Byte(b'a'),
            Key::Half,
            Key::Guest(1),
            Key::Byte(b'\r'),
            Key::Half,
            Key::Byte(CHORD),
            Key::Byte(b'n'),
            Key::Half,
            Key::Next,
            Key::Half,
            Key::Unknown,
            Key::Byte(b'x'),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn every_other_byte_is_itself() {
        let mut keys = Keys::default();
        for byte in (0..=u8::MAX).filter(|byte| *byte != CHORD) {
            assert_eq!(keys.press(byte), Key::Byte(byte));
        }
    }
}
