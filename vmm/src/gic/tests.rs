//! Every register, and the controller against hardware that is played by a small model.

mod model;
mod v3;

use super::*;

const CTLR: u64 = 0x000;
const TYPER: u64 = 0x004;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;
const IPRIORITYR: u64 = 0x400;
const ITARGETSR: u64 = 0x800;
const ICFGR: u64 = 0xc00;
const SGIR: u64 = 0xf00;
const CPENDSGIR: u64 = 0xf10;
const SPENDSGIR: u64 = 0xf20;

/// A controller that forwards both groups.
fn enabled(vcpus: u8) -> Gic {
    let mut gic = Gic::new(vcpus);
    gic.write(0, CTLR, 4, 3);
    gic
}

fn enable(gic: &mut Gic, vcpu: u8, intid: u16) {
    gic.write(
        vcpu,
        ISENABLER + u64::from(intid / 32 * 4),
        4,
        1 << (intid % 32),
    );
}

fn disable(gic: &mut Gic, vcpu: u8, intid: u16) {
    gic.write(
        vcpu,
        ICENABLER + u64::from(intid / 32 * 4),
        4,
        1 << (intid % 32),
    );
}

/// Injects what there is, as a kernel with `count` list registers would let it.
fn inject(gic: &mut Gic, vcpu: u8, count: u8) -> Vec<(u16, u8)> {
    let mut injected = vec![];
    while let Some(injection) = gic.next(vcpu) {
        let fits = injection.list_register < count;
        let result = fits.then_some(()).ok_or(Error::RangeError);
        gic.injected(vcpu, injection, result).unwrap();
        if fits {
            injected.push((injection.intid, injection.list_register));
        }
    }
    injected
}

#[test]
fn the_distributor_describes_itself() {
    let gic = Gic::new(4);
    assert_eq!(gic.read(0, TYPER, 4), 3 | 3 << 5);
    assert_eq!(Gic::new(1).read(0, TYPER, 4), 3);
    assert_eq!(gic.read(0, 0x008, 4) & 0xfff, 0x43b);
    // Linux and others find the architecture's version in PIDR2.
    assert_eq!(gic.read(0, 0xfe8, 4) >> 4 & 0xf, 2);
    let component: Vec<u64> = (0..4).map(|n| gic.read(0, 0xff0 + 4 * n, 4)).collect();
    assert_eq!(component, [0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn reserved_registers_and_odd_widths_do_nothing() {
    let mut gic = enabled(1);
    for offset in [
        0x00c,
        0x040,
        0x7fc,
        0xbfc,
        0xd00,
        0xe00,
        0xf04,
        0x1000,
        u64::MAX,
    ] {
        gic.write(0, offset, 4, u64::MAX);
        assert_eq!(gic.read(0, offset, 4), 0, "{offset:#x}");
    }
    for size in [1, 2, 8] {
        gic.write(0, ISENABLER + 4, size, u64::MAX);
        gic.write(0, SGIR, size, 0x0200_0001);
        assert_eq!(gic.read(0, ISENABLER, size), 0);
    }
    gic.write(0, ISENABLER + 6, 4, u64::MAX);
    assert_eq!(gic.read(0, ISENABLER + 4, 4), 0);
    gic.write(0, IPRIORITYR + 32, 2, 0xffff);
    assert_eq!(gic.read(0, IPRIORITYR + 32, 4), 0);
    // Interrupts that there are not.
    gic.write(0, ISENABLER + 4 * 31, 4, u64::MAX);
    gic.write(0, ISENABLER + 4 * 4, 4, u64::MAX);
    gic.write(0, ITARGETSR + 200, 1, 1);
    assert_eq!(gic.read(0, ISENABLER + 4 * 4, 4), 0);
    assert_eq!(gic.read(0, ITARGETSR + 200, 4), 0);
    assert_eq!(gic.next(0), None);
}

#[test]
fn every_pair_of_set_and_clear_registers_works_by_bits() {
    let mut gic = Gic::new(1);
    for (set, clear) in [
        (ISENABLER, ICENABLER),
        (ISPENDR, ICPENDR),
        (ISACTIVER, ICACTIVER),
    ] {
        for word in 1..4 {
            gic.write(0, set + 4 * word, 4, 0xf0f0_1234);
            gic.write(0, clear + 4 * word, 4, 0x00f0_0204);
            assert_eq!(gic.read(0, set + 4 * word, 4), 0xf000_1030);
            assert_eq!(gic.read(0, clear + 4 * word, 4), 0xf000_1030);
        }
    }
    gic.write(0, 0x084, 4, 0x8001);
    assert_eq!(gic.read(0, 0x084, 4), 0x8001);
    gic.write(0, CTLR, 4, u64::MAX);
    assert_eq!(gic.read(0, CTLR, 4), 3);
}

#[test]
fn sgis_are_always_enabled_and_have_their_own_pending_registers() {
    let mut gic = enabled(2);
    gic.write(0, ICENABLER, 4, 0xffff_ffff);
    assert_eq!(gic.read(0, ISENABLER, 4), 0xffff);
    gic.write(0, ISPENDR, 4, 0xffff);
    assert_eq!(gic.read(0, ISPENDR, 4), 0);
    gic.write(0, SPENDSGIR + 5, 1, 0xff);
    assert_eq!(gic.read(0, SPENDSGIR + 4, 4), 0x0300);
    assert_eq!(gic.read(0, ISPENDR, 4), 1 << 5);
    gic.write(0, ICPENDR, 4, 0xffff);
    assert_eq!(gic.read(0, ISPENDR, 4), 1 << 5);
    gic.write(0, CPENDSGIR + 4, 4, 0x0200);
    assert_eq!(gic.read(0, CPENDSGIR + 5, 1), 1);
    gic.write(0, CPENDSGIR + 5, 1, 1);
    assert_eq!(gic.read(0, ISPENDR, 4), 0);
    // The other vCPU's are its own.
    assert_eq!(gic.read(1, SPENDSGIR + 4, 4), 0);
}

#[test]
fn bytes_of_priorities_and_targets_can_be_accessed() {
    let mut gic = Gic::new(3);
    gic.write(0, IPRIORITYR + 49, 1, 0xa7);
    assert_eq!(gic.read(0, IPRIORITYR + 48, 4), 0xa000);
    assert_eq!(gic.read(0, IPRIORITYR + 49, 1), 0xa0);
    gic.write(0, IPRIORITYR + 28, 4, 0x1122_3344);
    assert_eq!(gic.read(0, IPRIORITYR + 28, 4), 0x1020_3040);
    assert_eq!(gic.read(1, IPRIORITYR + 28, 4), 0, "banked");
    gic.write(0, ITARGETSR + 33, 1, 0xff);
    assert_eq!(gic.read(0, ITARGETSR + 32, 4), 0x0700);
    // Those of private interrupts say who reads.
    gic.write(1, ITARGETSR, 4, 0);
    assert_eq!(gic.read(1, ITARGETSR, 4), 0x0202_0202);
}

#[test]
fn configuration_has_two_bits_each() {
    let mut gic = Gic::new(1);
    assert_eq!(gic.read(0, ICFGR, 4), 0xaaaa_aaaa);
    gic.write(0, ICFGR, 4, 0);
    gic.write(0, ICFGR + 4, 4, u64::MAX);
    assert_eq!(gic.read(0, ICFGR, 4), 0xaaaa_aaaa);
    assert_eq!(gic.read(0, ICFGR + 4, 4), 0);
    gic.write(0, ICFGR + 12, 4, 0xffff_0003);
    assert_eq!(gic.read(0, ICFGR + 12, 4), 0xaaaa_0002);
    assert_eq!(gic.read(0, ICFGR + 8, 4), 0);
}

#[test]
fn an_interrupt_waits_until_it_is_enabled() {
    // field.md 7 and 10: libvmm kills the guest, or loses it.
    let mut gic = Gic::new(1);
    gic.set_line(0, 48, true);
    gic.write(0, SPENDSGIR + 3, 1, 1);
    assert_eq!(inject(&mut gic, 0, 4), []);
    assert!(!gic.is_pending(0));
    gic.write(0, CTLR, 4, 1);
    assert_eq!(inject(&mut gic, 0, 4), [(3, 0)]);
    enable(&mut gic, 0, 48);
    assert!(gic.is_pending(0));
    assert_eq!(inject(&mut gic, 0, 4), [(48, 1)]);
    assert_eq!(inject(&mut gic, 0, 4), []);
}

#[test]
fn groups_are_forwarded_each_by_its_bit() {
    let mut gic = Gic::new(1);
    gic.write(0, 0x084, 4, 1 << 17);
    for intid in [48, 49] {
        enable(&mut gic, 0, intid);
        gic.set_line(0, intid, true);
    }
    gic.write(0, CTLR, 4, 2);
    assert_eq!(
        gic.next(0).map(|next| (next.intid, next.group)),
        Some((49, 1))
    );
    gic.write(0, CTLR, 4, 1);
    assert_eq!(
        gic.next(0).map(|next| (next.intid, next.group)),
        Some((48, 0))
    );
    assert!(gic.is_forwarded(0, 48) && !gic.is_forwarded(0, 49));
}

#[test]
fn a_level_is_sampled_again_at_the_end_of_interrupt() {
    let mut gic = enabled(1);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    assert_eq!(gic.ended(0, 0), Some(48));
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)], "the line is still high");
    gic.set_line(0, 48, false);
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [], "it is in flight");
    assert_eq!(gic.ended(0, 0), Some(48));
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    gic.set_line(0, 48, false);
    assert_eq!(gic.ended(0, 0), Some(48));
    assert_eq!(inject(&mut gic, 0, 4), []);
}

#[test]
fn an_edge_that_comes_in_flight_is_delivered_afterwards() {
    let mut gic = enabled(1);
    enable(&mut gic, 0, 50);
    gic.write(0, ICFGR + 12, 4, 0b10 << 4);
    gic.set_line(0, 50, true);
    assert_eq!(inject(&mut gic, 0, 4), [(50, 0)]);
    gic.set_line(0, 50, false);
    gic.set_line(0, 50, true);
    assert_eq!(inject(&mut gic, 0, 4), []);
    gic.ended(0, 0);
    assert_eq!(inject(&mut gic, 0, 4), [(50, 0)]);
    gic.ended(0, 0);
    assert_eq!(
        inject(&mut gic, 0, 4),
        [],
        "its line stays high, but that was its one edge"
    );
}

#[test]
fn an_sgi_comes_once_for_each_sender() {
    let mut gic = enabled(3);
    gic.write(1, SGIR, 4, 1 << 16 | 4);
    gic.write(2, SGIR, 4, 1 << 24 | 4);
    gic.write(2, SGIR, 4, 1 << 24 | 4);
    assert_eq!(gic.read(0, SPENDSGIR + 4, 1), 0b110);
    assert_eq!(inject(&mut gic, 1, 4), [(4, 0)], "all but the sender");
    assert_eq!(inject(&mut gic, 2, 4), []);
    assert_eq!(inject(&mut gic, 0, 4), [(4, 0)]);
    gic.ended(0, 0);
    assert_eq!(inject(&mut gic, 0, 4), [(4, 0)]);
    gic.ended(0, 0);
    assert_eq!(inject(&mut gic, 0, 4), []);
    gic.write(0, SGIR, 4, 2 << 24 | 15);
    assert_eq!(inject(&mut gic, 0, 4), [(15, 0)], "to itself");
    gic.write(0, SGIR, 4, 3 << 24 | 0xff << 16 | 15);
    gic.write(0, SGIR, 4, 0xf8 << 16 | 15);
    assert_eq!(inject(&mut gic, 1, 4), []);
}

#[test]
fn an_spi_goes_to_its_first_target() {
    let mut gic = enabled(2);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!((gic.next(0), gic.next(1)), (None, None));
    gic.write(0, ITARGETSR + 48, 1, 0b10);
    assert_eq!(gic.next(0), None);
    assert_eq!(inject(&mut gic, 1, 4), [(48, 0)]);
    gic.write(0, ITARGETSR + 48, 1, 0b11);
    assert_eq!(gic.next(0), None, "it is in flight at the other");
    gic.ended(1, 0);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    // With one vCPU, targets do not matter.
    let mut gic = enabled(1);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
}

#[test]
fn the_number_of_list_registers_is_found_out() {
    let mut gic = enabled(1);
    for intid in 40..60 {
        enable(&mut gic, 0, intid);
        gic.set_line(0, intid, true);
    }
    let expected = [(40, 0), (41, 1), (42, 2), (43, 3)];
    assert_eq!(inject(&mut gic, 0, 4), expected);
    assert!(gic.next(0).is_none() && gic.is_pending(0));
    gic.ended(0, 2);
    let next = gic.next(0).unwrap();
    assert_eq!((next.intid, next.list_register), (42, 2));
    gic.injected(0, next, Err(Error::IllegalOperation))
        .unwrap_err();
    let none = Injection {
        list_register: 0,
        ..next
    };
    assert_eq!(
        gic.injected(0, none, Err(Error::RangeError)),
        Err(Error::RangeError)
    );
}

#[test]
fn an_active_list_register_that_was_thought_free_is_left_alone() {
    let mut gic = enabled(1);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    let next = gic.next(0).unwrap();
    gic.injected(0, next, Err(Error::DeleteFirst)).unwrap();
    assert_eq!(inject(&mut gic, 0, 4), [(48, 1)]);
    assert_eq!(gic.ended(0, 0), None);
    assert_eq!(gic.ended(0, 200), None);
    assert_eq!(gic.ended(7, 0), None);
}

#[test]
fn an_interrupt_deactivated_in_the_distributor_comes_again_in_its_register() {
    let mut gic = enabled(1);
    for intid in [48, 49] {
        enable(&mut gic, 0, intid);
        gic.set_line(0, intid, true);
    }
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0), (49, 1)]);
    assert_eq!(gic.read(0, ISACTIVER + 4, 4), 3 << 16);
    gic.write(0, ICACTIVER + 4, 4, 1 << 17);
    assert_eq!(gic.read(0, ISACTIVER + 4, 4), 1 << 16);
    assert!(gic.is_pending(0));
    let next = gic.next(0).unwrap();
    assert_eq!((next.intid, next.list_register), (49, 1));
    gic.injected(0, next, Err(Error::DeleteFirst)).unwrap();
    assert_eq!(gic.next(0), None, "the kernel knows better");
    gic.ended(0, 1);
    assert_eq!(inject(&mut gic, 0, 4), [(49, 1)]);
}

/// An interrupt in list register 0 whose device has just been quieted.
fn quieted() -> (Gic, Injection) {
    let mut gic = enabled(1);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!(gic.retire(0, 48), None, "it is in no list register");
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    assert_eq!(gic.retire(0, 48), None, "the line is high");
    gic.set_line(0, 48, false);
    let stand_in = gic.retire(0, 48).unwrap();
    (gic, stand_in)
}

#[test]
fn the_end_of_a_quieted_interrupt_needs_no_exit() {
    let (mut gic, stand_in) = quieted();
    let expected = Injection {
        intid: 48,
        priority: 31,
        group: 1,
        list_register: 0,
    };
    assert_eq!(stand_in, expected, "what the guest does not see");
    gic.retired(0, stand_in, Ok(())).unwrap();
    assert!(!gic.is_pending(0), "WFI may wait");
    assert!(!gic.is_empty(0), "but a reset has something to drain");
    // The next one need not wait for the end of this one; the stand-in goes first.
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    // The other group is the one that the interrupt is not in.
    gic.write(0, 0x84, 4, 1 << 16);
    gic.set_line(0, 48, false);
    assert_eq!(gic.retire(0, 48).map(|stand_in| stand_in.group), Some(0));
}

#[test]
fn a_refused_stand_in_leaves_everything_to_the_end_of_interrupt() {
    let (mut gic, stand_in) = quieted();
    gic.retired(0, stand_in, Err(Error::DeleteFirst)).unwrap();
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [], "it is in flight");
    assert_eq!(gic.ended(0, 0), Some(48));
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    let error = gic.retired(0, stand_in, Err(Error::RangeError));
    assert_eq!(error, Err(Error::RangeError));
}

#[test]
fn a_guest_that_sees_stand_ins_gets_one_only() {
    let (mut gic, stand_in) = quieted();
    gic.retired(0, stand_in, Ok(())).unwrap();
    assert_eq!(gic.ended(0, 0), None, "it is nobody's interrupt");
    assert!(gic.is_empty(0));
    for _ in 0..2 {
        gic.set_line(0, 48, true);
        assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
        gic.set_line(0, 48, false);
        assert_eq!(gic.retire(0, 48), None);
        assert_eq!(gic.ended(0, 0), Some(48));
    }
    // The next guest may be another one.
    gic.reset();
    gic.write(0, CTLR, 4, 3);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    inject(&mut gic, 0, 4);
    gic.set_line(0, 48, false);
    assert!(gic.retire(0, 48).is_some());
}

#[test]
fn a_stand_in_that_the_kernel_found_active_is_left_alone() {
    let (mut gic, stand_in) = quieted();
    gic.retired(0, stand_in, Ok(())).unwrap();
    gic.set_line(0, 48, true);
    let next = gic.next(0).unwrap();
    assert_eq!(next.list_register, 0);
    gic.injected(0, next, Err(Error::DeleteFirst)).unwrap();
    assert_eq!(inject(&mut gic, 0, 4), [(48, 1)]);
}

#[test]
fn an_edge_stays_pending_whatever_its_device_says() {
    let mut gic = enabled(1);
    gic.write(0, ICFGR + 12, 4, 2);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    assert_eq!(inject(&mut gic, 0, 4), [(48, 0)]);
    gic.set_line(0, 48, false);
    assert_eq!(gic.retire(0, 48), None);
}

#[test]
fn software_can_make_an_interrupt_pending_or_active() {
    let mut gic = enabled(1);
    enable(&mut gic, 0, 60);
    gic.write(0, ISPENDR + 4, 4, 1 << 28);
    gic.write(0, ISACTIVER + 4, 4, 1 << 28);
    assert_eq!(gic.next(0), None, "active ones are not signalled");
    gic.write(0, ICACTIVER + 4, 4, 1 << 28);
    assert_eq!(inject(&mut gic, 0, 4), [(60, 0)]);
    gic.ended(0, 0);
    assert_eq!(gic.next(0), None);
}

#[test]
fn a_reset_forgets_everything_but_the_lines() {
    let mut gic = enabled(2);
    enable(&mut gic, 0, 48);
    gic.set_line(0, 48, true);
    gic.set_line(1, TIMER, true);
    gic.write(0, SGIR, 4, 2 << 24 | 1);
    inject(&mut gic, 0, 4);
    gic.reset();
    assert_eq!((gic.next(0), gic.in_flight(0).next()), (None, None));
    assert_eq!(gic.read(0, CTLR, 4), 0);
    assert!(gic.line(0, 48) && gic.line(1, TIMER) && !gic.line(0, TIMER));
}
