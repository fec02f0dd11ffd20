//! The controller against hardware that is played by a small model, in random order.

use super::*;
use proptest::prelude::*;

/// The hardware's side of a vCPU: list registers, and what the guest has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hardware {
    Invalid,
    Pending(u16, u8),
    Active(u16),
    /// Ended by the guest, and the kernel has not told yet.
    Ended,
    /// Pending, but of a group and priority that the guest does not see.
    StandIn,
}

#[derive(Clone, Debug)]
enum Step {
    Raise(u16),
    Lower(u16),
    /// The guest has the device lower its line, which exits.
    Quiet(u16),
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
        3 => line().prop_map(Step::Quiet),
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
            Step::Lower(intid) => self.lower(intid),
            Step::Quiet(intid) => {
                self.lower(intid);
                self.retire(intid);
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

    fn lower(&mut self, intid: u16) {
        self.lines[usize::from(intid)] = false;
        self.gic.set_line(0, intid, false);
    }

    /// Lets a stand-in take the place of an interrupt, in whichever state it is.
    fn retire(&mut self, intid: u16) {
        let Some(stand_in) = self.gic.retire(0, intid) else {
            let level = !Self::is_edge(intid);
            let there = self.hardware.iter().any(|register| {
                matches!(register, Hardware::Pending(held, _) | Hardware::Active(held) if *held == intid)
            });
            assert!(!(level && there), "{intid} could have been retired");
            return;
        };
        assert!(!Self::is_edge(intid), "an edge stays pending");
        assert_eq!((stand_in.priority, stand_in.group), (31, 1));
        let register = &mut self.hardware[usize::from(stand_in.list_register)];
        assert!(
            match *register {
                Hardware::Pending(held, _) | Hardware::Active(held) => held == intid,
                // The guest has ended it before it has lowered the line.
                other => other == Hardware::Ended,
            },
            "{register:?} was overwritten"
        );
        *register = Hardware::StandIn;
        self.gic.retired(0, stand_in, Ok(())).unwrap();
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
            let free = matches!(self.hardware[index], Hardware::Invalid | Hardware::StandIn);
            assert!(free, "overwritten");
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
        let free = |register| matches!(register, Hardware::Invalid | Hardware::StandIn);
        prop_assert!(world.hardware.into_iter().all(free));
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
