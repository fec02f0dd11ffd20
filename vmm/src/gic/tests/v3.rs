//! What a GICv3 has besides, and what it lacks (IHI 0069H).

use super::*;

const PIDR2: u64 = 0xffe8;
/// GICD_IROUTER of SPI 0.
const IROUTER: u64 = 0x6100;
const IROUTER_48: u64 = 0x6000 + 8 * 48;
const GICR_TYPER: u64 = 0x008;
const GICR_WAKER: u64 = 0x014;
/// A redistributor's second frame.
const SGI: u64 = 0x1_0000;

/// A controller that forwards both groups, and whose redistributors are awake.
fn awake(vcpus: u8) -> Gic {
    let mut gic = Gic::of(Version::V3, vcpus);
    gic.write(0, CTLR, 4, 3);
    for vcpu in 0..vcpus {
        gic.write_redistributor(at(vcpu, GICR_WAKER), 4, 0);
    }
    gic
}

/// A register of `vcpu`'s redistributor.
fn at(vcpu: u8, offset: u64) -> u64 {
    REDISTRIBUTOR_SIZE * u64::from(vcpu) + offset
}

fn enable_private(gic: &mut Gic, vcpu: u8, bits: u64) {
    gic.write_redistributor(at(vcpu, SGI + ISENABLER), 4, bits);
}

#[test]
fn the_distributor_says_that_it_is_a_gicv3() {
    let gic = Gic::of(Version::V3, 4);
    assert_eq!(gic.read(0, PIDR2, 4) >> 4 & 0xf, 3);
    assert_eq!(gic.read(0, 0xfe8, 4), 0, "a GICv2 has it there");
    // 128 interrupts, ids of ten bits, no LPIs, no 1-of-N; the number of processors is the redistributors'.
    assert_eq!(gic.read(0, TYPER, 4), 3 | 9 << 19 | 1 << 25);
    assert_eq!(gic.read(0, 0x008, 4) & 0xfff, 0x43b);
    let component: Vec<u64> = (0..4).map(|n| gic.read(0, 0xfff0 + 4 * n, 4)).collect();
    assert_eq!(component, [0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn affinity_routing_and_the_one_security_state_stay_on() {
    let mut gic = Gic::of(Version::V3, 1);
    assert_eq!(gic.read(0, CTLR, 4), 0x50);
    gic.write(0, CTLR, 4, u64::MAX);
    assert_eq!(gic.read(0, CTLR, 4), 0x53);
    gic.write(0, CTLR, 4, 0);
    assert_eq!(gic.read(0, CTLR, 4), 0x50);
}

#[test]
fn the_distributor_has_spis_only_and_neither_targets_nor_sgis() {
    let mut gic = awake(2);
    for offset in [
        0x080,
        ISENABLER,
        ISPENDR,
        ISACTIVER,
        IPRIORITYR,
        IPRIORITYR + 28,
        ICFGR,
        ICFGR + 4,
        ITARGETSR + 48,
        SGIR,
        CPENDSGIR,
        SPENDSGIR,
        0xd00,
        IROUTER - 8,
        0x6000 + 8 * 128,
        0xffcc,
        0x1_0000,
        u64::MAX,
    ] {
        gic.write(0, offset, 4, u64::MAX);
        assert_eq!(gic.read(0, offset, 4), 0, "{offset:#x}");
    }
    for vcpu in 0..2 {
        assert_eq!(gic.read_redistributor(at(vcpu, SGI + ISENABLER), 4), 0);
        assert_eq!(gic.next(vcpu), None);
    }
    gic.write(0, ISENABLER + 4, 4, 0xff);
    gic.write(0, IPRIORITYR + 32, 4, 0x1122_3344);
    assert_eq!(gic.read(0, ICENABLER + 4, 4), 0xff);
    assert_eq!(gic.read(0, IPRIORITYR + 33, 1), 0x30);
}

#[test]
fn a_redistributor_says_whose_it_is_and_whether_it_is_the_last() {
    let gic = Gic::of(Version::V3, 3);
    for vcpu in 0..3 {
        let number = u64::from(vcpu);
        let last = if vcpu == 2 { 1 << 4 } else { 0 };
        let expected = number << 32 | number << 8 | last;
        let typer = at(vcpu, GICR_TYPER);
        assert_eq!(gic.read_redistributor(typer, 8), expected);
        assert_eq!(gic.read_redistributor(typer, 4), expected & 0xffff_ffff);
        assert_eq!(gic.read_redistributor(typer + 4, 4), number);
        assert_eq!(gic.read_redistributor(at(vcpu, PIDR2), 4) >> 4 & 0xf, 3);
        assert_eq!(gic.read_redistributor(at(vcpu, 0), 4), 0, "GICR_CTLR");
        assert_eq!(gic.read_redistributor(at(vcpu, 4), 4) & 0xfff, 0x43b);
    }
    assert_eq!(gic.read_redistributor(at(3, GICR_TYPER), 8), 0);
    assert_eq!(gic.read_redistributor(u64::MAX, 4), 0);
}

#[test]
fn a_redistributor_that_sleeps_forwards_nothing_and_asks_for_its_vcpu() {
    let mut gic = Gic::of(Version::V3, 1);
    gic.write(0, CTLR, 4, 3);
    assert_eq!(gic.read_redistributor(GICR_WAKER, 4), 0b110);
    enable_private(&mut gic, 0, 1 << TIMER);
    gic.set_line(0, TIMER, true);
    assert_eq!(gic.next(0), None);
    assert!(gic.is_pending(0));
    gic.write_redistributor(GICR_WAKER, 4, 0);
    assert_eq!(gic.read_redistributor(GICR_WAKER, 4), 0);
    assert_eq!(inject(&mut gic, 0, 4), [(TIMER, 0)]);
    gic.write_redistributor(GICR_WAKER, 4, 0b010);
    assert_eq!(gic.read_redistributor(GICR_WAKER, 4), 0b110);
}

#[test]
fn private_registers_are_each_vcpus_own() {
    let mut gic = awake(2);
    let registers = [
        (0x080, 0x8001),
        (ISENABLER, 0x0800_8001),
        (ISPENDR, 0x0800_0001),
        (ISACTIVER, 0x0800_0001),
        (IPRIORITYR + 24, 0xa0),
    ];
    for (offset, value) in registers {
        gic.write_redistributor(at(1, SGI + offset), 4, value);
    }
    for (offset, value) in registers {
        assert_eq!(gic.read_redistributor(at(1, SGI + offset), 4), value);
        assert_eq!(gic.read_redistributor(at(0, SGI + offset), 4), 0);
    }
    gic.write_redistributor(at(1, SGI + ICENABLER), 4, 1);
    assert_eq!(
        gic.read_redistributor(at(1, SGI + ISENABLER), 4),
        0x0800_8000,
        "SGIs can be disabled"
    );
    gic.write_redistributor(at(1, SGI + ICPENDR), 4, 1);
    assert_eq!(gic.read_redistributor(at(1, SGI + ISPENDR), 4), 0x0800_0000);
    gic.write_redistributor(at(1, SGI + IPRIORITYR + 25), 1, 0x57);
    assert_eq!(
        gic.read_redistributor(at(1, SGI + IPRIORITYR + 24), 4),
        0x50a0
    );
    // SGIs are edges, PPIs levels, and it stays so.
    gic.write_redistributor(at(0, SGI + ICFGR + 4), 4, u64::MAX);
    assert_eq!(gic.read_redistributor(at(0, SGI + ICFGR), 4), 0xaaaa_aaaa);
    assert_eq!(gic.read_redistributor(at(0, SGI + ICFGR + 4), 4), 0);
}

#[test]
fn what_is_not_there_reads_as_zero_and_ignores_writes() {
    let mut gic = awake(1);
    for offset in [
        0x040,
        0x070,
        0x0c0,
        0xffcc,
        SGI,
        SGI + 0x084,
        SGI + ISENABLER + 4,
        SGI + IPRIORITYR + 32,
        SGI + ITARGETSR,
        SGI + ICFGR + 8,
        SGI + 0xd00,
        SGI + SGIR,
        SGI + SPENDSGIR,
        SGI + PIDR2,
        at(1, GICR_WAKER),
        at(1, SGI + ISENABLER),
    ] {
        for size in [1, 2, 4, 8] {
            gic.write_redistributor(offset, size, u64::MAX);
            assert_eq!(gic.read_redistributor(offset, size), 0, "{offset:#x}");
        }
    }
    for size in [1, 2, 8] {
        gic.write_redistributor(GICR_WAKER, size, 2);
        gic.write_redistributor(SGI + ISENABLER, size, 1);
    }
    gic.write_redistributor(GICR_WAKER + 1, 4, 2);
    assert_eq!(gic.read_redistributor(GICR_WAKER, 4), 0);
    assert_eq!(gic.read_redistributor(SGI + ISENABLER, 4), 0);
    assert_eq!(gic.next(0), None);
}

#[test]
fn an_spi_goes_where_its_route_leads() {
    let mut gic = awake(2);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!(gic.read(0, IROUTER_48, 8), 0);
    assert_eq!(gic.next(0).map(|next| next.intid), Some(48));
    gic.write(0, IROUTER_48, 8, 1);
    assert_eq!(gic.next(0), None);
    assert_eq!(gic.next(1).map(|next| next.intid), Some(48));
    // By halves; a processor that there is not gets nothing, and the mode "any of them" does not exist.
    gic.write(0, IROUTER_48 + 4, 4, 0xffff_ffff);
    assert_eq!(gic.read(0, IROUTER_48, 8), 0xff_0000_0001);
    assert_eq!(gic.read(0, IROUTER_48 + 4, 4), 0xff);
    assert_eq!((gic.next(0), gic.next(1)), (None, None));
    gic.write(0, IROUTER_48, 8, 1 << 31);
    assert_eq!(gic.read(0, IROUTER_48, 8), 0);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    // The only vCPU is no exception.
    let mut gic = awake(1);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    gic.write(0, IROUTER_48, 8, 1);
    assert_eq!(gic.next(0), None);
}

#[test]
fn icc_sgi1r_reaches_those_that_it_lists() {
    let mut gic = awake(3);
    for vcpu in 0..3 {
        enable_private(&mut gic, vcpu, 0xffff);
    }
    let sgi = |intid: u64, list: u64| intid << 24 | list;
    gic.generate_sgi(0, 3, sgi(4, 0b110));
    gic.generate_sgi(2, 3, sgi(4, 0b010));
    assert_eq!(inject(&mut gic, 0, 4), []);
    assert_eq!(inject(&mut gic, 1, 4), [(4, 0)], "one, whoever sent it");
    assert_eq!(inject(&mut gic, 2, 4), [(4, 0)]);
    gic.ended(1, 0);
    assert_eq!(inject(&mut gic, 1, 4), []);
    gic.ended(2, 0);
    // All but the sender; the list does not count then.
    gic.generate_sgi(1, 3, sgi(5, 0b010) | 1 << 40);
    assert_eq!(inject(&mut gic, 0, 4), [(5, 0)]);
    assert_eq!(inject(&mut gic, 1, 4), []);
    assert_eq!(inject(&mut gic, 2, 4), [(5, 0)]);
    // Other clusters, and another range of their processors.
    for shift in [16, 32, 44, 48] {
        gic.generate_sgi(0, 3, sgi(6, 0xffff) | 1 << shift);
    }
    gic.generate_sgi(0, 3, sgi(6, 0xfff8));
    assert_eq!(inject(&mut gic, 1, 4), []);
    assert_eq!(inject(&mut gic, 2, 4), []);
}

#[test]
fn an_sgi_of_group_1_needs_a_register_of_group_1() {
    let mut gic = awake(1);
    enable_private(&mut gic, 0, 0xffff);
    gic.write_redistributor(SGI + 0x080, 4, 1 << 7);
    gic.generate_sgi(0, 1, 7 << 24 | 1);
    assert_eq!(gic.next(0), None);
    gic.generate_sgi(0, 3, 7 << 24 | 1);
    assert_eq!(
        gic.next(0).map(|next| (next.intid, next.group)),
        Some((7, 1))
    );
    gic.generate_sgi(0, 1, 3 << 24 | 1);
    assert_eq!(
        gic.next(0).map(|next| (next.intid, next.group)),
        Some((3, 0))
    );
}

#[test]
fn an_sgi_waits_until_it_is_enabled() {
    let mut gic = awake(1);
    gic.generate_sgi(0, 3, 9 << 24 | 1);
    assert_eq!(gic.read_redistributor(SGI + ISPENDR, 4), 1 << 9);
    assert_eq!(gic.next(0), None);
    enable_private(&mut gic, 0, 1 << 9);
    assert_eq!(inject(&mut gic, 0, 4), [(9, 0)]);
    gic.write_redistributor(SGI + ISPENDR, 4, 1 << 9);
    gic.ended(0, 0);
    assert_eq!(inject(&mut gic, 0, 4), [(9, 0)], "software may, too");
}

#[test]
fn an_interrupt_deactivated_in_the_redistributor_comes_again_in_its_register() {
    let mut gic = awake(2);
    for vcpu in 0..2 {
        enable_private(&mut gic, vcpu, 1 << TIMER);
        gic.set_line(vcpu, TIMER, true);
        assert_eq!(inject(&mut gic, vcpu, 4), [(TIMER, 0)]);
    }
    gic.write_redistributor(at(1, SGI + ICACTIVER), 4, 1 << TIMER);
    assert_eq!(gic.next(0), None, "the other one's is its own");
    let next = gic.next(1).unwrap();
    assert_eq!((next.intid, next.list_register), (TIMER, 0));
}

#[test]
fn a_reset_puts_redistributors_to_sleep_and_routes_to_the_first_vcpu() {
    let mut gic = awake(2);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    gic.write(0, IROUTER_48, 8, 1);
    gic.reset();
    assert_eq!(gic.version(), Version::V3);
    assert_eq!(gic.read(0, IROUTER_48, 8), 0);
    assert_eq!(gic.read_redistributor(at(1, GICR_WAKER), 4), 0b110);
    assert!(gic.line(0, 48));
    gic.write(0, CTLR, 4, 3);
    gic.write_redistributor(GICR_WAKER, 4, 0);
    enable(&mut gic, 0, 48);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
}

proptest::proptest! {
    #[test]
    fn no_access_breaks_it(
        accesses in proptest::collection::vec(
            (0_u8..3, 0_u64..0x8_0000, 0_u32..4, proptest::num::u64::ANY),
            0..200,
        )
    ) {
        let mut gic = awake(2);
        for (place, offset, size, value) in accesses {
            let size = 1 << size;
            let offset = offset & !(u64::from(size) - 1);
            match place {
                0 => {
                    gic.write(1, offset & 0xffff, size, value);
                    gic.read(1, offset & 0xffff, size);
                }
                1 => {
                    gic.write_redistributor(offset, size, value);
                    gic.read_redistributor(offset, size);
                }
                _ => gic.generate_sgi(1, 3, value),
            }
            for vcpu in 0..2 {
                if let Some(next) = gic.next(vcpu) {
                    assert!(next.intid < INTERRUPTS && next.priority < 32 && next.group < 2);
                    gic.injected(vcpu, next, Ok(())).unwrap();
                    gic.ended(vcpu, next.list_register);
                }
            }
        }
    }
}
