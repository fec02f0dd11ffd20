//! Wires a system: which PDs there are, what each maps, who talks to whom, and each PD's configuration.

mod control;
mod devices;
mod shared;
mod sockets;

use super::board::{Area, Board, Controller, Hardware, Interrupt, Transport};
use super::files::Checked;
use super::model::{Guest, System};
use super::plan::{PdId, Plan, RegionId, Rights, TIMER_AHEAD};
use super::{GuestFiles, KernelKind, Target};
use sel4cp_abi::config::{
    Config, ControlledGuest, Device, Header, MAX_DEVICES, Name, Program, Region, Ring,
    SerialClient, VmmConfig,
};
use sel4cp_abi::image::PAGE;
use sel4cp_ring::layout::byte_pair_size;
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
const SOCKET: u32 = 19;
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
    let supervisor = plan.domain("supervisor".to_owned(), Program::Supervisor);
    let serial = plan.domain("serial".to_owned(), Program::Serial);
    let board = &system.board;
    let timer = board
        .timer
        .map(|interrupt| (plan.domain("timer".to_owned(), Program::Timer), interrupt));
    let power = plan.domain("power".to_owned(), Program::Power);
    let sockets = system.guests.iter().any(|guest| guest.vsock.is_some());
    let services = sockets.then(|| plan.domain("services".to_owned(), Program::Services));
    let mut wiring = Wiring {
        plan,
        board,
        target,
        out,
        supervisor,
        serial,
        timer,
        power,
        services,
        has_control: system.has_control(),
        has_others: inputs.len() > 1,
        configs: Vec::new(),
        clients: Vec::new(),
        deadlines: Vec::new(),
        powered: Vec::new(),
        controlled: Vec::new(),
        domains: Ring::NONE,
        transports: board.transports.iter(),
        next_ram: board.pool.start,
        next_dma: board.pool.end(),
        buses: Vec::new(),
        sockets: Vec::new(),
    };
    for (index, input) in inputs.iter().enumerate() {
        let index = u32::try_from(index).map_err(|error| error.to_string())?;
        wiring.guest(index, input)?;
    }
    wiring.wires()?;
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
    supervisor: PdId,
    serial: PdId,
    /// The timer driver and its interrupt, where there is one.
    timer: Option<(PdId, Interrupt)>,
    power: PdId,
    /// The native services, if any guest has sockets.
    services: Option<PdId>,
    /// Whether they include the control service.
    has_control: bool,
    /// Whether each guest shares the machine with others.
    has_others: bool,
    configs: Vec<(PdId, Vec<u8>)>,
    clients: Vec<SerialClient>,
    deadlines: Vec<Ring>,
    /// The power driver's view of the guests.
    powered: Vec<Ring>,
    /// The control service's view of the guests, if there is one.
    controlled: Vec<ControlledGuest>,
    /// The supervisor's view of the page in which it tells the control service who has faulted.
    domains: Ring,
    transports: std::slice::Iter<'a, Transport>,
    next_ram: u64,
    next_dma: u64,
    buses: Vec<Buses>,
    /// Backends of sockets.
    sockets: Vec<sockets::Backend<'a>>,
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

impl<'a> Wiring<'a> {
    fn guest(&mut self, index: u32, input: &Inputs<'a>) -> Result<(), String> {
        let guest = input.guest;
        let name = &guest.name;
        let map = &self.board.guest;
        let others = self.plan.pds.len();
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
        let redistributors = self.interrupt_controller(vmm, guest.vcpus);

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
        let timer = self.deadline_page(&format!("{name}_timer"), vmm);
        let power = self.plan.channel(vmm, self.power, None);
        let control = self.control(&common, power.1)?;

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
        if let Some(vsock) = &guest.vsock {
            devices.push((SOCKET, self.vsock(&common, vsock.cid)));
        }
        self.buses.push(buses);
        let kinds: Vec<u32> = devices.iter().map(|(kind, _)| *kind).collect();
        self.observe(name, &kinds)?;
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
            timer,
            distributor: map.distributor.start,
            distributor_size: map.distributor.size,
            redistributors: redistributors.start,
            redistributors_size: redistributors.size,
            control,
            power_channel: power.0,
            vcpu_count: guest.vcpus,
            device_count: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            uart_interrupt: map.uart.interrupt.number,
            caches: u32::from(!self.board.is_qemu),
            timer_ahead: self.timer_ahead(),
            devices: register_files(map.device, &devices),
        };
        self.configure(vmm, &config);
        self.plan.settle(others, guest.core);
        Ok(())
    }

    /// Gives the guest the hardware's virtual CPU interface, where it is memory. Where it is system registers, there are
    /// redistributors for the VMM to emulate: this is their range, which is empty otherwise.
    fn interrupt_controller(&mut self, vmm: PdId, vcpus: u32) -> Area {
        let map = &self.board.guest;
        let virtual_cpu_interface = match self.board.controller {
            Controller::V2(area) => area,
            Controller::V3 => return map.redistributors_of(vcpus),
        };
        let area = Area {
            start: virtual_cpu_interface.start,
            size: map.cpu_interface.size,
        };
        let name = "gic_virtual_cpu_interface";
        let region = self.plan.find(name);
        let region = region.unwrap_or_else(|| self.plan.physical(name.to_owned(), area));
        let address = map.cpu_interface.start;
        self.plan
            .map_guest(vmm, region, address, Rights::ReadWrite, false);
        Area { start: 0, size: 0 }
    }

    /// How far a VMM keeps the physical timer ahead, in microseconds.
    fn timer_ahead(&self) -> u32 {
        let sel4 = self.target.kernel_kind == KernelKind::Sel4;
        if sel4 && self.board.is_qemu && self.timer.is_some() {
            TIMER_AHEAD
        } else {
            0
        }
    }

    /// A page in which `pd` tells the timer driver its deadline, and the channel to it; none without that driver.
    fn deadline_page(&mut self, name: &str, pd: PdId) -> Ring {
        let Some((timer, _)) = self.timer else {
            return Ring::NONE;
        };
        let (own, deadline) = self.shared_page(name, pd, timer);
        self.deadlines.push(deadline);
        own
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

fn text(text: &str) -> Result<Name, String> {
    Name::new(text).ok_or_else(|| format!("found the name {text}, expected at most 32 bytes"))
}
