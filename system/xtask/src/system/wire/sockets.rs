//! Sockets: each guest's backend, the native services, and the wires between those who may talk.

use super::{Common, NO_GUEST, Wiring, text};
use crate::system::model::Guest;
use crate::system::plan::{PdId, Rights};
use crate::system::sockets::{HOST_CID, may_talk};
use sel4cp_abi::config::{MAX_WIRES, Program, Region, Ring, ServicesConfig, VsockConfig, Wire};
use sel4cp_ring::layout::WIRE_SIZE;

/// A guest's backend, before its wires are known.
pub(super) struct Backend<'a> {
    index: u32,
    guest: &'a Guest,
    cid: u64,
    pd: PdId,
    link: Ring,
    ram: Region,
    wires: Vec<Wire>,
}

impl<'a> Wiring<'a> {
    /// Adds the backend of a guest that has sockets: the VMM's side of the link.
    pub(super) fn vsock(&mut self, common: &Common<'a>, cid: u64) -> Ring {
        let name = &common.guest.name;
        let pd = self.plan.domain(format!("{name}_vsock"), Program::Vsock);
        let (vmm_link, link) = self.shared_page(&format!("{name}_vsock_link"), common.vmm, pd);
        let ram = self
            .plan
            .map(pd, common.ram, Rights::ReadWrite, true, common.ram_bus);
        self.sockets.push(Backend {
            index: common.index,
            guest: common.guest,
            cid,
            pd,
            link,
            ram,
            wires: Vec::new(),
        });
        vmm_link
    }

    /// Adds the services and all wires, after all guests.
    pub(super) fn wires(&mut self) -> Result<(), String> {
        let mut backends = std::mem::take(&mut self.sockets);
        if backends.is_empty() {
            return Ok(());
        }
        let services = self.services.ok_or("found no services")?;
        let mut guests = Vec::new();
        for backend in &mut backends {
            let name = format!("{}_services_wire", backend.guest.name);
            let (own, other) = self.wire(&name, (backend.pd, backend.cid), (services, HOST_CID))?;
            backend.wires.push(own);
            guests.push(other);
        }
        let mut rest = backends.as_mut_slice();
        while let Some((first, others)) = rest.split_first_mut() {
            for other in &mut *others {
                if !may_talk(first.guest, other.guest) {
                    continue;
                }
                let name = format!("{}_{}_wire", first.guest.name, other.guest.name);
                let ends = ((first.pd, first.cid), (other.pd, other.cid));
                let (a, b) = self.wire(&name, ends.0, ends.1)?;
                first.wires.push(a);
                other.wires.push(b);
            }
            rest = others;
        }
        for backend in &backends {
            let (count, wires) = table(&backend.wires)?;
            let config = VsockConfig {
                header: self.header::<VsockConfig>(backend.pd, Program::Vsock, backend.index)?,
                device: text(&format!("{}.vsock", backend.guest.name))?,
                link: backend.link,
                ram: backend.ram,
                cid: backend.cid,
                wire_count: count,
                reserved: 0,
                wires,
            };
            self.configure(backend.pd, &config);
        }
        let (wire_count, wires) = table(&guests)?;
        let header = self.header::<ServicesConfig>(services, Program::Services, NO_GUEST)?;
        let config = self.services_config(services, header, (wire_count, wires))?;
        self.configure(services, &config);
        Ok(())
    }

    /// A wire between two PDs with their CIDs: what each has of it.
    fn wire(
        &mut self,
        name: &str,
        (a, a_cid): (PdId, u64),
        (b, b_cid): (PdId, u64),
    ) -> Result<(Wire, Wire), String> {
        let size = u64::try_from(WIRE_SIZE).map_err(|error| error.to_string())?;
        let (first, second) = self.pair(name, size, a, b);
        let end = |cid, first, ring| Wire {
            cid,
            first,
            reserved: 0,
            ring,
        };
        Ok((end(b_cid, 1, first), end(a_cid, 0, second)))
    }
}

/// Wires in a table of fixed length, and how many they are.
fn table(wires: &[Wire]) -> Result<(u32, [Wire; MAX_WIRES]), String> {
    let table = super::shared::filled("wires", wires, Wire::NONE)?;
    Ok((u32::try_from(wires.len()).unwrap_or(u32::MAX), table))
}
