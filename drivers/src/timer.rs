//! Wakes VMMs whose guests sleep: deadlines on the physical timer.
//!
//! A client stores a deadline into the page that it shares with this driver ([`TimerPage`]) and notifies; when the
//! deadline has passed, the driver sets it to 0 and notifies the client. The driver remembers what it has read
//! last from each page, so that a notification costs one page and an interrupt those that are due; it looks at a
//! page again before it acts, so that a client may move its deadline further away, or remove it, silently.

#![deny(unsafe_code)]

mod deadline;

use core::fmt;
use deadline::{Deadline, check};
use sel4cp_abi::config::{MAX_TIMER_CLIENTS, Ring, TimerConfig};
use sel4cp_pd::{self as pd, Channel, ChannelSet, ConfigError, Handler, RegionError, timer};
use sel4cp_ring::shared::TimerPage;

/// The timer driver.
pub struct Timer {
    interrupt: Channel,
    clients: heapless::Vec<Client, MAX_TIMER_CLIENTS>,
}

struct Client {
    channel: Channel,
    page: &'static TimerPage,
    /// The deadline as it was read last.
    known: Option<u64>,
}

/// What is wrong with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconfigured {
    /// There is none that fits.
    Config(ConfigError),
    /// The interrupt's channel; the number found.
    Interrupt(u32),
    /// There are more clients than places; the number found.
    Clients(u32),
    /// A client's channel: index of the client, the number found.
    Channel(usize, u32),
    /// A client's page.
    Page(usize, RegionError),
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Interrupt(id) => write!(f, "interrupt's channel is {id}, expected 0 to 61"),
            Self::Clients(count) => {
                write!(f, "{count} clients, expected at most {MAX_TIMER_CLIENTS}")
            }
            Self::Channel(client, id) => {
                write!(f, "channel of client {client} is {id}, expected 0 to 61")
            }
            Self::Page(client, error) => write!(f, "page of client {client}: {error}"),
        }
    }
}

impl Client {
    fn new(index: usize, config: &'static Ring) -> Result<Self, Misconfigured> {
        let channel = Channel::from_config(config.channel);
        Ok(Self {
            channel: channel.ok_or(Misconfigured::Channel(index, config.channel))?,
            page: pd::shared(&config.region).map_err(|error| Misconfigured::Page(index, error))?,
            known: None,
        })
    }

    /// Looks at the page, and notifies the client if its deadline has passed.
    fn look(&mut self, now: u64) {
        self.known = match check(self.page, now) {
            Deadline::None => None,
            Deadline::At(ticks) => Some(ticks),
            Deadline::Passed => {
                self.channel.notify();
                None
            }
        };
    }

    fn is_due(&self, now: u64) -> bool {
        self.known.is_some_and(|deadline| deadline <= now)
    }
}

impl Timer {
    /// The driver, from its configuration, with the deadlines that are in the pages already.
    ///
    /// # Errors
    /// [`Misconfigured`] says what does not fit.
    pub fn new() -> Result<Self, Misconfigured> {
        let config = pd::config::<TimerConfig>().map_err(Misconfigured::Config)?;
        let interrupt = Channel::from_config(config.interrupt_channel);
        let too_many = Misconfigured::Clients(config.client_count);
        let count = usize::try_from(config.client_count).map_err(|_| too_many)?;
        let mut clients = heapless::Vec::new();
        for (index, client) in config
            .clients
            .get(..count)
            .ok_or(too_many)?
            .iter()
            .enumerate()
        {
            let client = Client::new(index, client)?;
            clients.push(client).map_err(|_| too_many)?;
        }
        let mut timer = Self {
            interrupt: interrupt.ok_or(Misconfigured::Interrupt(config.interrupt_channel))?,
            clients,
        };
        timer.serve(|_| true);
        Ok(timer)
    }

    /// Looks at the pages of the clients that are chosen or due, and programs the timer for the earliest
    /// deadline: each time, because a guest may have programmed it too, and a VMM moves it while it is masked.
    fn serve(&mut self, chosen: impl Fn(&Client) -> bool) {
        let now = pd::now();
        for client in &mut self.clients {
            if chosen(client) || client.is_due(now) {
                client.look(now);
            }
        }
        let earliest = self.clients.iter().filter_map(|client| client.known).min();
        timer::program(earliest);
    }
}

impl Handler for Timer {
    fn notified(&mut self, channels: ChannelSet) {
        self.serve(|client| channels.contains(client.channel));
        if channels.contains(self.interrupt) {
            // The timer no longer asserts the (level-triggered) interrupt, or does so for a new deadline.
            self.interrupt.defer_irq_ack();
        }
    }
}

/// The program.
pub fn init() -> Timer {
    match Timer::new() {
        Ok(timer) => timer,
        Err(error) => pd::fatal!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;
    use pd::host::{self, Call};
    use sel4cp_abi::config::{Header, Program};
    use sel4cp_abi::label::Labels;

    const INTERRUPT: Channel = Channel::new(0);
    const FIRST: Channel = Channel::new(1);
    const SECOND: Channel = Channel::new(2);

    fn configure(client_count: u32) -> Result<Timer, Misconfigured> {
        let mut clients = [Ring::NONE; MAX_TIMER_CLIENTS];
        for (channel, client) in (1..).zip(&mut clients).take(2) {
            *client = Ring {
                region: host::region(0x1000),
                channel,
                reserved: 0,
            };
        }
        host::set_config(&TimerConfig {
            header: Header::new::<TimerConfig>(Program::Timer, 0, Labels::RELEASE, Ring::NONE),
            interrupt_channel: 0,
            client_count,
            clients,
        });
        Timer::new()
    }

    /// What the timer is programmed for.
    fn programmed() -> Option<u64> {
        let (ticks, control) = timer::registers();
        match control {
            0b01 => Some(ticks),
            0b11 => None,
            _ => panic!("the timer does not run: {control:#x}"),
        }
    }

    /// Stores deadlines, sets the time and notifies; returns the calls and what the timer is programmed for.
    fn step(
        timer: &mut Timer,
        now: u64,
        channel: Channel,
        deadlines: [Option<u64>; 2],
    ) -> (Vec<Call>, Option<u64>) {
        for (client, deadline) in timer.clients.iter().zip(deadlines) {
            if let Some(ticks) = deadline {
                client.page.deadline.store(ticks, Relaxed);
            }
        }
        host::set_counter(now);
        host::deliver_notification(channel);
        host::run(timer);
        let calls = host::calls().into_iter();
        let calls = calls.filter(|call| *call != Call::Receive).collect();
        (calls, programmed())
    }

    #[test]
    fn the_earliest_deadline_is_programmed() {
        let mut timer = configure(2).unwrap();
        assert_eq!(programmed(), None);
        let set = step(&mut timer, 10, FIRST, [Some(500), None]);
        assert_eq!(set, (vec![], Some(500)));
        let set = step(&mut timer, 11, SECOND, [None, Some(300)]);
        assert_eq!(set, (vec![], Some(300)));
        let passed = step(&mut timer, 300, INTERRUPT, [None; 2]);
        let calls = vec![Call::Notify(SECOND), Call::IrqAck(INTERRUPT)];
        assert_eq!(passed, (calls, Some(500)));
        assert_eq!(timer.clients[1].page.deadline.load(Relaxed), 0);
        let passed = step(&mut timer, 501, INTERRUPT, [None; 2]);
        let calls = vec![Call::Notify(FIRST), Call::IrqAck(INTERRUPT)];
        assert_eq!(passed, (calls, None));
    }

    #[test]
    fn a_deadline_moves_silently_away_or_disappears() {
        let mut timer = configure(2).unwrap();
        step(&mut timer, 10, FIRST, [Some(500), None]);
        let moved = step(&mut timer, 500, INTERRUPT, [Some(600), None]);
        assert_eq!(moved, (vec![Call::IrqAck(INTERRUPT)], Some(600)));
        let gone = step(&mut timer, 600, INTERRUPT, [Some(0), None]);
        assert_eq!(gone, (vec![Call::IrqAck(INTERRUPT)], None));
    }

    #[test]
    fn a_deadline_in_the_past_passes_at_once() {
        let mut timer = configure(2).unwrap();
        let passed = step(&mut timer, 10, FIRST, [Some(1), None]);
        assert_eq!(passed, (vec![Call::Notify(FIRST)], None));
    }

    #[test]
    fn somebody_elses_programming_is_overwritten() {
        let mut timer = configure(2).unwrap();
        step(&mut timer, 10, FIRST, [Some(500), None]);
        timer::program(Some(7));
        let spurious = step(&mut timer, 11, INTERRUPT, [None; 2]);
        assert_eq!(spurious, (vec![Call::IrqAck(INTERRUPT)], Some(500)));
    }

    #[test]
    fn a_restarted_driver_finds_the_deadlines() {
        let mut timer = configure(2).unwrap();
        step(&mut timer, 10, FIRST, [Some(500), Some(400)]);
        assert_eq!(programmed(), Some(500));
        timer
            .clients
            .iter_mut()
            .for_each(|client| client.known = None);
        timer.serve(|_| true);
        assert_eq!(programmed(), Some(400));
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        assert_eq!(configure(99).err(), Some(Misconfigured::Clients(99)));
        let third = Misconfigured::Channel(2, u32::MAX);
        assert_eq!(configure(3).err(), Some(third));
    }
}
