//! What the tool writes into a PD's configuration region, one structure for each kind of PD program.
//!
//! The region is mapped read-only and its address is patched into the PD's symbol `sel4cp_config`. Every
//! structure starts with a [`Header`], so that a program refuses the configuration of another one.

use crate::label::Labels;
use crate::slot::MAX_PDS;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every configuration.
pub const MAGIC: [u8; 8] = *b"sel4cp\0\x01";
/// Most virtIO devices of one guest: one 4 KiB page of register files.
pub const MAX_DEVICES: usize = 8;
/// Most vCPUs of a guest.
pub const MAX_VCPUS: usize = 4;
/// Most clients of the serial driver: a console, an early console and logs for each of many guests.
pub const MAX_SERIAL_CLIENTS: usize = 58;
/// Most VMMs, each a client of the timer and power drivers.
pub const MAX_GUESTS: usize = 8;
/// Most clients of the timer driver: the VMMs, and the serial driver.
pub const MAX_TIMER_CLIENTS: usize = MAX_GUESTS + 1;
/// Most children of the supervisor: all PDs but itself.
pub const MAX_CHILDREN: usize = MAX_PDS - 1;
/// No channel: the peer does not exist in this system.
pub const NO_CHANNEL: u32 = u32::MAX;

/// Which program a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the programs' names")]
pub enum Program {
    Vmm = 1,
    Console = 2,
    Net = 3,
    Block = 4,
    Serial = 5,
    VirtioBlk = 6,
    VirtioNet = 7,
    Timer = 8,
    Power = 9,
    Supervisor = 10,
    Vsock = 11,
    Services = 12,
    Pause = 13,
}

/// A configuration structure: plain data that starts with a [`Header`] for its program.
pub trait Config: FromBytes + IntoBytes + Immutable + KnownLayout {
    /// The programs that read it (the two virtIO drivers share one structure, and so do the backends).
    const PROGRAMS: &'static [Program];
    /// Its header.
    fn header(&self) -> &Header;
}

macro_rules! plain {
    ($($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* })*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($body)* }
    )* };
}

macro_rules! config {
    ($($type:ty: [$($program:ident),*];)*) => { $(
        impl Config for $type {
            const PROGRAMS: &'static [Program] = &[$(Program::$program),*];
            fn header(&self) -> &Header {
                &self.header
            }
        }
    )* };
}

// After the macros that it uses.
mod sockets;
pub use sockets::{
    Access, ControlledGuest, MAX_WIRES, Observed, SOCKET_BYTES, ServicesConfig, VsockConfig, Wire,
};

plain! {
    /// What every configuration starts with.
    pub struct Header {
        /// [`MAGIC`].
        pub magic: [u8; 8],
        /// A [`Program`].
        pub program: u32,
        /// Bytes of the whole structure.
        pub size: u32,
        /// Bit 0: the kernel has DebugPutChar.
        pub flags: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// The kernel's invocation labels.
        pub labels: Labels,
        /// Where log lines go (a byte ring towards the serial driver); size 0: nowhere.
        pub log: Ring,
    }

    /// A mapped memory region.
    pub struct Region {
        /// Address in the PD.
        pub vaddr: u64,
        /// Bytes; 0 when there is no such region.
        pub size: u64,
        /// The same memory's address on the other side: guest-physical (VMM, backends) or physical (drivers).
        pub bus: u64,
    }

    /// A shared region with a channel to the PD on its other side.
    pub struct Ring {
        /// The region.
        pub region: Region,
        /// Channel id, or [`NO_CHANNEL`].
        pub channel: u32,
        /// Explicit padding.
        pub reserved: u32,
    }

    /// A name in UTF-8, padded with NUL.
    pub struct Name {
        /// The bytes.
        pub bytes: [u8; 32],
    }

    /// One virtIO device of a guest, as the VMM sees it.
    pub struct Device {
        /// Device id (virtIO 1.2 §5): 1 net, 2 block, 3 console, 19 socket.
        pub kind: u32,
        /// INTID of its interrupt in the guest (an SPI, 32 and up).
        pub interrupt: u32,
        /// Offset of its register file in the guest's register page (a multiple of 0x200).
        pub offset: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Link page and channel towards the backend.
        pub link: Ring,
    }

    /// The configuration of a VMM.
    pub struct VmmConfig {
        /// Header.
        pub header: Header,
        /// The guest's name.
        pub guest: Name,
        /// Guest RAM; `bus` is its guest-physical address.
        pub ram: Region,
        /// The kernel `Image` as delivered, read-only; `bus` is the guest-physical 2 MiB aligned base to load it from.
        pub kernel: Region,
        /// The device tree blob, read-only; `bus` is where it goes.
        pub device_tree: Region,
        /// The initial RAM disk, read-only; `bus` is where it goes; size 0: none.
        pub initrd: Region,
        /// The virtio-mmio register files: writable here, read-only in the guest at `bus`.
        pub registers: Region,
        /// The guest's early PL011: its register page, read-only in the guest at `bus`; size 0: none.
        pub uart: Region,
        /// Where the early PL011's output goes (a byte ring towards the serial driver).
        pub uart_output: Ring,
        /// Page shared with the timer driver, and its channel; none on a machine without that driver.
        pub timer: Ring,
        /// Guest-physical address of the GIC distributor (emulated, 64 KiB or 4 KiB).
        pub distributor: u64,
        /// Bytes of the distributor's range.
        pub distributor_size: u64,
        /// Guest-physical address of the redistributors (emulated, 128 KiB for each vCPU).
        pub redistributors: u64,
        /// Bytes of their range; 0: there are none, because the interrupt controller is a GICv2 and not a GICv3.
        pub redistributors_size: u64,
        /// Page shared with the control service, and its channel; none where nobody may use that.
        pub control: Ring,
        /// Channel to the power driver.
        pub power_channel: u32,
        /// Number of vCPUs; their ids are 0 and up.
        pub vcpu_count: u32,
        /// Number of used entries of `devices`.
        pub device_count: u32,
        /// INTID of the early PL011 (never raised: output only).
        pub uart_interrupt: u32,
        /// 1: the machine has caches, which QEMU's has not. What they hold of RAM is written back before the guest starts
        /// with its own off.
        pub caches: u32,
        /// How far from now the physical timer is kept while the guest runs, in microseconds; 0: it is left alone.
        pub timer_ahead: u32,
        /// The virtIO devices.
        pub devices: [Device; MAX_DEVICES],
    }

    /// The configuration of a backend (console, net, block).
    pub struct BackendConfig {
        /// Header.
        pub header: Header,
        /// The device's name, such as `linux.net`.
        pub device: Name,
        /// Link page and channel towards the VMM.
        pub link: Ring,
        /// Guest RAM; `bus` is its guest-physical address.
        pub ram: Region,
        /// Ring region and channel towards the driver.
        pub ring: Ring,
        /// Net: MAC address.
        pub mac: [u8; 6],
        /// Net: largest payload of a frame in bytes (virtIO 1.2 §5.1.4 mtu).
        pub mtu: u16,
        /// Console: columns, 0 when unknown.
        pub columns: u16,
        /// Console: rows, 0 when unknown.
        pub rows: u16,
        /// Block: 1 when the guest must not write.
        pub read_only: u16,
        /// Block: number of queues.
        pub queues: u16,
        /// Block: the serial that GET_ID returns (virtIO 1.2 §5.2.6.1), padded with NUL.
        pub serial: [u8; 20],
        /// Net: how many frames may be made here between two pauses of the guest; 0: as many as it asks for.
        pub most_made: u32,
        /// Net: memory shared with the driver, for frames that are made here; size 0: none.
        pub frames: Region,
        /// Net: page and channel towards the domain that tells of the guest's pauses; none where nobody does.
        pub pause: Ring,
    }

    /// The configuration of a domain that tells of a guest's pauses.
    pub struct PauseConfig {
        /// Header.
        pub header: Header,
        /// Page and channel towards the backend.
        pub backend: Ring,
    }

    /// The configuration of the virtio-blk and virtio-net drivers.
    pub struct VirtioDriverConfig {
        /// Header.
        pub header: Header,
        /// The device's name.
        pub device: Name,
        /// The page of the hardware's transport; `bus` is physical.
        pub registers: Region,
        /// Offset of the transport in that page.
        pub registers_offset: u32,
        /// Channel id of the interrupt.
        pub interrupt_channel: u32,
        /// Memory for the driver's own queues and headers, physically contiguous, uncached nowhere; `bus` is physical.
        pub dma: Region,
        /// Guest RAM, the window that ring entries point into; `bus` is physical.
        pub ram: Region,
        /// Net: frames that the backend makes, the other window; read-only, `bus` is physical; size 0: none.
        pub frames: Region,
        /// Ring region and channel towards the backend.
        pub ring: Ring,
    }

    /// One client of the serial driver.
    pub struct SerialClient {
        /// The guest's (or the PD's) name, shown before its lines.
        pub name: Name,
        /// Ring region and channel.
        pub ring: Ring,
        /// 0: a guest's console (gets input), 1: a guest's early console, 2: a log.
        pub kind: u32,
        /// Which guest it belongs to (consoles and early consoles of one guest share it).
        pub guest: u32,
    }

    /// The configuration of the serial driver (a UART and the multiplexer).
    pub struct SerialConfig {
        /// Header.
        pub header: Header,
        /// The UART's registers.
        pub registers: Region,
        /// State page that the power driver reads, and its channel: word 0 is nonzero while output is pending.
        pub state: Ring,
        /// Page shared with the timer driver, and its channel. It bounds how long a line that its writer does
        /// not finish keeps other clients waiting; without it they break such a line at once.
        pub timer: Ring,
        /// Channel id of the interrupt.
        pub interrupt_channel: u32,
        /// Number of used entries of `clients`.
        pub client_count: u32,
        /// The guest that has the input first.
        pub focus: u32,
        /// Number of guests: with more than one, lines carry their guest's name.
        pub guest_count: u32,
        /// A [`UartKind`](crate::uart::UartKind).
        pub uart: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// The clients.
        pub clients: [SerialClient; MAX_SERIAL_CLIENTS],
    }

    /// The configuration of the timer driver.
    pub struct TimerConfig {
        /// Header.
        pub header: Header,
        /// Channel id of the interrupt.
        pub interrupt_channel: u32,
        /// Number of used entries of `clients`.
        pub client_count: u32,
        /// Deadline page and channel of each client.
        pub clients: [Ring; MAX_TIMER_CLIENTS],
    }

    /// The configuration of the power driver.
    pub struct PowerConfig {
        /// Header.
        pub header: Header,
        /// The serial driver's state page and its channel.
        pub serial: Ring,
        /// Number of used entries of `guests`.
        pub guest_count: u32,
        /// Explicit padding.
        pub reserved: u32,
        /// Channels of the VMMs. Where the control service may start a guest again, the page that says whether it is over,
        /// read-only.
        pub guests: [Ring; MAX_GUESTS],
    }

    /// The configuration of the supervisor.
    pub struct SupervisorConfig {
        /// Header.
        pub header: Header,
        /// Lowest address of each child's stack; the page below it is mapped nowhere.
        pub stack_bottom: u64,
        /// Number of used entries of `children`.
        pub child_count: u32,
        /// Child id of the serial driver: nobody else prints what the log rings hold.
        pub serial: u32,
        /// Page in which the control service reads who has faulted, and its channel.
        pub domains: Ring,
        /// The children's names, by their ids.
        pub children: [Name; MAX_CHILDREN],
    }
}

impl Header {
    /// Bit of `flags`: the kernel has DebugPutChar.
    pub const DEBUG_PUT_CHAR: u32 = 1;

    /// Whether the kernel has DebugPutChar.
    pub const fn has_debug_put_char(&self) -> bool {
        self.flags & Self::DEBUG_PUT_CHAR != 0
    }

    /// The header of a configuration `T` of `program`.
    pub const fn new<T>(program: Program, flags: u32, labels: Labels, log: Ring) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a configuration fits a page or two"
        )]
        let size = size_of::<T>() as u32;
        Self {
            magic: MAGIC,
            program: program as u32,
            size,
            flags,
            reserved: 0,
            labels,
            log,
        }
    }
}

impl Region {
    /// No region.
    pub const NONE: Self = Self {
        vaddr: 0,
        size: 0,
        bus: 0,
    };

    /// Whether there is a region.
    pub const fn is_some(&self) -> bool {
        self.size != 0
    }
}

impl Ring {
    /// No region and no channel.
    pub const NONE: Self = Self {
        region: Region::NONE,
        channel: NO_CHANNEL,
        reserved: 0,
    };
}

impl Name {
    /// The name `text`, or `None` if it has more than 32 bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Some(Self { bytes })
    }

    /// The name as text; what is not UTF-8 ends it.
    pub fn as_str(&self) -> &str {
        let end = self
            .bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.bytes.len());
        let used = self.bytes.get(..end).unwrap_or_default();
        match core::str::from_utf8(used) {
            Ok(text) => text,
            Err(error) => used
                .get(..error.valid_up_to())
                .and_then(|valid| core::str::from_utf8(valid).ok())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

config! {
    VmmConfig: [Vmm];
    BackendConfig: [Console, Net, Block];
    PauseConfig: [Pause];
    SerialConfig: [Serial];
    VirtioDriverConfig: [VirtioBlk, VirtioNet];
    TimerConfig: [Timer];
    PowerConfig: [Power];
    SupervisorConfig: [Supervisor];
}

/// Why a configuration region was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The region is smaller than the structure: bytes found, bytes expected.
    Short(usize, usize),
    /// It does not start with [`MAGIC`]: the tool and the program are of different versions.
    Magic([u8; 8]),
    /// It is for another program: the number found.
    Program(u32),
    /// The structure has another size: bytes found, bytes expected.
    Size(u32, usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(found, expected) => {
                write!(
                    f,
                    "configuration region has {found} bytes, expected at least {expected}"
                )
            }
            Self::Magic(found) => {
                write!(
                    f,
                    "configuration starts with {found:02x?}, expected {MAGIC:02x?}"
                )
            }
            Self::Program(found) => {
                write!(
                    f,
                    "configuration is for program {found}, which is not this one"
                )
            }
            Self::Size(found, expected) => write!(
                f,
                "configuration says it has {found} bytes, expected {expected}: build image and programs together"
            ),
        }
    }
}

/// The configuration in `bytes`, for one of the programs of `T`.
///
/// # Errors
/// [`Refused`] says what does not fit.
pub fn parse<T: Config>(bytes: &[u8]) -> Result<&T, Refused> {
    let short = Refused::Short(bytes.len(), size_of::<T>());
    let (config, _) = T::ref_from_prefix(bytes).map_err(|_| short)?;
    let header = config.header();
    if header.magic != MAGIC {
        return Err(Refused::Magic(header.magic));
    }
    if !T::PROGRAMS
        .iter()
        .any(|program| *program as u32 == header.program)
    {
        return Err(Refused::Program(header.program));
    }
    if usize::try_from(header.size) != Ok(size_of::<T>()) {
        return Err(Refused::Size(header.size, size_of::<T>()));
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
