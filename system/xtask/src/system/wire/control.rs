//! The control service: a page shared with each VMM, the counters of all devices, and what the supervisor knows.

use super::shared::filled;
use super::{BLOCK, CONSOLE, Common, NET, SOCKET, Wiring, text};
use crate::system::plan::{PdId, Rights};
use sel4cp_abi::config::{
    ControlledGuest, Header, MAX_CHILDREN, MAX_DEVICES, MAX_GUESTS, MAX_WIRES, Observed, Ring,
    SOCKET_BYTES, ServicesConfig, Wire,
};
use sel4cp_abi::image::{LARGE_PAGE, PAGE};

impl Wiring<'_> {
    /// Connects a guest's VMM with the control service, if there is one: the VMM's side. The power driver, whose channel to the VMM is
    /// `power`, sees the page too, because then a guest that is off may run again.
    pub(super) fn control(&mut self, common: &Common<'_>, power: u32) -> Result<Ring, String> {
        let mut powered = Ring {
            channel: power,
            ..Ring::NONE
        };
        let mut own = Ring::NONE;
        if let (Some(services), true) = (self.services, self.has_control) {
            let guest = common.guest;
            let name = format!("{}_control", guest.name);
            let (vmm, page) = self.shared_page(&name, common.vmm, services);
            own = vmm;
            let region = self.plan.find(&name).ok_or("found no control page")?;
            powered.region = self.plan.map(self.power, region, Rights::Read, true, 0);
            self.controlled.push(ControlledGuest {
                name: text(&guest.name)?,
                cid: guest.vsock.as_ref().map_or(0, |vsock| vsock.cid),
                access: guest.access() as u32,
                page,
                ..ControlledGuest::NONE
            });
        }
        self.powered.push(powered);
        Ok(own)
    }

    /// Shows the control service, if there is one, the counters of the latest guest's devices.
    pub(super) fn observe(&mut self, guest: &str, kinds: &[u32]) -> Result<(), String> {
        let (Some(services), true) = (self.services, self.has_control) else {
            return Ok(());
        };
        let mut observed = Vec::new();
        for kind in kinds {
            let device = match *kind {
                CONSOLE => "console",
                BLOCK => "block",
                NET => "net",
                SOCKET => "vsock",
                other => return Err(format!("found a device with id {other}")),
            };
            let region = self.plan.find(&format!("{guest}_{device}_link"));
            let region = region.ok_or_else(|| format!("found no link of {guest}.{device}"))?;
            observed.push(Observed {
                kind: *kind,
                reserved: 0,
                link: self.plan.map(services, region, Rights::Read, true, 0),
            });
        }
        let device_count = u32::try_from(observed.len()).unwrap_or(u32::MAX);
        let devices = filled::<_, MAX_DEVICES>("devices of a guest", &observed, Observed::NONE)?;
        if let Some(controlled) = self.controlled.last_mut() {
            controlled.device_count = device_count;
            controlled.devices = devices;
        }
        Ok(())
    }

    /// The services' configuration, when all PDs are there.
    pub(super) fn services_config(
        &mut self,
        services: PdId,
        header: Header,
        (wire_count, wires): (u32, [Wire; MAX_WIRES]),
    ) -> Result<ServicesConfig, String> {
        let names = self.child_names()?;
        let mut guests = std::mem::take(&mut self.controlled);
        for guest in &mut guests {
            let vmm = text(&format!("{}_vmm", guest.name))?;
            let child = names.iter().position(|name| *name == vmm);
            let child = child.and_then(|child| u32::try_from(child).ok());
            guest.vmm = child.ok_or_else(|| format!("found no PD {vmm}"))?;
        }
        let mut domains = Ring::NONE;
        if self.has_control {
            let region = self.plan.memory("domains".to_owned(), PAGE);
            let ids = self.plan.channel(self.supervisor, services, Some(region));
            let mut ring = |pd, rights, channel| Ring {
                region: self.plan.map(pd, region, rights, true, 0),
                channel,
                reserved: 0,
            };
            domains = ring(services, Rights::Read, ids.1);
            self.domains = ring(self.supervisor, Rights::ReadWrite, ids.0);
        }
        // One large page costs less than many small ones.
        let size = u64::from(wire_count) * u64::try_from(SOCKET_BYTES).unwrap_or(u64::MAX);
        let memory = self
            .plan
            .memory("socket_buffers".to_owned(), size.max(LARGE_PAGE));
        let buffers = self.plan.map(services, memory, Rights::ReadWrite, true, 0);
        let children: &[_] = if self.has_control { &names } else { &[] };
        Ok(ServicesConfig {
            header,
            wire_count,
            guest_count: u32::try_from(guests.len()).unwrap_or(u32::MAX),
            wires,
            buffers,
            domains,
            child_count: u32::try_from(children.len()).unwrap_or(u32::MAX),
            reserved: 0,
            children: filled::<_, MAX_CHILDREN>("children of the supervisor", children, text("")?)?,
            guests: filled::<_, MAX_GUESTS>("guests", &guests, ControlledGuest::NONE)?,
        })
    }
}
