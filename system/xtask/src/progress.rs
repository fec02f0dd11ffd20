//! What the tool says while it works, all of it on standard error: standard output is for results.
//!
//! On a terminal a [`Step`] is a bar or a spinner that leaves one line behind if it took longer than a moment. Without
//! a terminal it is one plain line when it starts.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Steps that take less than this leave no line on a terminal.
const WORTH_A_LINE: Duration = Duration::from_millis(1500);

/// Something that may take a while.
#[derive(Debug)]
pub struct Step {
    what: String,
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Step {
    /// Starts a step; `what` is a phrase such as `building the programs`.
    pub fn new(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {prefix} {msg:.dim}"));
            bar.set_prefix(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            Some(bar)
        } else {
            eprintln!("{what}");
            None
        };
        Self {
            what,
            bar,
            start: Instant::now(),
        }
    }

    /// Turns the spinner into a bar of `total` units.
    pub fn total(&self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(
                "{spinner} {prefix} [{bar:30}] {percent:>3} % {msg:.dim}",
            ));
            bar.set_length(total);
        }
    }

    /// How many units are done.
    pub fn done(&self, units: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(units);
        }
    }

    /// What is being worked on at this moment; shown on a terminal only.
    pub fn detail(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    /// Prints a line without disturbing the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            let took = self.start.elapsed();
            if took > WORTH_A_LINE && !std::thread::panicking() {
                eprintln!("{} ({:.1} s)", self.what, took.as_secs_f32());
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A line for a person, on standard error.
pub fn say(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// An error with its causes, on standard error.
pub fn report_error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        for (index, line) in text.lines().enumerate() {
            eprintln!(
                "{}{line}",
                if index == 0 { "  cause: " } else { "         " }
            );
        }
    }
}
