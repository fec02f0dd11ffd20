//! A whole VMM against a kernel that records, with the backends played by the test.

mod control;
mod devices;
mod life;
mod sleep;
mod v3;

use super::*;
use crate::vcpu::{Sleep, State};
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_abi::config::{self as abi, Header, Name, Program, Ring};
use sel4cp_abi::label::Labels;
use sel4cp_abi::vcpu::{VcpuRegister, context_word};
use sel4cp_link::{DeviceEnd, Event, Facts, LinkPage};
use sel4cp_model::features::Features;
use sel4cp_pd::host::{self, Call};
use sel4cp_ring::Consumer;
use sel4cp_ring::control::Controller;
use sel4cp_ring::shared::TimerPage;
use zerocopy::FromZeros;

const RAM: u64 = 0x4000_0000;
const RAM_SIZE: usize = 0x20_0000;
const DEVICE_TREE: u64 = RAM + 0x10_0000;
const INITRD: u64 = RAM + 0x18_0000;
const GICD: u64 = 0x0800_0000;
const UART: u64 = 0x0900_0000;
const REGISTERS: u64 = 0x0a00_0000;

const TIMER_CHANNEL: Channel = Channel::new(1);
const POWER_CHANNEL: Channel = Channel::new(2);
const UART_CHANNEL: Channel = Channel::new(3);
const CONTROL_CHANNEL: Channel = Channel::new(4);
const FIRST_DEVICE: u8 = 10;

const CPU0: Vcpu = Vcpu::new(0);
const CPU1: Vcpu = Vcpu::new(1);

/// Fault labels.
const UNKNOWN_SYSCALL: u64 = 2;
const USER_EXCEPTION: u64 = 3;
const VM: u64 = 6;
const MAINTENANCE: u64 = 7;
const TRAP: u64 = 8;
const PRIVATE: u64 = 9;

/// Syndromes: a store of w1, a load into x2 (32 bits), WFI, SMC.
const STORE: u64 = 0x9381_004f;
const LOAD: u64 = 0x9382_8007;
const WFI: u64 = 0x07e0_0000;
const SMC: u64 = 0x5e00_0000;

struct Fixture {
    machine: Machine,
    backends: Vec<DeviceEnd>,
    timer: &'static TimerPage,
    uart: Consumer<u8>,
    control: Controller,
    ram: GuestRam,
}

/// A shared region as the other side has it, which does not ask this thread's table.
fn peer<T: Send + 'static>(region: Region, open: impl FnOnce(&Region) -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        host::adopt(region);
        open(&region)
    })
    .join()
    .unwrap()
}

fn filled(bytes: &[u8], address: u64) -> Region {
    let region = host::region(bytes.len());
    peer(region, {
        let bytes = bytes.to_vec();
        move |region| {
            let words = pd::words(region).unwrap();
            for (word, chunk) in words.iter().zip(bytes.chunks(4)) {
                word.store(u32::from_le_bytes(chunk.try_into().unwrap()), Relaxed);
            }
        }
    });
    Region {
        bus: address,
        ..region
    }
}

/// An arm64 Image whose code is `code`.
fn kernel(code: &[u8; 8]) -> Vec<u8> {
    let mut image = code.to_vec();
    for word in [0_u64, 0x8_0000, 0xa, 0, 0, 0] {
        image.extend(word.to_le_bytes());
    }
    image.extend(*b"ARM\x64\0\0\0\0");
    image
}

fn ring(size: usize, channel: Channel) -> Ring {
    Ring {
        region: host::region(size),
        channel: channel.id().into(),
        reserved: 0,
    }
}

fn config(vcpus: u32, devices: u32, kernel: &[u8]) -> VmmConfig {
    let mut config = VmmConfig::new_zeroed();
    config.header = Header::new::<VmmConfig>(
        Program::Vmm,
        Header::DEBUG_PUT_CHAR,
        Labels::RELEASE,
        Ring::NONE,
    );
    config.guest = Name::new("linux").unwrap();
    config.ram = Region {
        bus: RAM,
        ..host::region(RAM_SIZE)
    };
    config.kernel = filled(kernel, RAM);
    config.device_tree = filled(b"\xd0\x0d\xfe\xedtree", DEVICE_TREE);
    config.initrd = filled(b"disk", INITRD);
    config.registers = Region {
        bus: REGISTERS,
        ..host::region(0x1000)
    };
    config.uart = Region {
        bus: UART,
        ..host::region(0x1000)
    };
    config.uart_output = ring(0x1000 + 2 * 64, UART_CHANNEL);
    config.timer = ring(0x1000, TIMER_CHANNEL);
    config.distributor = GICD;
    config.distributor_size = 0x1_0000;
    config.control = ring(0x1000, CONTROL_CHANNEL);
    config.power_channel = POWER_CHANNEL.id().into();
    config.vcpu_count = vcpus;
    config.device_count = devices;
    for (index, device) in (0..).zip(&mut config.devices) {
        *device = abi::Device {
            kind: [2, 1, 3][usize::try_from(index % 3).unwrap()],
            interrupt: 48 + index,
            offset: 0x200 * index,
            reserved: 0,
            link: Ring::NONE,
        };
        if index < devices {
            let id = FIRST_DEVICE + u8::try_from(index).unwrap();
            device.link = ring(0x1000, Channel::new(id));
        }
    }
    config
}

impl Fixture {
    /// Nobody has announced anything.
    fn silent(vcpus: u32, devices: u32) -> Self {
        Self::with(&config(vcpus, devices, &kernel(b"mov x0, ")))
    }

    fn with(config: &VmmConfig) -> Self {
        host::set_config(config);
        let count = usize::try_from(config.device_count).unwrap();
        let backends = config.devices[..count].iter().map(|device| {
            let page: &'static LinkPage =
                peer(device.link.region, |region| pd::shared(region).unwrap());
            DeviceEnd::new(page)
        });
        let backends = backends.collect();
        let timer = peer(config.timer.region, |region| pd::shared(region).unwrap());
        let uart = peer(config.uart_output.region, |region| {
            pd::byte_rings(region).unwrap().driver().0
        });
        let control = peer(config.control.region, |region| {
            Controller::new(pd::shared(region).unwrap())
        });
        let ram = peer(config.ram, |region| pd::guest_ram(region).unwrap());
        let mut machine = Machine::new().unwrap();
        // The header says that the kernel prints, so that the log can be looked at.
        assert!(!core::mem::replace(&mut machine.retires, true));
        Self {
            machine,
            backends,
            timer,
            uart,
            control,
            ram,
        }
    }

    /// A guest that runs, with this many vCPUs (of which the first is on) and one device. Calls and log are empty.
    fn running(vcpus: u32) -> Self {
        let mut fixture = Self::silent(vcpus, 1);
        fixture.announce(0);
        assert_eq!(fixture.machine.phase, Phase::Running);
        host::calls();
        host::log();
        fixture
    }

    fn announce(&mut self, index: u8) {
        let mut facts = Facts {
            id: 2,
            features: Features::COMMON.bits(),
            ..Facts::default()
        };
        facts.queue_max[0] = 256;
        self.backends[usize::from(index)].announce(&facts, &[]);
        self.notify(Channel::new(FIRST_DEVICE + index));
    }

    fn notify(&mut self, channel: Channel) {
        host::deliver_notification(channel);
        host::run(&mut self.machine);
    }

    fn fault(&mut self, vcpu: Vcpu, label: u64, words: &[u64]) {
        host::deliver_fault(Child::new(vcpu.id()), label, words);
        host::run(&mut self.machine);
    }

    /// A store of `value` by an instruction at 0x1000; the calls that it took.
    fn store(&mut self, vcpu: Vcpu, address: u64, value: u64) -> Vec<Call> {
        set_x(vcpu, 1, value);
        host::calls();
        self.fault(vcpu, VM, &[0x1000, address, 0, STORE]);
        calls()
    }

    fn load(&mut self, vcpu: Vcpu, address: u64) -> u64 {
        self.fault(vcpu, VM, &[0x1000, address, 0, LOAD]);
        x(vcpu, 2)
    }

    /// A firmware call by an instruction at 0x2000.
    fn smc(&mut self, vcpu: Vcpu, arguments: [u64; 4]) -> u64 {
        host::set_context(vcpu, 0, 0x2000);
        for (register, argument) in (0..).zip(arguments) {
            set_x(vcpu, register, argument);
        }
        host::calls();
        self.fault(vcpu, TRAP, &[SMC]);
        x(vcpu, 0)
    }

    fn wfi(&mut self, vcpu: Vcpu) -> Vec<Call> {
        host::set_context(vcpu, 0, 0x3000);
        host::calls();
        self.fault(vcpu, TRAP, &[WFI]);
        calls()
    }

    /// The guest's driver of device 0 gets to DRIVER_OK.
    fn drive(&mut self) {
        let features = Features::COMMON.bits();
        for (offset, value) in [
            (0x070, 3),
            (0x024, 0),
            (0x020, features & 0xffff_ffff),
            (0x024, 1),
            (0x020, features >> 32),
            (0x070, 11),
            (0x030, 0),
            (0x038, 128),
            (0x080, RAM),
            (0x090, RAM + 0x2000),
            (0x0a0, RAM + 0x3000),
            (0x044, 1),
            (0x070, 15),
        ] {
            self.store(CPU0, REGISTERS + offset, value);
        }
        assert_eq!(self.backends[0].poll(), Some(Event::Start));
        // The guest's interrupt controller: SPI 48, timer, forwarding.
        for (offset, value) in [(0x104, 1 << 16), (0x100, 1 << 27), (0x000, 1)] {
            self.store(CPU0, GICD + offset, value);
        }
        host::calls();
    }

    fn interrupt(&mut self) -> Vec<Call> {
        let _ = self.backends[0].interrupt(1);
        self.notify(Channel::new(FIRST_DEVICE));
        calls()
    }

    /// The backend does what it is told.
    fn obey(&mut self, index: u8) {
        let backend = &mut self.backends[usize::from(index)];
        while backend.poll().is_some() {}
        backend.acknowledge();
        self.notify(Channel::new(FIRST_DEVICE + index));
    }

    fn state(&self, vcpu: Vcpu) -> State {
        self.machine.state(vcpu)
    }
}

/// The recorded calls, without those that every message takes.
fn calls() -> Vec<Call> {
    let mut calls = host::calls();
    calls.retain(|call| *call != Call::Receive);
    calls
}

fn x(vcpu: Vcpu, register: u8) -> u64 {
    host::context_of(vcpu)[context_word(register).unwrap()]
}

fn set_x(vcpu: Vcpu, register: u8, value: u64) {
    host::set_context(vcpu, context_word(register).unwrap(), value);
}

fn resumed(vcpu: Vcpu, pc: u64) -> Call {
    Call::WriteRegs(vcpu, true, vec![pc])
}

/// The state of a vCPU that [`Fixture::wfi`] has put to sleep.
fn sleeping(until: Option<u64>) -> State {
    State::Sleeping(Sleep { until, pc: 0x3004 })
}

/// It goes on at `pc` with the answer to its fault.
fn answered(vcpu: Vcpu, pc: u64) -> [Call; 2] {
    [
        Call::WriteRegs(vcpu, false, vec![pc]),
        Call::Reply(MessageInfo::default(), vec![]),
    ]
}

fn injected(vcpu: Vcpu, virq: u16, list_register: u8) -> Call {
    Call::InjectIrq {
        vcpu,
        virq,
        priority: 0,
        group: 0,
        list_register,
    }
}
