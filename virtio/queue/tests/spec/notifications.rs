//! §2.7.7, §2.7.10: who tells whom, and when not.

use std::collections::VecDeque;

use proptest::prelude::*;
use sel4cp_queue::{End, Features, GuestFault, Served};
use sel4cp_testing::{readable, writable};

use crate::{NONE, guest, invert, pop, scratch};

#[test]
fn s2_7_7_2_flags_without_event_idx() {
    let (mut guest, mut queue) = guest(8, NONE);
    for wanted in [true, false, true] {
        if wanted {
            guest.queue(0).enable_interrupts();
        } else {
            guest.queue(0).disable_interrupts();
        }
        // The device must ignore used_event: this one would say the opposite.
        let index = guest.queue(0).used_index();
        guest
            .queue(0)
            .write_used_event(if wanted { index.wrapping_add(9) } else { index });
        guest.queue(0).add(&[writable(1)]);
        guest.queue(0).kick();
        assert_eq!(invert(&mut queue).interrupt, wanted);
        assert_eq!(guest.queue(0).interrupt_due(), wanted);
        guest.queue(0).collect();
    }
    guest.finish();
}

#[test]
fn s2_7_7_2_used_event_with_event_idx() {
    let (mut guest, mut queue) = guest(16, Features::EVENT_IDX);
    // Interrupt once the entry with index 2 is there: the third chain.
    guest.queue(0).write_used_event(2);
    for expected in [false, false, true, false, false] {
        guest.queue(0).add(&[writable(1)]);
        guest.queue(0).kick();
        assert_eq!(invert(&mut queue).interrupt, expected);
    }
    guest.finish();
}

#[test]
fn s2_7_7_2_one_interrupt_for_a_batch_that_passes_used_event() {
    let (mut guest, mut queue) = guest(16, Features::EVENT_IDX);
    guest.queue(0).write_used_event(4);
    for _ in 0..9 {
        guest.queue(0).add(&[writable(1)]);
    }
    guest.queue(0).kick();
    let batch = invert(&mut queue);
    assert_eq!((batch.chains, batch.interrupt), (9, true));
    assert!(!queue.publish(), "nothing new, so nothing to interrupt for");
    guest.finish();
}

#[test]
fn s2_7_10_2_the_chain_after_others() {
    let (mut guest, mut queue) = guest(8, Features::EVENT_IDX);
    // As often as the index wraps around in a small queue.
    for more in [0, 1, 2, 5, 0, 7, 3] {
        assert!(!queue.enable_notifications_after(more).unwrap());
        for chain in 0..=more {
            guest.queue(0).add(&[writable(1)]);
            assert_eq!(guest.queue(0).kick(), chain == more);
        }
        assert!(queue.enable_notifications_after(more).unwrap());
        assert_eq!(invert(&mut queue).chains, u32::from(more) + 1);
        guest.queue(0).collect();
    }
    guest.finish();
}

#[test]
fn s2_7_10_2_without_event_idx_each_chain_is_notified_of() {
    let (mut guest, mut queue) = guest(8, NONE);
    for _ in 0..3 {
        assert!(!queue.enable_notifications_after(5).unwrap());
        guest.queue(0).add(&[writable(1)]);
        assert!(guest.queue(0).kick());
        assert_eq!(invert(&mut queue).chains, 1);
        guest.queue(0).collect();
    }
    guest.finish();
}

#[test]
fn s2_7_10_2_flags_without_event_idx() {
    let (mut guest, mut queue) = guest(8, NONE);
    guest.queue(0).add(&[writable(1)]);
    assert!(guest.queue(0).kick(), "at first the device wants to know");
    queue.disable_notifications();
    guest.queue(0).add(&[writable(1)]);
    assert!(!guest.queue(0).kick());
    assert!(
        queue.enable_notifications().unwrap(),
        "there was work that nobody told it of"
    );
    guest.queue(0).add(&[writable(1)]);
    assert!(guest.queue(0).kick());
    assert_eq!(invert(&mut queue).chains, 3);
    assert!(!queue.enable_notifications().unwrap());
    guest.finish();
}

#[test]
fn s2_7_10_2_avail_event_with_event_idx() {
    let (mut guest, mut queue) = guest(8, Features::EVENT_IDX);
    guest.queue(0).add(&[writable(1)]);
    assert!(
        guest.queue(0).kick(),
        "avail_event is 0 at first, and the first entry has index 0"
    );
    guest.queue(0).add(&[writable(1)]);
    assert!(!guest.queue(0).kick(), "the device has not asked again");
    assert_eq!(invert(&mut queue).chains, 2);
    guest.queue(0).add(&[writable(1)]);
    assert!(guest.queue(0).kick(), "serving ends with asking");
    guest.queue(0).add(&[writable(1)]);
    assert!(!guest.queue(0).kick());
    assert_eq!(invert(&mut queue).chains, 2);
    guest.finish();
}

#[test]
fn a_device_that_cannot_go_on_is_not_notified() {
    let (mut guest, mut queue) = guest(8, NONE);
    guest.queue(0).add(&[writable(1)]);
    assert!(guest.queue(0).kick());
    let batch = queue
        .serve::<GuestFault>(&mut scratch(), |_, _| Ok(Served::Later))
        .unwrap();
    assert_eq!(batch.end, End::Later);
    guest.queue(0).add(&[writable(1)]);
    assert!(!guest.queue(0).kick());
    assert_eq!(invert(&mut queue).chains, 2);
    guest.finish();
}

#[test]
fn a_popped_chain_needs_no_notification() {
    let (mut guest, mut queue) = guest(8, Features::EVENT_IDX);
    guest.queue(0).add(&[writable(1)]);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, _) = pop(&mut queue, &mut segments);
    assert!(
        !queue.enable_notifications().unwrap(),
        "it is with the device already"
    );
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
    guest.finish();
}

/// One step of a driver or a device.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Kick,
    Pop(u8),
    Complete(u8),
    Publish,
    Collect,
    WantInterrupts(bool),
    WantNotifications(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u8..6).prop_map(Step::Add),
        Just(Step::Kick),
        (1u8..6).prop_map(Step::Pop),
        (1u8..6).prop_map(Step::Complete),
        Just(Step::Publish),
        Just(Step::Collect),
        any::<bool>().prop_map(Step::WantInterrupts),
        any::<bool>().prop_map(Step::WantNotifications),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    /// In any order of steps, the device interrupts exactly when counting entry by entry says so,
    /// and a device that has asked to be notified is never left with work that it was not told of.
    #[test]
    fn s2_7_7_and_s2_7_10_nobody_waits_in_vain(
        event_idx: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let features = if event_idx { Features::all() } else { NONE };
        let (mut guest, mut queue) = guest(8, features);
        let mut segments = scratch();
        let mut tokens = VecDeque::new();
        let mut device_asleep = true;
        for step in steps {
            match step {
                Step::Add(count) => for _ in 0..count {
                    if guest.queue(0).free() > 0 {
                        guest.queue(0).add(&[readable([count])]);
                    }
                },
                Step::Kick => if guest.queue(0).kick() {
                    device_asleep = false;
                },
                Step::Pop(count) => {
                    device_asleep = false;
                    for _ in 0..count {
                        let Some((token, _)) = queue.pop(&mut segments).unwrap() else { break };
                        tokens.push_back(token);
                    }
                }
                Step::Complete(count) => for _ in 0..count {
                    if let Some(token) = tokens.pop_front() {
                        queue.complete(token, 0).unwrap();
                    }
                },
                Step::Publish => {
                    let interrupt = queue.publish();
                    prop_assert_eq!(interrupt, guest.queue(0).interrupt_due());
                }
                Step::Collect => { guest.queue(0).collect(); }
                Step::WantInterrupts(true) => { guest.queue(0).enable_interrupts(); }
                Step::WantInterrupts(false) => guest.queue(0).disable_interrupts(),
                Step::WantNotifications(true) => {
                    device_asleep = !queue.enable_notifications().unwrap();
                }
                Step::WantNotifications(false) => {
                    queue.disable_notifications();
                    device_asleep = false;
                }
            }
            if device_asleep {
                let found = queue.pop(&mut segments).unwrap();
                prop_assert!(found.is_none(), "work that the device was not told of");
            }
        }
        guest.queue(0).kick();
        while let Some((token, _)) = queue.pop(&mut segments).unwrap() {
            tokens.push_back(token);
        }
        for token in tokens {
            queue.complete(token, 0).unwrap();
        }
        let interrupt = queue.publish();
        prop_assert_eq!(interrupt, guest.queue(0).interrupt_due());
        guest.finish();
    }
}
