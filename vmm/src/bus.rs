//! Which device an address belongs to.

use crate::mmio::FILE_SIZE;
use sel4cp_abi::config::{MAX_DEVICES, Region, VmmConfig};

/// Where an access goes, with the offset inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A virtIO device, by its index.
    Device(usize, u64),
    /// The interrupt controller's distributor.
    Distributor(u64),
    /// Its redistributors, if it is a GICv3.
    Redistributors(u64),
    /// The early console.
    Uart(u64),
    /// A part of the register page that no device has: reads as zero, ignores writes.
    Empty,
    /// RAM, which the guest can access without us.
    Ram,
    /// Nothing.
    Nothing,
}

/// The guest's physical address space, as far as it is ours.
#[derive(Clone, Debug)]
pub struct Bus {
    distributor: (u64, u64),
    redistributors: (u64, u64),
    registers: (u64, u64),
    uart: (u64, u64),
    ram: (u64, u64),
    /// For each register file of the page, the device that has it.
    files: [Option<usize>; MAX_DEVICES],
}

impl Bus {
    /// The map that the configuration describes.
    pub fn new(config: &VmmConfig, device_count: usize) -> Self {
        let range = |region: &Region| (region.bus, region.size);
        let mut files = [None; MAX_DEVICES];
        for (index, device) in config.devices.iter().enumerate().take(device_count) {
            let file = usize::try_from(u64::from(device.offset) / FILE_SIZE).ok();
            if let Some(file) = file.and_then(|file| files.get_mut(file)) {
                *file = Some(index);
            }
        }
        Self {
            distributor: (config.distributor, config.distributor_size),
            redistributors: (config.redistributors, config.redistributors_size),
            registers: range(&config.registers),
            uart: range(&config.uart),
            ram: range(&config.ram),
            files,
        }
    }

    /// What is at `address`. The devices come first: they are the hot ones.
    #[inline]
    pub fn find(&self, address: u64) -> Target {
        let inside =
            |(start, size): (u64, u64)| address.checked_sub(start).filter(|offset| *offset < size);
        if let Some(offset) = inside(self.registers) {
            let file = usize::try_from(offset / FILE_SIZE).ok();
            match file.and_then(|file| self.files.get(file)) {
                Some(Some(device)) => Target::Device(*device, offset % FILE_SIZE),
                _ => Target::Empty,
            }
        } else if let Some(offset) = inside(self.distributor) {
            Target::Distributor(offset)
        } else if let Some(offset) = inside(self.redistributors) {
            Target::Redistributors(offset)
        } else if let Some(offset) = inside(self.uart) {
            Target::Uart(offset)
        } else if inside(self.ram).is_some() {
            Target::Ram
        } else {
            Target::Nothing
        }
    }
}
