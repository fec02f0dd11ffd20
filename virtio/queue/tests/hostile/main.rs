//! What a guest can do to a queue, and the fault that each gets.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod racing;
mod random;
mod rings;

use sel4cp_memory::{GuestAddress, Span};
use sel4cp_queue::{Descriptor, DescriptorFlags, Features, GuestFault, MAX_SIZE, Queue};
use sel4cp_testing::Guest;
use zerocopy::IntoBytes;

const START: u64 = 0x4000_0000;
const NEXT: DescriptorFlags = DescriptorFlags::NEXT;
const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
const INDIRECT: DescriptorFlags = DescriptorFlags::INDIRECT;
const LAST: DescriptorFlags = DescriptorFlags::empty();

fn descriptor(address: u64, len: u32, flags: DescriptorFlags, next: u16) -> Descriptor {
    Descriptor {
        address: address.into(),
        len: len.into(),
        flags: flags.bits().into(),
        next: next.into(),
    }
}

/// What the device finds when the driver offers these descriptors from index 0 on, in a queue of 8.
fn offer(descriptors: &[Descriptor]) -> Option<GuestFault> {
    with_guest(descriptors, |_| {})
}

fn with_guest(descriptors: &[Descriptor], prepare: impl Fn(&mut Guest)) -> Option<GuestFault> {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    prepare(&mut guest);
    let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).ok()?;
    guest.queue(0).offer_raw(descriptors);
    let mut segments = [Span::EMPTY; MAX_SIZE as usize];
    let fault = queue.pop(&mut segments).err();
    if fault.is_some() {
        assert_eq!(queue.out(), 0, "nothing was taken");
        assert_eq!(queue.pop(&mut segments).err(), fault, "and nothing will be");
    }
    fault
}

/// Writes an indirect table behind the queue, and gives a descriptor for it.
fn table(guest: &mut Guest, entries: &[Descriptor]) -> u64 {
    let address = START + 0x10_0000;
    guest.write(GuestAddress::new(address), entries.as_bytes());
    address
}

fn offer_indirect(entries: &[Descriptor]) -> Option<GuestFault> {
    let len = u32::try_from(entries.len()).ok()? * Descriptor::SIZE;
    with_guest(
        &[descriptor(START + 0x10_0000, len, INDIRECT, 0)],
        |guest| {
            table(guest, entries);
        },
    )
}

#[test]
fn s2_7_5_2_a_chain_of_one_that_is_its_own_next() {
    let fault = offer(&[descriptor(START, 1, NEXT, 0)]);
    assert_eq!(
        fault,
        Some(GuestFault::ChainLoops {
            head: 0,
            entries: 8
        })
    );
}

#[test]
fn s2_7_5_2_a_chain_that_goes_round() {
    let fault = offer(&[
        descriptor(START, 1, NEXT, 1),
        descriptor(START, 1, NEXT, 2),
        descriptor(START, 1, NEXT, 1),
    ]);
    assert_eq!(
        fault,
        Some(GuestFault::ChainLoops {
            head: 0,
            entries: 8
        })
    );
}

#[test]
fn s2_7_5_2_empty_descriptors_that_go_round() {
    let fault = offer(&[descriptor(0, 0, NEXT, 1), descriptor(0, 0, NEXT, 0)]);
    assert_eq!(
        fault,
        Some(GuestFault::ChainLoops {
            head: 0,
            entries: 8
        })
    );
}

#[test]
fn s2_7_5_2_an_indirect_table_that_goes_round() {
    let fault = offer_indirect(&[descriptor(START, 1, NEXT, 1), descriptor(START, 1, NEXT, 0)]);
    assert_eq!(
        fault,
        Some(GuestFault::ChainLoops {
            head: 0,
            entries: 2
        })
    );
}

#[test]
fn s2_7_4_1_a_huge_table_that_goes_round_ends_at_the_devices_limit() {
    let entries = vec![descriptor(START, 0, NEXT, 0); 0x1_0000];
    let fault = offer_indirect(&entries);
    assert_eq!(
        fault,
        Some(GuestFault::ChainTooLong {
            head: 0,
            limit: 1024
        })
    );
}

#[test]
fn s2_7_5_2_more_than_4_gib() {
    let mut guest = Guest::new();
    guest.add_queue(1024, Features::all());
    let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
    let mut all: Vec<Descriptor> = (1..=1024)
        .map(|next| descriptor(START, 4 << 20, NEXT, next))
        .collect();
    // 1023 times 4 MiB, then as much and one byte more, in two descriptors.
    all[1022] = descriptor(START, 4 << 20, NEXT, 1023);
    all[1023] = descriptor(START, 4 << 20, INDIRECT, 0);
    let entries = [
        descriptor(START, 4 << 20, NEXT, 1),
        descriptor(START, 1, LAST, 0),
    ];
    all[1023] = descriptor(table(&mut guest, &entries), 32, INDIRECT, 0);
    guest.queue(0).offer_raw(&all);
    let mut segments = vec![Span::EMPTY; 1025];
    let fault = queue.pop(&mut segments).unwrap_err();
    assert_eq!(
        fault,
        GuestFault::ChainTooLarge {
            head: 0,
            bytes: (1 << 32) + 1
        }
    );
}

#[test]
fn s2_7_5_next_that_does_not_exist() {
    for next in [8, 9, 0x7fff, 0xffff] {
        let fault = offer(&[descriptor(START, 1, NEXT, next)]);
        assert_eq!(fault, Some(GuestFault::NextOutOfRange { next, entries: 8 }));
    }
    for next in [2, 3, 8, 0xffff] {
        let entries = [
            descriptor(START, 1, NEXT, next),
            descriptor(START, 1, LAST, 0),
        ];
        let fault = offer_indirect(&entries);
        assert_eq!(fault, Some(GuestFault::NextOutOfRange { next, entries: 2 }));
    }
}

#[test]
fn s2_7_5_buffers_that_are_not_in_ram() {
    let len = 4 << 20;
    let bad = [
        (0, 1),
        (START - 1, 1),
        (START - 1, 2),
        (START + len, 1),
        (START + len - 1, 2),
        (START, u32::MAX),
        (START + 1, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (u64::MAX - 0xffff_fffe, u32::MAX),
        (1 << 40, 16),
        (0xffff_ffff_0000_0000, u32::MAX),
    ];
    for (address, bytes) in bad {
        for flags in [LAST, WRITE] {
            let at = [
                descriptor(START, 1, NEXT, 1),
                descriptor(address, bytes, flags, 0),
            ];
            for fault in [offer(&at), offer_indirect(&at)] {
                let Some(GuestFault::BufferOutside { index: 1, outside }) = fault else {
                    panic!("{address:#x} + {bytes:#x}: {fault:?}");
                };
                assert_eq!(
                    (outside.range.start().value(), outside.range.len()),
                    (address, bytes)
                );
            }
        }
    }
    assert_eq!(offer(&[descriptor(START + len - 1, 1, WRITE, 0)]), None);
}

#[test]
fn s2_7_4_2_readable_after_writable() {
    let order = [
        descriptor(START, 1, NEXT | WRITE, 1),
        descriptor(START, 1, LAST, 0),
    ];
    let expected = Some(GuestFault::ReadableAfterWritable { index: 1 });
    assert_eq!(offer(&order), expected);
    assert_eq!(offer_indirect(&order), expected);
    // Emptiness is no excuse, and an indirect table continues the chain.
    let empty = [descriptor(0, 0, NEXT | WRITE, 1), descriptor(0, 0, LAST, 0)];
    assert_eq!(offer(&empty), expected);
    let at = START + 0x10_0000;
    let mixed = [
        descriptor(START, 1, NEXT | WRITE, 1),
        descriptor(at, 16, INDIRECT, 0),
    ];
    let fault = with_guest(&mixed, |guest| {
        table(guest, &[descriptor(START, 1, LAST, 0)]);
    });
    assert_eq!(fault, Some(GuestFault::ReadableAfterWritable { index: 0 }));
}

#[test]
fn s2_7_5_3_tables_of_a_wrong_size() {
    for len in [0, 1, 8, 15, 17, 31, 0xffff_ffff] {
        let fault = offer(&[descriptor(START, len, INDIRECT, 0)]);
        assert_eq!(fault, Some(GuestFault::IndirectLength { index: 0, len }));
    }
}

#[test]
fn s2_7_5_3_tables_that_are_not_in_ram() {
    for (address, len) in [
        (0, 16),
        (START + (4 << 20) - 15, 16),
        (START, 0xffff_fff0),
        (u64::MAX, 16),
    ] {
        let fault = offer(&[descriptor(address, len, INDIRECT, 0)]);
        assert!(
            matches!(fault, Some(GuestFault::IndirectOutside { index: 0, .. })),
            "{fault:?}"
        );
    }
}

#[test]
fn s2_7_5_3_1_nested_tables() {
    let entries = [
        descriptor(START, 1, NEXT, 1),
        descriptor(START, 16, INDIRECT, 0),
    ];
    assert_eq!(
        offer_indirect(&entries),
        Some(GuestFault::IndirectNested { index: 1 })
    );
}

#[test]
fn s2_7_5_3_1_indirect_with_next() {
    let fault = offer(&[
        descriptor(START, 16, INDIRECT | NEXT, 1),
        descriptor(START, 1, LAST, 0),
    ]);
    assert_eq!(fault, Some(GuestFault::IndirectWithNext { index: 0 }));
}

#[test]
fn every_fault_names_its_paragraph_and_what_was_expected() {
    let found: Vec<GuestFault> = [
        offer(&[descriptor(START, 1, NEXT, 0)]),
        offer(&[descriptor(START, 1, NEXT, 9)]),
        offer(&[descriptor(0x1234, 0x10, LAST, 0)]),
        offer(&[descriptor(START, 17, INDIRECT, 0)]),
        offer(&[
            descriptor(START, 1, NEXT | WRITE, 1),
            descriptor(START, 1, LAST, 0),
        ]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "chain 0 visits more than its table's 8 descriptors; expected no loop \
             (virtIO 1.2 §2.7.5.2)",
            "next descriptor 9; expected less than 8 (virtIO 1.2 §2.7.5)",
            "descriptor 0's buffer at 0x1234 + 0x10 is not in RAM, which is 0x40000000 + 0x400000 \
             (virtIO 1.2 §2.7.5)",
            "descriptor 0's indirect table has 17 bytes; expected a multiple of 16, and not 0 \
             (virtIO 1.2 §2.7.5.3)",
            "descriptor 1 is device-readable after a device-writable one; expected all readable \
             ones first (virtIO 1.2 §2.7.4.2)",
        ]
    );
}
