//! The block device before a fake guest and a disk in memory (virtIO 1.2 §5.2).
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

mod common;

use common::Bench;
use common::disk::{FakeDisk, NOWHERE};
use sel4cp_backends::Trouble;
use sel4cp_backends::block::{Block, counter};
use sel4cp_link::interrupt;
use sel4cp_model::block::{Config, Features as BlockFeatures, Range, RequestHeader, RequestType};
use sel4cp_queue::Features;
use sel4cp_ring::layout::{DEVICE_SIZE, DeviceRegion, device_size};
use sel4cp_ring::request::{Completion, status};
use sel4cp_ring::{PeerFault, host};
use sel4cp_testing::{Buffer, Used, readable, readable_obj, writable};
use zerocopy::FromBytes;

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
const UNTOUCHED: u8 = 0xa5;

struct Rig {
    bench: Bench<Block>,
    disk: FakeDisk,
    region: DeviceRegion,
}

impl Rig {
    fn new(ring: usize, read_only: bool, change: impl FnOnce(&mut FakeDisk)) -> Self {
        let region = host::device(ring).unwrap();
        let bench = Bench::new(&[64], Features::all(), |ram| {
            Block::new(region, ram, read_only, *b"serial-of-the-disk\0\0")
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

    fn running() -> Self {
        let mut rig = Self::new(DEVICE_SIZE, false, |_| ());
        rig.bench.start(u64::MAX);
        rig
    }

    fn add(&mut self, buffers: &[Buffer]) {
        self.bench.guest.queue(0).add(buffers);
    }

    /// Lets everybody work until nobody asks for anybody.
    fn settle(&mut self) -> Vec<Used> {
        self.bench.kick(0);
        while self.disk.work() {
            self.bench.turn();
        }
        self.bench.guest.queue(0).collect()
    }

    /// One request, to its end: its status, the bytes before it, and used.len.
    fn request(&mut self, buffers: &[Buffer]) -> (u8, Vec<u8>, u32) {
        self.add(buffers);
        let mut used = self.settle();
        assert_eq!(used.len(), 1, "the request did not complete");
        let Used {
            len, mut writable, ..
        } = used.remove(0);
        (writable.pop().unwrap(), writable, len)
    }
}

fn header(kind: RequestType, sector: u64) -> Buffer {
    raw_header(kind as u32, sector)
}

fn raw_header(kind: u32, sector: u64) -> Buffer {
    readable_obj(&RequestHeader {
        kind: kind.into(),
        reserved: 0.into(),
        sector: sector.into(),
    })
}

fn range(sector: u64, num_sectors: u32, flags: u32) -> Buffer {
    readable_obj(&Range {
        sector: sector.into(),
        num_sectors: num_sectors.into(),
        flags: flags.into(),
    })
}

fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512)
        .map(|n| u8::try_from(n % 249).unwrap())
        .collect()
}

#[test]
fn s5_2_3_features_and_configuration_are_the_disks() {
    let mut rig = Rig::running();
    let facts = *rig.bench.vmm.facts().unwrap();
    let features = BlockFeatures::from_bits_truncate(facts.features);
    use BlockFeatures as F;
    let all = F::SEG_MAX | F::BLK_SIZE | F::TOPOLOGY | F::FLUSH | F::DISCARD | F::WRITE_ZEROES;
    assert_eq!((facts.id, features), (2, all));
    let bytes = rig.bench.config();
    let (config, _) = Config::ref_from_prefix(&bytes).unwrap();
    assert_eq!(
        (
            config.capacity.get(),
            config.seg_max.get(),
            config.blk_size.get()
        ),
        (64, 254, 512)
    );
    assert_eq!(
        (config.physical_block_exp, config.write_zeroes_may_unmap),
        (3, 1)
    );
    let rig = Rig::new(DEVICE_SIZE, true, |disk| disk.facts.max_segment_size = 4096);
    let mut bench = rig.bench;
    bench.turn();
    let features = BlockFeatures::from_bits_truncate(bench.vmm.facts().unwrap().features);
    let fewer = F::SEG_MAX | F::BLK_SIZE | F::TOPOLOGY | F::FLUSH | F::RO | F::SIZE_MAX;
    assert_eq!(features, fewer);
}

#[test]
fn nothing_is_announced_before_the_disk_is_known() {
    let region = host::device(DEVICE_SIZE).unwrap();
    let mut bench = Bench::new(&[64], Features::all(), |ram| {
        Block::new(region, ram, false, [0; 20])
    });
    bench.turn();
    assert!(!bench.vmm.is_ready() && bench.vmm.facts().is_none());
    let mut disk = FakeDisk::new(region, bench.guest.ram());
    bench.turn();
    assert!(
        bench.vmm.facts().is_none(),
        "the driver may hold an earlier life's requests"
    );
    disk.work();
    bench.turn();
    assert!(bench.vmm.is_ready());
    bench.guest.finish();
}

#[test]
fn s5_2_6_data_goes_in_and_out() {
    let mut rig = Rig::running();
    let data = pattern(3);
    let (status, _, len) =
        rig.request(&[header(RequestType::Out, 5), readable(&data), writable(1)]);
    assert_eq!((status, len), (OK, 1));
    assert_eq!(rig.disk.data[5 * 512..8 * 512], data);
    let (status, read, len) =
        rig.request(&[header(RequestType::In, 5), writable(3 * 512), writable(1)]);
    assert_eq!((status, read, len), (OK, data, 3 * 512 + 1));
    assert!(rig.bench.take_interrupt());
    let vmm = &rig.bench.vmm;
    assert_eq!(
        (
            vmm.counter(counter::REQUESTS),
            vmm.counter(counter::SECTORS_READ)
        ),
        (2, 3)
    );
    rig.bench.guest.finish();
}

#[test]
fn s2_7_4_any_cut_into_descriptors_will_do() {
    let data = pattern(2);
    let whole = |sector: u64| {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(sector.to_le_bytes());
        bytes.extend(&data);
        bytes
    };
    for cut in [1, 3, 7, 15, 16, 17, 200, 527, 528, 529, 1039] {
        let mut rig = Rig::running();
        let bytes = whole(9);
        let (first, second) = bytes.split_at(cut);
        let (status, _, _) = rig.request(&[readable(first), readable(second), writable(1)]);
        assert_eq!(status, OK, "cut at {cut}");
        assert_eq!(rig.disk.data[9 * 512..11 * 512], data, "cut at {cut}");
        // The status byte shares a descriptor with data, and empty ones lie about.
        let buffers = [
            readable([0; 8]),
            readable(""),
            readable(9_u64.to_le_bytes()),
        ];
        let buffers = [&buffers[..], &[writable(1), writable(0), writable(1024)]].concat();
        let (status, read, len) = rig.request(&buffers);
        assert_eq!(
            (status, read, len),
            (OK, data.clone(), 1025),
            "cut at {cut}"
        );
        rig.bench.guest.finish();
    }
}

#[test]
fn s2_7_5_3_a_request_may_be_indirect() {
    let mut rig = Rig::running();
    let mut buffers = vec![header(RequestType::In, 0)];
    buffers.extend((0..62).map(|_| writable(512)));
    buffers.push(writable(1));
    rig.bench.guest.queue(0).add_indirect(&buffers);
    let used = rig.settle();
    assert_eq!(
        (used[0].len, *used[0].writable.last().unwrap()),
        (62 * 512 + 1, OK)
    );
    rig.bench.guest.finish();
}

#[test]
fn s5_2_6_1_what_makes_no_sense_is_an_error() {
    let mut rig = Rig::running();
    let out = |sector| header(RequestType::Out, sector);
    let cases: [(&str, Vec<Buffer>, u8); 14] = [
        ("unknown type", vec![raw_header(99, 0), writable(1)], UNSUPP),
        (
            "unknown type with data",
            vec![raw_header(7, 0), readable([0; 512]), writable(1)],
            UNSUPP,
        ),
        (
            "largest type",
            vec![raw_header(u32::MAX, 0), writable(513)],
            UNSUPP,
        ),
        (
            "short header",
            vec![readable([0; 15]), writable(513)],
            IOERR,
        ),
        ("no header", vec![writable(513)], IOERR),
        ("no body to write", vec![out(0), writable(1)], IOERR),
        (
            "no body to read",
            vec![header(RequestType::In, 0), writable(1)],
            IOERR,
        ),
        (
            "half a sector",
            vec![out(0), readable([0; 511]), writable(1)],
            IOERR,
        ),
        (
            "a sector and a byte",
            vec![header(RequestType::In, 0), writable(513), writable(1)],
            IOERR,
        ),
        (
            "the last sector and one more",
            vec![out(63), readable([0; 1024]), writable(1)],
            IOERR,
        ),
        (
            "beyond the end",
            vec![out(64), readable([0; 512]), writable(1)],
            IOERR,
        ),
        (
            "a sector that wraps",
            vec![out(u64::MAX), readable([0; 512]), writable(1)],
            IOERR,
        ),
        (
            "a byte that wraps",
            vec![out(1 << 55), readable([0; 512]), writable(1)],
            IOERR,
        ),
        (
            "status in place of data",
            vec![header(RequestType::In, 0), readable([0; 512]), writable(1)],
            IOERR,
        ),
    ];
    let failures = cases.len();
    for (name, buffers, expected) in cases {
        let (status, data, len) = rig.request(&buffers);
        assert_eq!(status, expected, "{name}");
        assert!(data.iter().all(|byte| *byte == UNTOUCHED), "{name}");
        assert_eq!(len, u32::from(data.is_empty()), "{name}: §2.7.8.2");
    }
    assert_eq!(rig.bench.vmm.counter(counter::FAILED), failures as u64);
    // And the device works as before.
    let (status, _, _) = rig.request(&[
        header(RequestType::Out, 63),
        readable([7; 512]),
        writable(1),
    ]);
    assert_eq!((status, rig.disk.data[64 * 512 - 1]), (OK, 7));
    assert!(!rig.bench.needs_reset);
    rig.bench.guest.finish();
}

#[test]
fn s2_1_2_a_chain_without_a_status_byte_breaks_the_device() {
    for buffers in [
        vec![header(RequestType::Out, 0), readable([0; 512])],
        vec![writable(0)],
    ] {
        let mut rig = Rig::running();
        rig.add(&buffers);
        rig.bench.kick(0);
        rig.bench.assert_broken();
        assert!(rig.bench.reset());
        rig.bench.restart(1, u64::MAX);
        let (status, _, _) = rig.request(&[header(RequestType::Flush, 0), writable(1)]);
        assert_eq!(status, OK);
        rig.bench.guest.finish();
    }
}

#[test]
fn s2_1_2_a_buffer_outside_ram_breaks_the_device() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::Out, 0), readable([1; 512]), writable(1)]);
    let outside = Buffer::At {
        address: NOWHERE,
        len: 512,
        writable: true,
    };
    rig.add(&[header(RequestType::In, 0), outside, writable(1)]);
    rig.bench.kick(0);
    rig.bench.assert_broken();
    // The good one before it is with the driver, and comes back into nowhere.
    assert!(!rig.bench.reset(), "in flight");
    assert!(rig.disk.work());
    assert!(rig.bench.turn().reset_done);
    rig.bench.restart(1, u64::MAX);
    rig.bench.guest.finish();
}

#[test]
fn s5_2_6_2_a_read_only_disk_is_not_written() {
    let mut rig = Rig::new(DEVICE_SIZE, true, |_| ());
    rig.bench.start(u64::MAX);
    let (status, _, _) =
        rig.request(&[header(RequestType::Out, 0), readable([9; 512]), writable(1)]);
    assert_eq!(status, IOERR);
    let (status, _, _) = rig.request(&[
        header(RequestType::WriteZeroes, 0),
        range(0, 1, 0),
        writable(1),
    ]);
    assert_eq!(status, UNSUPP, "not offered");
    let (status, read, _) = rig.request(&[header(RequestType::In, 0), writable(512), writable(1)]);
    assert_eq!((status, read), (OK, vec![0; 512]));
    rig.bench.guest.finish();
}

#[test]
fn s5_2_6_discard_and_write_zeroes() {
    let mut rig = Rig::running();
    rig.disk.data.fill(1);
    let zeroes = |ranges: &[Buffer]| {
        [
            &[header(RequestType::WriteZeroes, 0)],
            ranges,
            &[writable(1)],
        ]
        .concat()
    };
    let discard =
        |ranges: &[Buffer]| [&[header(RequestType::Discard, 0)], ranges, &[writable(1)]].concat();
    let cases: [(&str, Vec<Buffer>, u8); 12] = [
        ("two ranges", zeroes(&[range(1, 2, 0), range(60, 4, 1)]), OK),
        ("a discard", discard(&[range(10, 32, 0)]), OK),
        ("beyond the end", zeroes(&[range(60, 5, 0)]), IOERR),
        (
            "a range that wraps",
            zeroes(&[range(u64::MAX, 1, 0)]),
            IOERR,
        ),
        ("empty", zeroes(&[range(0, 0, 0)]), IOERR),
        ("too long", zeroes(&[range(0, 17, 0)]), IOERR),
        (
            "too many",
            zeroes(&[0, 1, 2, 3, 4].map(|n| range(n, 1, 0))),
            IOERR,
        ),
        ("none", zeroes(&[]), IOERR),
        ("half of one", zeroes(&[readable([0; 24])]), IOERR),
        ("unmap in a discard", discard(&[range(0, 1, 1)]), UNSUPP),
        ("a reserved flag", zeroes(&[range(0, 1, 2)]), UNSUPP),
        (
            "one good, one bad",
            zeroes(&[range(0, 1, 0), range(64, 1, 0)]),
            IOERR,
        ),
    ];
    for (name, buffers, expected) in cases {
        assert_eq!(rig.request(&buffers).0, expected, "{name}");
    }
    let zero = |sector: usize| {
        rig.disk.data[sector * 512..][..512]
            .iter()
            .all(|byte| *byte == 0)
    };
    assert!(zero(1) && zero(2) && zero(60) && zero(63) && zero(10) && zero(41));
    assert!(!zero(0) && !zero(3) && !zero(42));
    // Not negotiated: not there.
    assert!(rig.bench.reset());
    rig.bench.restart(1, BlockFeatures::FLUSH.bits());
    assert_eq!(rig.request(&zeroes(&[range(0, 1, 0)])).0, UNSUPP);
    rig.bench.guest.finish();
}

#[test]
fn s5_2_6_1_get_id() {
    let mut rig = Rig::running();
    let (status, id, len) =
        rig.request(&[header(RequestType::GetId, 0), writable(20), writable(1)]);
    assert_eq!(
        (status, id.as_slice(), len),
        (OK, &b"serial-of-the-disk\0\0"[..], 21)
    );
    let (status, id, len) = rig.request(&[header(RequestType::GetId, 0), writable(6), writable(1)]);
    assert_eq!((status, id.as_slice(), len), (OK, &b"serial"[..], 7));
    let (status, id, len) =
        rig.request(&[header(RequestType::GetId, 0), writable(32), writable(1)]);
    assert_eq!(
        (status, &id[18..22], len),
        (OK, &[0, 0, UNTOUCHED, UNTOUCHED][..], 20)
    );
    rig.bench.guest.finish();
}

#[test]
fn s5_2_6_2_writes_are_durable_where_the_guest_cannot_flush() {
    let mut rig = Rig::running();
    let write = [header(RequestType::Out, 0), readable([1; 512]), writable(1)];
    assert_eq!(rig.request(&write).0, OK);
    assert_eq!(rig.disk.flushes, 0, "the guest flushes when it wants");
    assert_eq!(
        rig.request(&[header(RequestType::Flush, 0), writable(1)]).0,
        OK
    );
    assert_eq!(rig.disk.flushes, 1);
    assert!(rig.bench.reset());
    rig.bench.restart(1, 0);
    assert_eq!(rig.request(&write).0, OK);
    assert_eq!(rig.disk.flushes, 2);
    assert_eq!(
        rig.request(&[header(RequestType::In, 0), writable(512), writable(1)])
            .0,
        OK
    );
    assert_eq!(rig.disk.flushes, 2);
    rig.bench.guest.finish();
}

#[test]
fn completions_come_in_any_order() {
    let mut rig = Rig::running();
    for sector in 0..8_u64 {
        rig.disk.data[usize::try_from(sector).unwrap() * 512] = sector.to_le_bytes()[0];
        rig.add(&[header(RequestType::In, sector), writable(512), writable(1)]);
    }
    rig.bench.kick(0);
    rig.disk.take(8);
    assert_eq!(
        rig.bench.driver_notified, 2,
        "the first reset, and one for the batch"
    );
    let mut firsts = Vec::new();
    for index in [7, 0, 3, 2, 3, 1, 0, 0] {
        if rig.disk.complete(index) {
            rig.bench.turn();
        }
        firsts.extend(
            rig.bench
                .guest
                .queue(0)
                .collect()
                .iter()
                .map(|used| used.bytes[0]),
        );
    }
    assert_eq!(firsts, [7, 0, 4, 3, 6, 2, 1, 5]);
    rig.bench.guest.finish();
}

#[test]
fn a_full_ring_delays_requests_and_drops_none() {
    let mut rig = Rig::new(device_size(2048), false, |_| ());
    rig.bench.start(u64::MAX);
    for _ in 0..60 {
        let mut buffers = vec![header(RequestType::In, 0)];
        buffers.extend((0..62).map(|_| writable(512)));
        buffers.push(writable(1));
        rig.bench.guest.queue(0).add_indirect(&buffers);
    }
    rig.bench.kick(0);
    assert!(
        rig.bench.vmm.counter(counter::DELAYED) > 0,
        "60 × 63 entries do not fit 2048"
    );
    let mut done = 0;
    for _ in 0..1000 {
        let notify = rig.disk.take(1);
        if notify {
            rig.bench.turn();
        }
        if !rig.disk.taken.is_empty() && rig.disk.complete(0) {
            rig.bench.turn();
        }
        done += rig.bench.guest.queue(0).collect().len();
    }
    assert_eq!(done, 60);
    assert!(rig.bench.vmm.counter(counter::DELAYED) > 0);
    rig.bench.guest.finish();
}

#[test]
fn limits_of_the_hardware_are_kept() {
    let mut rig = Rig::new(DEVICE_SIZE, false, |disk| {
        disk.facts.max_segments = 2;
        disk.facts.max_segment_size = 1024;
    });
    rig.bench.start(u64::MAX);
    let read = |sizes: &[u32]| {
        let mut buffers = vec![header(RequestType::In, 0)];
        buffers.extend(sizes.iter().map(|size| writable(*size)));
        buffers.push(writable(1));
        buffers
    };
    assert_eq!(rig.request(&read(&[1024, 512])).0, OK);
    assert_eq!(rig.request(&read(&[512, 512, 512])).0, IOERR);
    assert_eq!(rig.request(&read(&[1536])).0, IOERR);
    rig.bench.guest.finish();
}

#[test]
fn s2_4_a_reset_waits_for_requests_in_flight_and_forgets_them() {
    let mut rig = Rig::running();
    for sector in 0..4 {
        rig.add(&[header(RequestType::In, sector), writable(512), writable(1)]);
    }
    rig.bench.kick(0);
    rig.disk.take(2);
    assert!(!rig.bench.reset());
    let used = rig.bench.guest.queue(0).used_index();
    for _ in 0..3 {
        assert!(!rig.bench.turn().reset_done);
    }
    assert!(rig.disk.complete(1));
    assert!(!rig.bench.turn().reset_done, "three are in flight still");
    rig.disk.work();
    assert!(rig.bench.turn().reset_done);
    assert_eq!(
        rig.bench.guest.queue(0).used_index(),
        used,
        "completed into nowhere"
    );
    rig.bench.restart(1, u64::MAX);
    assert_eq!(
        rig.request(&[header(RequestType::In, 0), writable(512), writable(1)])
            .0,
        OK
    );
    rig.bench.guest.finish();
}

#[test]
fn a_driver_that_starts_again_fails_what_it_lost_and_goes_on() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
    rig.bench.kick(0);
    rig.disk.take(1);
    // The driver dies with a request; its successor knows nothing of it.
    rig.disk = FakeDisk::new(rig.region, rig.bench.guest.ram());
    rig.bench.turn();
    assert!(
        rig.bench.guest.queue(0).collect().is_empty(),
        "not before it is certain"
    );
    rig.disk.work();
    rig.bench.turn();
    let used = rig.bench.guest.queue(0).collect();
    assert_eq!(*used[0].writable.last().unwrap(), IOERR);
    assert_eq!(
        rig.request(&[header(RequestType::In, 0), writable(512), writable(1)])
            .0,
        OK
    );
    rig.bench.guest.finish();
}

#[test]
fn a_backend_that_starts_again_ignores_its_former_requests() {
    let mut rig = Rig::running();
    rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
    rig.bench.kick(0);
    rig.disk.take(1);
    let region = rig.region;
    let mut second = Bench::new(&[64], Features::all(), |ram| {
        Block::new(region, ram, false, [0; 20])
    });
    second.turn();
    assert!(second.vmm.facts().is_none());
    rig.disk.work();
    second.turn();
    assert!(second.vmm.is_ready() && second.trouble.is_none());
    rig.bench.guest.abandon();
    second.guest.finish();
}

#[test]
fn a_driver_that_lies_is_trusted_no_more() {
    for id in [0, 5, 64, 255, 256, 0x8000] {
        let mut rig = Rig::running();
        rig.add(&[header(RequestType::In, 0), writable(512), writable(1)]);
        rig.bench.kick(0);
        rig.disk.take(1);
        let (header, _) = rig.disk.taken[0];
        let lie = Completion {
            id,
            ..Completion::of(&header, status::OK, 0)
        };
        rig.disk.answer(lie);
        rig.bench.turn();
        if id == header.id {
            // Once it is right; the second time it is a lie.
            assert!(rig.bench.trouble.is_none());
            rig.disk.answer(lie);
            rig.bench.turn();
        }
        assert_eq!(
            rig.bench.trouble,
            Some(Trouble::Peer(PeerFault::Unexpected { id }))
        );
        assert!(rig.bench.needs_reset);
        // A reset is not acknowledged while such a driver may hold guest memory; its successor frees it.
        let done = rig.bench.reset();
        assert_eq!(done, id == header.id);
        rig.disk = FakeDisk::new(rig.region, rig.bench.guest.ram());
        let mut done = done | rig.bench.turn().reset_done;
        rig.disk.work();
        done |= rig.bench.turn().reset_done;
        assert!(done);
        rig.bench.restart(1, u64::MAX);
        assert_eq!(
            rig.request(&[self::header(RequestType::Flush, 0), writable(1)])
                .0,
            OK
        );
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_2_4_a_disk_that_grows_tells_the_guest() {
    let mut rig = Rig::running();
    rig.disk.facts.capacity = 128;
    rig.disk.data.resize(128 * 512, 3);
    let facts = rig.disk.facts;
    rig.disk.ends.info.change(&facts);
    rig.bench.turn();
    assert_eq!(rig.bench.interrupts, interrupt::CONFIGURATION);
    let bytes = rig.bench.config();
    assert_eq!(
        Config::ref_from_prefix(&bytes).unwrap().0.capacity.get(),
        128
    );
    let (status, _, _) = rig.request(&[header(RequestType::In, 127), writable(512), writable(1)]);
    assert_eq!(status, OK);
    rig.bench.guest.finish();
}

#[test]
fn a_header_is_read_once() {
    // The guest changes the sector after the device has looked: the driver gets what was checked.
    let mut rig = Rig::running();
    let place = rig.bench.guest.allocate(16);
    rig.bench.guest.write(place, &[0; 16]);
    let at = Buffer::At {
        address: place,
        len: 16,
        writable: false,
    };
    rig.add(&[at, writable(512), writable(1)]);
    rig.bench.kick(0);
    rig.bench.guest.write(place, &[0xff; 16]);
    rig.disk.take(1);
    assert_eq!(rig.disk.taken[0].0.sector, 0);
    rig.disk.complete(0);
    rig.bench.turn();
    assert_eq!(
        *rig.bench.guest.queue(0).collect()[0]
            .writable
            .last()
            .unwrap(),
        OK
    );
    rig.bench.guest.finish();
}
