//! A disk in memory behind a device region: what a driver of real hardware does, step by step as the test wants it.

use sel4cp_memory::{GuestAddress, GuestRam, GuestRange};
use sel4cp_ring::block::{DISCARD, Disk, FLUSH, MAX_SEGMENTS, READ, UNMAP, WRITE, WRITE_ZEROES};
use sel4cp_ring::layout::{DeviceRegion, DriverEnds};
use sel4cp_ring::request::{Completion, Header, RESET, Segment, status};

pub(crate) struct FakeDisk {
    pub(crate) ends: DriverEnds,
    pub(crate) data: Vec<u8>,
    pub(crate) facts: Disk,
    /// Requests taken and not completed.
    pub(crate) taken: Vec<(Header, Vec<Segment>)>,
    pub(crate) flushes: usize,
    ram: GuestRam,
}

impl FakeDisk {
    /// A disk of 64 sectors with everything, started.
    pub(crate) fn new(region: DeviceRegion, ram: GuestRam) -> Self {
        let facts = Disk {
            features: Disk::FLUSH | Disk::DISCARD | Disk::WRITE_ZEROES | Disk::WRITE_ZEROES_UNMAPS,
            capacity: 64,
            block_size: 512,
            max_segments: 254,
            max_discard_sectors: 32,
            max_discard_ranges: 4,
            max_write_zeroes_sectors: 16,
            max_write_zeroes_ranges: 4,
            physical_block_exponent: 3,
            ..Disk::default()
        };
        let mut disk = Self {
            ends: region.driver(),
            data: vec![0; 64 * 512],
            facts,
            taken: Vec::new(),
            flushes: 0,
            ram,
        };
        disk.ends.info.start(&facts);
        disk
    }

    /// Takes requests, at most `most`. Whether the backend is to be notified.
    pub(crate) fn take(&mut self, most: usize) -> bool {
        let mut segments = [Segment::default(); MAX_SEGMENTS];
        for _ in 0..most {
            let Some(header) = self.ends.requests.pop_request(&mut segments).unwrap() else {
                break;
            };
            self.taken
                .push((header, segments[..usize::from(header.count)].to_vec()));
        }
        let notify = self.ends.requests.release();
        let _more = self.ends.requests.arm().unwrap();
        notify
    }

    /// Does and completes the request at `index` of those taken. Whether the backend is to be notified.
    pub(crate) fn complete(&mut self, index: usize) -> bool {
        let (header, segments) = self.taken.remove(index);
        let (status, len) = self.execute(&header, &segments);
        self.answer(Completion::of(&header, status, len))
    }

    pub(crate) fn answer(&mut self, completion: Completion) -> bool {
        assert!(self.ends.completions.push(completion).unwrap());
        self.ends.completions.publish()
    }

    /// Takes and completes everything; a reset, only when nothing is before it.
    pub(crate) fn work(&mut self) -> bool {
        let mut notify = self.take(usize::MAX);
        while !self.taken.is_empty() {
            notify |= self.complete(0);
        }
        notify
    }

    fn execute(&mut self, header: &Header, segments: &[Segment]) -> (u8, u32) {
        match header.op {
            READ | WRITE => self.transfer(header, segments),
            FLUSH => {
                self.flushes += 1;
                (status::OK, 0)
            }
            DISCARD | WRITE_ZEROES => {
                for range in segments {
                    assert!(range.flags & !UNMAP == 0 && range.offset + u64::from(range.len) <= 64);
                    let start = usize::try_from(range.offset).unwrap() * 512;
                    self.data[start..start + range.len as usize * 512].fill(0);
                }
                (status::OK, 0)
            }
            RESET => {
                assert!(
                    self.taken.is_empty(),
                    "completed before what was given earlier"
                );
                (status::OK, 0)
            }
            op => panic!("operation {op}"),
        }
    }

    fn transfer(&mut self, header: &Header, segments: &[Segment]) -> (u8, u32) {
        let mut at = usize::try_from(header.sector).unwrap() * 512;
        let mut moved = 0;
        for segment in segments {
            assert!(
                segment.end_within(self.ram.len()).is_some(),
                "{segment:?} outside RAM"
            );
            assert_eq!(segment.device_writes(), header.op == READ);
            let address = self.ram.start().checked_add(segment.offset).unwrap();
            let span = self
                .ram
                .check(GuestRange::new(address, segment.len))
                .unwrap();
            let end = at + segment.len as usize;
            assert!(end <= self.data.len(), "beyond the disk");
            if header.op == READ {
                self.ram.write_bytes(span, &self.data[at..end]);
                moved += segment.len;
            } else {
                self.ram.read_bytes(span, &mut self.data[at..end]);
            }
            at = end;
        }
        (status::OK, moved)
    }
}

/// Some address, for tests that need one that is not in RAM.
pub(crate) const NOWHERE: GuestAddress = GuestAddress::new(0x1000);
