//! A guest's devices: the backend of each, and the driver of the hardware behind it.

use super::{CLIENT_CONSOLE, CONSOLE, Common, Wiring, text};
use crate::system::board::{Area, Hardware};
use crate::system::limits::{DMA_BYTES, FRAMES_BYTES};
use crate::system::plan::{GUEST_PRIORITY, MOST_MADE, PdId, RegionId, Rights};
use sel4cp_abi::config::{BackendConfig, PauseConfig, Program, Region, Ring, VirtioDriverConfig};
use sel4cp_abi::image::PAGE;
use sel4cp_ring::layout::{BYTE_PAIR_SIZE, DEVICE_SIZE};

impl Wiring<'_> {
    pub(super) fn console(&mut self, common: &Common<'_>) -> Result<(u32, Ring), String> {
        let guest = common.guest;
        let pd = self
            .plan
            .domain(format!("{}_console", guest.name), Program::Console);
        let (vmm_link, link) =
            self.shared_page(&format!("{}_console_link", guest.name), common.vmm, pd);
        let ring = self.client(
            pd,
            "ring",
            BYTE_PAIR_SIZE,
            &guest.name,
            CLIENT_CONSOLE,
            common.index,
        )?;
        let mut config = self.backend(common, pd, Program::Console, "console", link, ring)?;
        config.columns = guest.console.columns;
        config.rows = guest.console.rows;
        self.configure(pd, &config);
        Ok((CONSOLE, vmm_link))
    }

    pub(super) fn block(&mut self, common: &Common<'_>) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let pd = self.plan.domain(format!("{name}_block"), Program::Block);
        let (vmm_link, link) = self.shared_page(&format!("{name}_block_link"), common.vmm, pd);
        let (ring, bus) = self.driver(
            common,
            pd,
            Program::VirtioBlk,
            "blk_driver",
            "block_ring",
            None,
        )?;
        let mut config = self.backend(common, pd, Program::Block, "block", link, ring)?;
        if let Some(block) = &common.guest.block {
            config.read_only = u16::from(block.read_only);
            // So that a vCPU that makes a request waits for no other one.
            config.queues = u16::try_from(common.guest.vcpus).unwrap_or(1);
            // A disk that was not named is its guest's: the serial is how a guest tells disks apart.
            let serial = match block.serial.as_str() {
                "" => name.as_str(),
                serial => serial,
            };
            for (to, from) in config.serial.iter_mut().zip(serial.bytes()) {
                *to = from;
            }
        }
        self.configure(pd, &config);
        Ok((vmm_link, bus))
    }

    pub(super) fn net(&mut self, common: &Common<'_>) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let pd = self.plan.domain(format!("{name}_net"), Program::Net);
        let bulk = common.guest.net.as_ref().and_then(|net| net.bulk);
        if bulk == Some(true) {
            self.plan.lower(pd);
        }
        let (vmm_link, link) = self.shared_page(&format!("{name}_net_link"), common.vmm, pd);
        let area = self.dma(FRAMES_BYTES);
        let frames = self.plan.physical(format!("{name}_net_frames"), area);
        let frames = (frames, area.start);
        let (ring, bus) = self.driver(
            common,
            pd,
            Program::VirtioNet,
            "net_driver",
            "net_ring",
            Some(frames),
        )?;
        let mut config = self.backend(common, pd, Program::Net, "net", link, ring)?;
        config.frames = self.plan.map(pd, frames.0, Rights::ReadWrite, true, 0);
        if let Some(net) = &common.guest.net {
            config.mac = net.mac;
            config.mtu = net.mtu;
        }
        if bulk != Some(true) {
            config.pause = self.pause(common, pd)?;
            if self.has_others {
                config.most_made = MOST_MADE;
            }
        }
        self.configure(pd, &config);
        Ok((vmm_link, bus))
    }

    fn backend(
        &mut self,
        common: &Common<'_>,
        pd: PdId,
        program: Program,
        device: &str,
        link: Ring,
        ring: Ring,
    ) -> Result<BackendConfig, String> {
        let ram = self
            .plan
            .map(pd, common.ram, Rights::ReadWrite, true, common.ram_bus);
        Ok(BackendConfig {
            header: self.header::<BackendConfig>(pd, program, common.index)?,
            device: text(&format!("{}.{device}", common.guest.name))?,
            link,
            ram,
            ring,
            mac: [0; 6],
            mtu: 0,
            columns: 0,
            rows: 0,
            read_only: 0,
            queues: 1,
            serial: [0; 20],
            most_made: 0,
            frames: Region::NONE,
            pause: Ring::NONE,
        })
    }

    /// The domain that tells `backend`, which comes before its guest, of the guest's pauses: the backend's end.
    fn pause(&mut self, common: &Common<'_>, backend: PdId) -> Result<Ring, String> {
        let name = format!("{}_net_pause", common.guest.name);
        let pd = self.plan.domain(name.clone(), Program::Pause);
        let (own, backend) = self.shared_page(&format!("{name}_page"), backend, pd);
        let config = PauseConfig {
            header: self.header::<PauseConfig>(pd, Program::Pause, common.index)?,
            backend,
        };
        self.configure(pd, &config);
        Ok(own)
    }

    /// Memory of the pool that hardware reads or writes, besides guests' RAM.
    fn dma(&mut self, bytes: u64) -> Area {
        self.next_dma -= bytes;
        Area {
            start: self.next_dma,
            size: bytes,
        }
    }

    /// The driver behind `backend` on the next transport: the backend's end of the ring, and QEMU's bus. Its hardware reads
    /// `frames`, at a physical address, besides guest RAM.
    fn driver(
        &mut self,
        common: &Common<'_>,
        backend: PdId,
        program: Program,
        driver: &str,
        ring: &str,
        frames: Option<(RegionId, u64)>,
    ) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let transport = self
            .transports
            .next()
            .ok_or("found no free transport for a device")?;
        let pd = self.plan.domain(format!("{name}_{driver}"), program);
        let backend_priority = self.plan.pd(backend).map(|backend| backend.priority);
        if backend_priority == Some(GUEST_PRIORITY) {
            // It would only interrupt the guest for a backend that waits.
            self.plan.lower(pd);
        }
        let size = u64::try_from(DEVICE_SIZE).map_err(|error| error.to_string())?;
        let (own, ring) = self.pair(&format!("{name}_{ring}"), size, backend, pd);
        let Hardware {
            registers,
            interrupt,
        } = transport.hardware;
        let page = Area {
            start: registers.start / PAGE * PAGE,
            size: PAGE,
        };
        let page_region = self
            .plan
            .physical(format!("{name}_{driver}_registers"), page);
        let registers_region = self
            .plan
            .map(pd, page_region, Rights::ReadWrite, false, page.start);
        let dma = self.dma(DMA_BYTES);
        let dma_region = self.plan.physical(format!("{name}_{driver}_dma"), dma);
        let dma = self
            .plan
            .map(pd, dma_region, Rights::ReadWrite, true, dma.start);
        let ram = self
            .plan
            .map(pd, common.ram, Rights::ReadWrite, true, common.ram_physical);
        let frames = match frames {
            Some((region, physical)) => self.plan.map(pd, region, Rights::Read, true, physical),
            None => Region::NONE,
        };
        let interrupt_channel = self.plan.interrupt(pd, interrupt);
        let header = self.header::<VirtioDriverConfig>(pd, program, common.index)?;
        let config = VirtioDriverConfig {
            header,
            device: text(&format!("{name}.{driver}"))?,
            registers: registers_region,
            registers_offset: u32::try_from(registers.start - page.start).unwrap_or(0),
            interrupt_channel,
            dma,
            ram,
            frames,
            ring,
        };
        self.configure(pd, &config);
        Ok((own, transport.bus.clone()))
    }
}
