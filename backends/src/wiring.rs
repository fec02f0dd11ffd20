//! Makes a protection domain of a device: regions and channels of the configuration, notifications, log lines.

use crate::backend::{Backend, Device};
use sel4cp_abi::config::BackendConfig;
use sel4cp_link::LinkPage;
use sel4cp_pd::{self as pd, Channel, ChannelSet, GuestRam, Handler};

/// A backend's protection domain.
pub struct Domain<D> {
    backend: Backend<D>,
    vmm: Option<Channel>,
    driver: Option<Channel>,
}

/// The backend's configuration. Without it there is nothing to do: the protection domain stops, with a line that says why.
pub fn config() -> &'static BackendConfig {
    match pd::config::<BackendConfig>() {
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
        let mut domain = Self {
            backend: Backend::new(page, ram, device),
            vmm: Channel::from_config(config.link.channel),
            driver: Channel::from_config(config.ring.channel),
        };
        domain.work();
        domain
    }

    fn work(&mut self) {
        loop {
            let signals = self.backend.turn();
            if let Some(trouble) = signals.trouble {
                pd::log!("{trouble}");
            }
            // The last one waits for the receive. That is the driver's: it has a higher priority than we have, runs at
            // once, and the VMM follows without us in between.
            if let (true, Some(vmm)) = (signals.vmm, self.vmm) {
                vmm.defer_notify();
            }
            if let (true, Some(driver)) = (signals.driver, self.driver) {
                driver.defer_notify();
            }
            if !signals.again {
                break;
            }
        }
    }
}

impl<D: Device> Handler for Domain<D> {
    fn notified(&mut self, _: ChannelSet) {
        self.work();
    }
}
