//! A machine that runs, and what a test asks of it.

use crate::sha256;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::qemu::{self, Console};

/// What anything may take unless the test says otherwise; the usual is a second or two.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A machine with one or more guests, each at its shell.
pub struct Machine {
    console: Console,
    disks: Vec<PathBuf>,
    offset: u64,
    monitor: PathBuf,
}

/// A guest's disk after its machine has ended.
pub struct Image(PathBuf);

impl Machine {
    pub(crate) fn start(
        command: &Command,
        guests: &[String],
        disks: Vec<PathBuf>,
        offset: u64,
        monitor: PathBuf,
    ) -> Self {
        let machine = qemu::Machine::start(command, guests, None).expect("QEMU starts");
        let mut console = Console::new(machine, LIMIT);
        shell(&mut console);
        let mut machine = Self {
            console,
            disks,
            offset,
            monitor,
        };
        for name in guests.iter().skip(1) {
            machine.focus(name);
            shell(&mut machine.console);
        }
        if let (Some(first), true) = (guests.first(), guests.len() > 1) {
            machine.focus(first);
        }
        machine
    }

    /// The guests' names.
    pub fn guests(&self) -> Vec<String> {
        self.console.machine().guests().to_vec()
    }

    /// Talks to the guest called `name` from now on.
    pub fn focus(&mut self, name: &str) {
        let done = self.console.focus(name);
        self.check(done, &format!("give the input to {name}"));
    }

    /// Runs a command that must succeed, and returns its output.
    pub fn run(&mut self, command: &str) -> String {
        self.run_within(command, LIMIT.as_secs())
    }

    /// Like [`Self::run`], with a limit in seconds of its own.
    pub fn run_within(&mut self, command: &str, seconds: u64) -> String {
        let (text, status) = self.try_run(command, seconds);
        assert_eq!(status, 0, "`{command}` ended with {status}:\n{text}");
        text
    }

    /// Runs a command and returns its output, with what it complains about at the end, and its status.
    pub fn try_run(&mut self, command: &str, seconds: u64) -> (String, i32) {
        let output = self
            .console
            .run_within(command, Duration::from_secs(seconds));
        let output = self.check(output, &format!("run `{command}`"));
        let mut text = output.text();
        if output.status != 0 {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        (text, i32::from(output.status))
    }

    /// Types `text`, at the login shell's prompt.
    pub fn send(&mut self, text: &str) {
        let done = self.console.leave().and_then(|()| self.console.send(text));
        self.check(done, "type");
    }

    /// Waits until the guest prints `text`; returns what it printed before.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, LIMIT.as_secs())
    }

    /// Like [`Self::expect`], with a limit in seconds of its own.
    pub fn expect_within(&mut self, text: &str, seconds: u64) -> String {
        let found = self
            .console
            .expect_within(text, Duration::from_secs(seconds));
        self.check(found, &format!("see `{text}`"))
    }

    /// Waits until the machine (not only a guest) prints `text` after what it has printed so far.
    pub fn expect_of_machine(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        let machine = self.console.machine_mut();
        let found = machine.wait_for(end, text, |log| log.text().contains(text).then_some(()));
        if let Err(failure) = found {
            panic!("{failure}");
        }
    }

    /// Runs `command` at the login shell's prompt with its output on the console itself, and returns that output.
    pub fn print(&mut self, command: &str, seconds: u64) -> String {
        // The markers are written so that the echo of the line is none of them.
        self.send(&format!(
            "stty -echo; echo '<''start>'; {command}; echo '<''end>'; stty echo\n"
        ));
        self.expect("<start>");
        let text = self.expect_within("<end>", seconds);
        self.shell_prompt();
        text.trim_start_matches('\n').to_owned()
    }

    /// Types `lines` into `file`.
    pub fn paste_into(&mut self, file: &str, lines: &str) {
        self.send(&format!("cat > {file}; echo '<''pasted>'\n"));
        self.expect(&format!("cat > {file}"));
        let done = self
            .console
            .send(lines)
            .and_then(|()| self.console.send("\x04"));
        self.check(done, "paste");
        self.expect("<pasted>");
        self.shell_prompt();
    }

    /// Runs a script in the background, where the loss of its console does not end it.
    pub fn detached(&mut self, script: &str) {
        self.run(&format!("cat > /tmp/detached <<'END'\n{script}\nEND\nsync"));
        self.send("setsid sh /tmp/detached < /dev/null > /tmp/detached.log 2>&1 &\n");
    }

    /// Waits for a new login shell: after a reboot, or when the console has gone and come back.
    pub fn shell_again(&mut self) {
        shell(&mut self.console);
    }

    /// Reboots the guest and waits for its shell.
    pub fn reboot(&mut self) {
        self.send("reboot\n");
        self.expect("A Debian guest");
        self.shell_again();
    }

    /// Powers the guest off; for the last one, QEMU must end with status 0.
    pub fn power_off(mut self) {
        let done = self.console.power_off();
        self.check(done, "power off");
    }

    /// Waits for QEMU's end, which must have status 0.
    pub fn ended(mut self) {
        let done = self.console.wait();
        self.check(done, "see QEMU end");
    }

    /// Like [`Self::power_off`], and then looks at the first guest's disk.
    pub fn power_off_and_look(self, look: impl FnOnce(&Image)) {
        let disk = Image(self.disks.first().expect("the guest has a disk").clone());
        self.power_off();
        look(&disk);
    }

    /// Whether the guest still answers.
    pub fn alive(&mut self) -> bool {
        self.run("echo alive") == "alive\n"
    }

    /// Everything that came out of the serial line so far.
    pub fn console_log(&self) -> String {
        self.console.machine().log()
    }

    /// Where the spare room on the first guest's disk begins, in bytes.
    pub fn spare_offset(&self) -> u64 {
        self.offset
    }

    /// The SHA-256 of a part of the first guest's disk, as the host's file has it.
    pub fn host_sha256(&self, offset: u64, length: u64) -> String {
        Image(self.disks.first().expect("the guest has a disk").clone()).sha256(offset, length)
    }

    /// How many flushes the hardware's disk has seen.
    pub fn disk_flushes(&self) -> u64 {
        let answer = ask(&self.monitor, "query-blockstats");
        let key = "\"flush_operations\":";
        let mut sum = 0;
        for part in answer.split(key).skip(1) {
            let digits: String = part
                .trim_start()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            sum += digits.parse::<u64>().expect("QEMU counts");
        }
        assert!(
            answer.contains(key),
            "QEMU's answer has no flush_operations: {answer}"
        );
        sum
    }

    /// How long the host has worked for each core.
    pub fn core_times(&self) -> Vec<Duration> {
        let answer: Value =
            serde_json::from_str(&ask(&self.monitor, "query-cpus-fast")).expect("QEMU speaks JSON");
        let cores = answer
            .get("return")
            .and_then(Value::as_array)
            .expect("a list of cores");
        let time = |core: &Value| {
            let path = format!("/proc/{}/schedstat", core["thread-id"]);
            let text = std::fs::read_to_string(path).expect("each core has a thread");
            let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
            Duration::from_nanos(nanoseconds.expect("Linux counts"))
        };
        cores.iter().map(time).collect()
    }

    fn shell_prompt(&mut self) {
        shell(&mut self.console);
    }

    fn check<T>(&self, result: anyhow::Result<T>, what: &str) -> T {
        match result {
            Ok(value) => value,
            Err(error) => panic!(
                "could not {what}: {error:#}\n--- console\n{}",
                tail(&self.console_log())
            ),
        }
    }
}

impl Image {
    /// The SHA-256 of `length` bytes at `offset`.
    pub fn sha256(&self, offset: u64, length: u64) -> String {
        let mut file = File::open(&self.0).expect("the disk is there");
        let mut bytes = vec![0; usize::try_from(length).expect("a length fits an address")];
        file.seek(SeekFrom::Start(offset))
            .expect("the disk is long enough");
        file.read_exact(&mut bytes)
            .expect("the disk is long enough");
        sha256(&bytes)
    }
}

fn shell(console: &mut Console) {
    if let Err(error) = console.shell() {
        panic!(
            "no shell: {error:#}\n--- console\n{}",
            tail(&console.machine().log())
        );
    }
}

fn tail(log: &str) -> &str {
    let start = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
    log.get(start..).unwrap_or_default()
}

/// Asks QEMU's monitor; the machine protocol is a line of JSON each way after a greeting.
fn ask(socket: &Path, command: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("QEMU has a monitor");
    stream
        .set_read_timeout(Some(LIMIT))
        .expect("a timeout can be set");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut answer = String::new();
    lines.read_line(&mut answer).expect("the greeting");
    for command in ["qmp_capabilities", command] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}").expect("QEMU listens");
        answer.clear();
        while !answer.contains("\"return\"") && !answer.contains("\"error\"") {
            answer.clear();
            lines.read_line(&mut answer).expect("QEMU answers");
        }
    }
    answer
}
