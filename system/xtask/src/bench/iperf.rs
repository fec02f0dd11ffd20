//! An iperf3 server on the host's loopback, which QEMU's user-mode network shows at 10.0.2.2, or at that address behind a tap.

use super::tap::Tap;
use crate::process;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The host, as a guest sees it.
pub const HOST: &str = "10.0.2.2";
/// How long the server may take to listen.
const LIMIT: Duration = Duration::from_secs(20);
/// The port in a tap's namespace, where all are free.
const PORT: u16 = 5201;

/// A server, stopped when dropped.
#[derive(Debug)]
pub struct Iperf {
    server: Child,
    port: u16,
    /// Where it runs, if not on the host's loopback.
    tap: Option<Tap>,
}

impl Iperf {
    /// Starts a server on a free port and waits until it answers.
    ///
    /// # Errors
    /// When there is no iperf3, or it does not listen in time.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("loopback has no free port")?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let program = process::find("iperf3").context("iperf3 is not installed")?;
        let server = Command::new(program)
            .args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("iperf3 does not start")?;
        let server = Self {
            server,
            port,
            tap: None,
        };
        let until = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() >= until {
                bail!("iperf3 does not listen on port {port}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Starts a server behind a tap of its own and waits until it says that it listens.
    ///
    /// # Errors
    /// When there can be no tap, or no iperf3.
    pub fn start_behind_tap() -> Result<Self> {
        let tap = Tap::new()?;
        let program = process::find("iperf3").context("iperf3 is not installed")?;
        let mut inside = Command::new(program);
        inside.args(["-s", "--forceflush", "-B", HOST, "-p", &PORT.to_string()]);
        let mut server = tap
            .command(&inside)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("iperf3 does not start")?;
        let said = server.stdout.take().map(BufReader::new);
        let server = Self {
            server,
            port: PORT,
            tap: Some(tap),
        };
        // It ends its output when it fails.
        let mut lines = said.into_iter().flat_map(BufReader::lines);
        let listens =
            |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("listening"));
        if !lines.any(listens) {
            bail!("iperf3 does not listen on {HOST} in the tap's namespace");
        }
        // What else it says is for nobody.
        thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    /// The command of a machine that is to reach the server.
    pub fn place(&self, machine: Command) -> Command {
        match &self.tap {
            Some(tap) => tap.command(&machine),
            None => machine,
        }
    }

    /// Whether guests reach it through a tap.
    pub fn is_behind_tap(&self) -> bool {
        self.tap.is_some()
    }

    /// The client's command line in the guest.
    pub fn client(&self, arguments: &str) -> String {
        format!("iperf3 -c {HOST} -p {} {arguments}", self.port)
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What the receiver got in bits per second, from a client's report in JSON (`-J`): for UDP, what was not lost.
pub fn received(report: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(report.get(report.find('{')?..)?).ok()?;
    let end = report.get("end")?;
    let number = |sum: &Value, name: &str| sum.get(name)?.as_f64();
    if let Some(lost) = end.get("sum").and_then(|sum| number(sum, "lost_percent")) {
        let all = number(end.get("sum")?, "bits_per_second")?;
        return Some(all * (1.0 - lost / 100.0));
    }
    number(end.get("sum_received")?, "bits_per_second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_counts() {
        let tcp = r#"{"intervals":[{"sum":{"bits_per_second":1}}],"end":{"sum_sent":{"bits_per_second": 5e6},"sum_received":{"bits_per_second": 4.5e+06}}}"#;
        assert_eq!(received(tcp), Some(4.5e6));
        let udp = r#"{"end":{"sum":{"bits_per_second":8, "lost_percent":25}}}"#;
        assert_eq!(received(udp), Some(6.0));
        assert_eq!(received("iperf3: error - unable to connect"), None);
        assert_eq!(received(r#"{"start":{},"error":"no"}"#), None);
    }
}
