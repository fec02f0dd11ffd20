//! Commands of the control queue (virtIO 1.2 §5.1.6.5).

use crate::common::Bench;
use crate::rig::{RECEIVEQ, Rig, Setup};
use crate::run::takes;
use crate::tcp::Segment;
use sel4cp_backends::net::Net;
use sel4cp_link::interrupt;
use sel4cp_model::net::{COMMAND_ERR, COMMAND_OK, CONTROLQ, Features as F, OffloadsCommand};
use sel4cp_testing::{Buffer, readable, readable_obj, writable};

const CONTROL: F = F::CTRL_VQ.union(F::CTRL_GUEST_OFFLOADS);
const QUEUE: usize = CONTROLQ as usize;

fn set(offloads: F) -> OffloadsCommand {
    OffloadsCommand {
        class: OffloadsCommand::CLASS,
        command: OffloadsCommand::SET,
        offloads: offloads.bits().into(),
    }
}

/// The answer to a command.
fn answer(bench: &mut Bench<Net>, buffers: &[Buffer]) -> u8 {
    bench.guest.queue(QUEUE).add(buffers);
    assert!(bench.kick(QUEUE), "the guest notifies of each command");
    let used = bench.guest.queue(QUEUE).collect();
    let [used] = &used[..] else {
        panic!("{} answers", used.len());
    };
    assert!(bench.interrupts & interrupt::USED_BUFFER != 0);
    assert_eq!(used.len, 1);
    used.bytes[0]
}

fn command(rig: &mut Rig, offloads: F) -> u8 {
    let buffers = [readable_obj(&set(offloads)), writable(1)];
    answer(&mut rig.bench, &buffers)
}

/// Before a guest that accepts `features` and has buffers, behind hardware that merges buffers and no more.
fn chooses(features: F) -> Rig {
    crate::run::joining(features | F::MRG_RXBUF, 100, 4096)
}

/// How many frames the guest gets of these ten.
fn got(rig: &mut Rig) -> usize {
    let long = Segment::plain(14_000);
    let got = rig.at_once(&long.pieces(1400));
    for _ in got.iter().flat_map(|(_, _, buffers)| buffers) {
        rig.offer(&[writable(4096)]);
    }
    got.len()
}

#[test]
fn s5_1_3_a_guest_may_choose_where_the_hardware_does_nothing_to_what_it_receives() {
    for (hardware, offered) in [
        (F::empty(), true),
        (F::MRG_RXBUF | F::TRANSMIT_OFFLOADS, true),
        (F::GUEST_CSUM, false),
        (F::RECEIVE_OFFLOADS | F::TRANSMIT_OFFLOADS, false),
    ] {
        let rig = Rig::agreed(hardware, F::all());
        let facts = rig.bench.vmm.facts().unwrap();
        let features = F::from_bits_truncate(facts.features);
        assert_eq!(features.contains(CONTROL), offered, "{hardware:?}");
        assert_eq!(features.intersects(CONTROL), offered, "{hardware:?}");
        assert_eq!(facts.queue_max(CONTROLQ.into()) != 0, offered);
        rig.bench.guest.finish();
    }
}

#[test]
fn s5_1_6_5_6_a_guest_gets_frames_as_they_came_and_joined_ones_again() {
    let mut rig = chooses(takes() | CONTROL);
    assert_eq!(got(&mut rig), 1, "what it accepted is on at first");
    for _ in 0..20 {
        assert_eq!(command(&mut rig, F::empty()), COMMAND_OK);
        assert_eq!(got(&mut rig), 10);
        // With checksums alone nothing is joined, and of another kind not either.
        assert_eq!(command(&mut rig, F::GUEST_CSUM), COMMAND_OK);
        assert_eq!(got(&mut rig), 10);
        let six = F::GUEST_CSUM | F::GUEST_TSO6;
        assert_eq!(command(&mut rig, six), COMMAND_OK);
        assert_eq!(got(&mut rig), 10);
        // A long frame is not to be had without checksums (§5.1.3.1).
        assert_eq!(command(&mut rig, F::LONG), COMMAND_OK);
        assert_eq!(got(&mut rig), 10);
        let all = F::GUEST_CSUM | F::LONG;
        assert_eq!(command(&mut rig, all), COMMAND_OK);
        assert_eq!(got(&mut rig), 1);
    }
    rig.end();
}

#[test]
fn s5_1_6_5_6_2_what_was_not_accepted_cannot_be_chosen() {
    let mut rig = chooses(F::GUEST_CSUM | F::GUEST_TSO4 | CONTROL);
    for refused in [
        F::LONG | F::GUEST_CSUM,
        F::GUEST_TSO6,
        F::GUEST_UFO,
        F::MRG_RXBUF,
        F::CTRL_VQ,
        F::CSUM,
        F::from_bits_retain(1 << 63),
    ] {
        assert_eq!(command(&mut rig, refused), COMMAND_ERR, "{refused:?}");
        assert_eq!(got(&mut rig), 1, "it changes nothing");
    }
    rig.end();
}

#[test]
fn s5_1_6_5_what_makes_no_sense_is_refused() {
    let mut rig = chooses(takes() | CONTROL);
    let known = set(F::empty());
    let other = |class, command| OffloadsCommand {
        class,
        command,
        ..known
    };
    for buffers in [
        vec![readable_obj(&other(0, 0)), writable(1)],
        vec![readable_obj(&other(5, 1)), writable(1)],
        vec![readable_obj(&other(255, 255)), writable(1)],
        vec![readable([5, 0]), writable(1)],
        vec![readable([5, 0, 0, 0, 0, 0, 0, 0, 0]), writable(1)],
        vec![readable_obj(&known), readable([0]), writable(1)],
        vec![readable([5]), writable(1)],
        vec![writable(1)],
        vec![writable(10)],
    ] {
        assert_eq!(answer(&mut rig.bench, &buffers), COMMAND_ERR, "{buffers:?}");
        assert_eq!(got(&mut rig), 1, "it changes nothing");
    }
    rig.end();
}

#[test]
fn s2_7_4_a_command_may_be_cut_anywhere() {
    let mut rig = chooses(takes() | CONTROL);
    let bytes = [5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for cut in 1..9 {
        let (one, two) = bytes.split_at(cut);
        let buffers = [readable(one), readable(two), writable(1)];
        assert_eq!(answer(&mut rig.bench, &buffers), COMMAND_OK);
        assert_eq!(got(&mut rig), 10);
        let all = F::GUEST_CSUM | F::LONG;
        assert_eq!(command(&mut rig, all), COMMAND_OK);
    }
    rig.end();
}

#[test]
fn several_commands_are_answered_in_their_order() {
    let mut rig = chooses(takes() | CONTROL);
    let all = F::GUEST_CSUM | F::LONG;
    for last in [F::empty(), all] {
        for offloads in [all, F::GUEST_UFO, F::empty(), last] {
            let buffers = [readable_obj(&set(offloads)), writable(1)];
            rig.bench.guest.queue(QUEUE).add_indirect(&buffers);
        }
        rig.bench.kick(QUEUE);
        let used = rig.bench.guest.queue(QUEUE).collect();
        let answers: Vec<_> = used.iter().map(|used| used.bytes[0]).collect();
        assert_eq!(answers, [COMMAND_OK, COMMAND_ERR, COMMAND_OK, COMMAND_OK]);
        assert_eq!(got(&mut rig), if last.is_empty() { 10 } else { 1 });
    }
    rig.end();
}

#[test]
fn a_command_without_room_for_the_answer_needs_a_reset() {
    let mut rig = chooses(takes() | CONTROL);
    let buffers = [readable_obj(&set(F::empty()))];
    rig.bench.guest.queue(QUEUE).add(&buffers);
    rig.bench.kick(QUEUE);
    assert!(rig.bench.needs_reset);
    assert_eq!(rig.bench.guest.queue(QUEUE).collect().len(), 0);
    rig.bench.guest.abandon();
}

#[test]
fn without_the_features_it_is_refused() {
    for features in [takes(), takes() | F::CTRL_VQ] {
        let mut rig = chooses(features);
        assert_eq!(command(&mut rig, F::empty()), COMMAND_ERR);
        assert_eq!(got(&mut rig), 1);
        rig.end();
    }
}

#[test]
fn after_a_reset_all_that_is_accepted_is_on() {
    let mut rig = chooses(takes() | CONTROL);
    assert_eq!(command(&mut rig, F::empty()), COMMAND_OK);
    assert!(!rig.bench.reset());
    rig.wire.reset();
    assert!(rig.bench.turn().reset_done);
    rig.bench.restart(3, (takes() | CONTROL).bits());
    rig.wire.take();
    rig.wire.reset();
    rig.bench.turn();
    for _ in 0..100 {
        rig.offer(&[writable(4096)]);
    }
    assert_eq!(got(&mut rig), 1);
    assert_eq!(rig.bench.guest.queue(RECEIVEQ).collect().len(), 0);
    assert_eq!(command(&mut rig, F::empty()), COMMAND_OK);
    rig.end();
}

#[test]
fn a_queue_of_one_entry_serves_one_command_after_another() {
    let mut rig = Rig::of(Setup {
        queues: [128, 128, 1],
        ..Setup::default()
    });
    rig.bench.start((takes() | CONTROL).bits());
    for _ in 0..5 {
        let buffers = [readable_obj(&set(F::empty())), writable(1)];
        rig.bench.guest.queue(QUEUE).add_indirect(&buffers);
        assert!(rig.bench.kick(QUEUE), "the guest notifies of each command");
        let used = rig.bench.guest.queue(QUEUE).collect();
        assert_eq!(used[0].bytes, [COMMAND_OK]);
    }
    rig.bench.guest.finish();
}
