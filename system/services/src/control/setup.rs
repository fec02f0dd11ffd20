//! The control service, from the configuration.

use super::{Caller, Control, Device, Guest};
use core::fmt;
use sel4cp_abi::config::{Access, ControlledGuest, ServicesConfig};
use sel4cp_link::Gauge;
use sel4cp_pd::{self as pd, RegionError};
use sel4cp_ring::control::Controller;

/// Which page of the configuration was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misconfigured {
    /// Whose page it is; `None`: the supervisor's.
    guest: Option<&'static str>,
    error: RegionError,
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = self.guest.unwrap_or("supervisor");
        write!(f, "control page of {guest}: {}", self.error)
    }
}

impl core::error::Error for Misconfigured {}

impl Control {
    /// The service; `None` where nobody may use it.
    ///
    /// # Errors
    /// [`Misconfigured`] says which page is not there.
    pub fn new(config: &'static ServicesConfig) -> Result<Option<Self>, Misconfigured> {
        let count = usize::try_from(config.guest_count).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(None);
        }
        let mut guests = heapless::Vec::new();
        for guest in config.guests.iter().take(count) {
            // There is room: the configuration has no more places.
            let _room = guests.push(Guest::new(guest)?);
        }
        let domains = pd::shared(&config.domains.region);
        let count = usize::try_from(config.child_count).unwrap_or(usize::MAX);
        Ok(Some(Self {
            guests,
            domains: domains.map_err(|error| Misconfigured { guest: None, error })?,
            children: config.children.get(..count).unwrap_or(&config.children),
        }))
    }
}

impl Guest {
    fn new(config: &'static ControlledGuest) -> Result<Self, Misconfigured> {
        let guest = Some(config.name.as_str());
        let refused = |error| Misconfigured { guest, error };
        let mut devices = heapless::Vec::new();
        let count = usize::try_from(config.device_count).unwrap_or(usize::MAX);
        for device in config.devices.iter().take(count) {
            let device = Device {
                kind: device.kind,
                gauge: Gauge::new(pd::shared(&device.link).map_err(refused)?),
            };
            // There is room: the configuration has no more places.
            let _room = devices.push(device);
        }
        Ok(Self {
            name: config.name.as_str(),
            // An id that no child has: then the VMM never faults.
            vmm: u8::try_from(config.vmm).unwrap_or(u8::MAX),
            controller: Controller::new(pd::shared(&config.page.region).map_err(refused)?),
            devices,
            notify: false,
        })
    }
}

impl Caller {
    /// The guest with this CID; `None` if it may ask for nothing.
    pub fn of(config: &ServicesConfig, cid: u64) -> Option<Self> {
        let count = usize::try_from(config.guest_count).unwrap_or(usize::MAX);
        let mut guests = config.guests.iter().take(count).enumerate();
        let (guest, found) = guests.find(|(_, guest)| guest.cid == cid)?;
        let access = Access::from_number(found.access);
        (access != Access::None).then_some(Self { guest, access })
    }
}
