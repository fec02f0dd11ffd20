//! A conversation with a guest's shell over the serial line.
//!
//! [`Console::expect`] and [`Console::send`] are what a person does. [`Console::run`] is for programs: it starts a
//! plain shell of its own below the login shell, in which nothing is echoed and no prompt is printed, hands the
//! command over as a file, and gets standard output, standard error and status back byte for byte
//! (see [`super::payload`]). The command's standard input is the guest's terminal.

use super::payload::{Collector, decode, find, pieces};
use super::{Failure, Log, Machine};
use anyhow::{Context as _, Result, bail, ensure};
use std::time::{Duration, Instant};

/// How long a console must be silent after something like a prompt before that is taken for one.
const SILENCE: Duration = Duration::from_millis(300);
/// How long a shell may take to answer when it is asked whether it is there.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a damaged frame is asked for.
const RETRIES: u32 = 5;
/// The prompt of the tool's own guests: its start, and its end.
const PROMPT: (&[u8], &[u8]) = (b"root@", b"# ");
/// Ctrl-], which starts a chord of the serial driver's; `n` gives the input to the next guest.
const NEXT_GUEST: &[u8] = b"\x1dn";
/// Ctrl-C.
const INTERRUPT: &[u8] = b"\x03";

/// What the session's shell reads first. `N` is the nonce, `D` a folder for the files, `B` the shell for commands,
/// `K` the kernel's log level. `p` appends a piece of base64 to the command, `f` sends a file back, `x` runs the
/// command, `q` ends the session.
const SETUP: &[&str] = &[
    "stty -echo; unset HISTFILE; read -r K _ </proc/sys/kernel/printk; echo 1 >/proc/sys/kernel/printk",
    "D=$(mktemp -d -p /run 2>/dev/null || mktemp -d); B=$(command -v bash || command -v sh)",
    "a() { printf '<%s:%s:%s>\\n' $N $1 $2; }",
    "p() { printf %s \"$1\" >>$D/b; a p $2; }",
    "f() { printf '\\n<%s:%s:%s:' $N $1 \"$(sha256sum <$D/$1)\"; base64 <$D/$1; printf '>\\n'; }",
    "x() { base64 -d <$D/b >$D/c; rm $D/b; $B $D/c >$D/o 2>$D/e; a s $?; f o; f e; a z z; }",
    "q() { rm -r $D; echo $K >/proc/sys/kernel/printk; stty echo; exit; }",
];

/// What a command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The status; 128 and the signal's number if one ended it.
    pub status: u8,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The consoles of a machine's guests; one of them, at first the first, is the one that is talked to.
#[derive(Debug)]
pub struct Console {
    machine: Machine,
    lines: Vec<Line>,
    focus: usize,
    sessions: u32,
    limit: Duration,
}

/// One guest's console.
#[derive(Clone, Debug, Default)]
struct Line {
    /// How much of the guest's output was read.
    read: usize,
    /// The nonce of the session that its shell is in.
    session: Option<String>,
}

impl Console {
    /// Talks to the guests of `machine`; nothing is waited for longer than `limit` unless a call says so.
    pub fn new(machine: Machine, limit: Duration) -> Self {
        let lines = vec![Line::default(); machine.guests().len().max(1)];
        Self {
            machine,
            lines,
            focus: 0,
            sessions: 0,
            limit,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine, to change it.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The name of the guest that is talked to.
    pub fn focused(&self) -> &str {
        let name = self.machine.guests().get(self.focus);
        name.map_or("", String::as_str)
    }

    /// What is the longest that anything is waited for.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Gives the input to the guest called `name`, and talks to it from now on.
    ///
    /// # Errors
    /// When there is no such guest, or the switch is not confirmed in time.
    pub fn focus(&mut self, name: &str) -> Result<()> {
        let names = self.machine.guests();
        let Some(wanted) = names.iter().position(|guest| guest == name) else {
            bail!(
                "there is no guest {name}; expected one of {}",
                names.join(", ")
            );
        };
        if wanted == self.focus {
            return Ok(());
        }
        let end = self.end();
        let confirmation = format!("input goes to {name}");
        loop {
            let from = self.machine.log().len();
            self.machine.send(NEXT_GUEST)?;
            let soon = end.min(Instant::now() + Duration::from_secs(3));
            let switched = self.machine.wait_for(soon, &confirmation, |log| {
                let text = log.text();
                let new = text.get(from..)?;
                let line = new.split_once("input goes to ")?.1;
                line.split_once('\n').map(|(to, _)| to.trim() == name)
            });
            match switched {
                Ok(true) => break,
                // Another guest is in between, or the driver was not there yet.
                Ok(false) => {}
                Err(Failure::TimedOut { .. }) if Instant::now() < end => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        self.focus = wanted;
        Ok(())
    }

    /// Types `text`.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        self.machine.send(text.as_ref())
    }

    /// Waits until the guest prints `text`, and returns what it printed before.
    ///
    /// # Errors
    /// When that does not happen in time, or something ended.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        self.expect_within(text, self.limit)
    }

    /// Like [`Self::expect`] with a limit of its own.
    ///
    /// # Errors
    /// When that does not happen in time, or something ended.
    pub fn expect_within(&mut self, text: &str, limit: Duration) -> Result<String> {
        let (guest, start) = (self.focus, self.line()?.read);
        let pattern = text.as_bytes();
        let mut from = start;
        let at = self.machine.wait_for(
            Instant::now() + limit,
            &format!("`{}`", text.escape_debug()),
            |log| {
                let stream = log.stream(guest);
                let found = find(stream.get(from..)?, pattern).map(|at| from + at);
                // The pattern may have come in part.
                from = stream.len().saturating_sub(pattern.len()).max(start);
                found
            },
        )?;
        self.line()?.read = at + pattern.len();
        Ok(self.between(start, at))
    }

    /// Waits for a shell's prompt after a boot, logging in as root if that is asked for, and returns how long after
    /// QEMU's start it came.
    ///
    /// # Errors
    /// When no shell answers in time, or something ended.
    pub fn shell(&mut self) -> Result<Duration> {
        let end = self.end();
        self.line()?.session = None;
        loop {
            let seen = self.prompt(end)?;
            let took = seen.duration_since(self.machine.started());
            // Only a shell can add two strings: what looked like a prompt was one.
            let soon = end.min(Instant::now() + ANSWER);
            match self.attempt(soon) {
                Ok(()) => return Ok(took),
                Err(error) if Instant::now() < end && is_timeout(&error) => {}
                Err(error) => return Err(error.context("no shell answers on the guest's console")),
            }
        }
    }

    /// Runs `command` in the guest's shell.
    ///
    /// # Errors
    /// When there is no shell, or the command does not end in time.
    pub fn run(&mut self, command: &str) -> Result<Output> {
        self.run_within(command, self.limit)
    }

    /// Like [`Self::run`] with a limit of its own.
    ///
    /// # Errors
    /// When there is no shell, or the command does not end in time.
    pub fn run_within(&mut self, command: &str, limit: Duration) -> Result<Output> {
        let end = Instant::now() + limit;
        if self.line()?.session.is_none() {
            self.open(end)?;
        }
        let result = self.exchange(command, end);
        if result.is_err() {
            // Whatever runs there, the next command starts with a shell that answers.
            self.line()?.session = None;
        }
        result
    }

    /// Leaves the session of [`Self::run`], so that the login shell's prompt is back.
    ///
    /// # Errors
    /// When the prompt does not come back in time.
    pub fn leave(&mut self) -> Result<()> {
        if self.line()?.session.take().is_some() {
            self.send("q\n")?;
            let end = self.end();
            self.prompt(end)?;
        }
        Ok(())
    }

    /// Powers the guest off from its shell and waits until it is off: for the last guest, until QEMU has ended.
    ///
    /// # Errors
    /// When that does not happen in time, or QEMU ends with an error.
    pub fn power_off(&mut self) -> Result<()> {
        if self.line()?.session.is_none() {
            let end = self.end();
            self.open(end)?;
        }
        self.line()?.session = None;
        let from = self.machine.log().len();
        self.send("q() { rm -r $D; }; q; sync; poweroff\n")?;
        let guests = self.machine.guests();
        if guests.len() > 1 {
            let name = guests.get(self.focus).cloned().unwrap_or_default();
            let line = format!("sel4cp-vmm: guest {name} powered off");
            self.machine.wait_for(self.end(), &line, |log| {
                log.text().get(from..)?.contains(&line).then_some(())
            })?;
            return Ok(());
        }
        self.wait()
    }

    /// Waits for QEMU's end.
    ///
    /// # Errors
    /// When it does not end in time, or ends with an error.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.machine.wait(self.limit)?;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(())
    }

    /// Stops whatever runs in the foreground.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn interrupt(&mut self) -> Result<()> {
        self.send(INTERRUPT)
    }

    /// Sends the command in pieces, runs it, and collects what comes back.
    fn exchange(&mut self, command: &str, end: Instant) -> Result<Output> {
        let nonce = self
            .line()?
            .session
            .clone()
            .context("there is no session")?;
        let mut collector = Collector::default();
        let script = format!("{command}\n");
        for (index, piece) in pieces(script.as_bytes()).iter().enumerate() {
            self.send(format!("p '{piece}' {index}\n"))?;
            let ours = index.to_string();
            self.collect(&mut collector, end, "the shell to take a command", |have| {
                (have.frame(&nonce, "p")? == ours.as_bytes()).then_some(())
            })?;
        }
        collector.clear();
        self.send("x\n")?;
        self.collect(&mut collector, end, "the command's end", |have| {
            have.frame(&nonce, "z").map(|_| ())
        })?;
        let status = collector
            .frame(&nonce, "s")
            .and_then(|frame| std::str::from_utf8(frame).ok()?.parse().ok())
            .context("the command's status was damaged on its way")?;
        let stdout = self.file(&mut collector, &nonce, "o", end)?;
        let stderr = self.file(&mut collector, &nonce, "e", end)?;
        self.line()?.read += collector.taken();
        Ok(Output {
            stdout,
            stderr,
            status,
        })
    }

    /// A file of the session: what was received, or asked for again if that was damaged.
    fn file(
        &mut self,
        collector: &mut Collector,
        nonce: &str,
        name: &str,
        end: Instant,
    ) -> Result<Vec<u8>> {
        for _ in 0..RETRIES {
            if let Some(bytes) = collector.frame(nonce, name).and_then(decode) {
                return Ok(bytes);
            }
            collector.clear();
            self.send(format!("f {name}; a z z\n"))?;
            self.collect(collector, end, "the command's output again", |have| {
                have.frame(nonce, "z").map(|_| ())
            })?;
        }
        bail!(
            "the command's output arrives damaged, {RETRIES} times in a row: does something else print?"
        );
    }

    /// Opens a session, however often it takes: a shell that is interrupted throws away what it has read, which may be the
    /// beginning of this, and a program that is interrupted while it starts may not notice.
    fn open(&mut self, end: Instant) -> Result<()> {
        loop {
            match self.attempt(end.min(Instant::now() + ANSWER)) {
                Err(error) if Instant::now() < end && is_timeout(&error) => self.interrupt()?,
                result => return result,
            }
        }
    }

    /// Starts a session: a plain shell below whatever shell there is, that has read [`SETUP`].
    fn attempt(&mut self, end: Instant) -> Result<()> {
        self.sessions += 1;
        let nonce = format!("{:x}x{:x}", std::process::id(), self.sessions);
        let mut collector = Collector::default();
        let (front, back) = nonce.split_at(1);
        self.send(format!("PS1= PS2= ENV= sh\nN={front}''{back}\n"))?;
        for (index, line) in SETUP.iter().enumerate() {
            // Each line is acknowledged, because a shell that starts may throw away what was typed before. The nonce
            // is written so that an echo is no answer.
            self.send(format!("{line}\n printf '<%s:%s:%s>\\n' $N i {index}\n"))?;
            let ours = index.to_string();
            self.collect(&mut collector, end, "a shell to answer", |have| {
                (have.frame(&nonce, "i")? == ours.as_bytes()).then_some(())
            })?;
        }
        let line = self.line()?;
        line.read += collector.taken();
        line.session = Some(nonce);
        Ok(())
    }

    /// Collects the guest's output from where reading stopped until `found` finds something in it.
    fn collect<T>(
        &mut self,
        collector: &mut Collector,
        end: Instant,
        waited_for: &str,
        mut found: impl FnMut(&Collector) -> Option<T>,
    ) -> Result<T, Failure> {
        let guest = self.focus;
        let start = self.lines.get(guest).map_or(0, |line| line.read);
        self.machine.wait_for(end, waited_for, |log| {
            collector.take(log.stream(guest), start);
            found(collector)
        })
    }

    /// Waits for something that looks like a prompt, and returns when it came.
    fn prompt(&mut self, end: Instant) -> Result<Instant> {
        let guest = self.focus;
        loop {
            let start = self.line()?.read;
            let mut length = 0;
            let come = self.machine.wait_for(end, "a shell's prompt", |log| {
                length = log.stream(guest).len();
                seen(log, guest, start)
            })?;
            let now = Instant::now();
            let quiet = now + SILENCE;
            match come {
                Seen::OurPrompt => {
                    self.line()?.read = length;
                    return Ok(now);
                }
                Seen::Perhaps => {
                    let more = self.machine.wait_for(quiet, "", |log| {
                        (log.stream(guest).len() > length).then_some(())
                    });
                    if more.is_err() {
                        self.line()?.read = length;
                        return Ok(now);
                    }
                }
                Seen::Login => {
                    self.line()?.read = length;
                    self.send("root\n")?;
                }
            }
        }
    }

    fn between(&self, start: usize, end: usize) -> String {
        let guest = self.focus;
        self.machine
            .with_log(|log| {
                let bytes = log.stream(guest).get(start..end).unwrap_or_default();
                String::from_utf8_lossy(bytes).into_owned()
            })
            .replace('\r', "")
    }

    fn line(&mut self) -> Result<&mut Line> {
        self.lines
            .get_mut(self.focus)
            .context("there are no guests")
    }

    fn end(&self) -> Instant {
        Instant::now() + self.limit
    }
}

/// What a console shows.
enum Seen {
    OurPrompt,
    Perhaps,
    Login,
}

fn seen(log: &Log, guest: usize, start: usize) -> Option<Seen> {
    let new = log.stream(guest).get(start..)?;
    if let Some(at) = find(new, PROMPT.0)
        && let Some(line) = new.get(at..)?.split(|byte| *byte == b'\n').next()
        && find(line, PROMPT.1).is_some()
    {
        return Some(Seen::OurPrompt);
    }
    let last = new.rsplit(|byte| *byte == b'\n').next()?;
    // A busybox shell asks the terminal where its cursor is, after the prompt.
    let last = last.strip_suffix(b"\x1b[6n").unwrap_or(last);
    if last.ends_with(b"login: ") {
        return Some(Seen::Login);
    }
    let prompt = [&b"# "[..], b"$ "].iter().any(|end| last.ends_with(end));
    prompt.then_some(Seen::Perhaps)
}

/// Whether nothing went wrong but that it took too long.
fn is_timeout(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::TimedOut { .. }))
}

#[cfg(test)]
mod tests;
