//! What the guest talks to besides iperf3: a server on the host's loopback, which QEMU's user-mode network shows at 10.0.2.2.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

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

#[cfg(test)]
mod tests {
    use super::*;

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
