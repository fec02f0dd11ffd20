//! The hardware's virtio-mmio transport: finding it, agreeing on features, reading its configuration space.

use bitflags::bitflags;
use core::fmt;
use core::ptr::NonNull;
use sel4cp_abi::config::VirtioDriverConfig;
use sel4cp_model::features::Features;
use sel4cp_pd::{RegionError, claim};
use virtio_drivers::device::common::Feature as Legacy;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

/// Feature of devices of before version 1: a request's parts may be cut into pieces anywhere (§2.7.4.1).
pub const ANY_LAYOUT: u64 = Legacy::ANY_LAYOUT.bits();
/// Bytes of one transport's registers.
const SIZE: usize = 0x200;
/// How often a device's status is read until it is reset.
const PATIENCE: u32 = 100_000;

/// Why the hardware cannot be driven.
#[derive(Debug)]
pub enum Trouble {
    /// Its registers' region does not fit.
    Region(RegionError),
    /// There is no transport, or no device behind it.
    Transport(MmioError),
    /// It is another device.
    Kind {
        /// What is there.
        found: DeviceType,
        /// What should be.
        expected: DeviceType,
    },
    /// It does not take these features, a subset of its own.
    Features(u64),
    /// It lacks these features.
    Lacks(u64),
    /// It does not come out of its reset.
    Reset,
    /// A queue or its configuration space is not what it should be.
    Device(virtio_drivers::Error),
    /// The driver's own memory is too small.
    Memory,
    /// The configuration lacks the interrupt's channel or the backend's.
    Channels,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(error) => error.fmt(f),
            Self::Transport(error) => write!(f, "no virtio-mmio device: {error}"),
            Self::Kind { found, expected } => {
                write!(f, "device is of type {found:?}, expected {expected:?}")
            }
            Self::Features(bits) => write!(f, "device refuses the features {bits:#x} of its own"),
            Self::Lacks(bits) => write!(f, "device lacks the features {bits:#x}"),
            Self::Reset => f.write_str("device does not come out of its reset"),
            Self::Device(error) => write!(f, "device: {error}"),
            Self::Channels => f.write_str("no channel to the interrupt or to the backend"),
            Self::Memory => f.write_str("the driver's DMA region is too small"),
        }
    }
}

impl core::error::Error for Trouble {}

impl From<RegionError> for Trouble {
    fn from(error: RegionError) -> Self {
        Self::Region(error)
    }
}

impl From<virtio_drivers::Error> for Trouble {
    fn from(error: virtio_drivers::Error) -> Self {
        Self::Device(error)
    }
}

/// Opens the transport of the configuration, which must lead to a device of type `expected`.
///
/// # Errors
/// [`Trouble`] says what is there instead.
pub fn open(
    config: &VirtioDriverConfig,
    expected: DeviceType,
) -> Result<MmioTransport<'static>, Trouble> {
    let range = RegionError::Range(config.registers);
    let offset = usize::try_from(config.registers_offset).map_err(|_| range)?;
    let end = offset.checked_add(SIZE).ok_or(range)?;
    if !offset.is_multiple_of(SIZE) {
        return Err(range.into());
    }
    let page = claim(&config.registers, end, SIZE)?;
    // SAFETY: `end` is inside the region.
    let registers: NonNull<u8> = unsafe { page.cast().add(offset) };
    // SAFETY: the region is the transport's page, mapped as device memory for as long as the PD runs, and this is
    // the only place that takes it.
    let transport = unsafe { MmioTransport::new(registers.cast::<VirtIOHeader>(), SIZE) };
    let transport = transport.map_err(Trouble::Transport)?;
    match transport.device_type() {
        found if found == expected => Ok(transport),
        found => Err(Trouble::Kind { found, expected }),
    }
}

bitflags! {
    /// Any feature bits.
    #[derive(Clone, Copy, Debug)]
    struct Bits: u64 {
        const _ = !0;
    }
}

/// Resets the device, after which it touches no memory.
///
/// # Errors
/// [`Trouble::Reset`] if it takes too long.
pub fn reset(transport: &mut impl Transport) -> Result<(), Trouble> {
    transport.set_status(DeviceStatus::empty());
    // §4.2.2.1: the device is reset when it says so.
    let done = (0..PATIENCE).any(|_| transport.get_status().is_empty());
    transport.ack_interrupt();
    if done { Ok(()) } else { Err(Trouble::Reset) }
}

/// Resets the device and agrees on features: what it has of `wanted`, and of what every queue here can use.
///
/// # Errors
/// [`Trouble`] says what the device does not do.
pub fn negotiate(transport: &mut impl Transport, wanted: u64) -> Result<u64, Trouble> {
    let common = Features::EVENT_IDX.union(Features::VERSION_1).bits();
    reset(transport)?;
    let wanted = Bits::from_bits_retain(wanted | common | ANY_LAYOUT);
    let agreed = transport.begin_init(wanted).bits();
    // Devices of before version 1 have no FEATURES_OK.
    let is_legacy = transport.requires_legacy_layout();
    if !is_legacy && agreed & Features::VERSION_1.bits() == 0 {
        return Err(Trouble::Lacks(Features::VERSION_1.bits()));
    }
    if !is_legacy && !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        return Err(Trouble::Features(agreed));
    }
    Ok(agreed)
}

/// The 8-bit field at `offset` of the configuration space.
///
/// # Errors
/// The space is too small.
pub fn field8(transport: &impl Transport, offset: usize) -> virtio_drivers::Result<u8> {
    transport.read_config_space(offset)
}

/// The 16-bit field at `offset` of the configuration space.
///
/// # Errors
/// The space is too small.
pub fn field16(transport: &impl Transport, offset: usize) -> virtio_drivers::Result<u16> {
    transport.read_config_space(offset).map(u16::from_le)
}

/// The 32-bit field at `offset` of the configuration space.
///
/// # Errors
/// The space is too small.
pub fn field32(transport: &impl Transport, offset: usize) -> virtio_drivers::Result<u32> {
    transport.read_config_space(offset).map(u32::from_le)
}
