//! The device, its guest and its driver on one bench.

use crate::common::Bench;
use crate::common::disk::FakeDisk;
use sel4cp_backends::block::Block;
use sel4cp_model::block::{Range, RequestHeader, RequestType};
use sel4cp_queue::Features;
use sel4cp_ring::host;
use sel4cp_ring::layout::{DEVICE_SIZE, DeviceRegion};
use sel4cp_testing::{Buffer, Used, readable_obj};

pub(crate) const OK: u8 = 0;
pub(crate) const IOERR: u8 = 1;
pub(crate) const UNSUPP: u8 = 2;
pub(crate) const UNTOUCHED: u8 = 0xa5;

pub(crate) struct Rig {
    pub(crate) bench: Bench<Block>,
    pub(crate) disk: FakeDisk,
    pub(crate) region: DeviceRegion,
}

impl Rig {
    pub(crate) fn new(ring: usize, read_only: bool, change: impl FnOnce(&mut FakeDisk)) -> Self {
        Self::with_queues(1, ring, read_only, change)
    }

    pub(crate) fn with_queues(
        queues: u16,
        ring: usize,
        read_only: bool,
        change: impl FnOnce(&mut FakeDisk),
    ) -> Self {
        let region = host::device(ring).unwrap();
        let sizes = vec![64; queues.into()];
        let bench = Bench::new(&sizes, Features::all(), |ram| {
            Block::new(region, ram, read_only, *b"serial-of-the-disk\0\0", queues)
        });
        let mut disk = FakeDisk::new(region, bench.guest.ram());
        change(&mut disk);
        let facts = disk.facts;
        disk.ends.info.change(&facts);
        let mut rig = Self {
            bench,
            disk,
            region,
        };
        // The first reset, by which an earlier life's requests come back.
        rig.bench.turn();
        assert!(!rig.bench.vmm.is_ready());
        assert!(rig.disk.work());
        rig
    }

    pub(crate) fn running() -> Self {
        let mut rig = Self::new(DEVICE_SIZE, false, |_| ());
        rig.bench.start(u64::MAX);
        rig
    }

    pub(crate) fn add(&mut self, buffers: &[Buffer]) {
        self.bench.guest.queue(0).add(buffers);
    }

    /// Lets everybody work until nobody asks for anybody.
    pub(crate) fn settle(&mut self) -> Vec<Used> {
        self.bench.kick(0);
        while self.disk.work() {
            self.bench.turn();
        }
        self.bench.guest.queue(0).collect()
    }

    /// One request, to its end: its status, the bytes before it, and used.len.
    pub(crate) fn request(&mut self, buffers: &[Buffer]) -> (u8, Vec<u8>, u32) {
        self.add(buffers);
        let mut used = self.settle();
        assert_eq!(used.len(), 1, "the request did not complete");
        let Used {
            len, mut writable, ..
        } = used.remove(0);
        (writable.pop().unwrap(), writable, len)
    }
}

pub(crate) fn header(kind: RequestType, sector: u64) -> Buffer {
    raw_header(kind as u32, sector)
}

pub(crate) fn raw_header(kind: u32, sector: u64) -> Buffer {
    readable_obj(&RequestHeader {
        kind: kind.into(),
        reserved: 0.into(),
        sector: sector.into(),
    })
}

pub(crate) fn range(sector: u64, num_sectors: u32, flags: u32) -> Buffer {
    readable_obj(&Range {
        sector: sector.into(),
        num_sectors: num_sectors.into(),
        flags: flags.into(),
    })
}

pub(crate) fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512)
        .map(|n| u8::try_from(n % 249).unwrap())
        .collect()
}
