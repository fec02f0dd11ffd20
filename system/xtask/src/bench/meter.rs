//! What QEMU counts while a machine runs: instructions, and exceptions by kind.
//!
//! Under `-icount` QEMU executes a fixed number of instructions for each nanosecond of the guest's time, so that a slow or busy host
//! changes no count. The virtual clock also moves while a guest idles and is no count of instructions; the recorder's position is
//! one (`query-replay`), so a recording is made and thrown away.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long QEMU may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// What is counted: a name for each figure of [`Meter::read`].
///
/// Exits are what a guest does that ends in the kernel below it, interrupts the hardware's that end there. A switch is when the
/// kernel does not go back to where it was entered from: to another PD, from a guest to a PD, or back. The last two are what a guest's own
/// kernel sees.
pub const NAMES: [&str; 7] = [
    "instructions",
    "exits",
    "calls by PDs",
    "switches",
    "interrupts",
    "guest's interrupts",
    "guest's traps",
];

/// The figures, in the order of [`NAMES`]; without counters the first only.
pub type Figures = [u64; NAMES.len()];

/// The counters of one machine.
#[derive(Debug)]
pub struct Meter {
    folder: TempDir,
    counters: bool,
    read: u64,
    log: Log,
}

impl Meter {
    /// For a machine that is yet to be started; with `counters` its exceptions are counted too.
    ///
    /// # Errors
    /// When there is no room for a temporary folder.
    pub fn new(counters: bool) -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir().context("cannot make a temporary folder")?,
            counters,
            read: 0,
            log: Log::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds what makes QEMU count.
    pub fn arm(&self, command: &mut Command) {
        let [record, socket, log] =
            ["record", "qmp", "log"].map(|name| self.path(name).display().to_string());
        command
            .args([
                "-icount",
                &format!("shift=0,sleep=on,rr=record,rrfile={record}"),
            ])
            .args(["-qmp", &format!("unix:{socket},server=on,wait=off")]);
        if self.counters {
            command.args(["-d", "int", "-D", &log]);
        }
    }

    /// The counts since the machine's start.
    ///
    /// # Errors
    /// When QEMU does not answer, or answers something else.
    pub fn read(&mut self) -> Result<Figures> {
        let instructions = instructions(&self.path("qmp"))?;
        if self.counters {
            self.read_log().context("cannot read QEMU's log")?;
        }
        let mut figures = self.log.figures;
        if let Some(first) = figures.first_mut() {
            *first = instructions;
        }
        Ok(figures)
    }

    /// Counts what was added to the log.
    fn read_log(&mut self) -> Result<()> {
        let mut file = File::open(self.path("log"))?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // What does not end in a newline is still being written.
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        text.truncate(whole);
        self.read += whole as u64;
        self.log.push(&String::from_utf8_lossy(&text));
        Ok(())
    }
}

/// How many instructions the machine has executed, from its control socket.
fn instructions(socket: &Path) -> Result<u64> {
    let stream = UnixStream::connect(socket).context("QEMU's control socket does not answer")?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    for order in ["qmp_capabilities", "query-replay"] {
        writeln!(&stream, "{{\"execute\": \"{order}\"}}")?;
    }
    for line in &mut answers {
        let answer: Value = serde_json::from_str(&line?)?;
        if let Some(error) = answer.get("error") {
            bail!("QEMU cannot say how many instructions there were: {error}");
        }
        if let Some(count) = answer.pointer("/return/icount") {
            return count.as_u64().context("QEMU's count is no number");
        }
    }
    bail!("QEMU closed its control socket")
}

/// A log of `-d int`, as far as it was read.
#[derive(Debug, Default)]
struct Log {
    figures: Figures,
    /// What the last exception is called.
    kind: String,
    /// Where it was taken from and to.
    levels: String,
    /// Where the kernel at EL2 was entered from: exception level and address.
    entered: (char, u64),
}

impl Log {
    /// Adds whole lines.
    fn push(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Taking exception ") {
                self.kind = rest.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
            } else if let Some(levels) = line.strip_prefix("...from ") {
                self.levels = levels.to_owned();
                self.taken();
            } else if let Some(address) = line.strip_prefix("...with ELR ") {
                if self.levels.ends_with("EL2") {
                    self.entered = (level(&self.levels), number(address));
                }
            } else if let Some(to) =
                line.strip_prefix("Exception return from AArch64 EL2 to AArch64 ")
            {
                let (from, was) = self.entered;
                let now = number(to.split(' ').next_back().unwrap_or_default());
                // An instruction that the kernel did for its caller is behind it.
                if level(to) != from || !(now == was || now == was.wrapping_add(4)) {
                    self.add(3);
                }
            }
        }
    }

    /// Counts an exception by its kind and levels.
    fn taken(&mut self) {
        let interrupt = self.kind.ends_with("IRQ") || self.kind.ends_with("FIQ");
        match (self.levels.as_str(), interrupt) {
            ("EL0 to EL2" | "EL1 to EL2", true) => self.add(4),
            // A PD's faults are not counted with its calls, as there are none; a guest's user space has nothing else.
            ("EL0 to EL2", false) if self.kind != "Data Abort" => self.add(2),
            ("EL0 to EL2" | "EL1 to EL2", false) => self.add(1),
            ("EL0 to EL1" | "EL1 to EL1", true) => self.add(5),
            ("EL0 to EL1" | "EL1 to EL1", false) => self.add(6),
            _ => {}
        }
    }

    /// Adds one to the figure with this place in [`NAMES`].
    fn add(&mut self, index: usize) {
        if let Some(figure) = self.figures.get_mut(index) {
            *figure += 1;
        }
    }
}

/// The exception level that a text begins with: `EL1 …`.
fn level(text: &str) -> char {
    text.chars().nth(2).unwrap_or_default()
}

/// A number in hex.
fn number(text: &str) -> u64 {
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(kind: &str, levels: &str, from: u64) -> String {
        format!(
            "Taking exception 2 [{kind}] on CPU 0\n...from {levels}\n...with ESR 0x15/0x56000000\n...with ELR {from:#x}\n\
             ...to EL2 PC 0x70000c00 PSTATE 0x3c9\n"
        )
    }

    fn back(level: u32, to: u64) -> String {
        format!("Exception return from AArch64 EL2 to AArch64 EL{level} PC {to:#x}\n")
    }

    #[test]
    fn exceptions_are_told_apart() {
        let mut log = Log::default();
        // A guest's write traps to its VMM, which answers; an interrupt that changes nothing; a call that comes back.
        log.push(&(taken("Data Abort", "EL1 to EL2", 0x8000) + &back(0, 0x200)));
        log.push(&(taken("SVC", "EL0 to EL2", 0x200) + &back(1, 0x8004)));
        log.push(&(taken("IRQ", "EL1 to EL2", 0x9000) + &back(1, 0x9000)));
        log.push(&(taken("SVC", "EL0 to EL2", 0x300) + &back(0, 0x304)));
        assert_eq!(log.figures, [0, 1, 2, 2, 1, 0, 0]);
        // Inside the guest.
        log.push(
            &(taken("Virtual IRQ", "EL1 to EL1", 0x9000) + &taken("SVC", "EL0 to EL1", 0x400)),
        );
        assert_eq!(log.figures, [0, 1, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn a_log_is_read_as_it_grows() {
        let mut meter = Meter::new(true).unwrap();
        let path = meter.path("log");
        let line = taken("SVC", "EL0 to EL2", 0x200);
        let (first, rest) = line.split_at(50);
        std::fs::write(&path, first).unwrap();
        meter.read_log().unwrap();
        std::fs::write(&path, first.to_owned() + rest).unwrap();
        meter.read_log().unwrap();
        meter.read_log().unwrap();
        assert_eq!(meter.log.figures, [0, 0, 1, 0, 0, 0, 0]);
    }
}
