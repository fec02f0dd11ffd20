//! The multiplexer with queues for sources.

use super::*;
use std::collections::VecDeque;
use std::string::String;

/// A source in memory.
#[derive(Default)]
struct Queue(VecDeque<u8>);

impl Source for Queue {
    fn is_waiting(&mut self) -> bool {
        !self.0.is_empty()
    }
    fn peek(&mut self, bytes: &mut [u8]) -> usize {
        let count = self.0.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(&self.0) {
            *to = *from;
        }
        count
    }
    fn take(&mut self, count: usize) {
        self.0.drain(..count);
    }
}

struct Bench {
    mux: Mux,
    sources: Vec<Queue, 8>,
    now: u64,
}

const PACE: Pace = Pace {
    silence: 30,
    patience: 200,
};

impl Bench {
    fn new(styles: &[Style]) -> Self {
        Self {
            mux: Mux::new(styles.iter().copied().collect(), PACE),
            sources: styles.iter().map(|_| Queue::default()).collect(),
            now: 1000,
        }
    }

    /// Two guests and a log.
    fn guests() -> Self {
        Self::new(&[Style::Labelled("a"), Style::Labelled("b"), Style::Log])
    }

    fn write(&mut self, source: usize, text: &str) {
        self.sources[source].0.extend(text.bytes());
        self.mux.wake(source);
    }

    /// All output that comes without more time passing, and why it ended.
    fn drain(&mut self) -> (String, Next) {
        let mut all = std::vec::Vec::new();
        loop {
            let mut output = Output::new();
            let next = self.mux.fill(&mut self.sources, &mut output, self.now);
            all.extend_from_slice(&output);
            if output.is_empty() {
                assert_ne!(next, Next::Full, "full of nothing");
                return (String::from_utf8(all).unwrap(), next);
            }
        }
    }

    fn shows(&mut self, source: usize, text: &str) -> String {
        self.write(source, text);
        let (shown, next) = self.drain();
        assert_eq!(next, Next::Nothing);
        shown
    }
}

#[test]
fn lines_carry_their_guests_name() {
    let mut bench = Bench::guests();
    assert_eq!(bench.shows(0, "one\r\ntwo\r\n"), "a| one\r\na| two\r\n");
    assert_eq!(bench.shows(1, "\r\n"), "b| \r\n");
    assert_eq!(bench.shows(2, "power: x\n"), "power: x\r\n");
}

#[test]
fn one_guest_passes_unchanged() {
    let mut bench = Bench::new(&[Style::Raw]);
    let text = "\x1b[2J\r\nlogin: \rab\n\n\r\r\0\u{7f}end";
    assert_eq!(bench.shows(0, text), text);
    let long = "0123456789".repeat(2_000);
    assert_eq!(bench.shows(0, &long), long);
}

#[test]
fn a_prompt_is_shown_at_once_and_goes_on() {
    let mut bench = Bench::guests();
    assert_eq!(bench.shows(0, "login: "), "a| login: ");
    assert_eq!(bench.shows(0, "ro"), "ro");
    assert_eq!(bench.shows(0, "ot\r\n"), "ot\r\n");
}

#[test]
fn a_silent_prompt_is_broken_and_labelled_again() {
    let mut bench = Bench::guests();
    bench.shows(0, "login: ");
    bench.now += 30;
    assert_eq!(bench.shows(1, "hello\r\n"), "\r\nb| hello\r\n");
    assert_eq!(bench.shows(0, "root\r\n"), "a| root\r\n");
}

#[test]
fn a_line_in_the_making_is_waited_for() {
    let mut bench = Bench::guests();
    bench.shows(0, "[    0.");
    bench.now += 10;
    bench.write(1, "[    0.1] b\r\n");
    let until = Next::Wait(1030);
    assert_eq!(bench.drain(), (String::new(), until));
    bench.now += 10;
    bench.write(0, "0] a");
    assert_eq!(bench.drain(), ("0] a".into(), Next::Wait(1050)));
    assert_eq!(bench.shows(0, "!\r\n"), "!\r\nb| [    0.1] b\r\n");
}

#[test]
fn a_dribbling_line_is_waited_for_with_an_end() {
    let mut bench = Bench::guests();
    bench.shows(0, "1");
    bench.write(1, "whole\r\n");
    let mut shown = String::new();
    for _ in 0..15 {
        bench.now += 20;
        bench.write(0, "1");
        shown.push_str(&bench.drain().0);
    }
    assert_eq!(shown, "1111111111\r\nb| whole\r\na| 11111");
    let silent = Bench::guests;
    let mut bench = silent();
    bench.shows(0, "1");
    bench.write(1, "x");
    bench.now += 29;
    assert_eq!(bench.drain().1, Next::Wait(1030));
    bench.now += 1;
    assert_eq!(bench.drain(), ("\r\nb| x".into(), Next::Nothing));
}

#[test]
fn a_line_without_end_does_not_starve_others() {
    let mut bench = Bench::guests();
    bench.write(0, &"x".repeat(20_000));
    bench.write(1, "here\r\n");
    let (shown, _) = bench.drain();
    let before = shown.find("\r\nb| here\r\n").unwrap();
    assert!(before <= LONG_LINE + OUTPUT, "{before}");
    assert_eq!(shown.matches('x').count(), 20_000);
}

#[test]
fn turns_end_at_line_ends() {
    let mut bench = Bench::guests();
    for source in 0..2 {
        let lines: String = (0..500).map(|n| format!("line {n:03}\r\n")).collect();
        bench.write(source, &lines);
    }
    let (shown, next) = bench.drain();
    assert_eq!(next, Next::Nothing);
    let mut counts = [0; 2];
    let mut longest = 0;
    let mut run = (' ', 0);
    for line in shown.lines() {
        let who = line.chars().next().unwrap();
        let index = usize::from(who == 'b');
        assert_eq!(line, format!("{who}| line {:03}", counts[index]));
        counts[index] += 1;
        run = if run.0 == who {
            (who, run.1 + 1)
        } else {
            (who, 1)
        };
        if counts.iter().all(|count| *count < 500) {
            longest = longest.max(run.1);
        }
    }
    assert_eq!(counts, [500, 500]);
    assert!(longest <= TURN / 10 + 1, "{longest} lines in one turn");
}

#[test]
fn logs_wait_for_the_end_of_a_line_of_a_single_guest() {
    let mut bench = Bench::new(&[Style::Raw, Style::Log]);
    assert_eq!(bench.shows(0, "out"), "out");
    bench.write(1, "vmm: hi\n");
    assert_eq!(bench.drain(), (String::new(), Next::Wait(1030)));
    assert_eq!(bench.shows(0, "put\nmore\n"), "put\nvmm: hi\r\nmore\n");
    bench.shows(0, "$ ");
    bench.now += 1000;
    assert_eq!(bench.shows(1, "vmm: ho\n"), "\r\nvmm: ho\r\n");
}

#[test]
fn logs_come_through_a_flood_at_a_line_end() {
    let mut bench = Bench::new(&[Style::Raw, Style::Log]);
    bench.write(0, &"0123456789\n".repeat(1000));
    bench.write(1, "vmm: hi\n");
    let (shown, _) = bench.drain();
    let at = shown.find("vmm: hi\r\n").unwrap();
    assert!(at <= TURN + OUTPUT + 11, "{at}");
    assert!(shown[..at].ends_with("9\n"));
    assert_eq!(
        shown.replace("vmm: hi\r\n", ""),
        "0123456789\n".repeat(1000)
    );
}

#[test]
fn a_rewritten_line_keeps_its_label() {
    let mut bench = Bench::guests();
    assert_eq!(bench.shows(0, "10%\r20%\r\n"), "a| 10%\ra| 20%\r\n");
    assert_eq!(bench.shows(0, "x\r"), "a| x\r");
    assert_eq!(bench.shows(0, "\r\n"), "\r\n");
}

#[test]
fn notes_come_first_on_a_line_of_their_own() {
    let mut bench = Bench::guests();
    bench.shows(0, "login: ");
    bench.mux.note("sel4cp-vmm: input goes to b");
    assert_eq!(
        bench.shows(0, "x"),
        "\r\nsel4cp-vmm: input goes to b\r\na| x"
    );
    bench.mux.note(&"n".repeat(1000));
    let (shown, _) = bench.drain();
    assert_eq!(shown, format!("\r\n{}\r\n", "n".repeat(NOTE)));
}

#[test]
fn long_names_and_empty_lines_fit_the_output() {
    const NAME: &str = "0123456789abcdef0123456789abcdef";
    let mut bench = Bench::new(&[Style::Labelled(NAME), Style::Log]);
    let shown = bench.shows(0, &"\n".repeat(500));
    assert_eq!(shown, format!("{NAME}| \n").repeat(500));
    let shown = bench.shows(1, &"\n".repeat(1000));
    assert_eq!(shown, "\r\n".repeat(1000));
}

#[test]
fn without_a_timer_a_line_is_broken_at_once() {
    let mut bench = Bench::guests();
    bench.mux.pace.silence = 0;
    bench.shows(0, "login: ");
    assert_eq!(bench.shows(1, "x\r\n"), "\r\nb| x\r\n");
}

#[test]
fn a_slow_line_is_not_a_silent_source() {
    let mut bench = Bench::guests();
    bench.write(0, "half a");
    bench.write(1, "whole\n");
    let mut output = Output::new();
    bench.mux.fill(&mut bench.sources, &mut output, bench.now);
    assert_eq!(output, b"a| half a");
    // Sending it took long, and its writer may have been waiting for that.
    bench.now += 10 * PACE.silence;
    let until = Next::Wait(bench.now + PACE.silence);
    assert_eq!(bench.drain(), (String::new(), until));
}
