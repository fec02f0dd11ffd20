//! Bytes through a serial line that people and kernels write to as well.
//!
//! A command goes to the guest in short base64 lines and comes back as frames: `<NONCE:name:…>`, in which line ends
//! mean nothing, so that a multiplexer may break lines where it likes. A checksum finds what a kernel message that
//! was printed into the middle has damaged; the frame is then asked for again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

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

/// The bytes in a frame `CHECKSUM:BASE64`, if nothing damaged it. The checksum is what `sha256sum` prints, which
/// coreutils and every busybox have.
pub(super) fn decode(frame: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(frame).ok()?;
    let (head, body) = text.split_once(':')?;
    let sum = head.split_whitespace().next()?;
    let bytes = STANDARD.decode(body).ok()?;
    let digest = Sha256::digest(&bytes);
    let ours = digest.iter().map(|byte| format!("{byte:02x}"));
    (ours.collect::<String>() == sum).then_some(bytes)
}

fn rfind(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len())
        .rposition(|part| part == pattern)
}

/// Where `pattern` starts in `text`.
pub(super) fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|part| part == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `printf 'hello\n' | sha256sum` prints.
    const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  -";

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
        let stream = format!("$ f o\r\n<x7:o:{HELLO}:aGVs\r\nbG8K>\r\n");
        let stream = stream.as_bytes();
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
        let decode = |body: &str| decode(format!("{HELLO}:{body}").as_bytes());
        assert!(decode("aGVsbG8K").is_some());
        assert!(decode("aGVs[    1.0] hello bG8K").is_none());
        assert!(decode("aGVsbG8L").is_none());
        assert!(decode("").is_none());
        assert!(super::decode(b"").is_none());
    }

    #[test]
    fn the_last_of_repeated_frames_counts() {
        let mut collector = Collector::default();
        collector.take(b"<n:o:bad><n:o:good>", 0);
        assert_eq!(collector.frame("n", "o").unwrap(), b"good");
    }
}
