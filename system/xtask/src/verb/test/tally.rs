//! Counts tests by reading what `cargo test` prints.

use std::fmt;

/// The sum over all test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    output: Vec<String>,
    program: String,
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A crate is being compiled.
    Compiling(String),
    /// A test passed.
    Passed(String),
    /// A test failed.
    Failed(String),
    /// A test was left out.
    Skipped(String),
    /// All tests of a program ran: a line about them.
    Binary(String),
    /// Anything else.
    Output,
}

impl Tally {
    /// Reads one line.
    pub(super) fn feed(&mut self, line: &str) -> Event {
        let trimmed = line.trim_start();
        if let Some(name) = trimmed.strip_prefix("Compiling ") {
            return Event::Compiling(name.split(' ').next().unwrap_or_default().to_owned());
        }
        if let Some(program) = program(trimmed) {
            self.program = program;
            // What the program before printed was of interest only if a test of its failed.
            return Event::Output;
        }
        if let Some(counts) = Counts::parse(line) {
            self.passed += counts.passed;
            self.failed += counts.failed;
            self.skipped += counts.skipped;
            if counts.passed + counts.failed + counts.skipped == 0 {
                return Event::Output;
            }
            return Event::Binary(format!("{}: {counts}", self.program));
        }
        if let Some((name, result)) = outcome(line) {
            match result {
                "ok" => return Event::Passed(name.to_owned()),
                "FAILED" => return Event::Failed(name.to_owned()),
                "ignored" => return Event::Skipped(name.to_owned()),
                _ => {}
            }
        }
        if !noise(trimmed) {
            self.output.push(line.to_owned());
        }
        Event::Output
    }

    /// What was printed besides results since this was last asked.
    pub(super) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output).join("\n")
    }

    /// Something could not be tested at all: it counts as one failure.
    pub(super) fn broken(&mut self, what: &str) {
        eprintln!("{what}: could not be tested");
        self.failed += 1;
    }

    /// A test was left out.
    pub(super) fn skipped(&mut self) {
        self.skipped += 1;
    }

    /// Whether there was no test at all.
    pub(super) fn is_empty(&self) -> bool {
        self.passed + self.failed() + self.skipped == 0
    }

    /// How many passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// How many failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// How many were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.skipped
    }

    /// Whether nothing failed.
    pub(super) fn good(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Counts {
            passed: self.passed,
            failed: self.failed,
            skipped: self.skipped,
        };
        counts.fmt(f)
    }
}

/// The counts of one test program.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("test result: ")?;
        let count = |word: &str| {
            rest.split(['.', ';'])
                .filter_map(|part| part.trim().split_once(' '))
                .find(|(_, name)| *name == word)
                .and_then(|(number, _)| number.parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// The test program that a line of cargo's announces: the crate for unit tests, the file for others.
fn program(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name}, documentation"));
    }
    let rest = line.strip_prefix("Running ")?;
    let (source, path) = rest.split_once(" (")?;
    let file = path.rsplit('/').next()?.trim_end_matches(')');
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(match source.strip_prefix("unittests ") {
        Some(_) => name.to_owned(),
        None => source.to_owned(),
    })
}

/// Name and result in `test NAME ... RESULT`.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    // An ignored test may have a reason after it.
    Some((name, result.split(',').next()?))
}

/// Lines that nobody needs to see when a test fails.
fn noise(line: &str) -> bool {
    line.is_empty()
        || [
            "Finished ",
            "Blocking ",
            "running ",
            "Fresh ",
            "Locking ",
            "Downloading ",
            "Downloaded ",
        ]
        .iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
   Compiling sel4cp-ring v0.1.0 (/x)
    Finished `test` profile
     Running unittests src/lib.rs (target/debug/deps/sel4cp_ring-0123456789abcdef)
running 2 tests
test a::b ... ok
test a::c ... FAILED
why it failed
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/hostile.rs (target/debug/deps/hostile-0123)
test slow ... ignored, takes a day
test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s
   Doc-tests sel4cp_ring
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn everything_is_counted_once() {
        let mut tally = Tally::default();
        let events: Vec<Event> = TEXT.lines().map(|line| tally.feed(line)).collect();
        let shown: Vec<&Event> = events
            .iter()
            .filter(|event| **event != Event::Output)
            .collect();
        assert_eq!(
            shown,
            [
                &Event::Compiling("sel4cp-ring".into()),
                &Event::Passed("a::b".into()),
                &Event::Failed("a::c".into()),
                &Event::Binary("sel4cp_ring: 1 passed, 1 failed".into()),
                &Event::Skipped("slow".into()),
                &Event::Binary("tests/hostile.rs: 0 passed, 0 failed, 1 skipped".into()),
            ]
        );
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
        assert!(!tally.good());
    }

    #[test]
    fn what_a_failure_said_is_kept() {
        let mut tally = Tally::default();
        for line in TEXT.lines() {
            tally.feed(line);
        }
        let output = tally.take_output();
        assert!(output.contains("why it failed"), "{output}");
        assert!(!output.contains("running"), "{output}");
        assert_eq!(tally.take_output(), "");
    }

    #[test]
    fn without_skipped_tests_the_line_is_short() {
        let mut tally = Tally::default();
        tally.feed("test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(tally.to_string(), "7 passed, 0 failed");
        assert!(!tally.is_empty() && Tally::default().is_empty());
    }
}
