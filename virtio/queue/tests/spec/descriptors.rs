//! §2.7.4, §2.7.5: chains of descriptors, and the bytes in them.

use sel4cp_memory::Span;
use sel4cp_queue::{Descriptor, DescriptorFlags, Direction, Features, GuestFault, Queue};
use sel4cp_testing::{Buffer, Guest, readable, readable_obj, writable};
use zerocopy::IntoBytes;

use crate::{NONE, guest, invert, pop, scratch};

#[test]
fn s2_7_4_framing_does_not_matter() {
    let request: Vec<u8> = (0..60).collect();
    let expected: Vec<u8> = request.iter().map(|byte| !byte).collect();
    // The same request cut in many ways; a header of 12 bytes may begin and end anywhere.
    for cut in [1, 2, 3, 5, 7, 12, 13, 59, 60] {
        let (mut guest, mut queue) = guest(256, Features::all());
        let mut buffers: Vec<Buffer> = request.chunks(cut).map(readable).collect();
        buffers.extend(
            (0..request.len().div_ceil(cut))
                .map(|i| writable(u32::try_from(cut.min(request.len() - i * cut)).unwrap())),
        );
        guest.queue(0).add(&buffers);
        guest.queue(0).add_indirect(&buffers);
        let (direct, indirect) = buffers.split_at(buffers.len() / 2);
        guest.queue(0).add_mixed(direct, indirect);
        guest.queue(0).kick();
        assert_eq!(invert(&mut queue).chains, 3);
        for used in guest.queue(0).collect() {
            assert_eq!(used.bytes, expected, "cut into {cut}");
        }
        guest.finish();
    }
}

#[test]
fn s2_7_4_structures_are_read_across_descriptors() {
    let (mut guest, mut queue) = guest(16, NONE);
    let object = Descriptor {
        address: 0x0102_0304_0506_0708.into(),
        len: 9.into(),
        ..Default::default()
    };
    let bytes = object.as_bytes();
    guest.queue(0).add(&[
        readable_obj(&object),
        readable(&bytes[..3]),
        readable(&bytes[3..]),
        writable(5),
        writable(20),
    ]);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    let mut reader = chain.reader();
    for _ in 0..2 {
        let read: Descriptor = reader.read_obj().unwrap();
        assert_eq!((read.address, read.len), (object.address, object.len));
    }
    let short = GuestFault::BufferTooShort {
        direction: Direction::Readable,
        found: 0,
        needed: 16,
    };
    assert_eq!(reader.read_obj::<Descriptor>().unwrap_err(), short);

    let mut writer = chain.writer();
    writer.write_obj(&object).unwrap();
    assert_eq!((writer.written(), writer.remaining()), (16, 9));
    let short = GuestFault::BufferTooShort {
        direction: Direction::Writable,
        found: 9,
        needed: 16,
    };
    assert_eq!(writer.write_obj(&object).unwrap_err(), short);
    assert_eq!((writer.written(), writer.remaining()), (16, 9));
    queue.complete(token, writer.written()).unwrap();
    assert!(queue.publish());
    assert_eq!(guest.queue(0).collect()[0].bytes, bytes);
}

#[test]
fn s2_7_4_a_chain_splits_anywhere() {
    let data: Vec<u8> = (0..40).collect();
    for at in 0..=40u64 {
        let (mut guest, mut queue) = guest(16, NONE);
        guest.queue(0).add(&[
            readable(&data[..13]),
            readable(&data[13..]),
            writable(13),
            writable(27),
        ]);
        guest.queue(0).kick();
        let mut segments = scratch();
        let (token, chain) = pop(&mut queue, &mut segments);
        let (mut first, mut second) = chain.reader().split_at(at).unwrap();
        assert_eq!((first.remaining(), second.remaining()), (at, 40 - at));
        let mut both = vec![0; 40];
        let (a, b) = both.split_at_mut(usize::try_from(at).unwrap());
        second.read_exact(b).unwrap();
        first.read_exact(a).unwrap();
        assert_eq!(first.read(&mut [0; 4]) + second.read(&mut [0; 4]), 0);
        assert_eq!(both, data);
        assert_eq!(
            chain
                .reader()
                .spans()
                .map(|span| u64::from(span.len()))
                .sum::<u64>(),
            40
        );
        assert!(chain.reader().split_at(41).is_err());

        let (mut first, mut second) = chain.writer().split_last(at).unwrap();
        assert_eq!((first.remaining(), second.remaining()), (40 - at, at));
        assert_eq!(first.fill(0xf1, 100), 40 - at);
        assert_eq!(second.fill(0xf2, at), at);
        let written = first.written() + second.written();
        queue.complete(token, written).unwrap();
        assert!(queue.publish());
        let used = &guest.queue(0).collect()[0];
        let ones = used.bytes.iter().take_while(|&&byte| byte == 0xf1).count() as u64;
        assert_eq!((ones, used.len), (40 - at, 40));
    }
}

#[test]
fn s2_7_4_spans_name_the_bytes_that_are_left() {
    let (mut guest, mut queue) = guest(16, NONE);
    guest.queue(0).add(&[
        readable([1; 10]),
        readable([2; 20]),
        writable(7),
        writable(9),
    ]);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    let mut reader = chain.reader();
    reader.skip(14);
    let spans: Vec<Span> = reader.spans().collect();
    assert_eq!(spans, [chain.readable()[1].skip(4)]);
    let (head, _) = chain.writer().split_at(8).unwrap();
    let lengths: Vec<u32> = head.spans().map(Span::len).collect();
    assert_eq!(lengths, [7, 1]);
    assert_eq!(head.spans().next(), Some(chain.writable()[0]));
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
}

#[test]
fn s2_7_4_1_a_device_may_limit_the_descriptors_of_a_chain() {
    let (mut guest, mut queue) = guest(16, NONE);
    guest
        .queue(0)
        .add(&[readable([0]), readable([0]), writable(1)]);
    guest.queue(0).kick();
    let mut few = [Span::EMPTY; 2];
    let fault = queue.pop(&mut few).unwrap_err();
    assert!(
        matches!(fault, GuestFault::ChainTooLong { limit: 2, .. }),
        "{fault}"
    );
    // Nothing was taken: with more room it can be had.
    let mut enough = [Span::EMPTY; 3];
    let (token, chain) = pop(&mut queue, &mut enough);
    assert_eq!((chain.readable().len(), chain.writable().len()), (2, 1));
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
}

#[test]
fn s2_7_5_the_longest_direct_chain_is_as_long_as_the_queue() {
    for size in [1u16, 2, 16, 1024] {
        let (mut guest, mut queue) = guest(size, NONE);
        let buffers: Vec<Buffer> = (0..size).map(|_| readable([7])).collect();
        guest.queue(0).add(&buffers);
        guest.queue(0).kick();
        let mut segments = scratch();
        let (token, chain) = pop(&mut queue, &mut segments);
        assert_eq!(
            (chain.readable().len(), chain.readable_len()),
            (usize::from(size), u64::from(size))
        );
        queue.complete(token, 0).unwrap();
        assert!(queue.publish());
    }
}

#[test]
fn s2_7_5_2_a_chain_of_exactly_4_gib_is_legal() {
    let mut guest = Guest::new();
    guest.add_queue(8192 / 8, NONE);
    let start = guest.ram().start();
    let config = guest.queue(0).config();
    let mut queue = Queue::new(&guest.ram(), &config).unwrap();
    // 1024 times the same 4 MiB.
    let descriptor = |index: u16, next: bool| Descriptor {
        address: start.value().into(),
        len: (4 << 20).into(),
        flags: if next {
            DescriptorFlags::NEXT
        } else {
            DescriptorFlags::empty()
        }
        .bits()
        .into(),
        next: (index + 1).into(),
    };
    for index in 0..1024 {
        guest
            .queue(0)
            .write_descriptor(index, descriptor(index, index != 1023));
    }
    guest.queue(0).offer(0);
    let mut segments = scratch();
    let (_token, chain) = pop(&mut queue, &mut segments);
    assert_eq!(chain.readable_len(), 1 << 32);
    assert_eq!(chain.reader().remaining(), 1 << 32);
}

#[test]
fn s2_7_5_3_indirect_table_alone() {
    let (mut guest, mut queue) = guest(4, Features::all());
    // More buffers than the queue has descriptors: that is what the tables are for.
    let buffers: Vec<Buffer> = (0..40u8)
        .map(|i| readable([i; 3]))
        .chain([writable(120)])
        .collect();
    for _ in 0..4 {
        guest.queue(0).add_indirect(&buffers);
    }
    assert_eq!(guest.queue(0).free(), 0);
    assert!(guest.queue(0).kick());
    assert_eq!(invert(&mut queue).chains, 4);
    for used in guest.queue(0).collect() {
        assert_eq!(used.len, 120);
        assert_eq!(&used.bytes[..4], &[!0, !0, !0, !1]);
    }
    guest.finish();
}

#[test]
fn s2_7_5_3_a_table_of_1024_descriptors() {
    let (mut guest, mut queue) = guest(2, Features::all());
    let buffers: Vec<Buffer> = (0..1024).map(|_| readable([9])).collect();
    guest.queue(0).add_indirect(&buffers);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    assert_eq!(chain.readable_len(), 1024);
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
}

#[test]
fn s2_7_5_3_a_table_may_lie_anywhere_in_memory() {
    for shift in 0..16u64 {
        let (mut guest, mut queue) = guest(4, Features::all());
        let table = guest.allocate(64).checked_add(shift).unwrap();
        let data = guest.allocate(4);
        guest.write(data, b"data");
        let entry = Descriptor {
            address: data.value().into(),
            len: 4.into(),
            ..Default::default()
        };
        guest.write(table, entry.as_bytes());
        guest.queue(0).offer_raw(&[Descriptor {
            address: table.value().into(),
            len: 16.into(),
            flags: DescriptorFlags::INDIRECT.bits().into(),
            next: 0.into(),
        }]);
        let mut segments = scratch();
        let (_token, chain) = pop(&mut queue, &mut segments);
        let mut read = [0; 4];
        chain.reader().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"data");
    }
}

#[test]
fn s2_7_5_3_1_indirect_only_if_negotiated() {
    let (mut guest, mut queue) = guest(4, Features::EVENT_IDX);
    guest.queue(0).add_indirect(&[readable([1])]);
    guest.queue(0).kick();
    let fault = queue.pop(&mut scratch()).unwrap_err();
    assert!(
        matches!(fault, GuestFault::IndirectNotNegotiated { .. }),
        "{fault}"
    );
    guest.abandon();
}

#[test]
fn s2_7_5_3_2_write_flag_of_an_indirect_descriptor_is_ignored() {
    let (mut guest, mut queue) = guest(8, Features::all());
    let data = guest.allocate(4);
    let table = guest.allocate(16);
    let entry = Descriptor {
        address: data.value().into(),
        len: 4.into(),
        ..Default::default()
    };
    guest.write(table, entry.as_bytes());
    let flags = DescriptorFlags::INDIRECT | DescriptorFlags::WRITE;
    guest.queue(0).offer_raw(&[Descriptor {
        address: table.value().into(),
        len: 16.into(),
        flags: flags.bits().into(),
        next: 0.into(),
    }]);
    let mut segments = scratch();
    let (_token, chain) = pop(&mut queue, &mut segments);
    assert_eq!((chain.readable_len(), chain.writable_len()), (4, 0));
}

#[test]
fn s2_7_5_3_2_direct_descriptors_then_one_indirect() {
    let (mut guest, mut queue) = guest(8, Features::all());
    guest.queue(0).add_mixed(
        &[readable(b"ab"), readable(b"c")],
        &[readable(b"def"), writable(6)],
    );
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    let mut read = [0; 6];
    chain.reader().read_exact(&mut read).unwrap();
    assert_eq!(&read, b"abcdef");
    assert_eq!(chain.writable_len(), 6);
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
}

#[test]
fn s2_7_4_each_half_counts_what_it_writes() {
    let (mut guest, mut queue) = guest(16, NONE);
    guest.queue(0).add(&[writable(7), writable(9)]);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    let mut writer = chain.writer();
    writer.write(&[1; 5]);
    let (mut first, mut second) = writer.split_at(6).unwrap();
    assert_eq!((first.written(), second.written()), (5, 0));
    assert_eq!(second.write(&[3; 9]), 5);
    assert_eq!(first.write(&[2; 9]), 6);
    assert_eq!((first.written(), second.written()), (11, 5));
    queue.complete(token, 16).unwrap();
    assert!(queue.publish());
    let used = &guest.queue(0).collect()[0];
    assert_eq!(used.bytes, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
}
