//! §2.7: where the parts of a queue may lie.

use sel4cp_memory::{GuestAddress, HostRam};
use sel4cp_queue::{Area, Config, GuestFault, Queue};
use sel4cp_testing::Guest;

use crate::NONE;

#[test]
fn s2_7_queue_size_is_a_power_of_two_up_to_the_maximum() {
    let start = GuestAddress::new(0x4000_0000);
    let at = |offset| start.checked_add(offset).unwrap();
    let ram = HostRam::new(start, 0x20000).unwrap().ram();
    for size in 0..=u16::MAX {
        let config = Config {
            size,
            descriptors: at(0),
            driver: at(0x4000),
            device: at(0x8000),
            features: NONE,
        };
        let valid = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].contains(&size);
        match Queue::new(&ram, &config) {
            Ok(queue) => assert!(valid && queue.size() == size, "{size}"),
            Err(fault) => {
                assert!(!valid, "{size}: {fault}");
                assert_eq!(fault, GuestFault::Size { size });
            }
        }
    }
}

#[test]
fn s2_7_1_each_part_has_its_alignment() {
    let mut guest = Guest::new();
    guest.add_queue(8, NONE);
    let good = guest.queue(0).config();
    let ram = guest.ram();
    let moved = |address: GuestAddress, by| address.checked_add(by).unwrap();
    for by in 1..32u64 {
        let table = Config {
            descriptors: moved(good.descriptors, by),
            ..good
        };
        let expected = (by % 16 != 0).then_some(GuestFault::AreaMisaligned {
            area: Area::Descriptors,
            address: table.descriptors,
        });
        let found = Queue::new(&ram, &table).err();
        assert_eq!(
            found.filter(|f| matches!(f, GuestFault::AreaMisaligned { .. })),
            expected
        );

        let driver = Config {
            driver: moved(good.driver, by),
            ..good
        };
        let misaligned = matches!(
            Queue::new(&ram, &driver),
            Err(GuestFault::AreaMisaligned {
                area: Area::Available,
                ..
            })
        );
        assert_eq!(misaligned, by % 2 != 0);

        let device = Config {
            device: moved(good.device, by),
            ..good
        };
        let misaligned = matches!(
            Queue::new(&ram, &device),
            Err(GuestFault::AreaMisaligned {
                area: Area::Used,
                ..
            })
        );
        assert_eq!(misaligned, by % 4 != 0);
    }
}
