//! Guests that do not follow the specification: queues that cannot be, odd accesses, random ones.

use super::*;
use core::sync::atomic::Ordering::Relaxed;
use proptest::prelude::*;

#[test]
fn s4_2_2_queue_sel_chooses_what_is_shown() {
    let mut fixture = Fixture::new();
    fixture.negotiate();
    assert!(fixture.sets_up(1, 64, QUEUE));
    for (sel, max, ready) in [
        (0, 256, 0),
        (1, 64, 1),
        (2, 0, 0),
        (7, 0, 0),
        (8, 0, 0),
        (u32::MAX, 0, 0),
    ] {
        fixture.write(Register::QueueSel, sel);
        assert_eq!(fixture.read(Register::QueueNumMax), max, "queue {sel}");
        assert_eq!(fixture.read(Register::QueueReady), ready, "queue {sel}");
    }
}

#[test]
fn s4_2_2_a_queue_that_is_not_there_cannot_be_set_up() {
    // field.md 8: libvmm writes where it should not.
    let mut fixture = Fixture::new();
    fixture.negotiate();
    for sel in [2, 7, 8, 1 << 16, 1 << 31, u32::MAX] {
        assert!(!fixture.sets_up(sel, 64, QUEUE), "queue {sel}");
    }
}

#[test]
fn s2_7_queue_sizes_are_powers_of_two_up_to_the_maximum() {
    // field.md 9: libvmm takes them all.
    let mut fixture = Fixture::new();
    fixture.negotiate();
    for size in [
        0,
        3,
        100,
        255,
        257,
        512,
        1 << 15,
        1 << 16,
        (1 << 16) + 64,
        u32::MAX,
    ] {
        assert!(!fixture.sets_up(0, size, QUEUE), "size {size}");
    }
    for size in [1, 2, 256] {
        assert!(fixture.sets_up(0, size, QUEUE), "size {size}");
        fixture.write(Register::QueueReady, 0);
        assert_eq!(fixture.read(Register::QueueReady), 0);
    }
    // An impossible size does not leave an older one.
    fixture.write(Register::QueueNum, 1000);
    fixture.write(Register::QueueReady, 1);
    assert_eq!(fixture.read(Register::QueueReady), 0);
    // Without any size.
    fixture.write(Register::QueueSel, 1);
    fixture.place(QUEUE);
    fixture.write(Register::QueueReady, 1);
    assert_eq!(fixture.read(Register::QueueReady), 0);
}

#[test]
fn s2_7_queues_are_aligned_and_in_ram() {
    let mut fixture = Fixture::new();
    fixture.negotiate();
    let end = RAM + RAM_SIZE as u64;
    let [descriptors, driver, device] = QUEUE;
    let bad = [
        [descriptors + 8, driver, device],
        [descriptors, driver + 1, device],
        [descriptors, driver, device + 2],
        [0, driver, device],
        [descriptors, 0x0a00_0000, device],
        [descriptors, driver, end],
        [end - 0x7f0, driver, device],
        [descriptors, end - 260, device],
        [descriptors, driver, end - 1028],
        [!15, driver, device],
        [descriptors + (1 << 32), driver, device],
    ];
    for addresses in bad {
        assert!(!fixture.sets_up(0, 128, addresses), "{addresses:x?}");
    }
    assert!(fixture.sets_up(0, 128, [end - 0x800, RAM, RAM + 0x1000]));
    assert!(fixture.sets_up(1, 64, [RAM, end - 134, RAM + 0x1000]));
}

#[test]
fn s4_2_2_2_queues_are_set_up_in_their_time_only() {
    let mut fixture = Fixture::new();
    assert!(!fixture.sets_up(0, 128, QUEUE), "before FEATURES_OK");
    let mut fixture = Fixture::running();
    assert!(!fixture.sets_up(1, 64, QUEUE), "after DRIVER_OK");
    fixture.write(Register::QueueSel, 0);
    fixture.write(Register::QueueReady, 0);
    assert_eq!(
        fixture.read(Register::QueueReady),
        1,
        "a live queue is not stopped"
    );
    let mut fixture = Fixture::new();
    fixture.negotiate();
    assert!(fixture.sets_up(0, 128, QUEUE));
    fixture.write(Register::QueueNum, 2);
    fixture.place([0, 0, 0]);
    fixture.write(Register::Status, 15);
    fixture.backend.poll();
    let queue = fixture.backend.session().queues[0];
    assert_eq!(
        (queue.size, queue.descriptors),
        (128, RAM),
        "a ready queue does not change"
    );
}

#[test]
fn odd_accesses_change_nothing() {
    // field.md 6: any of them stops a guest of libvmm.
    let mut fixture = Fixture::running();
    let shown = |fixture: &Fixture| -> Vec<u32> {
        fixture
            .device
            .page
            .words()
            .iter()
            .map(|word| word.load(Relaxed))
            .collect()
    };
    let before = shown(&fixture);
    for size in [1, 2, 8] {
        for offset in 0..0x200 {
            assert_eq!(fixture.device.write(offset, size, 0), Effect::None);
        }
    }
    for offset in (0..0x1000).filter(|offset| Register::from_offset(*offset).is_none()) {
        assert_eq!(
            fixture.device.write(offset, 4, u64::MAX),
            Effect::None,
            "{offset:#x}"
        );
    }
    for register in Register::ALL
        .iter()
        .filter(|register| !register.is_writable())
    {
        fixture.write(*register, 0);
    }
    assert_eq!(shown(&fixture), before);
}

proptest! {
    #[test]
    fn no_sequence_of_writes_breaks_a_device(
        writes in prop::collection::vec(
            (
                prop_oneof![
                    8 => prop::sample::select(Register::ALL).prop_map(|register| register as u64),
                    1 => 0_u64..0x1000,
                    1 => any::<u64>(),
                ],
                prop_oneof![9 => Just(4_u8), 1 => prop::sample::select(&[1_u8, 2, 8][..])],
                prop_oneof![4 => 0_u64..16, 2 => Just(RAM), 1 => any::<u64>()],
                prop::bool::weighted(0.3),
            ),
            0..200,
        )
    ) {
        let mut fixture = Fixture::new();
        for (offset, size, value, backend) in writes {
            fixture.device.write(offset, size, value);
            if backend {
                while let Some(event) = fixture.backend.poll() {
                    match event {
                        Event::Reset => fixture.backend.acknowledge(),
                        Event::Start => {
                            let session = *fixture.backend.session();
                            prop_assert_eq!(session.features & !FEATURES, 0);
                            for (queue, max) in session.queues.iter().zip(facts().queue_max) {
                                prop_assert!(!queue.ready || queue.size <= max && queue.size.is_power_of_two());
                                prop_assert!(!queue.ready || queue.descriptors >= RAM);
                            }
                        }
                        Event::Kick => {
                            let _ = fixture.backend.interrupt(1);
                        }
                    }
                }
                fixture.device.poll();
            }
            // What the page shows is what the device is.
            let status = fixture.read(Register::Status);
            prop_assert_eq!(fixture.device.line(), fixture.read(Register::InterruptStatus) != 0);
            prop_assert!(status & 4 == 0 || status & 11 == 11, "status {:#x}", status);
        }
        // Any device can be used after a reset.
        if fixture.write(Register::Status, 0) == Effect::Reset {
            while fixture.backend.poll().is_some() {}
            fixture.backend.acknowledge();
            fixture.device.poll();
        }
        fixture.negotiate();
        prop_assert!(fixture.sets_up(0, 128, QUEUE));
    }
}
