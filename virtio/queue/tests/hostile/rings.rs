//! Rings and their places that are wrong, and buffers over them.

use sel4cp_memory::{GuestAddress, Span};
use sel4cp_queue::{Area, Config, Features, GuestFault, MAX_SIZE, Queue, Served};
use sel4cp_testing::{Guest, readable, writable};

use crate::{NEXT, START, WRITE, descriptor};

#[test]
fn s2_7_6_heads_that_do_not_exist() {
    for head in [8, 9, 0x8000, 0xffff] {
        let mut guest = Guest::new();
        guest.add_queue(8, Features::all());
        let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
        guest.queue(0).offer(head);
        let fault = queue.pop(&mut [Span::EMPTY; 8]).unwrap_err();
        assert_eq!(fault, GuestFault::HeadOutOfRange { head, size: 8 });
    }
}

#[test]
fn s2_7_6_1_the_available_index_jumps_or_goes_back() {
    for (taken, index) in [(0, 9), (0, 0xffff), (0, 0x8000), (3, 2), (3, 12), (3, 0)] {
        let mut guest = Guest::new();
        guest.add_queue(8, Features::all());
        let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
        for _ in 0..taken {
            guest.queue(0).add(&[readable([0])]);
        }
        guest.queue(0).kick();
        let mut segments = [Span::EMPTY; 8];
        while let Some((token, _)) = queue.pop(&mut segments).unwrap() {
            queue.complete(token, 0).unwrap();
        }
        guest.queue(0).write_available_index(index);
        let expected = GuestFault::AvailableJump {
            index,
            next: taken,
            size: 8,
        };
        assert_eq!(queue.enable_notifications().unwrap_err(), expected);
        assert_eq!(queue.pop(&mut segments).unwrap_err(), expected);
        let served = queue.serve::<GuestFault>(&mut segments, |_, _| Ok(Served::Done(0)));
        assert_eq!(served.unwrap_err(), expected);
    }
}

#[test]
fn s2_7_6_1_going_back_is_harmless_while_promised_entries_are_taken() {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
    for _ in 0..3 {
        guest.queue(0).add(&[readable([0])]);
    }
    guest.queue(0).kick();
    let mut segments = [Span::EMPTY; 8];
    let _first = queue.pop(&mut segments).unwrap();
    guest.queue(0).write_available_index(0);
    let _second = queue.pop(&mut segments).unwrap();
    let _third = queue.pop(&mut segments).unwrap();
    assert_eq!(queue.out(), 3);
    let fault = queue.pop(&mut segments).unwrap_err();
    assert_eq!(
        fault,
        GuestFault::AvailableJump {
            index: 0,
            next: 3,
            size: 8
        }
    );
}

#[test]
fn s2_7_13_1_a_chain_that_is_offered_twice() {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
    let head = guest.queue(0).add(&[readable([0])]).0;
    guest.queue(0).offer(head);
    let mut segments = [Span::EMPTY; 8];
    let (token, _) = queue.pop(&mut segments).unwrap().unwrap();
    assert_eq!(
        queue.pop(&mut segments).unwrap_err(),
        GuestFault::HeadInFlight { head }
    );
    // Once the device has used it, it may be offered again.
    queue.complete(token, 0).unwrap();
    assert!(queue.pop(&mut segments).unwrap().is_some());
}

#[test]
fn s2_7_parts_that_overlap() {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    let good = guest.queue(0).config();
    let (table, driver, device) = (good.descriptors, good.driver, good.device);
    let overlapping = [
        (
            Config {
                driver: table,
                ..good
            },
            Area::Descriptors,
            Area::Available,
        ),
        (
            Config {
                device: table,
                ..good
            },
            Area::Descriptors,
            Area::Used,
        ),
        (
            Config {
                device: driver,
                ..good
            },
            Area::Available,
            Area::Used,
        ),
        (
            Config {
                driver: table.checked_add(16 * 8 - 2).unwrap(),
                ..good
            },
            Area::Descriptors,
            Area::Available,
        ),
    ];
    for (config, one, other) in overlapping {
        let fault = Queue::new(&guest.ram(), &config).unwrap_err();
        assert_eq!(fault, GuestFault::AreasOverlap { one, other });
    }
    let config = Config {
        descriptors: device.checked_add(0x1000).unwrap(),
        ..good
    };
    assert!(Queue::new(&guest.ram(), &config).is_ok());
}

#[test]
fn s2_7_parts_that_are_not_in_ram() {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    let good = guest.queue(0).config();
    let end = START + (4 << 20);
    // A multiple of 16 at which not even the smallest part fits any more, and others.
    for address in [0, START - 16, end - 16, end, 1 << 40, u64::MAX - 15] {
        let address = GuestAddress::new(address);
        for (config, area) in [
            (
                Config {
                    descriptors: address,
                    ..good
                },
                Area::Descriptors,
            ),
            (
                Config {
                    driver: address,
                    ..good
                },
                Area::Available,
            ),
            (
                Config {
                    device: address,
                    ..good
                },
                Area::Used,
            ),
        ] {
            let fault = Queue::new(&guest.ram(), &config).unwrap_err();
            let GuestFault::AreaOutside {
                area: found,
                outside,
            } = fault
            else {
                panic!("{area} at {address}: {fault}");
            };
            assert_eq!((found, outside.range.start()), (area, address));
        }
    }
}

#[test]
fn buffers_over_the_queue_itself_hurt_only_the_guest() {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    let config = guest.queue(0).config();
    let mut queue = Queue::new(&guest.ram(), &config).unwrap();
    let mut segments = [Span::EMPTY; MAX_SIZE as usize];
    for value in [0, 1, 7, 0x80, 0xff] {
        for area in [config.descriptors, config.driver, config.device] {
            guest.queue(0).offer_raw(&[
                descriptor(config.descriptors.value(), 128, NEXT, 1),
                descriptor(area.value(), 22, WRITE, 0),
            ]);
            let mut served = 0;
            let result = queue.serve::<GuestFault>(&mut segments, |_, mut writer| {
                served += 1;
                writer.fill(value, u64::MAX);
                Ok(Served::Done(writer.written()))
            });
            assert!(served <= 16, "{served} chains at once, in a queue of 8");
            if result.is_err() {
                let config = guest.queue(0).reset();
                queue = Queue::new(&guest.ram(), &config).unwrap();
            }
        }
    }
}

#[test]
fn the_fake_guest_notices_a_chain_that_is_forgotten() {
    let forgotten = std::panic::catch_unwind(|| {
        let mut guest = Guest::new();
        guest.add_queue(8, Features::all());
        let mut queue = Queue::new(&guest.ram(), &guest.queue(0).config()).unwrap();
        guest.queue(0).add(&[writable(1)]);
        guest.queue(0).kick();
        let _forgotten = queue.pop(&mut [Span::EMPTY; 8]).unwrap();
        guest.finish();
    });
    let message = forgotten.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("never came back"), "{message}");
}
