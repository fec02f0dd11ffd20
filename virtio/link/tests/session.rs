//! Both ends of a link, played against each other, and against a liar.
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

use sel4cp_link::{
    CONFIG_SIZE, Changes, DeviceEnd, Event, Facts, LinkPage, QueueSetup, VmmEnd, interrupt,
};
use sel4cp_model::status::Status;

const DRIVER_OK: u8 = Status::DRIVER_OK.bits() | 11;

fn facts() -> Facts {
    let mut queue_max = [0; 8];
    queue_max[0] = 256;
    queue_max[2] = 64;
    Facts {
        id: 2,
        features: 1 << 32 | 0b1010,
        queue_max,
    }
}

fn setup(size: u16) -> QueueSetup {
    QueueSetup {
        size,
        ready: true,
        descriptors: 0x4000_0000,
        driver: 0x4000_1000,
        device: 0x4000_2000,
    }
}

fn page() -> &'static LinkPage {
    Box::leak(Box::default())
}

/// Both ends, the device announced and ready.
fn ready() -> (&'static LinkPage, VmmEnd, DeviceEnd) {
    let page = page();
    let mut vmm = VmmEnd::new(page);
    let mut device = DeviceEnd::new(page);
    device.announce(&facts(), b"config");
    let changes = vmm.poll();
    assert!(changes.announced && changes.reset_done && vmm.is_ready());
    assert_eq!(device.poll(), None);
    (page, vmm, device)
}

/// Both ends, with a driver that uses the device.
fn running() -> (&'static LinkPage, VmmEnd, DeviceEnd) {
    let (page, mut vmm, mut device) = ready();
    vmm.set_features(1 << 32 | 0b10);
    vmm.set_queue(0, setup(128));
    assert!(!vmm.set_status(11));
    assert_eq!(device.poll(), None, "not before DRIVER_OK");
    assert!(vmm.set_status(DRIVER_OK));
    assert!(!vmm.set_status(DRIVER_OK), "told once");
    assert_eq!(device.poll(), Some(Event::Start));
    (page, vmm, device)
}

#[test]
fn a_session_starts_with_what_was_negotiated() {
    let (_, _, device) = running();
    let session = device.session();
    assert_eq!(session.features, 1 << 32 | 0b10);
    assert_eq!(session.queues[0], setup(128));
    assert!(!session.queues[2].ready && !session.resumed);
}

#[test]
fn nothing_is_known_before_the_announcement() {
    let page = page();
    let mut vmm = VmmEnd::new(page);
    let mut device = DeviceEnd::new(page);
    assert_eq!(vmm.poll(), Changes::default());
    assert!(!vmm.is_ready() && vmm.facts().is_none());
    assert!(!vmm.kick());
    assert_eq!(device.poll(), None);
    assert!(!device.interrupt(interrupt::USED_BUFFER) && !device.needs_reset());
    // The order in which the two start does not matter.
    device.announce(&facts(), &[]);
    let mut late = VmmEnd::new(page);
    assert!(late.is_resetting());
    assert_eq!(device.poll(), Some(Event::Reset));
    device.acknowledge();
    let changes = late.poll();
    assert!(changes.announced && changes.reset_done && late.is_ready());
    assert_eq!(late.facts(), Some(&facts()));
}

#[test]
fn kicks_are_collected_and_told_once() {
    let (_, mut vmm, mut device) = running();
    assert!(vmm.kick());
    assert!(!vmm.kick(), "the first has not been taken");
    assert_eq!(device.poll(), Some(Event::Kick));
    assert_eq!(device.poll(), None);
    assert!(vmm.kick(), "a new one is told again");
}

#[test]
fn s3_1_kicks_before_driver_ok_are_nothing() {
    let (_, mut vmm, mut device) = ready();
    assert!(!vmm.kick());
    let _notify = vmm.set_status(3);
    assert!(!vmm.kick());
    assert_eq!(device.poll(), None);
}

#[test]
fn interrupts_are_collected_and_told_once() {
    let (_, mut vmm, mut device) = running();
    assert!(device.interrupt(interrupt::USED_BUFFER));
    assert!(!device.interrupt(interrupt::USED_BUFFER));
    assert!(device.set_config(b"other"));
    assert_eq!(vmm.poll().interrupts, 3);
    assert_eq!(vmm.poll().interrupts, 0);
    assert!(device.interrupt(interrupt::USED_BUFFER));
}

#[test]
fn s2_5_1_configuration_is_never_half_and_has_a_generation() {
    let (_, vmm, mut device) = running();
    let mut bytes = [0xff; CONFIG_SIZE];
    let first = vmm.config(&mut bytes).unwrap();
    assert_eq!((&bytes[..8], vmm.config_size()), (&b"config\0\0"[..], 6));
    let writer = std::thread::spawn(move || {
        for value in 0..20_000_u32 {
            let _notify = device.set_config(&[value.to_le_bytes()[0]; CONFIG_SIZE]);
        }
    });
    let mut copies = 0;
    while !writer.is_finished() || copies == 0 {
        if let Some(generation) = vmm.config(&mut bytes).filter(|new| *new != first) {
            assert!(
                bytes.iter().all(|byte| *byte == bytes[0]),
                "{generation}: {bytes:?}"
            );
            copies += 1;
        }
    }
    writer.join().unwrap();
    assert_eq!(vmm.config(&mut bytes), Some(first + 20_000));
}

#[test]
fn configuration_beyond_its_space_is_cut() {
    let (_, vmm, mut device) = running();
    let _notify = device.set_config(&[7; CONFIG_SIZE + 9]);
    let mut bytes = [0; CONFIG_SIZE];
    vmm.config(&mut bytes).unwrap();
    assert_eq!((bytes, vmm.config_size()), ([7; CONFIG_SIZE], CONFIG_SIZE));
}

#[test]
fn s2_4_a_reset_waits_for_what_is_in_flight() {
    let (_, mut vmm, mut device) = running();
    let _notify = vmm.kick();
    let _notify = device.interrupt(interrupt::USED_BUFFER);
    vmm.reset();
    assert!(!vmm.kick());
    assert_eq!(device.poll(), Some(Event::Reset));
    assert_eq!(device.poll(), None, "told once");
    for _ in 0..3 {
        assert_eq!(vmm.poll(), Changes::default(), "held until acknowledged");
    }
    // Requests come back meanwhile: the guest hears nothing of it.
    assert!(!device.interrupt(interrupt::USED_BUFFER));
    assert!(vmm.is_resetting() && device.is_resetting());
    device.acknowledge();
    let changes = vmm.poll();
    assert!(changes.reset_done && changes.interrupts == 0);
    assert_eq!(device.poll(), None, "no kick of the old generation");
    // And again from the start, with less than before.
    assert!(vmm.set_status(DRIVER_OK));
    assert_eq!(device.poll(), Some(Event::Start));
    assert_eq!(device.session().features, 0);
    assert!(!device.session().queues[0].ready);
}

#[test]
fn resets_that_come_together_are_one() {
    let (_, mut vmm, mut device) = running();
    vmm.reset();
    vmm.reset();
    assert_eq!(device.poll(), Some(Event::Reset));
    vmm.reset();
    device.acknowledge();
    device.acknowledge();
    assert!(vmm.poll().reset_done);
    assert!(!vmm.poll().reset_done);
    vmm.reset();
    assert_eq!(device.poll(), Some(Event::Reset));
}

#[test]
fn a_configuration_change_survives_a_reset() {
    let (_, mut vmm, mut device) = running();
    vmm.reset();
    assert_eq!(device.poll(), Some(Event::Reset));
    let _notify = device.set_config(b"new");
    device.acknowledge();
    let changes = vmm.poll();
    assert!(changes.reset_done);
    assert_eq!(changes.interrupts, interrupt::CONFIGURATION);
}

#[test]
fn s2_1_2_needs_reset_until_the_reset() {
    let (_, mut vmm, mut device) = running();
    assert!(device.needs_reset());
    let changes = vmm.poll();
    assert!(changes.needs_reset);
    assert_eq!(changes.interrupts, interrupt::CONFIGURATION);
    vmm.reset();
    assert_eq!(device.poll(), Some(Event::Reset));
    device.acknowledge();
    assert!(!vmm.poll().needs_reset);
    let _notify = vmm.set_status(DRIVER_OK);
    assert_eq!(device.poll(), Some(Event::Start));
    let _notify = device.set_config(&[]);
    assert!(!vmm.poll().needs_reset);
}

#[test]
fn a_backend_that_starts_again_gets_the_running_session() {
    let (page, mut vmm, _dead) = running();
    let mut device = DeviceEnd::new(page);
    assert_eq!(device.poll(), None);
    device.announce(&facts(), b"config");
    let changes = vmm.poll();
    assert!(changes.announced && !changes.reset_done && !changes.needs_reset);
    assert_eq!(device.poll(), Some(Event::Start));
    assert!(device.session().resumed);
    assert_eq!(device.session().queues[0], setup(128));
    // The mark goes with the session.
    vmm.reset();
    assert_eq!(device.poll(), Some(Event::Reset));
    device.acknowledge();
    assert!(vmm.poll().reset_done);
    let _notify = vmm.set_status(DRIVER_OK);
    assert_eq!(device.poll(), Some(Event::Start));
    assert!(!device.session().resumed);
}

#[test]
fn a_backend_that_starts_again_finishes_the_reset_of_the_dead_one() {
    let (page, mut vmm, mut dying) = running();
    vmm.reset();
    assert_eq!(dying.poll(), Some(Event::Reset));
    let mut device = DeviceEnd::new(page);
    device.announce(&facts(), b"config");
    let changes = vmm.poll();
    assert!(changes.announced && changes.reset_done);
    assert_eq!(device.poll(), None);
    let _notify = vmm.set_status(DRIVER_OK);
    assert_eq!(device.poll(), Some(Event::Start));
    assert!(!device.session().resumed);
}

#[test]
fn another_device_does_not_get_the_running_session() {
    for change in [
        |facts: &mut Facts| facts.id = 1,
        |facts: &mut Facts| facts.features &= !0b10,
        |facts: &mut Facts| facts.queue_max[0] = 64,
    ] {
        let (page, mut vmm, _dead) = running();
        let mut other = facts();
        change(&mut other);
        let mut device = DeviceEnd::new(page);
        device.announce(&other, &[]);
        let changes = vmm.poll();
        assert!(changes.needs_reset && changes.interrupts == interrupt::CONFIGURATION);
        assert_eq!(
            vmm.facts(),
            Some(&facts()),
            "the driver keeps seeing what it knows"
        );
        assert_eq!(device.poll(), None, "it must not run");
        vmm.reset();
        assert_eq!(device.poll(), Some(Event::Reset));
        device.acknowledge();
        assert!(vmm.poll().reset_done);
        assert_eq!(vmm.facts(), Some(&other));
    }
}

#[test]
fn a_vmm_that_starts_again_resets() {
    let (page, _dead, mut device) = running();
    let mut vmm = VmmEnd::new(page);
    assert_eq!(device.poll(), Some(Event::Reset));
    device.acknowledge();
    let changes = vmm.poll();
    assert!(changes.announced && changes.reset_done);
}

#[test]
fn counters_are_there_to_be_read() {
    let (_, vmm, device) = running();
    device.set_counters(&[3, 4]);
    assert_eq!((vmm.counter(0), vmm.counter(1), vmm.counter(99)), (3, 4, 0));
    device.set_counters(&[9; 100]);
    assert_eq!(vmm.counter(15), 9);
}

/// A VMM that offers what it may not: the device's copy is cut to what the device is.
#[test]
fn a_lying_vmm_gets_no_more_than_was_offered() {
    let (_, mut vmm, mut device) = ready();
    vmm.set_features(u64::MAX);
    vmm.set_queue(0, setup(257));
    vmm.set_queue(1, setup(4));
    vmm.set_queue(2, setup(64));
    vmm.set_queue(8, setup(4));
    vmm.set_queue(u32::MAX, setup(4));
    let _notify = vmm.set_status(0xff);
    assert_eq!(device.poll(), Some(Event::Start));
    let session = device.session();
    assert_eq!(session.features, facts().features);
    assert_eq!(
        session.queues.map(|queue| queue.ready).map(u8::from),
        [0, 0, 1, 0, 0, 0, 0, 0]
    );
}

/// A device that makes up facts: the VMM's copy has only what the transport can show.
#[test]
fn a_lying_device_has_only_possible_queues() {
    let page = page();
    let mut vmm = VmmEnd::new(page);
    let mut device = DeviceEnd::new(page);
    let mut lie = facts();
    lie.queue_max = [3, 0x8000, 0xffff, 1, 0, 256, 100, 2];
    device.announce(&lie, &[]);
    assert!(vmm.poll().announced);
    assert_eq!(
        vmm.facts().unwrap().queue_max,
        [0, 0x8000, 0, 1, 0, 256, 0, 2]
    );
    assert_eq!(vmm.facts().unwrap().queue_max(8), 0);
    assert_eq!(vmm.facts().unwrap().queue_max(u32::MAX), 0);
}
