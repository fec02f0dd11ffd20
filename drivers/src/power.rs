//! Powers the machine off when every guest is done.
//!
//! Each VMM notifies when its guest is off or stopped. Where the control service may start a guest again, a page says whether it
//! is still off. This domain has the lowest priority: when it
//! runs, all others wait for something. What is left then is output that the UART has not sent yet, which the
//! serial driver is asked about.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Acquire;
use sel4cp_abi::config::{MAX_GUESTS, PowerConfig, Ring};
use sel4cp_pd::{self as pd, Channel, ChannelSet, ConfigError, Handler, RegionError, log};
use sel4cp_ring::control::GuestPage;
use sel4cp_ring::shared::SerialState;

/// PSCI's SYSTEM_OFF (Arm DEN 0022, §5.10).
const SYSTEM_OFF: u64 = 0x8400_0008;

/// The power driver.
pub struct Power {
    guests: heapless::Vec<Guest, MAX_GUESTS>,
    serial: Option<Serial>,
}

/// A guest, as the power driver sees it.
struct Guest {
    /// To its VMM.
    channel: Channel,
    /// It has been off, or stopped.
    over: bool,
    /// What became of it then, where it can be started again.
    page: Option<&'static GuestPage>,
}

/// The serial driver, as the power driver sees it.
struct Serial {
    channel: Channel,
    state: &'static SerialState,
}

/// What is wrong with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconfigured {
    /// There is none that fits.
    Config(ConfigError),
    /// The serial driver's state page.
    State(RegionError),
    /// The page of a guest: its place in the configuration, and why it was refused.
    Page(usize, RegionError),
    /// The channel of a guest's VMM: its place in the configuration, and the number found.
    Guest(usize, u32),
    /// A region without a channel; the number found.
    Channel(u32),
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::State(error) => write!(f, "serial driver's state page: {error}"),
            Self::Page(guest, error) => write!(f, "page of guest {guest}: {error}"),
            Self::Guest(guest, id) => write!(
                f,
                "channel of guest {guest} is {id}, expected one from 0 to 61"
            ),
            Self::Channel(id) => write!(
                f,
                "serial driver's channel is {id}, expected one from 0 to 61"
            ),
        }
    }
}

impl Serial {
    fn new(config: &'static Ring) -> Result<Option<Self>, Misconfigured> {
        if !config.region.is_some() {
            return Ok(None);
        }
        let channel = Channel::from_config(config.channel);
        Ok(Some(Self {
            channel: channel.ok_or(Misconfigured::Channel(config.channel))?,
            state: pd::shared(&config.region).map_err(Misconfigured::State)?,
        }))
    }

    /// Whether all output has left the machine; if not, the serial driver will notify when it has.
    fn is_done(&self) -> bool {
        if self.state.pending.load(Acquire) == 0 {
            return true;
        }
        self.channel.notify();
        false
    }
}

impl Guest {
    fn new(index: usize, config: &'static Ring) -> Result<Self, Misconfigured> {
        let channel = Channel::from_config(config.channel);
        let page = config.region.is_some().then(|| pd::shared(&config.region));
        let page = page.transpose();
        Ok(Self {
            channel: channel.ok_or(Misconfigured::Guest(index, config.channel))?,
            over: false,
            page: page.map_err(|error| Misconfigured::Page(index, error))?,
        })
    }

    /// Whether it does not run.
    fn is_over(&self) -> bool {
        self.over && self.page.is_none_or(GuestPage::is_over)
    }
}

impl Power {
    /// The driver, from its configuration.
    ///
    /// # Errors
    /// [`Misconfigured`] says what does not fit.
    pub fn new() -> Result<Self, Misconfigured> {
        let config = pd::config::<PowerConfig>().map_err(Misconfigured::Config)?;
        let count = usize::try_from(config.guest_count).unwrap_or(usize::MAX);
        let mut guests = heapless::Vec::new();
        for (index, guest) in config.guests.iter().enumerate().take(count) {
            // There is room: the configuration has no more places.
            let _room = guests.push(Guest::new(index, guest)?);
        }
        Ok(Self {
            guests,
            serial: Serial::new(&config.serial)?,
        })
    }
}

impl Handler for Power {
    fn notified(&mut self, channels: ChannelSet) {
        for guest in &mut self.guests {
            guest.over |= channels.contains(guest.channel);
        }
        if self.guests.iter().all(Guest::is_over)
            && self.serial.as_ref().is_none_or(Serial::is_done)
        {
            let [status, ..] = match pd::smc_call([SYSTEM_OFF, 0, 0, 0, 0, 0, 0, 0]) {
                Ok(results) => results,
                Err(error) => return log!("cannot power off: {error:?} for SYSTEM_OFF"),
            };
            log!("cannot power off: the firmware answered {status:#x} to SYSTEM_OFF");
        }
    }
}

/// The program.
pub fn init() -> Power {
    match Power::new() {
        Ok(power) => power,
        Err(error) => pd::fatal!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Release;
    use pd::host::{self, Call};
    use sel4cp_abi::config::{Header, Program};
    use sel4cp_abi::label::Labels;
    use sel4cp_ring::control::{Controlled, Life};

    const OFF: [u64; 8] = [SYSTEM_OFF, 0, 0, 0, 0, 0, 0, 0];

    fn config(serial: Ring, channels: &[u32]) -> PowerConfig {
        let mut guests = [Ring::NONE; MAX_GUESTS];
        for (guest, channel) in guests.iter_mut().zip(channels) {
            guest.channel = *channel;
        }
        PowerConfig {
            header: Header::new::<PowerConfig>(
                Program::Power,
                Header::DEBUG_PUT_CHAR,
                Labels::RELEASE,
                Ring::NONE,
            ),
            serial,
            guest_count: u32::try_from(channels.len()).unwrap(),
            reserved: 0,
            guests,
        }
    }

    fn power(serial: Ring, channels: &[u32]) -> Power {
        host::set_config(&config(serial, channels));
        Power::new().unwrap()
    }

    fn notify(power: &mut Power, channels: &[u8]) -> Vec<Call> {
        power.notified(channels.iter().map(|id| Channel::new(*id)).collect());
        host::calls()
    }

    #[test]
    fn the_last_guest_powers_the_machine_off() {
        let mut power = power(Ring::NONE, &[3, 5]);
        assert_eq!(notify(&mut power, &[3]), []);
        assert_eq!(notify(&mut power, &[3]), [], "a guest counts once");
        assert_eq!(notify(&mut power, &[5]), [Call::Smc(OFF.to_vec())]);
    }

    #[test]
    fn a_guest_that_was_started_again_counts_as_running() {
        let mut config = config(Ring::NONE, &[3, 5]);
        config.guests[0].region = host::region(0x1000);
        host::set_config(&config);
        let mut power = Power::new().unwrap();
        let vmm = Controlled::new(power.guests[0].page.unwrap());
        vmm.show(Life::Off);
        assert_eq!(notify(&mut power, &[3]), []);
        vmm.show(Life::Running);
        assert_eq!(notify(&mut power, &[5]), []);
        vmm.show(Life::Stopped);
        assert_eq!(notify(&mut power, &[3]), [Call::Smc(OFF.to_vec())]);
    }

    #[test]
    fn a_channel_that_does_not_exist_is_refused() {
        host::set_config(&config(Ring::NONE, &[0, 99]));
        assert_eq!(Power::new().err(), Some(Misconfigured::Guest(1, 99)));
    }

    #[test]
    fn output_leaves_before_the_power() {
        let region = host::region(0x1000);
        let serial = Ring {
            region,
            channel: 0,
            reserved: 0,
        };
        let mut power = power(serial, &[1]);
        let state = power.serial.as_ref().unwrap().state;
        state.pending.store(1, Release);
        assert_eq!(notify(&mut power, &[0]), [], "the guest still runs");
        let ask = [Call::Notify(Channel::new(0))];
        assert_eq!(notify(&mut power, &[1]), ask);
        assert_eq!(notify(&mut power, &[0]), ask, "there was more output");
        state.pending.store(0, Release);
        assert_eq!(notify(&mut power, &[0]), [Call::Smc(OFF.to_vec())]);
    }

    #[test]
    fn a_state_page_without_a_channel_is_refused() {
        let serial = Ring {
            region: host::region(0x1000),
            ..Ring::NONE
        };
        host::set_config(&config(serial, &[0]));
        let refused = Power::new().err();
        assert_eq!(refused, Some(Misconfigured::Channel(u32::MAX)));
    }

    #[test]
    fn a_refusal_of_the_firmware_is_reported() {
        let mut power = power(Ring::NONE, &[0]);
        host::refuse(pd::Error::InvalidCapability);
        notify(&mut power, &[0]);
        assert!(host::log().contains("InvalidCapability"));
    }
}
