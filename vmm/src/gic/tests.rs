//! Every register, and the controller against hardware that is played by a small model.

use super::*;
use proptest::prelude::*;

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

/// The hardware's side of a vCPU: list registers, and what the guest has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hardware {
    Invalid,
    Pending(u16, u8),
    Active(u16),
    /// Ended by the guest, and the kernel has not told yet.
    Ended,
}

#[derive(Clone, Debug)]
enum Step {
    Raise(u16),
    Lower(u16),
    Sgi(u16),
    Enable(u16),
    Disable(u16),
    Priority(u16, u8),
    Forward(bool),
    /// The guest acknowledges its most urgent interrupt.
    Acknowledge,
    /// It ends the one in this list register.
    End(u8),
    /// The kernel tells about an end.
    Maintenance,
}

const REGISTERS: usize = 4;
const LINES: [u16; 7] = [27, 48, 49, 50, 51, 52, 53];
/// Configured as edge-triggered.
const EDGES: [u16; 2] = [52, 53];

fn step() -> impl Strategy<Value = Step> {
    let line = || prop::sample::select(&LINES[..]);
    prop_oneof![
        3 => line().prop_map(Step::Raise),
        2 => line().prop_map(Step::Lower),
        2 => (0_u16..3).prop_map(Step::Sgi),
        2 => line().prop_map(Step::Enable),
        1 => line().prop_map(Step::Disable),
        1 => (line(), 0_u8..4).prop_map(|(intid, n)| Step::Priority(intid, n << 6)),
        1 => prop::bool::weighted(0.8).prop_map(Step::Forward),
        4 => Just(Step::Acknowledge),
        4 => (0_u8..4).prop_map(Step::End),
        3 => Just(Step::Maintenance),
    ]
}

/// What must be true, kept apart from the controller and in the simplest form.
struct World {
    gic: Gic,
    hardware: [Hardware; REGISTERS],
    enabled: Vec<u16>,
    forwarding: bool,
    priorities: [u8; 128],
    /// Edges that have come since the interrupt was last injected.
    edges: [bool; 128],
    lines: [bool; 128],
}

impl World {
    fn new() -> Self {
        let mut gic = enabled(1);
        gic.write(0, ICFGR + 12, 4, 0b1010 << 8);
        Self {
            gic,
            hardware: [Hardware::Invalid; REGISTERS],
            enabled: vec![],
            forwarding: true,
            priorities: [0; 128],
            edges: [false; 128],
            lines: [false; 128],
        }
    }

    fn is_edge(intid: u16) -> bool {
        intid < 16 || EDGES.contains(&intid)
    }

    fn wants(&self, intid: u16) -> bool {
        let index = usize::from(intid);
        let pending = if Self::is_edge(intid) {
            self.edges[index]
        } else {
            self.lines[index]
        };
        let enabled = intid < 16 || self.enabled.contains(&intid);
        pending && enabled && self.forwarding && !self.holds(intid)
    }

    fn holds(&self, intid: u16) -> bool {
        self.hardware.iter().any(|register| {
            matches!(register, Hardware::Pending(held, _) | Hardware::Active(held) if *held == intid)
        }) || self.gic.in_flight(0).any(|held| held == intid)
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Raise(intid) => {
                let rises = !std::mem::replace(&mut self.lines[usize::from(intid)], true);
                self.edges[usize::from(intid)] |= rises && Self::is_edge(intid);
                self.gic.set_line(0, intid, true);
            }
            Step::Lower(intid) => {
                self.lines[usize::from(intid)] = false;
                self.gic.set_line(0, intid, false);
            }
            Step::Sgi(intid) => {
                self.edges[usize::from(intid)] = true;
                self.gic.write(0, SGIR, 4, 2 << 24 | u64::from(intid));
            }
            Step::Enable(intid) => {
                self.enabled.push(intid);
                enable(&mut self.gic, 0, intid);
            }
            Step::Disable(intid) => {
                self.enabled.retain(|other| *other != intid);
                disable(&mut self.gic, 0, intid);
            }
            Step::Priority(intid, priority) => {
                self.priorities[usize::from(intid)] = priority;
                let offset = IPRIORITYR + u64::from(intid);
                self.gic.write(0, offset, 1, priority.into());
            }
            Step::Forward(on) => {
                self.forwarding = on;
                self.gic.write(0, CTLR, 4, on.into());
            }
            Step::Acknowledge => self.acknowledge(),
            Step::End(index) => {
                let register = &mut self.hardware[usize::from(index)];
                if matches!(register, Hardware::Active(_)) {
                    *register = Hardware::Ended;
                }
            }
            Step::Maintenance => self.maintain(),
        }
        self.inject();
    }

    fn acknowledge(&mut self) {
        let most_urgent = self
            .hardware
            .iter_mut()
            .filter_map(|register| match *register {
                Hardware::Pending(intid, priority) => Some((priority, intid, register)),
                _ => None,
            });
        if let Some((_, intid, register)) = most_urgent.min_by_key(|found| (found.0, found.1)) {
            *register = Hardware::Active(intid);
        }
    }

    fn maintain(&mut self) {
        let ended = self
            .hardware
            .iter()
            .position(|register| *register == Hardware::Ended);
        if let Some(index) = ended {
            self.hardware[index] = Hardware::Invalid;
            let index = u8::try_from(index).unwrap();
            assert!(self.gic.ended(0, index).is_some());
        }
    }

    /// Injects all that there is, and checks each against what must be true.
    fn inject(&mut self) {
        while let Some(injection) = self.gic.next(0) {
            let index = usize::from(injection.list_register);
            if index >= REGISTERS {
                let refused = Err(Error::RangeError);
                self.gic.injected(0, injection, refused).unwrap();
                continue;
            }
            let intid = injection.intid;
            assert!(
                self.wants(intid),
                "{intid} is not pending and enabled, or in flight"
            );
            assert_eq!(self.hardware[index], Hardware::Invalid, "overwritten");
            let urgency = |intid: u16| (self.priorities[usize::from(intid)], intid);
            let best = (0..16)
                .chain(LINES)
                .filter(|other| self.wants(*other))
                .min_by_key(|i| urgency(*i));
            assert_eq!(best, Some(intid), "not the most urgent");
            assert_eq!(injection.priority, self.priorities[usize::from(intid)] >> 3);
            self.hardware[index] = Hardware::Pending(intid, injection.priority);
            self.edges[usize::from(intid)] = false;
            self.gic.injected(0, injection, Ok(())).unwrap();
        }
        let full = self.gic.in_flight(0).count() == REGISTERS;
        let waiting = (0..16).chain(LINES).find(|intid| self.wants(*intid));
        assert!(
            full || waiting.is_none(),
            "{waiting:?} waits, but a list register is free"
        );
    }
}

proptest! {
    #[test]
    fn no_interrupt_is_lost_or_comes_unasked(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        // In the end the guest enables everything, and handles until nothing comes any more.
        world.apply(&Step::Forward(true));
        for intid in LINES {
            world.apply(&Step::Enable(intid));
        }
        for _ in 0..100 {
            for register in world.hardware {
                // A handler quiets its device.
                if let Hardware::Active(intid) = register {
                    world.apply(&Step::Lower(intid));
                }
            }
            for index in 0..4 {
                world.apply(&Step::End(index));
                world.apply(&Step::Maintenance);
            }
            world.apply(&Step::Acknowledge);
        }
        prop_assert_eq!(world.hardware, [Hardware::Invalid; REGISTERS]);
        prop_assert!((0..128).all(|intid| !world.wants(intid)));
        prop_assert!(!world.gic.is_pending(0));
    }

    #[test]
    fn no_access_to_the_distributor_panics(
        accesses in prop::collection::vec(
            (0_u8..5, prop_oneof![0_u64..0x1010, any::<u64>()], prop::sample::select(&[1_u8, 2, 4, 8][..]), any::<u64>(), any::<bool>()),
            0..100,
        )
    ) {
        let mut gic = Gic::new(4);
        for (vcpu, offset, size, value, write) in accesses {
            if write {
                gic.write(vcpu, offset, size, value);
            } else {
                let bits = u32::from(size) * 8;
                prop_assert_eq!(gic.read(vcpu, offset, size).checked_shr(bits).unwrap_or(0), 0);
            }
            let _ = gic.next(vcpu);
        }
    }
}
