//! Takes the shared console apart: with several guests each line starts with `NAME| `, and so does what follows a
//! carriage return inside a line.

/// Splits the bytes of the serial line into one stream for each guest.
///
/// With one guest there are no prefixes and everything is its. With several, what has no guest's prefix (lines of
/// VMMs and of the kernel) belongs to none.
#[derive(Debug)]
pub(super) struct Demux {
    prefixes: Vec<Vec<u8>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// There is one guest only.
    Single,
    /// At the start of a line, with what it has of a prefix so far.
    Start(Vec<u8>),
    /// In a line of this guest, or of none.
    Line(Option<usize>),
    /// After a carriage return in a line of this guest, with what came since.
    Return(usize, Vec<u8>),
}

impl Demux {
    /// For these guests, in order.
    pub(super) fn new(guests: &[String]) -> Self {
        Self {
            prefixes: guests
                .iter()
                .map(|name| format!("{name}| ").into_bytes())
                .collect(),
            state: if guests.len() > 1 {
                State::Start(Vec::new())
            } else {
                State::Single
            },
        }
    }

    /// Hands each of `bytes` that belongs to a guest to `out`, with the guest's index.
    pub(super) fn push(&mut self, bytes: &[u8], mut out: impl FnMut(usize, &[u8])) {
        if matches!(self.state, State::Single) {
            return out(0, bytes);
        }
        for byte in bytes {
            match &mut self.state {
                State::Single => {}
                State::Start(seen) => {
                    // A carriage return may come after the line feed, or alone.
                    if seen.is_empty() && *byte == b'\r' {
                        continue;
                    }
                    seen.push(*byte);
                    let whole = self.prefixes.iter().position(|prefix| prefix == seen);
                    if whole.is_some() {
                        self.state = State::Line(whole);
                    } else if *byte == b'\n' {
                        seen.clear();
                    } else if !self.prefixes.iter().any(|prefix| prefix.starts_with(seen)) {
                        self.state = State::Line(None);
                    }
                }
                State::Line(guest) => {
                    if let Some(guest) = guest {
                        out(*guest, std::slice::from_ref(byte));
                    }
                    match (*byte, *guest) {
                        (b'\n', _) => self.state = State::Start(Vec::new()),
                        (b'\r', Some(guest)) => self.state = State::Return(guest, Vec::new()),
                        _ => {}
                    }
                }
                State::Return(guest, seen) => {
                    let guest = *guest;
                    seen.push(*byte);
                    let prefix = self.prefixes.get(guest);
                    if prefix == Some(seen) {
                        self.state = State::Line(Some(guest));
                    } else if !prefix.is_some_and(|prefix| prefix.starts_with(seen)) {
                        // No prefix after all: it was the guest's own, such as the line feed of an ordinary line end.
                        out(guest, seen);
                        self.state = match *byte {
                            b'\n' => State::Start(Vec::new()),
                            b'\r' => State::Return(guest, Vec::new()),
                            _ => State::Line(Some(guest)),
                        };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(guests: &[&str], pieces: &[&str]) -> Vec<String> {
        let names: Vec<String> = guests.iter().map(|name| (*name).to_owned()).collect();
        let mut demux = Demux::new(&names);
        let mut streams = vec![Vec::new(); guests.len()];
        for piece in pieces {
            demux.push(piece.as_bytes(), |guest, bytes| {
                streams[guest].extend_from_slice(bytes);
            });
        }
        streams
            .into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }

    #[test]
    fn one_guest_gets_everything_as_it_is() {
        assert_eq!(split(&["a"], &["a| x\n", "y"]), ["a| x\ny"]);
    }

    #[test]
    fn lines_go_to_the_guest_whose_name_they_carry() {
        let streams = split(
            &["a", "ab"],
            &["a| one\r\nab| two\r\nsel4cp-vmm: x\n", "a| three\n"],
        );
        assert_eq!(streams, ["one\r\nthree\n", "two\r\n"]);
    }

    #[test]
    fn a_prompt_without_an_end_arrives_at_once_and_pieces_may_be_cut_anywhere() {
        let text = "a| root@a:~# \nb| hello | a| not mine\n";
        let whole = split(&["a", "b"], &[text]);
        assert_eq!(whole, ["root@a:~# \n", "hello | a| not mine\n"]);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(split(&["a", "b"], &pieces), whole);
        assert_eq!(split(&["a", "b"], &["a| root# "])[0], "root# ");
    }

    #[test]
    fn a_carriage_return_repeats_the_prefix_and_the_guest_does_not_see_that() {
        let text = "a| 10 %\ra| 20 %\r\r\nb| x\ry\r\na| \rb| z\r\n";
        let whole = split(&["a", "b"], &[text]);
        assert_eq!(whole, ["10 %\r20 %\r\r\n\rb| z\r\n", "x\ry\r\n"]);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(split(&["a", "b"], &pieces), whole);
    }

    #[test]
    fn empty_lines_belong_to_nobody() {
        assert_eq!(split(&["a", "b"], &["\n\r\na| x\n"]), ["x\n", ""]);
    }
}
