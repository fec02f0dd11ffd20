//! A running QEMU with its serial line on pipes.
//!
//! A thread reads the console all the time, so that QEMU never waits for us, and keeps the whole log. QEMU dies with
//! the [`Machine`], and with the tool however that ends.

use super::Failure;
use super::demux::Demux;
use super::fault::Fault;
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the lines after a fault's first are waited for.
const REPORT: Duration = Duration::from_millis(500);

/// A running QEMU.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    input: Option<ChildStdin>,
    shared: Arc<Shared>,
    guests: Vec<String>,
    started: Instant,
    tolerant: bool,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        // A thread that panicked while it held the log has only appended to it.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came out of the serial line.
#[derive(Debug, Default)]
pub struct Log {
    bytes: Vec<u8>,
    streams: Vec<Vec<u8>>,
    line: Vec<u8>,
    faults: Vec<(Fault, usize)>,
    ended: bool,
}

impl Log {
    /// All bytes of the guest with this index.
    pub fn stream(&self, guest: usize) -> &[u8] {
        self.streams.get(guest).map_or(&[], Vec::as_slice)
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).replace('\r', "")
    }

    fn push(&mut self, bytes: &[u8], demux: &mut Demux) {
        demux.push(bytes, |guest, piece| {
            if let Some(stream) = self.streams.get_mut(guest) {
                stream.extend_from_slice(piece);
            }
        });
        for byte in bytes {
            if *byte == b'\n' {
                if let Some(fault) = Fault::parse(&String::from_utf8_lossy(&self.line)) {
                    self.faults
                        .push((fault, self.bytes.len() - self.line.len()));
                }
                self.line.clear();
            } else {
                self.line.push(*byte);
            }
            self.bytes.push(*byte);
        }
    }

    /// The report that starts with the first fault, after what the domain itself had to say.
    fn report(&self) -> Option<String> {
        let (fault, at) = self.faults.first()?;
        let (before, tail) = self.bytes.split_at_checked(*at)?;
        let before = String::from_utf8_lossy(before);
        let words = fault.last_words(&before);
        let words = words.map(|line| format!("{line}\n")).unwrap_or_default();
        Some(words + &String::from_utf8_lossy(tail).replace('\r', ""))
    }
}

impl Machine {
    /// Starts `command`, whose standard input and output are the serial line of these guests; what comes out goes
    /// to `copy` as well.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(
        command: &Command,
        guests: &[String],
        copy: Option<Box<dyn Write + Send>>,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut child = spawn(command)?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("QEMU has no standard output")?;
        let shared = Arc::new(Shared::default());
        shared.lock().streams = vec![Vec::new(); guests.len().max(1)];
        let demux = Demux::new(guests);
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || read(output, &reader, demux, copy));
        Ok(Self {
            child,
            input,
            shared,
            guests: guests.to_vec(),
            started,
            tolerant: false,
        })
    }

    /// When QEMU was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The names of the guests.
    pub fn guests(&self) -> &[String] {
        &self.guests
    }

    /// The whole console so far, of all guests, VMMs and the kernel, without carriage returns.
    pub fn log(&self) -> String {
        self.shared.lock().text()
    }

    /// Looks at the log.
    pub fn with_log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Waits go on although a guest was stopped or a PD faulted: for tests that make that happen.
    pub fn tolerate_faults(&mut self) {
        self.tolerant = true;
    }

    /// The report of the first guest that was stopped, or of the first PD that faulted.
    pub fn fault(&self) -> Option<String> {
        self.shared.lock().report()
    }

    /// Processor time that QEMU has used so far.
    ///
    /// # Errors
    /// When it runs no more.
    pub fn cpu_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let ticks = cpu_ticks(&text).with_context(|| format!("{path} has no processor times"))?;
        // Linux shows user space ticks of 10 ms on every architecture.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Types `bytes` on the serial line.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let ended = || Failure::Ended {
            waited_for: "input to be taken".into(),
            tail: String::new(),
        };
        let input = self.input.as_mut().ok_or_else(ended)?;
        input
            .write_all(bytes)
            .and_then(|()| input.flush())
            .map_err(|_| {
                let tail = super::tail(&self.shared.lock().text());
                Failure::Ended {
                    waited_for: "input to be taken".into(),
                    tail,
                }
            })?;
        Ok(())
    }

    /// The other end of the serial line, for a thread that copies a terminal to it.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Waits until `found` finds something in the log, which it is shown again whenever it has grown.
    ///
    /// # Errors
    /// When `end` passes, QEMU ends, or (unless faults are tolerated) a guest is stopped or a PD faults.
    /// `waited_for` says in the error what did not come.
    pub fn wait_for<T>(
        &self,
        end: Instant,
        waited_for: &str,
        mut found: impl FnMut(&Log) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut log = self.shared.lock();
        loop {
            if let Some(found) = found(&log) {
                return Ok(found);
            }
            if !self.tolerant && !log.faults.is_empty() {
                drop(log);
                std::thread::sleep(REPORT);
                let report = self.fault().unwrap_or_default();
                return Err(Failure::Stopped { report });
            }
            let tail = || super::tail(&log.text());
            if log.ended {
                return Err(Failure::Ended {
                    waited_for: waited_for.into(),
                    tail: tail(),
                });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::TimedOut {
                    waited_for: waited_for.into(),
                    tail: tail(),
                });
            }
            log = self
                .shared
                .changed
                .wait_timeout(log, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for QEMU's end.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        // No limit is one that lies beyond the clock's end.
        let end = Instant::now().checked_add(limit);
        loop {
            // Its end is also the end of its output, which is read first.
            if self.shared.lock().ended
                && let Ok(Some(status)) = self.child.try_wait()
            {
                return Ok(status);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Err(Failure::TimedOut {
                    waited_for: "QEMU to end".into(),
                    tail: super::tail(&self.shared.lock().text()),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends QEMU at once.
    pub fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The sum of user and system time in the text of `/proc/PID/stat`, in ticks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The program's name in parentheses may contain anything; user time is the 12th field after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn read(
    mut output: ChildStdout,
    shared: &Shared,
    mut demux: Demux,
    mut copy: Option<Box<dyn Write + Send>>,
) {
    let mut buffer = [0; 16384];
    while let Ok(count) = output.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if let Some(to) = &mut copy
            && to.write_all(bytes).and_then(|()| to.flush()).is_err()
        {
            // Nobody reads the copy any more.
            copy = None;
        }
        shared.lock().push(bytes, &mut demux);
        shared.changed.notify_all();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

/// A command to start, and where its process goes.
type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts processes from a thread that lives as long as the tool: the kernel ends a process with `--pdeathsig` when
/// the *thread* ends that started it, and a test's thread ends before the tool does.
static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in receiver {
            // If nobody waits for the process any more, nobody started it.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

/// Starts `command` so that it dies with this process, and not before.
fn spawn(command: &Command) -> Result<Child> {
    let mut dying = match crate::process::find("setpriv") {
        Some(setpriv) => {
            let mut dying = Command::new(setpriv);
            dying
                .args(["--pdeathsig", "KILL", "--"])
                .arg(command.get_program());
            dying
        }
        None => Command::new(command.get_program()),
    };
    dying
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let (sender, receiver) = channel();
    let failed = || format!("cannot start `{}`", crate::process::shown(command));
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((dying, sender))
        .with_context(failed)?;
    receiver.recv().with_context(failed)?.with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Machine {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Machine::start(&command, &["linux".to_owned()], None).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn contains(log: &Log, text: &str) -> Option<()> {
        log.text().contains(text).then_some(())
    }

    #[test]
    fn what_is_sent_and_what_comes_back_is_logged() {
        let mut machine = shell("read x; echo got $x; read x");
        machine.send(b"hello\n").unwrap();
        machine
            .wait_for(soon(), "got", |log| contains(log, "got hello\n"))
            .unwrap();
        assert_eq!(machine.log(), "got hello\n");
        machine.send(b"\n").unwrap();
        assert!(machine.wait(Duration::from_secs(20)).unwrap().success());
    }

    #[test]
    fn waiting_ends_with_the_process_and_says_what_was_last() {
        let machine = shell("echo last words");
        let error = machine
            .wait_for(soon(), "a shell", |log| contains(log, "#"))
            .unwrap_err();
        assert!(matches!(error, Failure::Ended { .. }), "{error}");
        assert!(error.to_string().contains("last words"), "{error}");
    }

    #[test]
    fn waiting_has_a_limit() {
        let machine = shell("read x");
        let end = Instant::now() + Duration::from_millis(50);
        let error = machine
            .wait_for(end, "a shell", |log| contains(log, "#"))
            .unwrap_err();
        assert!(matches!(error, Failure::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_stopped_guest_ends_all_waiting_with_its_report() {
        let script =
            "echo boot; echo 'sel4cp-vmm: guest linux stopped: why'; echo '  x0 1'; read x";
        let mut machine = shell(script);
        let error = machine
            .wait_for(soon(), "a shell", |log| contains(log, "#"))
            .unwrap_err();
        let Failure::Stopped { report } = error else {
            panic!("{error}")
        };
        assert_eq!(report, "sel4cp-vmm: guest linux stopped: why\n  x0 1\n");
        machine.tolerate_faults();
        machine
            .wait_for(soon(), "the end", |log| contains(log, "x0 1"))
            .unwrap();
    }

    #[test]
    fn a_report_begins_with_the_last_words_of_the_domain() {
        let script = "printf 'net: panic: why\\r\\n[    1.0] b\\r\\n'; \
            echo 'sel4cp-supervisor: PD \"net\" faulted: udf'; read x";
        let machine = shell(script);
        let error = machine.wait_for(soon(), "a shell", |log| contains(log, "#"));
        let Err(Failure::Stopped { report }) = error else {
            panic!("{error:?}")
        };
        let expected = "net: panic: why\nsel4cp-supervisor: PD \"net\" faulted: udf\n";
        assert_eq!(report, expected);
    }

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
        let text = "7 (a) b) (c) S 1 7 7 0 -1 0 1 2 3 4 120 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(text), Some(154));
        let machine = shell("read x");
        assert!(machine.cpu_time().is_ok());
    }

    #[test]
    fn the_process_dies_with_the_machine() {
        let machine = shell("echo $$; exec sleep 1000");
        machine
            .wait_for(soon(), "the id", |log| contains(log, "\n"))
            .unwrap();
        let process = format!("/proc/{}", machine.log().trim());
        assert!(std::path::Path::new(&process).exists());
        drop(machine);
        assert!(!std::path::Path::new(&process).exists());
    }
}
