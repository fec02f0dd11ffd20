//! The guest as a whole: its RAM, and the queues in it.

use sel4cp_memory::{GuestAddress, GuestRam, GuestRange, HostRam, Span};
use sel4cp_queue::{Area, Config, Features};

use crate::driver::{Driver, Ring};
use crate::heap::Heap;

/// Where the RAM begins unless a test says otherwise.
const START: u64 = 0x4000_0000;
/// How large it is unless a test says otherwise: 4 MiB.
const LEN: u64 = 4 << 20;

/// A guest with RAM and any number of queues.
#[derive(Debug)]
pub struct Guest {
    memory: HostRam,
    pub(crate) heap: Heap,
    pub(crate) rings: Vec<Ring>,
    finished: bool,
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

impl Guest {
    /// A guest with 4 MiB of RAM at 0x40000000.
    #[must_use]
    pub fn new() -> Self {
        Self::with_ram(GuestAddress::new(START), LEN)
    }

    /// A guest with `len` bytes of RAM at `start`.
    #[must_use]
    pub fn with_ram(start: GuestAddress, len: u64) -> Self {
        let memory = HostRam::new(start, len);
        assert!(memory.is_ok(), "{memory:?}");
        let memory = memory.unwrap_or_else(|_| std::process::abort());
        Self {
            memory,
            heap: Heap::new(len),
            rings: Vec::new(),
            finished: false,
        }
    }

    /// The device's handle on the RAM.
    #[must_use]
    pub const fn ram(&self) -> GuestRam {
        self.memory.ram()
    }

    /// Sets up another queue, with `size` descriptors. Returns its number, from 0 up.
    pub fn add_queue(&mut self, size: u16, features: Features) -> usize {
        let mut place = |area: Area| {
            let offset = self
                .heap
                .allocate(u64::from(area.bytes(size)), area.alignment());
            GuestAddress::new(self.memory.ram().start().value() + offset)
        };
        let config = Config {
            size,
            descriptors: place(Area::Descriptors),
            driver: place(Area::Available),
            device: place(Area::Used),
            features,
        };
        self.rings.push(Ring::new(&self.ram(), config));
        self.rings.len() - 1
    }

    /// The driver of one queue.
    pub fn queue(&mut self, index: usize) -> Driver<'_> {
        let count = self.rings.len();
        assert!(
            index < count,
            "queue {index} of a guest that has {count}: add_queue first"
        );
        Driver::new(self, index)
    }

    /// Memory of the guest's own.
    pub fn allocate(&mut self, len: u32) -> GuestAddress {
        let offset = self.heap.allocate(u64::from(len), 1);
        GuestAddress::new(self.ram().start().value() + offset)
    }

    /// What is in the guest's memory.
    #[must_use]
    pub fn read(&self, address: GuestAddress, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.ram().read_bytes(self.span(address, len), &mut bytes);
        bytes
    }

    /// Writes to the guest's memory.
    pub fn write(&mut self, address: GuestAddress, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.ram().write_bytes(self.span(address, len), bytes);
    }

    pub(crate) fn span(&self, address: GuestAddress, len: u32) -> Span {
        let span = self.ram().check(GuestRange::new(address, len));
        assert!(span.is_ok(), "the test itself: {span:?}");
        span.unwrap_or_default()
    }

    /// Ends the test: collects what the device has used on all queues, and checks that it owes
    /// nothing.
    pub fn finish(mut self) {
        self.check();
    }

    /// Ends the test without a look at what the device still owes.
    pub fn abandon(mut self) {
        self.finished = true;
    }

    fn check(&mut self) {
        self.finished = true;
        for index in 0..self.rings.len() {
            let mut driver = self.queue(index);
            if driver.keeps_accounts() {
                driver.collect();
                let owed = driver.outstanding();
                assert!(
                    owed.is_empty(),
                    "queue {index}: chains {owed:?} never came back"
                );
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.finished && !std::thread::panicking() {
            self.check();
        }
    }
}
