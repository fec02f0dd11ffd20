//! The multiplexer: the bytes of many sources become one stream of lines.
//!
//! - A source that has begun a line keeps the stream until the line ends. When it is silent in the middle of a line
//!   (a prompt) while another has something to say, the line is broken after [`Pace::silence`]; when it dribbles,
//!   after [`Pace::patience`]; when its line has no end, after [`LONG_LINE`] bytes.
//! - At line ends sources take turns of about [`TURN`] bytes.
//! - Nothing is held back that could be shown: what a source writes at the start of a line appears at once.
//! - Labelled sources' lines start with `NAME| `, and so does what follows a carriage return.
//!
//! The multiplexer keeps no bytes of a source: what does not fit into the output stays where it is.
#![forbid(unsafe_code)]

use heapless::Vec;
use sel4cp_abi::config::MAX_SERIAL_CLIENTS;

/// Bytes after which another source gets the stream, at the end of the line.
pub const TURN: usize = 1024;
/// Bytes of a turn after which another source gets the stream, wherever the line is.
pub const LONG_LINE: usize = 4 * TURN;
/// Bytes of output that are prepared at once.
pub const OUTPUT: usize = 512;
/// Bytes of the longest message of the multiplexer's own.
pub const NOTE: usize = 128;

/// Room that one step may need: the end of a broken line, a label, the end of a line, and a byte.
const ROOM: usize = 2 + 32 + LABEL_END.len() + 2 + 1;
/// What follows the name in a label.
const LABEL_END: &[u8] = b"| ";
const LINE_END: &[u8] = b"\r\n";

/// Where bytes come from.
pub trait Source {
    /// Whether there are bytes. If not, the source will be announced by [`Mux::wake`].
    fn is_waiting(&mut self) -> bool;
    /// Copies the first bytes into `bytes`, as many as there are and fit; returns how many.
    fn peek(&mut self, bytes: &mut [u8]) -> usize;
    /// Takes the first `count` bytes away, which have been looked at.
    fn take(&mut self, count: usize);
}

/// What a source's lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As they come.
    Raw,
    /// Each line with the name (at most 32 bytes) in front.
    Labelled(&'static str),
    /// Text that ends its lines with a newline alone.
    Log,
}

/// How long sources wait for each other, in any unit of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// A line is broken when its writer is silent for so long and another source waits.
    pub silence: u64,
    /// A line is broken when another source has waited for so long.
    pub patience: u64,
}

/// Why [`Mux::fill`] has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The output is full.
    Full,
    /// Bytes wait for the end of another source's line, but not longer than until this time.
    Wait(u64),
    /// No source has bytes.
    Nothing,
}

/// Where the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// At the start of a line.
    Start,
    /// In a line of source `by`; `returned`: after a carriage return.
    Inside { by: usize, returned: bool },
}

enum Choice {
    Take(usize),
    Break,
    Wait(u64),
    Nothing,
}

/// The output that the multiplexer fills.
pub type Output = Vec<u8, OUTPUT>;

/// The multiplexer.
pub struct Mux {
    styles: Vec<Style, MAX_SERIAL_CLIENTS>,
    pace: Pace,
    /// Sources that may have bytes, by bits.
    ready: u64,
    cursor: Cursor,
    /// The source whose turn it is, and how many bytes it has had.
    turn: usize,
    taken: usize,
    /// When a source's bytes last left: from then on it is silent.
    last: u64,
    /// When bytes were prepared that have left when the next ones are asked for.
    moved: Option<u64>,
    /// Since when another source waits for the end of a line.
    since: Option<u64>,
    note: Vec<u8, NOTE>,
}

impl Mux {
    /// A multiplexer of as many sources as there are styles, all of which may have bytes already.
    pub fn new(styles: Vec<Style, MAX_SERIAL_CLIENTS>, pace: Pace) -> Self {
        const { assert!(MAX_SERIAL_CLIENTS < 64) };
        Self {
            ready: (1 << styles.len()) - 1,
            styles,
            pace,
            cursor: Cursor::Start,
            turn: 0,
            taken: 0,
            last: 0,
            moved: None,
            since: None,
            note: Vec::new(),
        }
    }

    /// Source `index` may have bytes.
    pub fn wake(&mut self, index: usize) {
        if index < self.styles.len() {
            self.ready |= 1 << index;
        }
    }

    /// Says `text` on a line of its own, before anything else; replaces a note that was not shown yet.
    pub fn note(&mut self, text: &str) {
        self.note.clear();
        let bytes = text.as_bytes();
        let shown = bytes.get(..NOTE).unwrap_or(bytes);
        // It fits: it was cut.
        let _ = self.note.extend_from_slice(shown);
    }

    /// Moves bytes from the sources to `output`, until one of the reasons to stop.
    ///
    /// What an earlier call has prepared has left by `now`. (It can take long, and who writes next may have had
    /// to wait for it.)
    pub fn fill<S: Source>(&mut self, sources: &mut [S], output: &mut Output, now: u64) -> Next {
        if let Some(then) = self.moved.take() {
            self.last = now;
            let sending = now.saturating_sub(then);
            self.since = self.since.map(|since| since.saturating_add(sending));
        }
        loop {
            if output.capacity() - output.len() < ROOM + self.note.len() {
                return Next::Full;
            }
            if !self.note.is_empty() {
                self.end_line(output);
                push(output, &self.note);
                push(output, LINE_END);
                self.note.clear();
                continue;
            }
            match self.choose(sources, now) {
                Choice::Take(index) => self.copy(sources, index, output, now),
                Choice::Break => self.end_line(output),
                Choice::Wait(until) => return Next::Wait(until),
                Choice::Nothing => return Next::Nothing,
            }
        }
    }

    fn choose<S: Source>(&mut self, sources: &mut [S], now: u64) -> Choice {
        let Cursor::Inside { by, .. } = self.cursor else {
            // Who has waited for the end of the line is next.
            let waited = self.since.take().is_some();
            if !waited && self.taken < TURN && self.is_waiting(sources, self.turn) {
                return Choice::Take(self.turn);
            }
            return match self.next_waiting(sources, self.turn) {
                Some(next) => {
                    self.turn = next;
                    self.taken = 0;
                    Choice::Take(next)
                }
                None => Choice::Nothing,
            };
        };
        let goes_on = self.is_waiting(sources, by);
        if goes_on && self.taken < TURN && self.since.is_none() {
            return Choice::Take(by);
        }
        let other = self.next_waiting(sources, by).filter(|next| *next != by);
        if other.is_none() {
            self.since = None;
            self.taken = 0;
            return if goes_on {
                Choice::Take(by)
            } else {
                Choice::Nothing
            };
        }
        let since = *self.since.get_or_insert(now);
        let last_moment = since.saturating_add(self.pace.patience);
        if goes_on && self.taken < LONG_LINE && now < last_moment {
            return Choice::Take(by);
        }
        let last = if self.moved.is_some() { now } else { self.last };
        let until = last.saturating_add(self.pace.silence).min(last_moment);
        if goes_on || now >= until {
            Choice::Break
        } else {
            Choice::Wait(until)
        }
    }

    /// The next source after `from` that has bytes, at last `from` itself.
    fn next_waiting<S: Source>(&mut self, sources: &mut [S], from: usize) -> Option<usize> {
        let count = self.styles.len();
        (from + 1..count)
            .chain(0..count.min(from + 1))
            .find(|index| self.is_waiting(sources, *index))
    }

    fn is_waiting<S: Source>(&mut self, sources: &mut [S], index: usize) -> bool {
        let bit = 1_u64 << index;
        if self.ready & bit == 0 {
            return false;
        }
        let waiting = sources.get_mut(index).is_some_and(Source::is_waiting);
        if !waiting {
            self.ready &= !bit;
        }
        waiting
    }

    /// Moves bytes of one source, at most to the end of its turn. There is [`ROOM`].
    fn copy<S: Source>(&mut self, sources: &mut [S], index: usize, output: &mut Output, now: u64) {
        let mut bytes = [0; OUTPUT];
        let room = output.capacity() - output.len();
        let (Some(source), Some(bytes)) = (sources.get_mut(index), bytes.get_mut(..room)) else {
            return;
        };
        let count = source.peek(bytes);
        let style = self.styles.get(index).copied().unwrap_or(Style::Raw);
        let mut rest = bytes.get(..count).unwrap_or_default();
        while !rest.is_empty() && output.capacity() - output.len() >= ROOM {
            let run = self.run(style, index, rest, output);
            rest = rest.get(run..).unwrap_or_default();
            self.taken = self.taken.saturating_add(run);
            // The next line may be somebody else's.
            if self.cursor == Cursor::Start && (self.taken >= TURN || self.since.is_some()) {
                break;
            }
        }
        source.take(count - rest.len());
        self.moved = Some(now);
    }

    /// Moves bytes that need no decision in between: at most a line. Returns how many were taken.
    fn run(&mut self, style: Style, by: usize, bytes: &[u8], output: &mut Output) -> usize {
        let label = match (style, self.cursor, bytes.first()) {
            (Style::Labelled(name), Cursor::Start, _) => Some(name),
            // After a carriage return the line is written again, from its label on.
            (Style::Labelled(name), Cursor::Inside { returned, .. }, Some(first))
                if returned && !b"\r\n".contains(first) =>
            {
                Some(name)
            }
            _ => None,
        };
        if let Some(name) = label {
            push(output, name.as_bytes().get(..32).unwrap_or(name.as_bytes()));
            push(output, LABEL_END);
        }
        // Two bytes stay free for a log's line end.
        let room = output.capacity() - output.len() - 2;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let end = match style {
            Style::Raw if self.since.is_none() && self.taken < TURN => None,
            Style::Raw | Style::Log => bytes.iter().position(|byte| *byte == b'\n'),
            Style::Labelled(_) => bytes.iter().position(|byte| b"\r\n".contains(byte)),
        };
        let run = match end {
            Some(end) => bytes.get(..=end).unwrap_or(bytes),
            None => bytes,
        };
        match (style, run) {
            (Style::Log, [text @ .., b'\n']) => {
                push(output, text.strip_suffix(b"\r").unwrap_or(text));
                push(output, LINE_END);
            }
            _ => push(output, run),
        }
        self.cursor = match run.last() {
            Some(b'\n') => Cursor::Start,
            last => Cursor::Inside {
                by,
                returned: last == Some(&b'\r'),
            },
        };
        run.len()
    }

    /// Ends the line if there is one.
    fn end_line(&mut self, output: &mut Output) {
        if let Cursor::Inside { by, .. } = self.cursor {
            push(output, LINE_END);
            self.cursor = Cursor::Start;
            // Somebody else is next.
            self.turn = by;
            self.taken = TURN;
        }
    }
}

/// Appends what is known to fit.
fn push(output: &mut Output, bytes: &[u8]) {
    let fits = output.extend_from_slice(bytes).is_ok();
    debug_assert!(fits, "{} bytes of output have no room", bytes.len());
}

#[cfg(test)]
mod tests;
