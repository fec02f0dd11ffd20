//! Wires a system: which PDs there are, what each maps, who talks to whom, and each PD's configuration.

use super::board::{Area, Board, Hardware, Transport};
use super::files::Checked;
use super::limits::DMA_BYTES;
use super::model::{Guest, System};
use super::plan::{PdId, Plan, RegionId, Rights};
use super::{GuestFiles, Target};
use sel4cp_abi::config::{
    BackendConfig, Config, Device, Header, MAX_DEVICES, MAX_SERIAL_CLIENTS, MAX_TIMER_CLIENTS,
    Name, PowerConfig, Program, Region, Ring, SerialClient, SerialConfig, TimerConfig,
    VirtioDriverConfig, VmmConfig,
};
use sel4cp_abi::image::PAGE;
use sel4cp_ring::layout::{BYTE_PAIR_SIZE, DEVICE_SIZE, byte_pair_size};
use std::path::{Path, PathBuf};

/// The symbol of each PD that gets the address of its configuration.
pub(super) const CONFIG_SYMBOL: &str = "sel4cp_config";
/// Bytes each way of a log's ring.
const LOG_BYTES: usize = 0x4000;
/// The guest of a serial client that belongs to none.
const NO_GUEST: u32 = u32::MAX;
/// VirtIO device ids (virtIO 1.2 §5).
const NET: u32 = 1;
const BLOCK: u32 = 2;
const CONSOLE: u32 = 3;
/// Kinds of serial clients.
const CLIENT_CONSOLE: u32 = 0;
const CLIENT_EARLY: u32 = 1;
const CLIENT_LOG: u32 = 2;

/// A wired system.
pub(super) struct Wired {
    pub(super) plan: Plan,
    /// The configuration of each PD.
    pub(super) configs: Vec<(PdId, Vec<u8>)>,
    /// QEMU's name of the transport of each guest's disk and network device.
    pub(super) buses: Vec<Buses>,
}

/// Where a guest's devices are in the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Buses {
    pub(super) block: Option<String>,
    pub(super) net: Option<String>,
}

/// What is known about one guest.
pub(super) struct Inputs<'a> {
    pub(super) guest: &'a Guest,
    pub(super) files: &'a GuestFiles,
    pub(super) checked: Checked,
    /// The file with its device tree, and its bytes.
    pub(super) device_tree: (PathBuf, u64),
}

/// Wires `system`; `inputs` has one entry for each guest. Configurations are read from files `PD.config`.
///
/// # Errors
/// What the machine lacks; [`super::limits`] has reported it before.
pub(super) fn wire(
    system: &System,
    inputs: &[Inputs<'_>],
    target: &Target,
    out: &Path,
) -> Result<Wired, String> {
    let mut plan = Plan::default();
    let serial = plan.domain("serial".to_owned(), Program::Serial);
    let timer = plan.domain("timer".to_owned(), Program::Timer);
    let power = plan.domain("power".to_owned(), Program::Power);
    let board = &system.board;
    let mut wiring = Wiring {
        plan,
        board,
        target,
        out,
        serial,
        timer,
        power,
        configs: Vec::new(),
        clients: Vec::new(),
        deadlines: Vec::new(),
        guest_channels: 0,
        transports: board.transports.iter(),
        next_ram: board.pool.start,
        next_dma: board.pool.end(),
        buses: Vec::new(),
    };
    for (index, input) in inputs.iter().enumerate() {
        let index = u32::try_from(index).map_err(|error| error.to_string())?;
        wiring.guest(index, input)?;
    }
    wiring.shared(inputs.len())?;
    wiring.plan.check()?;
    Ok(Wired {
        plan: wiring.plan,
        configs: wiring.configs,
        buses: wiring.buses,
    })
}

struct Wiring<'a> {
    plan: Plan,
    board: &'a Board,
    target: &'a Target,
    out: &'a Path,
    serial: PdId,
    timer: PdId,
    power: PdId,
    configs: Vec<(PdId, Vec<u8>)>,
    clients: Vec<SerialClient>,
    deadlines: Vec<Ring>,
    /// The power driver's channels to VMMs, a bit each.
    guest_channels: u64,
    transports: std::slice::Iter<'a, Transport>,
    next_ram: u64,
    next_dma: u64,
    buses: Vec<Buses>,
}

/// What a guest's PDs have in common.
struct Common<'a> {
    index: u32,
    guest: &'a Guest,
    vmm: PdId,
    ram: RegionId,
    /// Where RAM is in the machine and in the guest.
    ram_physical: u64,
    ram_bus: u64,
}

impl Wiring<'_> {
    fn guest(&mut self, index: u32, input: &Inputs<'_>) -> Result<(), String> {
        let guest = input.guest;
        let name = &guest.name;
        let map = &self.board.guest;
        let vmm = self.plan.domain(format!("{name}_vmm"), Program::Vmm);
        self.plan.machine(vmm, name.clone(), guest.vcpus);
        let ram_area = Area {
            start: self.next_ram,
            size: guest.memory,
        };
        self.next_ram = ram_area.end();
        let ram = self.plan.physical(format!("{name}_ram"), ram_area);
        let common = Common {
            index,
            guest,
            vmm,
            ram,
            ram_physical: ram_area.start,
            ram_bus: map.ram,
        };
        self.plan.map_guest(vmm, ram, map.ram, Rights::All, true);
        let ram_region = self.plan.map(vmm, ram, Rights::ReadWrite, true, map.ram);
        self.cpu_interface(vmm);

        let placement = input.checked.placement;
        let kernel = input.files.kernel.clone();
        let kernel = self
            .plan
            .file(format!("{name}_kernel"), kernel, input.checked.kernel_bytes);
        let kernel = self
            .plan
            .map(vmm, kernel, Rights::Read, true, placement.kernel_base);
        let (path, bytes) = input.device_tree.clone();
        let tree = self.plan.file(format!("{name}_device_tree"), path, bytes);
        let device_tree = self
            .plan
            .map(vmm, tree, Rights::Read, true, placement.device_tree);
        let initrd = match &input.files.initrd {
            Some(path) => {
                let region = format!("{name}_initrd");
                let region = self.plan.file(region, path.clone(), placement.initrd.size);
                self.plan
                    .map(vmm, region, Rights::Read, true, placement.initrd.start)
            }
            None => Region::NONE,
        };
        let registers = self.register_page(vmm, "registers", name, map.device.registers.start);
        let (uart, uart_output) = if guest.earlycon {
            let page = self.register_page(vmm, "uart", name, map.uart.registers.start);
            let size = byte_pair_size(LOG_BYTES);
            (
                page,
                self.client(vmm, "uart_output", size, name, CLIENT_EARLY, index)?,
            )
        } else {
            (Region::NONE, Ring::NONE)
        };
        let timer = self.shared_page(&format!("{name}_timer"), vmm, self.timer);
        self.deadlines.push(timer.1);
        let power = self.plan.channel(vmm, self.power, None);
        self.guest_channels |= 1 << power.1;

        let mut devices = vec![self.console(&common)?];
        let mut buses = Buses::default();
        if guest.block.is_some() {
            let (link, bus) = self.block(&common)?;
            devices.push((BLOCK, link));
            buses.block = Some(bus);
        }
        if guest.net.is_some() {
            let (link, bus) = self.net(&common)?;
            devices.push((NET, link));
            buses.net = Some(bus);
        }
        self.buses.push(buses);
        let header = self.header::<VmmConfig>(vmm, Program::Vmm, index)?;
        let config = VmmConfig {
            header,
            guest: text(name)?,
            ram: ram_region,
            kernel,
            device_tree,
            initrd,
            registers,
            uart,
            uart_output,
            timer: timer.0,
            distributor: map.distributor.start,
            distributor_size: map.distributor.size,
            power_channel: power.0,
            vcpu_count: guest.vcpus,
            device_count: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            uart_interrupt: map.uart.interrupt.number,
            devices: register_files(map.device, &devices),
        };
        self.configure(vmm, &config);
        Ok(())
    }

    /// The guest's GIC CPU interface is the hardware's virtual one.
    fn cpu_interface(&mut self, vmm: PdId) {
        let area = Area {
            start: self.board.virtual_cpu_interface.start,
            size: self.board.guest.cpu_interface.size,
        };
        let name = "gic_virtual_cpu_interface";
        let region = self.plan.find(name);
        let region = region.unwrap_or_else(|| self.plan.physical(name.to_owned(), area));
        let address = self.board.guest.cpu_interface.start;
        self.plan
            .map_guest(vmm, region, address, Rights::ReadWrite, false);
    }

    /// A page of registers that the VMM keeps and its guest reads without an exit.
    fn register_page(&mut self, vmm: PdId, what: &str, guest: &str, address: u64) -> Region {
        let page = self.plan.memory(format!("{guest}_{what}"), PAGE);
        self.plan.map_guest(vmm, page, address, Rights::Read, false);
        self.plan.map(vmm, page, Rights::ReadWrite, false, address)
    }

    /// A page that two PDs share, and a channel between them: each side's view.
    fn shared_page(&mut self, name: &str, a: PdId, b: PdId) -> (Ring, Ring) {
        self.pair(name, PAGE, a, b)
    }

    fn pair(&mut self, name: &str, size: u64, a: PdId, b: PdId) -> (Ring, Ring) {
        let region = self.plan.memory(name.to_owned(), size);
        let (id_a, id_b) = self.plan.channel(a, b, Some(region));
        let mut ring = |pd, channel| Ring {
            region: self.plan.map(pd, region, Rights::ReadWrite, true, 0),
            channel,
            reserved: 0,
        };
        (ring(a, id_a), ring(b, id_b))
    }

    /// Makes `pd` a client of the serial driver, with a byte ring each way.
    fn client(
        &mut self,
        pd: PdId,
        what: &str,
        size: usize,
        label: &str,
        kind: u32,
        guest: u32,
    ) -> Result<Ring, String> {
        let owner = self
            .plan
            .pd(pd)
            .map(|pd| pd.name.clone())
            .unwrap_or_default();
        let size = u64::try_from(size).map_err(|error| error.to_string())?;
        let (own, driver) = self.pair(&format!("{owner}_{what}"), size, pd, self.serial);
        self.clients.push(SerialClient {
            name: text(label)?,
            ring: driver,
            kind,
            guest,
        });
        Ok(own)
    }

    fn header<T>(&mut self, pd: PdId, program: Program, guest: u32) -> Result<Header, String> {
        let name = self
            .plan
            .pd(pd)
            .map(|pd| pd.name.clone())
            .unwrap_or_default();
        let size = byte_pair_size(LOG_BYTES);
        let log = if program == Program::Serial {
            Ring::NONE
        } else {
            self.client(pd, "log", size, &name, CLIENT_LOG, guest)?
        };
        let flags = if self.target.debug_put_char {
            Header::DEBUG_PUT_CHAR
        } else {
            0
        };
        Ok(Header::new::<T>(program, flags, self.target.labels, log))
    }

    /// Gives `pd` its configuration.
    fn configure<T: Config>(&mut self, pd: PdId, config: &T) {
        let name = self
            .plan
            .pd(pd)
            .map(|pd| pd.name.clone())
            .unwrap_or_default();
        let bytes = config.as_bytes().to_vec();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let path = self.out.join(format!("{name}.config"));
        let region = self.plan.file(format!("{name}_config"), path, length);
        self.plan.map(pd, region, Rights::Read, true, 0);
        self.plan.name_latest(pd, CONFIG_SYMBOL);
        self.configs.push((pd, bytes));
    }

    fn console(&mut self, common: &Common<'_>) -> Result<(u32, Ring), String> {
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

    fn block(&mut self, common: &Common<'_>) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let pd = self.plan.domain(format!("{name}_block"), Program::Block);
        let (vmm_link, link) = self.shared_page(&format!("{name}_block_link"), common.vmm, pd);
        let (ring, bus) =
            self.driver(common, pd, Program::VirtioBlk, "blk_driver", "block_ring")?;
        let mut config = self.backend(common, pd, Program::Block, "block", link, ring)?;
        if let Some(block) = &common.guest.block {
            config.read_only = u32::from(block.read_only);
            for (to, from) in config.serial.iter_mut().zip(block.serial.bytes()) {
                *to = from;
            }
        }
        self.configure(pd, &config);
        Ok((vmm_link, bus))
    }

    fn net(&mut self, common: &Common<'_>) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let pd = self.plan.domain(format!("{name}_net"), Program::Net);
        let (vmm_link, link) = self.shared_page(&format!("{name}_net_link"), common.vmm, pd);
        let (ring, bus) = self.driver(common, pd, Program::VirtioNet, "net_driver", "net_ring")?;
        let mut config = self.backend(common, pd, Program::Net, "net", link, ring)?;
        if let Some(net) = &common.guest.net {
            config.mac = net.mac;
            config.mtu = net.mtu;
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
            serial: [0; 20],
            reserved: 0,
        })
    }

    /// The driver behind `backend` on the next transport: the backend's end of the ring, and QEMU's bus.
    fn driver(
        &mut self,
        common: &Common<'_>,
        backend: PdId,
        program: Program,
        driver: &str,
        ring: &str,
    ) -> Result<(Ring, String), String> {
        let name = &common.guest.name;
        let transport = self
            .transports
            .next()
            .ok_or("found no free transport for a device")?;
        let pd = self.plan.domain(format!("{name}_{driver}"), program);
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
        self.next_dma -= DMA_BYTES;
        let dma = Area {
            start: self.next_dma,
            size: DMA_BYTES,
        };
        let dma_region = self.plan.physical(format!("{name}_{driver}_dma"), dma);
        let dma = self
            .plan
            .map(pd, dma_region, Rights::ReadWrite, true, dma.start);
        let ram = self
            .plan
            .map(pd, common.ram, Rights::ReadWrite, true, common.ram_physical);
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
            ring,
        };
        self.configure(pd, &config);
        Ok((own, transport.bus.clone()))
    }

    /// The PDs that all guests share, after all guests.
    fn shared(&mut self, guests: usize) -> Result<(), String> {
        let page = self.shared_page("serial_state", self.serial, self.power);
        let power = PowerConfig {
            header: self.header::<PowerConfig>(self.power, Program::Power, NO_GUEST)?,
            serial: page.1,
            guests: self.guest_channels,
        };
        self.configure(self.power, &power);

        let serial_timer = self.shared_page("serial_timer", self.serial, self.timer);
        self.deadlines.push(serial_timer.1);
        let interrupt_channel = self.plan.interrupt(self.timer, self.board.timer);
        let timer = TimerConfig {
            header: self.header::<TimerConfig>(self.timer, Program::Timer, NO_GUEST)?,
            interrupt_channel,
            client_count: u32::try_from(self.deadlines.len()).unwrap_or(u32::MAX),
            clients: filled::<_, MAX_TIMER_CLIENTS>(
                "clients of the timer",
                &self.deadlines,
                Ring::NONE,
            )?,
        };
        self.configure(self.timer, &timer);

        let uart = self.board.uart;
        let registers = self
            .plan
            .physical("uart_registers".to_owned(), uart.registers);
        let bus = uart.registers.start;
        let registers = self
            .plan
            .map(self.serial, registers, Rights::ReadWrite, false, bus);
        let interrupt_channel = self.plan.interrupt(self.serial, uart.interrupt);
        let none = SerialClient {
            name: text("")?,
            ring: Ring::NONE,
            kind: CLIENT_LOG,
            guest: NO_GUEST,
        };
        let serial = SerialConfig {
            header: self.header::<SerialConfig>(self.serial, Program::Serial, NO_GUEST)?,
            registers,
            state: page.0,
            timer: serial_timer.0,
            interrupt_channel,
            client_count: u32::try_from(self.clients.len()).unwrap_or(u32::MAX),
            focus: 0,
            guest_count: u32::try_from(guests).unwrap_or(u32::MAX),
            clients: filled::<_, MAX_SERIAL_CLIENTS>(
                "clients of the serial line",
                &self.clients,
                none,
            )?,
        };
        self.configure(self.serial, &serial);
        Ok(())
    }
}

/// The devices' register files and interrupts, one after the other.
fn register_files(first: Hardware, devices: &[(u32, Ring)]) -> [Device; MAX_DEVICES] {
    let mut number = 0;
    let stride = u32::try_from(first.registers.size).unwrap_or(u32::MAX);
    [(); MAX_DEVICES].map(|()| {
        let (kind, link) = devices
            .get(usize::try_from(number).unwrap_or(usize::MAX))
            .copied()
            .unwrap_or((0, Ring::NONE));
        let used = kind != 0;
        let device = Device {
            kind,
            interrupt: if used {
                first.interrupt.number + number
            } else {
                0
            },
            offset: if used { stride * number } else { 0 },
            reserved: 0,
            link,
        };
        number += 1;
        device
    })
}

/// `values` in a table of fixed length.
fn filled<T: Copy, const N: usize>(what: &str, values: &[T], none: T) -> Result<[T; N], String> {
    if values.len() > N {
        return Err(format!(
            "found {} {what}, expected at most {N}",
            values.len()
        ));
    }
    let mut table = [none; N];
    for (to, from) in table.iter_mut().zip(values) {
        *to = *from;
    }
    Ok(table)
}

fn text(text: &str) -> Result<Name, String> {
    Name::new(text).ok_or_else(|| format!("found the name {text}, expected at most 32 bytes"))
}
