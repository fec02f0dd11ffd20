//! Makes a protection domain of a device: regions and channels of the configuration, notifications, log lines.

use crate::backend::{Backend, Device};
use crate::vsock::MAX_WIRES;
use sel4cp_abi::config::{BackendConfig, Config, Ring};
use sel4cp_link::LinkPage;
use sel4cp_pd::{self as pd, Channel, ChannelSet, GuestRam, Handler};

/// A backend's protection domain.
pub struct Domain<D> {
    backend: Backend<D>,
    vmm: Option<Channel>,
    driver: Option<Channel>,
    /// To the domain that tells of the guest's pauses.
    pause: Option<Channel>,
    wires: Wires,
}

/// Channels to the peers at the ends of wires.
pub type Wires = [Option<Channel>; MAX_WIRES];

/// The backend's configuration. Without it there is nothing to do: the protection domain stops, with a line that says why.
pub fn config<T: Config>() -> &'static T {
    match pd::config::<T>() {
        Ok(config) => config,
        Err(error) => pd::fatal!("{error}"),
    }
}

/// What `region` gives, or the end of this protection domain: the system description is wrong.
pub fn need<T>(what: &str, region: Result<T, pd::RegionError>) -> T {
    match region {
        Ok(value) => value,
        Err(error) => pd::fatal!("{what}: {error}"),
    }
}

impl<D: Device> Domain<D> {
    /// Puts `device` on the link of `config` and lets it begin; stops as [`need`] does.
    pub fn new(config: &BackendConfig, ram: GuestRam, device: D) -> Self {
        let page = need("link", pd::shared(&config.link.region));
        Self::on(page, config, ram, device)
    }

    /// Like [`new`](Self::new), on a link page that has been taken already.
    pub fn on(page: &'static LinkPage, config: &BackendConfig, ram: GuestRam, device: D) -> Self {
        Self::begin(Self {
            backend: Backend::new(page, ram, device),
            vmm: Channel::from_config(config.link.channel),
            driver: Channel::from_config(config.ring.channel),
            pause: Channel::from_config(config.pause.channel),
            wires: [None; MAX_WIRES],
        })
    }

    /// Puts a device without a driver, with wires instead, on the link; stops as [`need`] does.
    pub fn wired(link: &Ring, wires: Wires, ram: GuestRam, device: D) -> Self {
        let page = need("link", pd::shared(&link.region));
        Self::begin(Self {
            backend: Backend::new(page, ram, device),
            vmm: Channel::from_config(link.channel),
            driver: None,
            pause: None,
            wires,
        })
    }

    fn begin(mut self) -> Self {
        self.work();
        self
    }

    fn work(&mut self) {
        loop {
            let signals = self.backend.turn();
            if let Some(trouble) = self.backend.take_trouble() {
                pd::log!("{trouble}");
            }
            if let (true, Some(pause)) = (signals.ask_for_pause, self.pause) {
                pause.defer_notify();
            }
            // The last one waits for the receive. That is the driver's: it has a higher priority than we have, runs at
            // once, and the VMM follows without us in between.
            if let (true, Some(vmm)) = (signals.vmm, self.vmm) {
                vmm.defer_notify();
            }
            if let (true, Some(driver)) = (signals.driver, self.driver) {
                driver.defer_notify();
            }
            if signals.wires != 0 {
                for (index, wire) in self.wires.iter().enumerate() {
                    if let (true, Some(wire)) = (signals.wires >> index & 1 != 0, wire) {
                        wire.defer_notify();
                    }
                }
            }
            if !signals.again {
                break;
            }
        }
    }
}

impl<D: Device> Handler for Domain<D> {
    fn notified(&mut self, channels: ChannelSet) {
        if self.pause.is_some_and(|pause| channels.contains(pause)) {
            self.backend.paused();
        }
        self.work();
    }
}
