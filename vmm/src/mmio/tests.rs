//! The register file as the specification has it, and what a hostile guest can do to it.

mod hostile;

use super::*;
use sel4cp_abi::config::Region;
use sel4cp_link::{DeviceEnd, Event, Facts, LinkPage};
use sel4cp_model::features::Features;
use sel4cp_pd::{self as pd, host};

const RAM: u64 = 0x4000_0000;
const RAM_SIZE: usize = 0x10_0000;
const FEATURES: u64 = Features::COMMON.bits() | 1 << 5;
/// Where the tests put a queue's parts.
const QUEUE: [u64; 3] = [RAM, RAM + 0x2000, RAM + 0x3000];

/// A device with two queues, its backend, and the guest that writes.
struct Fixture {
    device: Transport,
    backend: DeviceEnd,
}

thread_local! {
    static TEST_RAM: GuestRam = pd::guest_ram(&Region {
        bus: RAM,
        ..host::region(RAM_SIZE)
    })
    .unwrap();
}

/// The guest's RAM, one for each test.
fn ram() -> GuestRam {
    TEST_RAM.with(|ram| *ram)
}

fn facts() -> Facts {
    let mut facts = Facts {
        id: 2,
        features: FEATURES,
        ..Facts::default()
    };
    facts.queue_max[..2].copy_from_slice(&[256, 64]);
    facts
}

impl Fixture {
    /// Before the backend has announced itself.
    fn silent() -> Self {
        let page: &LinkPage = Box::leak(Box::default());
        let file = Vec::leak((0..FILE_WORDS).map(|_| AtomicU32::new(0xdead)).collect());
        Self {
            device: Transport::new(VmmEnd::new(page), file, ram()),
            backend: DeviceEnd::new(page),
        }
    }

    fn new() -> Self {
        let mut fixture = Self::silent();
        fixture
            .backend
            .announce(&facts(), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(fixture.device.poll().announced);
        assert!(fixture.device.is_ready());
        fixture
    }

    fn write(&mut self, register: Register, value: u32) -> Effect {
        self.device.write(register as u64, 4, value.into())
    }

    fn read(&self, register: Register) -> u32 {
        let shown = self.device.page.read(register as u64, 4);
        assert_eq!(shown, self.device.read(register as u64, 4));
        u32::try_from(shown).unwrap()
    }

    /// Up to where queues can be set up.
    fn negotiate(&mut self) {
        for status in [1, 3] {
            self.write(Register::Status, status);
        }
        for (sel, shift) in [(0, 0), (1, 32)] {
            self.write(Register::DriverFeaturesSel, sel);
            self.write(
                Register::DriverFeatures,
                u32::try_from(FEATURES >> shift & 0xffff_ffff).unwrap(),
            );
        }
        self.write(Register::Status, 11);
        assert_eq!(self.read(Register::Status), 11);
    }

    fn place(&mut self, [descriptors, driver, device]: [u64; 3]) {
        use Register as R;
        for (low, high, address) in [
            (R::QueueDescLow, R::QueueDescHigh, descriptors),
            (R::QueueDriverLow, R::QueueDriverHigh, driver),
            (R::QueueDeviceLow, R::QueueDeviceHigh, device),
        ] {
            self.write(low, u32::try_from(address & 0xffff_ffff).unwrap());
            self.write(high, u32::try_from(address >> 32).unwrap());
        }
    }

    /// Whether a queue that is set up like this becomes ready.
    fn sets_up(&mut self, sel: u32, size: u32, addresses: [u64; 3]) -> bool {
        self.write(Register::QueueSel, sel);
        self.write(Register::QueueNum, size);
        self.place(addresses);
        self.write(Register::QueueReady, 1);
        self.read(Register::QueueReady) == 1
    }

    /// With queue 0 live.
    fn running() -> Self {
        let mut fixture = Self::new();
        fixture.negotiate();
        assert!(fixture.sets_up(0, 128, QUEUE));
        assert_eq!(fixture.write(Register::Status, 15), Effect::Notify);
        assert_eq!(fixture.backend.poll(), Some(Event::Start));
        fixture
    }
}

#[test]
fn s4_2_2_the_registers_describe_the_device() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.read(Register::MagicValue), 0x7472_6976);
    assert_eq!(fixture.read(Register::Version), 2);
    assert_eq!(fixture.read(Register::DeviceID), 2);
    assert_ne!(fixture.read(Register::VendorID), 0);
    let mut features = 0;
    for (sel, shift) in [(0, 0), (1, 32)] {
        fixture.write(Register::DeviceFeaturesSel, sel);
        features |= u64::from(fixture.read(Register::DeviceFeatures)) << shift;
    }
    assert_eq!(features, FEATURES);
    for sel in [2, 32, u32::MAX] {
        fixture.write(Register::DeviceFeaturesSel, sel);
        assert_eq!(fixture.read(Register::DeviceFeatures), 0);
    }
    // §4.2.2: shared memory regions that there are not.
    assert_eq!(fixture.read(Register::SHMLenLow), u32::MAX);
    assert_eq!(fixture.read(Register::SHMLenHigh), u32::MAX);
}

#[test]
fn s4_2_2_2_a_device_without_backend_has_id_0() {
    let mut fixture = Fixture::silent();
    assert_eq!(fixture.read(Register::MagicValue), 0x7472_6976);
    assert_eq!(fixture.read(Register::DeviceID), 0);
    assert!(!fixture.device.is_ready());
    for status in [1, 3, 11] {
        fixture.write(Register::Status, status);
    }
    assert_ne!(fixture.read(Register::Status), 11);
    assert_eq!(fixture.write(Register::QueueNotify, 0), Effect::None);
}

#[test]
fn s4_2_2_the_configuration_is_read_with_every_width() {
    let fixture = Fixture::new();
    let read = |offset, size| fixture.device.read(offset, size);
    assert_eq!(read(0x100, 8), 0x0807_0605_0403_0201);
    assert_eq!(
        (read(0x104, 4), read(0x102, 2), read(0x108, 1)),
        (0x0807_0605, 0x0403, 9)
    );
    // field.md 8: what is beyond the structure is zero, and beyond the file there is nothing.
    assert_eq!(
        (
            read(0x109, 8),
            read(0x1fc, 4),
            read(0x1ff, 8),
            read(u64::MAX, 8)
        ),
        (0, 0, 0, 0)
    );
    assert_eq!((read(0x001, 4), read(0x000, 8), read(0x000, 1)), (0, 0, 0));
}

#[test]
fn s2_5_1_the_generation_changes_with_the_configuration() {
    let mut fixture = Fixture::running();
    let before = fixture.read(Register::ConfigGeneration);
    assert!(fixture.backend.set_config(&[42]));
    fixture.device.poll();
    assert_ne!(fixture.read(Register::ConfigGeneration), before);
    assert_eq!(fixture.device.read(0x100, 8), 42);
    assert_eq!(fixture.read(Register::InterruptStatus), 2);
    assert!(fixture.device.line());
}

#[test]
fn s3_1_1_a_driver_that_is_not_ready_is_not_interrupted() {
    let mut fixture = Fixture::new();
    assert!(fixture.backend.set_config(&[42]));
    fixture.device.poll();
    assert_eq!(fixture.read(Register::InterruptStatus), 0);
    assert_eq!(fixture.device.read(0x100, 1), 42);
}

#[test]
fn s3_1_1_the_backend_gets_what_was_negotiated() {
    let fixture = Fixture::running();
    let session = fixture.backend.session();
    assert_eq!(session.features, FEATURES);
    let expected = QueueSetup {
        size: 128,
        ready: true,
        descriptors: QUEUE[0],
        driver: QUEUE[1],
        device: QUEUE[2],
    };
    assert_eq!(session.queues[0], expected);
    assert!(!session.queues[1].ready);
}

#[test]
fn s2_2_1_features_that_were_not_offered_are_not_accepted() {
    for (sel, bits) in [(0, 1 << 9), (1, 1 << 31), (2, 1), (u32::MAX, 1 << 31)] {
        let mut fixture = Fixture::new();
        fixture.write(Register::Status, 1);
        fixture.write(Register::Status, 3);
        fixture.write(Register::DriverFeaturesSel, 1);
        fixture.write(Register::DriverFeatures, 1);
        fixture.write(Register::DriverFeaturesSel, sel);
        fixture.write(Register::DriverFeatures, bits | u32::from(sel == 1));
        fixture.write(Register::Status, 11);
        assert_eq!(
            fixture.read(Register::Status),
            3,
            "word {sel} bits {bits:#x}"
        );
        // The driver may try again with less (§3.1.1 says FAILED, but it costs nothing).
        fixture.write(Register::Status, 15);
        assert_eq!(fixture.read(Register::Status), 3);
    }
}

#[test]
fn s6_1_a_driver_without_version_1_is_not_accepted() {
    let mut fixture = Fixture::new();
    fixture.write(Register::Status, 1);
    fixture.write(Register::Status, 3);
    fixture.write(Register::Status, 11);
    assert_eq!(fixture.read(Register::Status), 3);
}

#[test]
fn s3_1_1_features_cannot_change_once_they_are_accepted() {
    let mut fixture = Fixture::new();
    fixture.negotiate();
    fixture.write(Register::DriverFeaturesSel, 0);
    fixture.write(Register::DriverFeatures, u32::MAX);
    assert!(fixture.sets_up(0, 128, QUEUE));
    fixture.write(Register::Status, 15);
    assert_eq!(fixture.backend.poll(), Some(Event::Start));
    assert_eq!(fixture.backend.session().features, FEATURES);
}

#[test]
fn s2_1_1_wrong_status_is_ignored() {
    // field.md 6: libvmm stops the guest.
    let mut fixture = Fixture::new();
    for status in [2, 4, 8, 16, 32, 7, 15, 0x100, u32::MAX] {
        assert_eq!(fixture.write(Register::Status, status), Effect::None);
        assert_eq!(fixture.read(Register::Status), 0, "{status:#x}");
    }
    fixture.write(Register::Status, 1);
    fixture.write(Register::Status, 1 | 64);
    assert_eq!(
        fixture.read(Register::Status),
        1,
        "needs-reset is the device's"
    );
    fixture.write(Register::Status, 129);
    assert_eq!(fixture.read(Register::Status), 129);
}

#[test]
fn s4_2_2_a_write_to_queue_notify_tells_of_any_queue() {
    let mut fixture = Fixture::running();
    // field.md 9: QueueSel has no part in it. Nor has the value: the backend looks at every queue there is.
    fixture.write(Register::QueueSel, 1);
    for queue in [0, 1, 2, 31, 32, u32::MAX] {
        assert_eq!(fixture.write(Register::QueueNotify, queue), Effect::Notify);
        assert_eq!(
            fixture.write(Register::QueueNotify, 0),
            Effect::None,
            "it knows already"
        );
        assert_eq!(fixture.backend.poll(), Some(Event::Kick));
        assert_eq!(fixture.backend.poll(), None);
    }
}

#[test]
fn s3_1_1_notifications_before_driver_ok_are_ignored() {
    // field.md 5: libvmm dies.
    let mut fixture = Fixture::new();
    assert_eq!(fixture.write(Register::QueueNotify, 0), Effect::None);
    fixture.negotiate();
    assert_eq!(fixture.write(Register::QueueNotify, 0), Effect::None);
    assert!(fixture.sets_up(0, 128, QUEUE));
    assert_eq!(fixture.write(Register::QueueNotify, 0), Effect::None);
}

#[test]
fn s4_2_2_interrupt_bits_are_collected_until_they_are_acknowledged() {
    // field.md 10: libvmm overwrites them.
    let mut fixture = Fixture::running();
    assert!(fixture.backend.interrupt(1));
    fixture.device.poll();
    assert!(fixture.backend.set_config(&[1]));
    fixture.device.poll();
    assert_eq!(fixture.read(Register::InterruptStatus), 3);
    assert_eq!(fixture.write(Register::InterruptACK, 1), Effect::Line);
    assert_eq!(fixture.read(Register::InterruptStatus), 2);
    assert!(fixture.device.line());
    fixture.write(Register::InterruptACK, u32::MAX);
    assert_eq!(fixture.read(Register::InterruptStatus), 0);
    assert!(!fixture.device.line());
}

#[test]
fn s2_4_a_reset_is_done_when_the_backend_says_so() {
    let mut fixture = Fixture::running();
    assert!(fixture.backend.interrupt(1));
    fixture.device.poll();
    assert_eq!(fixture.write(Register::Status, 0), Effect::Reset);
    assert!(fixture.device.is_resetting() && !fixture.device.line());
    assert_eq!(fixture.read(Register::Status), 15, "not yet");
    assert_eq!(fixture.write(Register::QueueNotify, 0), Effect::None);
    assert_eq!(fixture.write(Register::Status, 1), Effect::None);
    assert_eq!(
        fixture.write(Register::Status, 0),
        Effect::Reset,
        "another vCPU joins"
    );
    assert!(!fixture.sets_up(1, 64, QUEUE));
    assert_eq!(fixture.backend.poll(), Some(Event::Reset));
    assert!(!fixture.device.poll().reset_done);
    fixture.backend.acknowledge();
    assert!(fixture.device.poll().reset_done);
    assert_eq!(fixture.read(Register::Status), 0);
    fixture.write(Register::QueueSel, 0);
    assert_eq!(fixture.read(Register::QueueReady), 0);
    // And all over again.
    fixture.negotiate();
    assert!(fixture.sets_up(0, 16, QUEUE));
    assert_eq!(fixture.write(Register::Status, 15), Effect::Notify);
    assert_eq!(fixture.backend.poll(), Some(Event::Start));
    assert_eq!(fixture.backend.session().queues[0].size, 16);
}

#[test]
fn s3_1_1_a_reset_of_an_untouched_device_holds_nobody() {
    let mut fixture = Fixture::new();
    fixture.write(Register::QueueSel, 1);
    fixture.write(Register::DeviceFeaturesSel, 1);
    assert_eq!(fixture.write(Register::Status, 0), Effect::None);
    assert_eq!(fixture.read(Register::QueueNumMax), 256);
    assert_eq!(
        u64::from(fixture.read(Register::DeviceFeatures)),
        FEATURES & 0xffff_ffff
    );
    assert_eq!(fixture.backend.poll(), None);
}

#[test]
fn s2_1_2_a_broken_device_says_so() {
    let mut fixture = Fixture::running();
    assert!(fixture.backend.needs_reset());
    fixture.device.poll();
    assert_eq!(fixture.read(Register::Status), 15 | 64);
    assert_eq!(fixture.read(Register::InterruptStatus), 2);
    assert_eq!(fixture.write(Register::Status, 0), Effect::Reset);
    assert_eq!(fixture.backend.poll(), Some(Event::Reset));
    fixture.backend.acknowledge();
    fixture.device.poll();
    assert_eq!(fixture.read(Register::Status), 0);
}
