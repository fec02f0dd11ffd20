//! What the guest talks to: servers on the host's loopback, which QEMU's user-mode network shows at 10.0.2.2.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xtask::process::find;

/// The host, as the guest sees it.
const HOST: &str = "10.0.2.2";

/// An iperf3 server, stopped when dropped.
pub struct Iperf {
    server: Child,
    port: u16,
}

impl Iperf {
    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> Self {
        let port = free_port();
        let program = find("iperf3").expect("`cargo xtask test` installs iperf3");
        let server = Command::new(program)
            .args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("iperf3 starts");
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < until,
                "iperf3 does not listen on port {port}"
            );
            thread::sleep(Duration::from_millis(50));
        }
        Self { server, port }
    }

    /// The client's command line in the guest.
    pub fn client(&self, arguments: &str) -> String {
        format!("iperf3 -c {HOST} -p {} {arguments}", self.port)
    }

    /// What the receiver got, from a report in JSON (`-J`); 0 when it says nothing.
    pub fn bits_per_second(report: &str) -> f64 {
        let Some(end) = report.find("\"end\"").and_then(|at| report.get(at..)) else {
            return 0.0;
        };
        let sum = ["\"sum_received\"", "\"sum\""]
            .iter()
            .find_map(|key| end.find(key))
            .unwrap_or(0);
        number_after(end.get(sum..).unwrap_or_default(), "\"bits_per_second\":").unwrap_or(0.0)
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A TCP server that sends back what it gets.
pub struct EchoServer {
    port: u16,
}

impl EchoServer {
    /// Serves from a thread of its own for as long as the test runs.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || echo(stream));
            }
        });
        Self { port }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Reads and writes independently, so that a client may send everything before it reads anything.
fn echo(stream: TcpStream) {
    let Ok(mut reader) = stream.try_clone() else {
        return;
    };
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
    let writer = thread::spawn(move || {
        let mut stream = stream;
        for bytes in receiver {
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if sender
                    .send(buffer.get(..n).unwrap_or_default().to_vec())
                    .is_err()
                {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    drop(sender);
    let _ = writer.join();
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The number that follows `key`.
fn number_after(text: &str, key: &str) -> Option<f64> {
    let rest = text.get(text.find(key)? + key.len()..)?.trim_start();
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || ".eE+-".contains(c)))
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Read and write bandwidth in KiB/s of a terse fio report (version 3), added up.
pub fn fio_kib_per_second(report: &str) -> f64 {
    let fields: Vec<&str> = report
        .lines()
        .find(|line| line.starts_with("3;"))
        .unwrap_or_default()
        .split(';')
        .collect();
    let field = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    field(6) + field(47)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iperf_reports_are_read_from_their_end() {
        let report = r#"{"intervals":[{"sum":{"bits_per_second":1}}],"end":{"sum_sent":{"bits_per_second": 5e6},"sum_received":{"bits_per_second": 4.5e+06}}}"#;
        assert_eq!(Iperf::bits_per_second(report), 4.5e6);
        assert_eq!(
            Iperf::bits_per_second(r#"{"end":{"sum":{"bits_per_second":7}}}"#),
            7.0
        );
        assert_eq!(Iperf::bits_per_second("iperf3: error"), 0.0);
    }

    #[test]
    fn fio_reports_have_their_bandwidth_in_field_seven() {
        let mut fields = vec!["0"; 130];
        fields[0] = "3";
        fields[6] = "1200";
        fields[47] = "34";
        assert_eq!(fio_kib_per_second(&fields.join(";")), 1234.0);
        assert_eq!(fio_kib_per_second("fio: error"), 0.0);
    }

    #[test]
    fn the_echo_server_echoes() {
        let server = EchoServer::start();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.write_all(&[7; 100_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == [7; 100_000]);
    }
}
