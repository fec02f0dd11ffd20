//! What is said: answers, each a line that is sent whole or in parts that are.

use super::session::LINE;
use super::{Control, FAULTED, Guest, Next, ORDERS, RUNNING};
use crate::socket::Socket;
use core::fmt::{self, Write as _};
use sel4cp_abi::config::Access;
use sel4cp_link::names;
use sel4cp_model::DeviceType;

/// Most bytes that are sent at once: fewer than an endpoint waits for when a wire is full, so that it never wakes too early.
const PART: usize = 4000;

/// An answer, or a part of one. What is longer than a part is cut: nothing that the tool builds is.
#[derive(Default)]
pub(super) struct Answer {
    text: heapless::String<PART>,
}

impl Answer {
    /// Adds text.
    pub(super) fn push(&mut self, text: fmt::Arguments<'_>) {
        // All that fits is there.
        let _cut = self.text.write_fmt(text);
    }

    fn end(&mut self) -> Next {
        if self.text.push('\n').is_err() {
            self.text.pop();
            let _room = self.text.push('\n');
        }
        Next::Done
    }

    /// The whole answer to what was done.
    pub(super) fn ok(&mut self, text: fmt::Arguments<'_>) -> Next {
        self.push(format_args!("ok {text}"));
        self.end()
    }

    /// The whole answer to what was not done.
    pub(super) fn error(&mut self, text: fmt::Arguments<'_>) -> Next {
        self.push(format_args!("error: {text}"));
        self.end()
    }

    /// Sends it, or nothing of it, and then false. What nobody will hear goes nowhere.
    pub(super) fn send(&self, socket: &mut Socket<'_>) -> bool {
        let bytes = self.text.as_bytes();
        if socket.is_deaf() {
            return true;
        }
        socket.room() >= bytes.len() && socket.send(bytes) == bytes.len()
    }
}

/// Why a request is answered with an error. What it says comes from the guest, and goes back to nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied<'l> {
    /// A line with nothing in it.
    Empty,
    /// A line that is longer than [`LINE`].
    Overlong,
    /// A line that is not UTF-8.
    NoText,
    /// No such request.
    Verb(&'l str),
    /// There is more behind the request than belongs to it.
    Words(&'l str),
    /// An order without a guest.
    Nameless(&'l str),
    /// No guest has this name.
    Name(&'l str),
    /// The system file gives the guest no such right.
    Access,
    /// A guest would pause itself.
    Oneself,
    /// The guest's VMM has faulted.
    Faulted(&'l str),
}

/// Text of a guest's: without control characters, which could make two lines of one.
struct Quoted<'l>(&'l str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            f.write_char(if letter.is_control() { '?' } else { letter })?;
        }
        Ok(())
    }
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty line; expected a command, see help"),
            Self::Overlong => write!(f, "a line of more than {LINE} bytes"),
            Self::NoText => f.write_str("a line that is not UTF-8"),
            Self::Verb(verb) => write!(f, "unknown command \"{}\", see help", Quoted(verb)),
            Self::Words(verb) => write!(f, "too many words after \"{}\", see help", Quoted(verb)),
            Self::Nameless(verb) => write!(f, "expected a VM's name after \"{verb}\", see vms"),
            Self::Name(name) => write!(f, "unknown VM \"{}\", see vms", Quoted(name)),
            Self::Access => f.write_str("not allowed: the system file gives this VM status only"),
            Self::Oneself => f.write_str("a VM cannot pause itself"),
            Self::Faulted(name) => write!(f, "the VMM of {name} has faulted"),
        }
    }
}

/// The requests that a guest may make.
pub(super) struct Help(pub(super) Access);

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("help, vms, pds, counters [NAME]")?;
        if self.0 == Access::All {
            for (order, ..) in ORDERS {
                write!(f, ", {order} NAME")?;
            }
        }
        Ok(())
    }
}

/// The state of every guest.
pub(super) struct Vms<'c>(pub(super) &'c Control);

impl fmt::Display for Vms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, guest) in self.0.guests.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{}={}", guest.name, self.0.life(guest))?;
        }
        Ok(())
    }
}

/// The state of every PD that the supervisor watches.
pub(super) struct Pds<'c>(pub(super) &'c Control);

impl fmt::Display for Pds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (child, name) in (0..=u8::MAX).zip(self.0.children) {
            let gap = if child == 0 { "" } else { " " };
            let state = if self.0.domains.has_faulted(child) {
                FAULTED
            } else {
                RUNNING
            };
            write!(f, "{gap}{name}={state}")?;
        }
        Ok(())
    }
}

/// The counters of a guest's devices.
pub(super) struct Counters<'c>(pub(super) &'c Guest);

impl fmt::Display for Counters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, device) in self.0.devices.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            let name = DeviceType::from_id(device.kind).map_or("unknown", DeviceType::name);
            write!(f, "{gap}{}.{name}", self.0.name)?;
            for (name, value) in names(device.kind).iter().zip(device.gauge.counters()) {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}
