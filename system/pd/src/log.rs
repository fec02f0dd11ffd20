//! Log lines: through a byte ring to the serial driver, or, where the system has none, by the kernel.
//!
//! A log never waits. A line that does not fit into the ring is dropped, counted and reported with the next one.

use crate::state::with;
use crate::{Channel, byte_rings, sys};
use core::fmt::{self, Write};
use sel4cp_abi::config::Header;
use sel4cp_ring::Producer;

/// Where log lines go.
pub(crate) struct Log {
    ring: Option<Producer<u8>>,
    channel: Option<Channel>,
    /// Whether the kernel prints characters. On the host it does.
    kernel_prints: bool,
    /// The line that is being written did not fit.
    cut: bool,
    /// Lines dropped since the last one that was not.
    dropped: u32,
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self {
            ring: None,
            channel: None,
            kernel_prints: cfg!(not(target_os = "none")),
            cut: false,
            dropped: 0,
        }
    }

    fn line(&mut self, arguments: fmt::Arguments<'_>) {
        if self.dropped != 0 {
            let dropped = self.dropped;
            let name = sys::name();
            self.attempt(format_args!("{name}: ({dropped} lines dropped here)"));
            if self.cut {
                return self.dropped = dropped.saturating_add(1);
            }
            self.dropped = 0;
        }
        self.attempt(arguments);
        self.dropped = u32::from(self.cut);
    }

    /// Writes a line, whole or not at all.
    fn attempt(&mut self, arguments: fmt::Arguments<'_>) {
        self.cut = writeln!(self, "{arguments}").is_err();
        let Some(ring) = &mut self.ring else {
            return;
        };
        if self.cut {
            ring.discard();
        } else if ring.publish()
            && let Some(channel) = self.channel
        {
            channel.notify();
        }
    }
}

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match &mut self.ring {
            Some(ring) => match ring.push_slice(text.as_bytes()) {
                Ok(pushed) if pushed == text.len() => Ok(()),
                _ => Err(fmt::Error),
            },
            None if self.kernel_prints => Kernel.write_str(text),
            None => Ok(()),
        }
    }
}

/// The kernel's debug output, if it has one.
struct Kernel;

impl Write for Kernel {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(sys::put_char);
        Ok(())
    }
}

/// Opens the log that the configuration names.
pub(crate) fn open(header: &'static Header) {
    let ring = byte_rings(&header.log.region).map(|rings| rings.client().0);
    with(|state| {
        if let Ok(mut log) = state.log.try_borrow_mut() {
            log.kernel_prints = header.has_debug_put_char();
            log.ring = ring.ok();
            log.channel = Channel::from_config(header.log.channel);
        }
    });
}

/// Writes one line, with the PD's name in front.
#[doc(hidden)]
#[cold]
pub fn line(arguments: fmt::Arguments<'_>) {
    plain(format_args!("{}: {arguments}", sys::name()));
}

/// Writes one line, or a few that belong together, as they are: for those that say themselves who speaks.
#[cold]
pub fn plain(arguments: fmt::Arguments<'_>) {
    with(|state| {
        if let Ok(mut log) = state.log.try_borrow_mut() {
            log.line(arguments);
        }
    });
}

/// Writes like [`plain`], but by the kernel if it prints; all later lines too. For when the serial driver is, or may
/// be, what is broken.
pub fn without_driver(arguments: fmt::Arguments<'_>) {
    with(|state| {
        let Ok(mut log) = state.log.try_borrow_mut() else {
            return;
        };
        if log.kernel_prints {
            log.ring = None;
        }
        log.line(arguments);
    });
}

/// Writes the PD's last line.
pub(crate) fn last_line(arguments: fmt::Arguments<'_>) {
    without_driver(format_args!("{}: {arguments}", sys::name()));
}

/// Writes a line to the log, with the PD's name in front: `log!("{count} requests")`.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::line(format_args!($($argument)*))
    };
}

/// Stops the PD for good with a last line that says why; its parent, or the monitor, gets a fault.
///
/// For what is wrong in the system itself, such as a configuration that does not fit. Never for what a guest or a
/// peer did.
#[macro_export]
macro_rules! fatal {
    ($($argument:tt)*) => {
        $crate::log::stop(format_args!($($argument)*))
    };
}

/// What [`fatal!`](crate::fatal) does.
#[doc(hidden)]
#[cold]
pub fn stop(arguments: fmt::Arguments<'_>) -> ! {
    last_line(format_args!("stopped: {arguments}"));
    sys::stop()
}

#[cfg(test)]
mod tests {
    use crate::host::{self, Call};
    use crate::{Channel, byte_rings};
    use sel4cp_abi::config::{Header, MAX_GUESTS, PowerConfig, Program, Ring};
    use sel4cp_abi::label::Labels;

    fn ring(channel: u32) -> Ring {
        Ring {
            region: host::region(0x1000 + 2 * 64),
            channel,
            reserved: 0,
        }
    }

    fn configure(log: Ring) {
        configure_for(log, 0);
    }

    fn configure_for(log: Ring, flags: u32) {
        let header = Header::new::<PowerConfig>(Program::Power, flags, Labels::RELEASE, log);
        host::set_config(&PowerConfig {
            header,
            serial: Ring::NONE,
            guest_count: 0,
            reserved: 0,
            guests: [Ring::NONE; MAX_GUESTS],
        });
    }

    /// The driver's side, which is another PD and so does not ask this one's table.
    fn driver(ring: Ring) -> impl FnMut() -> String {
        let (mut from, _) = std::thread::spawn(move || {
            host::adopt(ring.region);
            byte_rings(&ring.region).unwrap().driver()
        })
        .join()
        .unwrap();
        from.arm().unwrap();
        move || {
            let mut bytes = [0; 256];
            let count = from.pop_slice(&mut bytes).unwrap();
            let _ = from.release();
            from.arm().unwrap();
            String::from_utf8(bytes[..count].to_vec()).unwrap()
        }
    }

    #[test]
    fn lines_go_to_the_ring_and_the_driver_is_told() {
        let ring = ring(9);
        let mut read = driver(ring);
        configure(ring);
        crate::log!("{} requests", 3);
        assert_eq!(read(), "host: 3 requests\n");
        assert_eq!(host::calls(), [Call::Notify(Channel::new(9))]);
        assert_eq!(host::log(), "");
    }

    #[test]
    fn the_kernel_prints_what_is_not_for_the_driver_if_it_can() {
        let ring = ring(9);
        let mut read = driver(ring);
        configure_for(ring, Header::DEBUG_PUT_CHAR);
        crate::log!("one");
        super::without_driver(format_args!("two"));
        crate::log!("three");
        assert_eq!(
            (read().as_str(), host::log().as_str()),
            ("host: one\n", "two\nhost: three\n")
        );
    }

    #[test]
    fn the_driver_prints_where_the_kernel_cannot() {
        let ring = ring(9);
        let mut read = driver(ring);
        configure(ring);
        super::without_driver(format_args!("one"));
        assert_eq!((read().as_str(), host::log().as_str()), ("one\n", ""));
    }

    #[test]
    fn a_line_that_does_not_fit_is_dropped_whole_and_reported() {
        let ring = ring(9);
        let mut read = driver(ring);
        configure(ring);
        crate::log!("0123456789012345678901234567890123456789");
        crate::log!("this is too much for 64 bytes");
        crate::log!("and so is this one, or its notice");
        assert_eq!(read(), "host: 0123456789012345678901234567890123456789\n");
        crate::log!("here");
        assert_eq!(read(), "host: (2 lines dropped here)\nhost: here\n");
    }
}
