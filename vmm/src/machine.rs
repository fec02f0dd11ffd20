//! A guest and everything around it: takes messages, and has the parts act on them.
//!
//! | part | what it does |
//! |---|---|
//! | `access` | loads and stores that the guest's memory does not answer |
//! | `control` | orders of the control service: pause, resume, restart, power off |
//! | `interrupts` | interrupts into list registers, sleeping in WFI, the timer |
//! | `power` | PSCI; start, reset and end of the guest |
//! | `registers` | system registers that trap |

mod access;
mod control;
mod interrupts;
mod power;
mod registers;

#[cfg(test)]
mod tests;

use crate::bus::Bus;
use crate::exit::{Exit, Wait};
use crate::gic::{Gic, MAX_VCPUS, Version};
use crate::load::{File, Files};
use crate::mmio::{FILE_WORDS, Transport};
use crate::report::Cause;
use crate::uart::Uart;
use crate::vcpu::{Context, Exception, Hold, State};
use control::Control;
use core::fmt;
use core::sync::atomic::AtomicU32;
use interrupts::Alarm;
use power::Phase;
use sel4cp_abi::config::{self, MAX_DEVICES, Region, VmmConfig};
use sel4cp_link::VmmEnd;
use sel4cp_memory::GuestRam;
use sel4cp_pd::{
    self as pd, Channel, ChannelSet, Child, ConfigError, Handler, MessageInfo, RegionError, Vcpu,
    timer,
};

/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

/// The VMM.
pub struct Machine {
    config: &'static VmmConfig,
    ram: GuestRam,
    files: Files,
    bus: Bus,
    gic: Gic,
    devices: heapless::Vec<Device, MAX_DEVICES>,
    uart: Option<Uart>,
    /// What each vCPU is doing; the first `vcpu_count` exist.
    states: [State; MAX_VCPUS],
    vcpu_count: u8,
    /// Interrupts that are dealt with are retired. If another vCPU, of whichever guest, has run since the guest took one, the kernel knows that
    /// it is active and refuses: a debug kernel prints that in the middle of what guests print, and is spared it.
    retires: bool,
    phase: Phase,
    /// It would run, but for an order.
    paused: bool,
    control: Control,
    alarm: Alarm,
    /// How far the physical timer is kept ahead, in ticks.
    timer_ahead: u64,
    power: Option<Channel>,
}

/// A virtIO device and its backend's channel.
struct Device {
    transport: Transport,
    channel: Channel,
    /// INTID of its line.
    interrupt: u16,
    /// Device id as the system file has it (virtIO 1.2 §5).
    kind: u32,
}

/// What is wrong with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconfigured {
    /// There is none that fits.
    Config(ConfigError),
    /// A region: which, and why it was refused.
    Region(&'static str, RegionError),
    /// A number is out of range: which, the number found, the most expected.
    Number(&'static str, u64, u64),
    /// A device's register file is not inside the page: index of the device, the offset found.
    Offset(usize, u32),
    /// A device's channel: index of the device, the number found.
    Channel(usize, u32),
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Region(which, error) => write!(f, "{which}: {error}"),
            Self::Number(which, found, most) => {
                write!(f, "{which} is {found}, expected 1 to {most}")
            }
            Self::Offset(device, found) => write!(
                f,
                "registers of device {device} are at {found:#x}, expected a multiple of 0x200 in their page"
            ),
            Self::Channel(device, found) => {
                write!(f, "channel of device {device} is {found}, expected 0 to 61")
            }
        }
    }
}

impl core::error::Error for Misconfigured {}

/// `value` as a number from 1 to `most`.
fn number(which: &'static str, value: u32, most: u8) -> Result<u8, Misconfigured> {
    u8::try_from(value)
        .ok()
        .filter(|value| (1..=most).contains(value))
        .ok_or(Misconfigured::Number(which, value.into(), most.into()))
}

/// The interrupt controller that the guest is to have.
fn version(config: &VmmConfig) -> Version {
    if config.redistributors_size == 0 {
        Version::V2
    } else {
        Version::V3
    }
}

fn file(which: &'static str, region: &'static Region) -> Result<File, Misconfigured> {
    let bytes = if region.is_some() {
        pd::bytes(region).map_err(|error| Misconfigured::Region(which, error))?
    } else {
        &[]
    };
    Ok(File {
        bytes,
        address: region.bus,
    })
}

impl Device {
    fn new(
        index: usize,
        config: &'static config::Device,
        page: &'static [AtomicU32],
        ram: GuestRam,
    ) -> Result<Self, Misconfigured> {
        let channel = Channel::from_config(config.link.channel);
        let channel = channel.ok_or(Misconfigured::Channel(index, config.link.channel))?;
        let offset = Misconfigured::Offset(index, config.offset);
        let first = usize::try_from(config.offset / 4).map_err(|_| offset)?;
        let file = page
            .get(first..)
            .and_then(|rest| rest.get(..FILE_WORDS))
            .filter(|_| first.is_multiple_of(FILE_WORDS))
            .ok_or(offset)?;
        let link = pd::shared(&config.link.region)
            .map_err(|error| Misconfigured::Region("link page", error))?;
        let transport = Transport::new(VmmEnd::new(link), file, ram);
        channel.notify();
        Ok(Self {
            transport,
            channel,
            interrupt: u16::try_from(config.interrupt).unwrap_or(u16::MAX),
            kind: config.kind,
        })
    }

    /// What it is, for a log line.
    fn name(&self) -> &'static str {
        match self.kind {
            1 => "net",
            2 => "block",
            3 => "console",
            19 => "socket",
            _ => "unknown device",
        }
    }
}

impl Machine {
    /// The VMM, from its configuration. The guest starts when all its backends have announced themselves.
    ///
    /// # Errors
    /// [`Misconfigured`] says what does not fit.
    pub fn new() -> Result<Self, Misconfigured> {
        let config = pd::config::<VmmConfig>().map_err(Misconfigured::Config)?;
        let region = |which| move |error| Misconfigured::Region(which, error);
        let most = u8::try_from(MAX_VCPUS).unwrap_or(u8::MAX);
        let vcpu_count = number("number of vCPUs", config.vcpu_count, most)?;
        let ram = pd::guest_ram(&config.ram).map_err(region("RAM"))?;
        let page = pd::words(&config.registers).map_err(region("virtIO register page"))?;
        let mut devices = heapless::Vec::new();
        let count = usize::try_from(config.device_count).unwrap_or(usize::MAX);
        for (index, device) in config.devices.iter().enumerate().take(count) {
            // The loop ends at MAX_DEVICES.
            let _ = devices.push(Device::new(index, device, page, ram)?);
        }
        let uart = if config.uart.is_some() {
            let page = pd::words(&config.uart).map_err(region("UART register page"))?;
            let rings =
                pd::byte_rings(&config.uart_output.region).map_err(region("UART output"))?;
            let channel = Channel::from_config(config.uart_output.channel);
            Some(Uart::new(page, rings.client().0, channel))
        } else {
            None
        };
        let mut machine = Self {
            config,
            ram,
            files: Files {
                kernel: file("kernel", &config.kernel)?,
                device_tree: file("device tree", &config.device_tree)?,
                initrd: file("initial RAM disk", &config.initrd)?,
            },
            bus: Bus::new(config, devices.len()),
            gic: Gic::of(version(config), vcpu_count),
            devices,
            uart,
            states: [State::Off; MAX_VCPUS],
            vcpu_count,
            retires: !config.header.has_debug_put_char(),
            phase: Phase::Waiting,
            paused: false,
            control: Control::new(&config.control)
                .map_err(region("page of the control service"))?,
            alarm: Alarm::new(&config.timer).map_err(region("timer page"))?,
            timer_ahead: u64::from(config.timer_ahead) * pd::frequency() / 1_000_000,
            power: Channel::from_config(config.power_channel),
        };
        machine.await_backends();
        machine.start_when_ready();
        Ok(machine)
    }

    fn guest(&self) -> &'static str {
        self.config.guest.as_str()
    }

    fn vcpus(&self) -> impl Iterator<Item = Vcpu> + use<> {
        (0..self.vcpu_count).map(Vcpu::new)
    }

    fn state(&self, vcpu: Vcpu) -> State {
        let state = self.states.get(usize::from(vcpu.id()));
        state.copied().unwrap_or_default()
    }

    fn set_state(&mut self, vcpu: Vcpu, to: State) {
        if let Some(state) = self.states.get_mut(usize::from(vcpu.id())) {
            *state = to;
        }
    }

    /// Serves one exit. `Ok(true)`: the vCPU goes on where it is.
    fn serve(&mut self, vcpu: Vcpu, exit: Exit) -> Result<bool, Cause> {
        match exit {
            Exit::Access(access) => return self.access(vcpu, access),
            Exit::Maintenance(list_register) => {
                self.end_of_interrupt(vcpu, list_register)?;
                return Ok(true);
            }
            Exit::PrivateInterrupt(intid) => {
                self.private_interrupt(vcpu, intid)?;
                return Ok(true);
            }
            Exit::Wait(Wait::Interrupt) => self.wait(vcpu)?,
            Exit::Wait(Wait::Event) => self.yield_to_others(vcpu)?,
            Exit::Smc => self.firmware_call(vcpu)?,
            Exit::Hypercall { ip, arguments } => {
                self.firmware(vcpu, arguments, ip.wrapping_add(INSTRUCTION))?;
            }
            Exit::SystemRegister(register) => self.system_register(vcpu, register)?,
            Exit::Fetch { .. } => Context::new(vcpu).take(Exception::Fetch)?,
            Exit::Extension(_) | Exit::Other { .. } => return Err(Cause::Exit(exit)),
        }
        Ok(false)
    }

    /// A backend has written to its link.
    fn device_notified(&mut self, index: usize) -> Result<(), Cause> {
        let Some(device) = self.devices.get_mut(index) else {
            return Ok(());
        };
        let update = device.transport.poll();
        if update.notify {
            device.channel.notify();
        }
        self.sample(index);
        if update.reset_done {
            self.release(index)?;
        }
        if update.reset_done || update.announced {
            self.proceed()?;
        }
        self.deliver()
    }

    /// vCPUs that are held for a device's reset go on: it is done.
    #[cold]
    fn release(&mut self, index: usize) -> Result<(), Cause> {
        for vcpu in self.vcpus() {
            match self.state(vcpu) {
                State::Held(Hold::Reset { device, ip }) if device == index => {
                    self.go_on(vcpu, ip.wrapping_add(INSTRUCTION))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn notified_by(&mut self, channel: Channel) -> Result<(), Cause> {
        if let Some(index) = self
            .devices
            .iter()
            .position(|device| device.channel == channel)
        {
            self.device_notified(index)
        } else if self.alarm.channel() == Some(channel) {
            self.alarm_rings()
        } else if self.uart.as_ref().and_then(Uart::channel) == Some(channel) {
            self.uart_has_room()
        } else if self.control.channel() == Some(channel) {
            self.ordered()
        } else {
            Ok(())
        }
    }
}

impl Handler for Machine {
    fn notified(&mut self, channels: ChannelSet) {
        for channel in channels {
            if let Err(cause) = self.notified_by(channel) {
                self.stop(Vcpu::new(0), &cause);
            }
        }
    }

    fn fault(&mut self, child: Child, info: MessageInfo) -> Option<MessageInfo> {
        if self.timer_ahead != 0 {
            timer::keep_ahead(self.timer_ahead);
        }
        let vcpu = child.vcpu();
        let exit = Exit::decode(info.label(), pd::get_mr);
        match self.dispatch(vcpu, exit) {
            Ok(true) => Some(MessageInfo::default()),
            Ok(false) => None,
            Err(cause) => {
                self.stop(vcpu, &cause);
                None
            }
        }
    }
}
