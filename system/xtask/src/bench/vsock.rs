//! Sockets with the native services, measured by a program in the guest.
//!
//! Bare QEMU has nobody at the other end: its vhost-vsock is the host kernel's, and leads to the host alone. So these rows stand
//! beside rows of our own side: a guest's other way to move bytes, TCP over eth0, and the time of an echo there.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Bytes to the discard service, until it has taken the last.
    Transmit,
    /// Bytes from the source.
    Receive,
    /// The time that the echo service takes for 64 bytes.
    Echo,
}

impl Load {
    /// The row of our own side that it is compared with.
    pub(super) const fn beside(self) -> &'static str {
        match self {
            Self::Transmit => "tcp-tx",
            Self::Receive => "tcp-rx",
            Self::Echo => "ping",
        }
    }

    /// The command to run in a guest, for `seconds`; it prints the figure in Mbit/s or milliseconds behind `figure`.
    pub(super) fn command(self, seconds: u32) -> String {
        let (port, body) = match self {
            Self::Transmit => (
                9,
                "block = bytes(131072)
while time.monotonic() < end:
    count += s.send(block)
s.shutdown(socket.SHUT_WR)
while s.recv(4096):
    pass",
            ),
            Self::Receive => (
                19,
                "block = bytearray(131072)
while time.monotonic() < end:
    count += s.recv_into(block)",
            ),
            Self::Echo => (
                7,
                "block = bytes(64)
while time.monotonic() < end:
    s.sendall(block)
    left = len(block)
    while left:
        left -= len(s.recv(left))
    count += 1",
            ),
        };
        let figure = match self {
            Self::Transmit | Self::Receive => "count * 8 / took / 1e6",
            Self::Echo => "took / count * 1e3",
        };
        format!(
            "python3 - <<'END'
import socket, time
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
s.connect((2, {port}))
count = 0
start = time.monotonic()
end = start + {seconds}
{body}
took = time.monotonic() - start
print('figure', {figure})
END"
        )
    }

    /// The figure in what the command printed.
    pub(super) fn value(report: &str) -> Option<f64> {
        let line = report.lines().find_map(|line| line.strip_prefix("figure "));
        line?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::{ROWS, Row};

    #[test]
    fn a_figure_is_what_the_program_printed() {
        assert_eq!(Load::value("note\nfigure 12.5\n"), Some(12.5));
        assert_eq!(Load::value("ConnectionResetError: 104"), None);
        assert!(Load::Echo.command(7).contains("end = start + 7\n"));
    }

    #[test]
    fn the_row_beside_has_the_same_unit_and_comes_before() {
        let place = |row: &Row| ROWS.iter().position(|other| other == row);
        let mut found = 0;
        for row in ROWS {
            let Some(other) = row.beside() else { continue };
            found += 1;
            assert_eq!((row.unit, row.inverse), (other.unit, other.inverse));
            assert!(place(other) < place(row));
        }
        assert_eq!(found, 3);
    }
}
