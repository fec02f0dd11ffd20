//! From the configuration to a driver that works.

use super::client::Client;
use super::keys::Keys;
use super::line::Line;
use super::mux::{Mux, Pace, Style};
use super::output::Out;
use super::uart::Uart;
use super::{Alarm, Guest, Input, Power, Serial};
use core::fmt;
use heapless::Vec;
use sel4cp_abi::config::{MAX_GUESTS, MAX_SERIAL_CLIENTS, Name, Ring, SerialClient, SerialConfig};
use sel4cp_abi::uart::UartKind;
use sel4cp_pd::{self as pd, Channel, ConfigError, RegionError};

/// Milliseconds of silence after which a line that others wait for is broken.
const SILENCE: u64 = 100;
/// Milliseconds after which it is broken although it goes on.
const PATIENCE: u64 = 500;

/// What is wrong with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconfigured {
    /// There is none that fits.
    Config(ConfigError),
    /// The UART is of an unknown kind: the number found.
    Uart(u32),
    /// More clients than places; the number found.
    Clients(u32),
    /// More guests than places; the number found.
    Guests(u32),
    /// A client belongs to a guest that does not exist: its name, the guest's number.
    Guest(Name, u32),
    /// A client is of an unknown kind: its name, the number found.
    Kind(Name, u32),
    /// A channel is none: whose, the number found.
    Channel(Owner, u32),
    /// A region does not fit: whose, and what is wrong with it.
    Region(Owner, RegionError),
}

/// Whom a region or channel connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they say what they are")]
pub enum Owner {
    Uart,
    Power,
    Timer,
    Client(Name),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uart => f.write_str("the UART"),
            Self::Power => f.write_str("the power driver"),
            Self::Timer => f.write_str("the timer driver"),
            Self::Client(name) => write!(f, "client {name}"),
        }
    }
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Uart(kind) => write!(f, "the UART is of kind {kind}, expected 1 to 4"),
            Self::Clients(count) => {
                write!(f, "{count} clients, expected at most {MAX_SERIAL_CLIENTS}")
            }
            Self::Guests(count) => write!(f, "{count} guests, expected at most {MAX_GUESTS}"),
            Self::Guest(name, guest) => {
                write!(
                    f,
                    "client {name} belongs to guest {guest}, which does not exist"
                )
            }
            Self::Kind(name, kind) => write!(f, "client {name} is of kind {kind}, expected 0 to 2"),
            Self::Channel(owner, id) => {
                write!(f, "channel to {owner} is {id}, expected one from 0 to 61")
            }
            Self::Region(owner, error) => write!(f, "region shared with {owner}: {error}"),
        }
    }
}

/// What a client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Console,
    EarlyConsole,
    Log,
}

impl Kind {
    fn of(client: &SerialClient) -> Result<Self, Misconfigured> {
        match client.kind {
            0 => Ok(Self::Console),
            1 => Ok(Self::EarlyConsole),
            2 => Ok(Self::Log),
            other => Err(Misconfigured::Kind(client.name, other)),
        }
    }
}

fn channel(id: u32, owner: Owner) -> Result<Channel, Misconfigured> {
    Channel::from_config(id).ok_or(Misconfigured::Channel(owner, id))
}

/// A page that another driver shares with this one, and the channel to it; both or none.
fn page<T: sel4cp_ring::shared::Shared>(
    ring: &'static Ring,
    owner: Owner,
) -> Result<Option<(Channel, &'static T)>, Misconfigured> {
    if !ring.region.is_some() {
        return Ok(None);
    }
    let channel = channel(ring.channel, owner)?;
    match pd::shared(&ring.region) {
        Ok(page) => Ok(Some((channel, page))),
        Err(error) => Err(Misconfigured::Region(owner, error)),
    }
}

impl Serial<Uart> {
    /// The driver on the UART of its configuration.
    ///
    /// # Errors
    /// [`Misconfigured`] says what does not fit.
    pub fn open() -> Result<Self, Misconfigured> {
        let config = pd::config().map_err(Misconfigured::Config)?;
        Self::new(config, uart(config)?)
    }
}

fn uart(config: &'static SerialConfig) -> Result<Uart, Misconfigured> {
    let kind = UartKind::from_number(config.uart).ok_or(Misconfigured::Uart(config.uart))?;
    Uart::new(kind, &config.registers).map_err(|error| Misconfigured::Region(Owner::Uart, error))
}

impl<L: Line> Serial<L> {
    /// The driver on `line`; what is in the clients' rings already is shown.
    ///
    /// # Errors
    /// [`Misconfigured`] says what does not fit.
    pub fn new(config: &'static SerialConfig, line: L) -> Result<Self, Misconfigured> {
        let too_many = Misconfigured::Clients(config.client_count);
        let count = usize::try_from(config.client_count).map_err(|_| too_many)?;
        let mut input = Input::new(config)?;
        let mut clients = Vec::new();
        let mut styles = Vec::new();
        for (index, client) in config
            .clients
            .get(..count)
            .ok_or(too_many)?
            .iter()
            .enumerate()
        {
            let kind = Kind::of(client)?;
            if kind != Kind::Log {
                input.add(index, client, kind)?;
            }
            styles
                .push(match kind {
                    Kind::Log => Style::Log,
                    _ if input.chords => Style::Labelled(client.name.as_str()),
                    _ => Style::Raw,
                })
                .map_err(|_| too_many)?;
            clients.push(open(client)?).map_err(|_| too_many)?;
        }
        let power = page(&config.state, Owner::Power)?;
        let timer = page(&config.timer, Owner::Timer)?;
        let millisecond = pd::frequency() / 1000;
        let pace = Pace {
            silence: timer.map_or(0, |_| SILENCE.saturating_mul(millisecond)),
            patience: PATIENCE.saturating_mul(millisecond),
        };
        let mut serial = Self {
            line,
            interrupt: channel(config.interrupt_channel, Owner::Uart)?,
            clients,
            output: Out::new(Mux::new(styles, pace)),
            input,
            power: power.map(|(channel, state)| Power {
                channel,
                state,
                waits: false,
            }),
            timer: timer.map(|(channel, page)| Alarm {
                channel,
                page,
                known: 0,
            }),
        };
        serial.serve();
        Ok(serial)
    }
}

fn open(client: &'static SerialClient) -> Result<Client, Misconfigured> {
    let owner = Owner::Client(client.name);
    let channel = channel(client.ring.channel, owner)?;
    match pd::byte_rings(&client.ring.region) {
        Ok(rings) => Ok(Client::new(client.name.as_str(), channel, rings)),
        Err(error) => Err(Misconfigured::Region(owner, error)),
    }
}

impl Input {
    fn new(config: &SerialConfig) -> Result<Self, Misconfigured> {
        let too_many = Misconfigured::Guests(config.guest_count);
        let mut guests = Vec::new();
        for _ in 0..config.guest_count {
            let guest = Guest {
                name: "",
                console: None,
            };
            guests.push(guest).map_err(|_| too_many)?;
        }
        Ok(Self {
            keys: Keys::default(),
            chords: guests.len() > 1,
            guests,
            focus: usize::try_from(config.focus).unwrap_or(0),
        })
    }

    fn add(
        &mut self,
        index: usize,
        client: &'static SerialClient,
        kind: Kind,
    ) -> Result<(), Misconfigured> {
        let number = usize::try_from(client.guest).ok();
        let guest = number.and_then(|number| self.guests.get_mut(number));
        let guest = guest.ok_or(Misconfigured::Guest(client.name, client.guest))?;
        if kind == Kind::Console {
            *guest = Guest {
                name: client.name.as_str(),
                console: Some(index),
            };
        }
        Ok(())
    }
}
