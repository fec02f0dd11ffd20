//! Requests, right and wrong.

use crate::common::disk::NOWHERE;
use crate::rig::{IOERR, OK, Rig, UNSUPP, UNTOUCHED, header, pattern, range, raw_header};
use sel4cp_backends::block::counter;
use sel4cp_model::block::{Config, Features as BlockFeatures, RequestType};
use sel4cp_ring::layout::DEVICE_SIZE;
use sel4cp_testing::{Buffer, readable, writable};
use zerocopy::FromBytes;

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
