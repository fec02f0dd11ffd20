//! Bytes through a serial line that people and kernels write to as well.
//!
//! A command goes to the guest in short base64 lines and comes back as frames: `<NONCE:name:…>`, in which line ends
//! mean nothing, so that a multiplexer may break lines where it likes. A checksum finds what a kernel message that
//! was printed into the middle has damaged; the frame is then asked for again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most characters of base64 in one line: far from any terminal's limit.
const PIECE: usize = 160;

/// `bytes` in base64, in pieces for one line each; at least one, so that there is a file.
pub(super) fn pieces(bytes: &[u8]) -> Vec<String> {
    let text = STANDARD.encode(bytes);
    if text.is_empty() {
        return vec![text];
    }
    text.as_bytes()
        .chunks(PIECE)
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect()
}

/// Collects what comes from the guest, without line ends.
#[derive(Debug, Default)]
pub(super) struct Collector {
    text: Vec<u8>,
    taken: usize,
}

impl Collector {
    /// Takes what `stream` has beyond what was taken before, from `start` on.
    pub(super) fn take(&mut self, stream: &[u8], start: usize) {
        let from = start.saturating_add(self.taken);
        let new = stream.get(from..).unwrap_or_default();
        self.taken += new.len();
        self.text
            .extend(new.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    }

    /// What the frame `name` contains, if it is there as a whole; the last one if it came more than once.
    pub(super) fn frame(&self, nonce: &str, name: &str) -> Option<&[u8]> {
        let start = format!("<{nonce}:{name}:");
        let at = rfind(&self.text, start.as_bytes())? + start.len();
        let rest = self.text.get(at..)?;
        let end = rest.iter().position(|byte| *byte == b'>')?;
        rest.get(..end)
    }

    /// Forgets everything up to now.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// How many bytes of the stream were taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

/// The bytes in a frame `CHECKSUM SIZE:BASE64`, if nothing damaged it.
pub(super) fn decode(frame: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(frame).ok()?;
    let (head, body) = text.split_once(':')?;
    let (sum, size) = head.trim().split_once(' ')?;
    let bytes = STANDARD.decode(body).ok()?;
    let right = sum.parse() == Ok(checksum(&bytes)) && size.trim().parse() == Ok(bytes.len());
    right.then_some(bytes)
}

fn rfind(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len())
        .rposition(|part| part == pattern)
}

/// Where `pattern` starts in `text`.
pub(super) fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|part| part == pattern)
}

/// POSIX `cksum`: the guest has it, coreutils' and busybox's alike.
fn checksum(bytes: &[u8]) -> u32 {
    let mut length = bytes.len();
    let mut tail = Vec::new();
    while length != 0 {
        tail.push(length.to_le_bytes().first().copied().unwrap_or_default());
        length >>= 8;
    }
    let mut sum: u32 = 0;
    for byte in bytes.iter().chain(&tail) {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            let carry = sum & 0x8000_0000 != 0;
            sum <<= 1;
            if carry {
                sum ^= 0x04c1_1db7;
            }
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_cksums() {
        // What `printf '' | cksum` and `printf 123456789 | cksum` print.
        assert_eq!(checksum(b""), 4_294_967_295);
        assert_eq!(checksum(b"123456789"), 930_766_865);
    }

    #[test]
    fn pieces_are_short_and_give_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let pieces = pieces(&bytes);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(STANDARD.decode(pieces.concat()).unwrap(), bytes);
        assert_eq!(super::pieces(b""), [""]);
    }

    #[test]
    fn frames_survive_line_ends_and_echo() {
        let stream = b"$ f o\r\n<x7:o:3015617425 6:aGVs\r\nbG8K>\r\n";
        let mut collector = Collector::default();
        collector.take(stream.get(..20).unwrap(), 0);
        assert_eq!(collector.frame("x7", "o"), None);
        collector.take(stream, 0);
        assert_eq!(collector.taken(), stream.len());
        let frame = collector.frame("x7", "o").unwrap();
        assert_eq!(decode(frame).unwrap(), b"hello\n");
        assert_eq!(collector.frame("x7", "e"), None);
        assert_eq!(collector.frame("y7", "o"), None);
    }

    #[test]
    fn a_kernel_message_in_the_middle_is_noticed() {
        assert!(decode(b"3015617425 6:aGVsbG8K").is_some());
        assert!(decode(b"3015617425 6:aGVs[    1.0] hello bG8K").is_none());
        assert!(decode(b"3015617425 6:aGVsbG8L").is_none());
        assert!(decode(b"3015617425 5:aGVsbG8K").is_none());
        assert!(decode(b"").is_none());
    }

    #[test]
    fn the_last_of_repeated_frames_counts() {
        let mut collector = Collector::default();
        collector.take(b"<n:o:bad><n:o:good>", 0);
        assert_eq!(collector.frame("n", "o").unwrap(), b"good");
    }
}
