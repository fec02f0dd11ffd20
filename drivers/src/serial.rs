//! The serial line: a UART and the multiplexer that shares it.
//!
//! ```text
//! consoles, early consoles, logs ──rings──▶ Mux ──Output──▶ Line (UART) ──▶
//!              focused console ◀──ring── Keys (chord) ◀───── Line (UART) ◀──
//! ```
//! Nothing waits here. Output stays in the clients' rings until the UART has room, and input stays in the UART
//! until the focused guest's ring has: a full ring delays, and loses nothing.

#![deny(unsafe_code)]

pub mod cadence;
mod client;
pub mod imx;
pub mod keys;
pub mod line;
pub mod meson;
pub mod mux;
mod output;
pub mod pl011;
mod setup;
pub mod uart;

use client::Client;
use core::fmt::Write;
use core::sync::atomic::Ordering::Release;
use heapless::Vec;
use keys::{Key, Keys};
use line::Line;
use mux::NOTE;
use output::Out;
use sel4cp_abi::config::{MAX_GUESTS, MAX_SERIAL_CLIENTS};
use sel4cp_pd::{self as pd, Channel, ChannelSet, Handler};
use sel4cp_ring::shared::{SerialState, TimerPage};
pub use setup::Misconfigured;

/// The serial driver on a line.
pub struct Serial<L> {
    line: L,
    interrupt: Channel,
    clients: Vec<Client, MAX_SERIAL_CLIENTS>,
    output: Out,
    input: Input,
    power: Option<Power>,
    timer: Option<Alarm>,
}

/// Where input goes.
struct Input {
    keys: Keys,
    /// With one guest there is nothing to choose, and all bytes are the guest's.
    chords: bool,
    guests: Vec<Guest, MAX_GUESTS>,
    /// Index of the guest that has the input.
    focus: usize,
}

/// A guest that input can go to.
struct Guest {
    name: &'static str,
    /// Its console, an index of clients.
    console: Option<usize>,
}

/// The power driver, which waits for the last output.
struct Power {
    channel: Channel,
    state: &'static SerialState,
    /// It waits for a notification.
    waits: bool,
}

/// The serial driver's own deadline.
struct Alarm {
    channel: Channel,
    page: &'static TimerPage,
    /// The deadline that the timer driver knows, or an earlier one than the page's; 0: none.
    known: u64,
}

impl Alarm {
    fn set(&mut self, ticks: u64) {
        self.page.deadline.store(ticks, Release);
        if self.known == 0 || ticks < self.known {
            self.known = ticks;
            self.channel.notify();
        }
    }
}

impl Power {
    fn set(&mut self, pending: bool) {
        self.state.pending.store(u32::from(pending), Release);
        if !pending && core::mem::take(&mut self.waits) {
            self.channel.notify();
        }
    }
}

impl<L: Line> Serial<L> {
    /// Moves what can be moved, both ways, and chooses what to be woken by.
    fn serve(&mut self) {
        if let Some(power) = &mut self.power {
            power.set(true);
        }
        let mut incoming;
        loop {
            // Between two pieces of output, so that the UART does not overrun meanwhile.
            incoming = self.read();
            let clients = self.clients.as_mut_slice();
            if !self.output.send(&mut self.line, clients) && !self.report() {
                break;
            }
        }
        if let Some((timer, until)) = self.timer.as_mut().zip(self.output.wait_until()) {
            timer.set(until);
        }
        let mut room = self.output.is_blocked();
        if let Some(power) = &mut self.power {
            let queued = self.output.is_pending();
            if power.waits && !queued {
                // The UART says when little is left, and not when nothing is.
                room = !self.line.is_almost_idle();
                if !room {
                    wait_until_idle(&self.line);
                }
                power.set(room);
            } else {
                power.set(queued || !self.line.is_idle());
            }
        }
        self.line.listen(incoming, room);
        self.clients.iter_mut().for_each(Client::finish);
    }

    /// Tells about a client that breaks the rules; false: none does that was not told about.
    fn report(&mut self) -> bool {
        let Some((name, fault)) = self.clients.iter_mut().find_map(Client::report) else {
            return false;
        };
        let mut note = heapless::String::<NOTE>::new();
        // What does not fit is cut.
        let _ = write!(note, "sel4cp-vmm: serial: {name}: {fault}");
        self.output.note(&note);
        true
    }

    /// Takes bytes from the line as long as there is room for them; returns whether there is still.
    fn read(&mut self) -> bool {
        loop {
            let console = self
                .input
                .console()
                .and_then(|index| self.clients.get_mut(index));
            if console.is_some_and(|console| !console.has_room()) {
                return false;
            }
            let Some(byte) = self.line.receive() else {
                return true;
            };
            match self.input.press(byte) {
                Key::Byte(byte) => {
                    let console = self.input.console();
                    if let Some(console) = console.and_then(|index| self.clients.get_mut(index)) {
                        console.give(byte);
                    }
                }
                Key::Half => {}
                key => self.output.note(&self.input.move_focus(key)),
            }
        }
    }
}

/// Waits until the line's last few bytes have left, which takes half a millisecond. A line that is stuck does not
/// keep the machine on: at most 10 ms.
fn wait_until_idle(line: &impl Line) {
    let end = pd::now().saturating_add(pd::frequency() / 100);
    while !line.is_idle() && pd::now() < end {
        core::hint::spin_loop();
    }
}

impl Input {
    fn press(&mut self, byte: u8) -> Key {
        if self.chords {
            self.keys.press(byte)
        } else {
            Key::Byte(byte)
        }
    }

    /// The focused guest's console.
    fn console(&self) -> Option<usize> {
        self.guests.get(self.focus)?.console
    }

    /// Moves the input as the chord says, and returns what to tell the user.
    fn move_focus(&mut self, key: Key) -> heapless::String<NOTE> {
        let count = self.guests.len();
        let chosen = match key {
            Key::Guest(index) => Some(index).filter(|index| *index < count),
            Key::Next => (self.focus + 1).checked_rem(count),
            Key::Byte(_) | Key::Half | Key::Unknown => None,
        };
        let mut note = heapless::String::new();
        let written = match chosen.and_then(|index| self.guests.get(index)) {
            Some(guest) => write!(note, "sel4cp-vmm: input goes to {}", guest.name),
            None => write!(
                note,
                "sel4cp-vmm: Ctrl-] and 1 to {count}: that guest, n: the next one, Ctrl-]: itself"
            ),
        };
        // Both fit: a name has at most 32 bytes.
        debug_assert!(written.is_ok());
        self.focus = chosen.unwrap_or(self.focus);
        note
    }
}

impl<L: Line> Handler for Serial<L> {
    fn notified(&mut self, channels: ChannelSet) {
        for (index, client) in self.clients.iter().enumerate() {
            if channels.contains(client.channel()) {
                self.output.wake(index);
            }
        }
        if let Some(power) = &mut self.power {
            power.waits |= channels.contains(power.channel);
        }
        if let Some(timer) = &mut self.timer
            && channels.contains(timer.channel)
        {
            timer.known = 0;
        }
        self.serve();
        if channels.contains(self.interrupt) {
            // What asserted it has been served or masked, and an edge is one that comes after that.
            self.interrupt.defer_irq_ack();
        }
    }
}

/// The program.
pub fn init() -> Serial<uart::Uart> {
    match Serial::open() {
        Ok(serial) => serial,
        Err(error) => pd::fatal!("{error}"),
    }
}

#[cfg(test)]
mod tests;
