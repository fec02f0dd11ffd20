//! A virtIO device in the test's own memory: a transport for the driver, and the device's side for the test.

use super::dma;
use sel4cp_abi::config::Region;
use sel4cp_pd::host;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of guest memory that [`windows`] opens.
pub(crate) const GUEST: usize = 0x4_0000;

/// Bytes of the backend's frames.
pub(crate) const FRAMES: usize = 0x4000;

/// Opens the driver's windows; the guest's is returned. The device finds memory where the PD does.
pub(crate) fn windows() -> Region {
    all_windows().0
}

/// The guest's window and that of the backend's frames.
pub(crate) fn all_windows() -> (Region, Region) {
    let (own, guest) = (host::region(0x2_0000), host::region(GUEST));
    let frames = host::region(FRAMES);
    dma::open(&own, &guest, &frames).unwrap();
    (guest, frames)
}

/// A queue, as the driver has set it up.
#[derive(Clone, Copy, Default)]
struct Queue {
    size: u32,
    descriptors: u64,
    driver: u64,
    device: u64,
    seen: u16,
}

/// The device's side.
pub(crate) struct Device {
    pub(crate) kind: DeviceType,
    pub(crate) legacy: bool,
    pub(crate) features: u64,
    pub(crate) accepted: u64,
    pub(crate) config: Vec<u8>,
    pub(crate) notified: Vec<u16>,
    pub(crate) interrupt: u32,
    pub(crate) resets: u32,
    /// It does each request while it is told about it, with a disk's status if there is room, and writes down which interrupt it was asked for then.
    pub(crate) prompt: Option<Vec<u16>>,
    /// It looks for requests by itself, and does not say that it wants to be told.
    pub(crate) looks: bool,
    status: DeviceStatus,
    queues: [Queue; 2],
}

/// A chain that the device has taken.
pub(crate) struct Taken {
    pub(crate) head: u16,
    /// Address and length of what the device reads.
    pub(crate) readable: Vec<(u64, u32)>,
    /// Address and length of what the device writes.
    pub(crate) writable: Vec<(u64, u32)>,
}

fn pointer<T>(address: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap())
}

fn load<T: Copy>(address: u64) -> T {
    // SAFETY: the test's windows, at addresses that the driver gave.
    unsafe { pointer::<T>(address).read_volatile() }
}

fn store<T>(address: u64, value: T) {
    // SAFETY: as in `load`.
    unsafe { pointer::<T>(address).write_volatile(value) }
}

/// The bytes at `address`.
pub(crate) fn bytes_at(address: u64, len: u32) -> Vec<u8> {
    (0..u64::from(len)).map(|at| load(address + at)).collect()
}

/// Writes bytes to `address`.
pub(crate) fn write_at(address: u64, bytes: &[u8]) {
    for (at, byte) in (address..).zip(bytes) {
        store(at, *byte);
    }
}

impl Device {
    /// The next chain of queue `index`, if the driver has offered one.
    pub(crate) fn take(&mut self, index: usize) -> Option<Taken> {
        let queue = &mut self.queues[index];
        if queue.size == 0 || load::<u16>(queue.driver + 2) == queue.seen {
            return None;
        }
        let slot = u64::from(queue.seen) % u64::from(queue.size);
        queue.seen = queue.seen.wrapping_add(1);
        if !self.looks {
            store(queue.device + 4 + 8 * u64::from(queue.size), queue.seen);
        }
        let head: u16 = load(queue.driver + 4 + 2 * slot);
        let mut taken = Taken {
            head,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut next = head;
        loop {
            let descriptor = queue.descriptors + 16 * u64::from(next);
            let piece = (load(descriptor), load(descriptor + 8));
            let flags: u16 = load(descriptor + 12);
            match flags & 2 {
                0 => taken.readable.push(piece),
                _ => taken.writable.push(piece),
            }
            if flags & 1 == 0 {
                return Some(taken);
            }
            next = load(descriptor + 14);
        }
    }

    /// Whether the driver has offered a chain on queue `index` that was not taken.
    pub(crate) fn has_request(&self, index: usize) -> bool {
        let queue = self.queues[index];
        queue.size != 0 && load::<u16>(queue.driver + 2) != queue.seen
    }

    /// Gives a chain back, having written `len` bytes.
    pub(crate) fn done(&mut self, index: usize, head: u16, len: u32) {
        let queue = self.queues[index];
        let used: u16 = load(queue.device + 2);
        let slot = queue.device + 4 + 8 * (u64::from(used) % u64::from(queue.size));
        store(slot, u32::from(head));
        store(slot + 4, len);
        store(queue.device + 2, used.wrapping_add(1));
        self.interrupt |= 1;
    }

    /// The index at which the driver wants the next interrupt.
    pub(crate) fn used_event(&self, index: usize) -> u16 {
        let queue = self.queues[index];
        load(queue.driver + 4 + 2 * u64::from(queue.size))
    }
}

/// The driver's side.
#[derive(Clone)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<Device>>);

impl Fake {
    pub(crate) fn new(kind: DeviceType, features: u64, config: &[u8]) -> Self {
        Self(Rc::new(RefCell::new(Device {
            kind,
            legacy: false,
            features: features | 1 << 32 | 1 << 29,
            accepted: 0,
            config: config.to_vec(),
            notified: Vec::new(),
            interrupt: 0,
            resets: 0,
            prompt: None,
            looks: false,
            status: DeviceStatus::empty(),
            queues: [Queue::default(); 2],
        })))
    }
}

impl Transport for Fake {
    fn device_type(&self) -> DeviceType {
        self.0.borrow().kind
    }
    fn read_device_features(&mut self) -> u64 {
        self.0.borrow().features
    }
    fn write_driver_features(&mut self, features: u64) {
        self.0.borrow_mut().accepted = features;
    }
    fn max_queue_size(&mut self, _: u16) -> u32 {
        1024
    }
    fn notify(&mut self, queue: u16) {
        let mut device = self.0.borrow_mut();
        device.notified.push(queue);
        let index = usize::from(queue);
        while device.prompt.is_some() {
            let event = device.used_event(index);
            let Some(taken) = device.take(index) else {
                return;
            };
            if let Some((status, _)) = taken.writable.last() {
                write_at(*status, &[0]);
            }
            device.done(index, taken.head, 1);
            device.prompt.get_or_insert_default().push(event);
        }
    }
    fn get_status(&self) -> DeviceStatus {
        self.0.borrow().status
    }
    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.0.borrow_mut();
        device.status = status;
        if status.is_empty() {
            device.queues = [Queue::default(); 2];
            device.interrupt = 0;
            device.resets += 1;
        }
    }
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        self.0.borrow().legacy
    }
    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        self.0.borrow_mut().queues[usize::from(queue)] = Queue {
            size,
            descriptors,
            driver,
            device,
            seen: 0,
        };
    }
    fn queue_unset(&mut self, queue: u16) {
        self.0.borrow_mut().queues[usize::from(queue)] = Queue::default();
    }
    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.borrow().queues[usize::from(queue)].size != 0
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_truncate(core::mem::take(&mut self.0.borrow_mut().interrupt))
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let device = self.0.borrow();
        let field = device.config.get(offset..offset + size_of::<T>());
        let value = field.and_then(|bytes| T::read_from_bytes(bytes).ok());
        value.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)
    }
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}
