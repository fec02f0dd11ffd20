//! What a RAM proves and what it moves, compared with plain vectors.

use proptest::prelude::*;

use crate::{BadRam, GuestAddress, GuestRam, GuestRange, HostRam, Le16, Le32, Le64, Span, Sum};

const START: u64 = 0xff_4000_0000; // the top of a 40-bit space
const LEN: u64 = 0x1000;

fn host() -> HostRam {
    HostRam::new(GuestAddress::new(START), LEN).unwrap()
}

fn range(start: u64, len: u32) -> GuestRange {
    GuestRange::new(GuestAddress::new(start), len)
}

fn whole(ram: &GuestRam) -> Span {
    ram.check(GuestRange::new(
        ram.start(),
        u32::try_from(ram.len()).unwrap(),
    ))
    .unwrap()
}

#[test]
fn numbers_that_are_no_ram_are_refused() {
    let base = host().ram();
    let at = GuestAddress::new;
    let mut memory = [0u128; 4];
    let pointer = memory.as_mut_ptr().cast::<u8>();
    let new = |base: *mut u8, start, len| {
        // SAFETY: nothing is ever read or written through it.
        unsafe { GuestRam::new(base, at(start), len) }.map(|_| ())
    };
    assert_eq!(new(core::ptr::null_mut(), 0, 64), Err(BadRam::Null));
    assert_eq!(
        new(pointer, 0, 0),
        Err(BadRam::Length {
            start: at(0),
            len: 0
        })
    );
    let huge = 1 << 63;
    assert_eq!(
        new(pointer, 0, huge),
        Err(BadRam::Length {
            start: at(0),
            len: huge
        })
    );
    let top = u64::MAX - 15;
    assert_eq!(
        new(pointer, top, 64),
        Err(BadRam::Length {
            start: at(top),
            len: 64
        })
    );
    let bad = BadRam::Alignment {
        base: pointer.addr(),
        start: at(8),
    };
    assert_eq!(new(pointer, 8, 64), Err(bad));
    assert_eq!(new(pointer, 16, 64), Ok(()));
    assert_eq!((base.start(), base.len()), (at(START), LEN));
    assert!(bad.to_string().contains("equal modulo 16"), "{bad}");
}

#[test]
fn the_last_byte_is_inside_and_the_next_is_not() {
    let ram = host().ram();
    let end = START + LEN;
    assert_eq!(ram.check(range(end - 1, 1)).map(Span::offset), Ok(LEN - 1));
    assert!(ram.check(range(end - 1, 2)).is_err());
    assert!(ram.check(range(START - 1, 1)).is_err());
    assert!(ram.check(range(end, 0)).is_ok());
    assert!(ram.check(range(end + 1, 0)).is_err());
    assert!(ram.check(range(u64::MAX, u32::MAX)).is_err());
    let outside = ram.check(range(0x10, 0x20)).unwrap_err();
    assert_eq!(
        outside.to_string(),
        "0x10 + 0x20 is not in RAM, which is 0xff40000000 + 0x1000"
    );
}

#[test]
fn ranges_of_four_gigabytes_do_not_wrap() {
    let ram = host().ram();
    for start in [
        0,
        1,
        START,
        START + 1,
        START + LEN - 1,
        1 << 40,
        u64::MAX - 3,
    ] {
        assert!(ram.check(range(start, u32::MAX)).is_err(), "{start:#x}");
    }
}

#[test]
fn a_span_of_another_ram_is_found_out() {
    let large = HostRam::new(GuestAddress::new(0), 0x2000).unwrap();
    let small = host();
    let span = large.ram().check(range(0x1800, 8)).unwrap();
    let caught = std::panic::catch_unwind(|| small.ram().read::<Le64>(span).is_some());
    assert!(caught.is_err());
}

#[test]
fn words_are_little_endian_and_aligned() {
    let host = host();
    let ram = host.ram();
    let span = whole(&ram);
    ram.write_bytes(span, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(ram.load(ram.word::<u16>(span, 2).unwrap()), 0x0403);
    assert_eq!(
        ram.load_acquire(ram.word::<u32>(span, 4).unwrap()),
        0x0807_0605
    );
    assert_eq!(
        ram.load(ram.word::<u64>(span, 0).unwrap()),
        0x0807_0605_0403_0201
    );
    ram.store(ram.word::<u16>(span, 0).unwrap(), 0xbeef);
    ram.store_release(ram.word::<u32>(span, 4).unwrap(), 0x1234_5678);
    let mut bytes = [0; 8];
    ram.read_bytes(span, &mut bytes);
    assert_eq!(bytes, [0xef, 0xbe, 3, 4, 0x78, 0x56, 0x34, 0x12]);

    assert!(ram.word::<u16>(span, 1).is_none());
    assert!(ram.word::<u64>(span, 4).is_none());
    assert!(ram.word::<u32>(span.truncate(6), 4).is_none());
    assert!(ram.word::<u16>(span, u32::MAX).is_none());
    // Alignment is the guest's: offset 2 into a span that starts at 2 is aligned for four bytes.
    assert!(ram.word::<u32>(span.skip(2), 2).is_some());
}

#[test]
fn rings_of_words_wrap() {
    let host = host();
    let ram = host.ram();
    let span = whole(&ram);
    let ring = ram.words::<u16>(span, 4, 8).unwrap();
    for index in 0..8u16 {
        ram.store(ring.at(u32::from(index)), index);
    }
    for index in [0, 7, 8, 0xffff, 0x1_0003, u32::MAX] {
        assert_eq!(u32::from(ram.load(ring.at(index))), index % 8);
    }
    assert!(ram.words::<u16>(span, 4, 0).is_none());
    assert!(ram.words::<u16>(span, 4, 6).is_none());
    assert!(ram.words::<u64>(span, 0, 1 << 31).is_none());
    assert!(ram.words::<u16>(span.truncate(19), 4, 8).is_none());
    assert!(ram.words::<u16>(span.truncate(20), 4, 8).is_some());
}

#[derive(
    Clone, Copy, Debug, PartialEq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
)]
#[repr(C)]
struct Odd {
    a: Le32,
    b: Le16,
    c: u8,
}

#[test]
fn structures_need_room() {
    let host = host();
    let ram = host.ram();
    let span = whole(&ram);
    let odd = Odd {
        a: 0x0102_0304.into(),
        b: 0x0506.into(),
        c: 7,
    };
    assert_eq!(ram.write(span.truncate(6), &odd), None);
    assert_eq!(ram.read::<Le64>(span), Some(0.into()));
    for at in 0..16 {
        let place = span.slice(at, 7).unwrap();
        assert_eq!(ram.write(place, &odd), Some(()));
        assert_eq!(ram.read::<Odd>(place), Some(odd));
        assert_eq!(ram.read::<Odd>(place.truncate(6)), None);
        assert_eq!(ram.read::<u8>(place), Some(4));
        assert_eq!(ram.read::<[u8; 0]>(Span::EMPTY), Some([]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 16 } else { 512 }))]

    /// The claim and the RAM as plain 128-bit intervals.
    #[test]
    fn check_agrees_with_wide_arithmetic(
        start in prop_oneof![any::<u64>(), START - 64..START + LEN + 64],
        len in prop_oneof![any::<u32>(), 0u32..0x1100],
    ) {
        let ram = host().ram();
        let (first, end) = (u128::from(start), u128::from(start) + u128::from(len));
        let inside = first >= u128::from(START) && end <= u128::from(START + LEN);
        match ram.check(range(start, len)) {
            Ok(span) => {
                prop_assert!(inside);
                prop_assert_eq!(span.offset(), start - START);
                prop_assert_eq!(span.len(), len);
                prop_assert_eq!(ram.address_of(span), GuestAddress::new(start));
            }
            Err(outside) => {
                prop_assert!(!inside);
                prop_assert_eq!(outside.range, range(start, len));
            }
        }
    }

    /// Every alignment of both sides, every length: the bytes arrive, their neighbours stay.
    #[test]
    fn copies_agree_with_slices(
        at in 0u32..40, ours in 0usize..16, data in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let host = host();
        let ram = host.ram();
        let area = whole(&ram).truncate(128);
        ram.fill(area, 0xee);
        let mut model = vec![0xee; 128];

        let mut shifted = vec![0; ours];
        shifted.extend_from_slice(&data);
        let place = area.skip(at);
        prop_assert_eq!(ram.write_bytes(place, &shifted[ours..]), data.len());
        model[at as usize..at as usize + data.len()].copy_from_slice(&data);
        let mut all = vec![0; 128];
        prop_assert_eq!(ram.read_bytes(area, &mut all), 128);
        prop_assert_eq!(&all, &model);

        let mut back = vec![0x11; ours + data.len() + 1];
        let end = ours + data.len();
        prop_assert_eq!(ram.read_bytes(place, &mut back[ours..end]), data.len());
        prop_assert_eq!(&back[ours..end], &data[..]);
        prop_assert!(back[..ours].iter().chain(&back[end..]).all(|&byte| byte == 0x11));
    }

    /// From every alignment to every other: the bytes arrive, their neighbours stay, and their sum is right.
    #[test]
    fn a_copy_between_two_rams_is_added_up(
        from in 0u32..24, to in 0u32..24, data in prop::collection::vec(any::<u8>(), 0..300), more in 0u32..2,
    ) {
        let (source, target) = (host(), host());
        let len = u32::try_from(data.len()).unwrap();
        source.ram().fill(whole(&source.ram()).truncate(400), 0x99);
        source.ram().write_bytes(whole(&source.ram()).skip(from), &data);
        let area = whole(&target.ram()).truncate(400);
        target.ram().fill(area, 0xee);
        let span = whole(&source.ram()).slice(from, len + more).unwrap();
        let sum = source.ram().copy_sum(span, &target.ram(), area.slice(to, len).unwrap());
        let mut model = vec![0xee; 400];
        model[to as usize..(to + len) as usize].copy_from_slice(&data);
        let mut all = vec![0; 400];
        target.ram().read_bytes(area, &mut all);
        prop_assert_eq!(all, model);
        let then = |sum: Sum| sum.then(Sum::of_bytes(&[1, 2, 3])).checksum();
        prop_assert_eq!(then(sum), then(Sum::of_bytes(&data)));
        let alone = source.ram().sum(span.truncate(len));
        prop_assert_eq!(then(alone), then(Sum::of_bytes(&data)));
        let [high, low] = alone.checksum();
        prop_assert_eq!(u16::from_be_bytes(alone.partial()) % 0xffff, !u16::from_be_bytes([high, low]) % 0xffff);
    }

    /// Bytes can be moved down inside one RAM, by 16 or more.
    #[test]
    fn moves_do_not_run_into_themselves(to in 0u32..20, by in 16u32..60, data in prop::collection::vec(any::<u8>(), 0..300)) {
        let host = host();
        let ram = host.ram();
        let len = u32::try_from(data.len()).unwrap();
        let from = whole(&ram).slice(to + by, len).unwrap();
        ram.write_bytes(from, &data);
        let place = whole(&ram).slice(to, len).unwrap();
        let sum = ram.copy_sum(from, &ram, place);
        let mut moved = vec![0; data.len()];
        ram.read_bytes(place, &mut moved);
        prop_assert_eq!(sum.checksum(), Sum::of_bytes(&data).checksum());
        prop_assert_eq!(moved, data);
    }

    #[test]
    fn fill_stays_inside(at in 0u32..40, len in 0u32..70) {
        let host = host();
        let ram = host.ram();
        let area = whole(&ram).truncate(128);
        ram.fill(area.slice(at, len).unwrap(), 0x55);
        let mut all = vec![0; 128];
        ram.read_bytes(area, &mut all);
        for (index, byte) in all.iter().enumerate() {
            let inside = index >= at as usize && index < (at + len) as usize;
            prop_assert_eq!(*byte, if inside { 0x55 } else { 0 });
        }
    }

    /// A copy is as long as the shorter side.
    #[test]
    fn copies_end_where_the_shorter_side_ends(span in 0u32..40, slice in 0usize..40) {
        let host = host();
        let ram = host.ram();
        let area = whole(&ram).truncate(span);
        let shorter = slice.min(span as usize);
        prop_assert_eq!(ram.write_bytes(area, &vec![1; slice]), shorter);
        let mut back = vec![0; slice];
        prop_assert_eq!(ram.read_bytes(area, &mut back), shorter);
        prop_assert_eq!(back.iter().filter(|&&byte| byte == 1).count(), shorter);
        prop_assert_eq!(ram.read::<u8>(whole(&ram).skip(u32::try_from(shorter).unwrap())), Some(0));
    }
}
