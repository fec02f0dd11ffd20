//! The device status field: its bits and the order in which a driver may set them (§2.1, §3.1).

use bitflags::bitflags;

bitflags! {
    /// The device status field (§2.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The guest has noticed the device.
        const ACKNOWLEDGE = 1;
        /// The guest has a driver for it.
        const DRIVER = 2;
        /// The driver is ready to drive it.
        const DRIVER_OK = 4;
        /// Features have been negotiated.
        const FEATURES_OK = 8;
        /// The device is broken until it is reset (§2.1.2). Set by the device.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver gave up.
        const FAILED = 128;
    }
}

/// What a write to the status register asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Zero was written: reset the device (§2.4).
    Reset,
    /// FEATURES_OK was set: check the features, and leave the bit clear if they do not fit (§3.1.1 step 5).
    Negotiate(Status),
    /// DRIVER_OK was set: the device is live (§3.1.1 step 8).
    Start(Status),
    /// The status becomes this, and nothing else happens.
    Keep(Status),
    /// The write breaks the order of §3.1.1 or clears a bit (§2.1.1): it is ignored.
    Ignore,
}

/// One row a step: the bit, and the bits that must be set before it (§3.1.1).
const ORDER: [(Status, Status); 4] = [
    (Status::ACKNOWLEDGE, Status::empty()),
    (Status::DRIVER, Status::ACKNOWLEDGE),
    (
        Status::FEATURES_OK,
        Status::ACKNOWLEDGE.union(Status::DRIVER),
    ),
    (
        Status::DRIVER_OK,
        Status::ACKNOWLEDGE
            .union(Status::DRIVER)
            .union(Status::FEATURES_OK),
    ),
];

/// What writing `written` to the status register means while it shows `current`.
///
/// DEVICE_NEEDS_RESET belongs to the device: a driver can neither set nor clear it. FAILED may be set at any time.
/// A driver may set several bits at once, as long as their order holds; FEATURES_OK and DRIVER_OK together are
/// refused, since the driver has to read FEATURES_OK back in between (§3.1.1 step 6).
pub fn transition(current: Status, written: u32) -> Transition {
    let Ok(written) = u8::try_from(written) else {
        return Transition::Ignore;
    };
    if written == 0 {
        return Transition::Reset;
    }
    let Some(written) = Status::from_bits(written) else {
        return Transition::Ignore;
    };
    let device = current & Status::DEVICE_NEEDS_RESET;
    let next = (written - Status::DEVICE_NEEDS_RESET) | device;
    if !next.contains(current) {
        return Transition::Ignore;
    }
    let ordered = ORDER
        .iter()
        .all(|(bit, before)| !next.contains(*bit) || next.contains(*before));
    let added = next - current;
    if !ordered || added.contains(Status::FEATURES_OK | Status::DRIVER_OK) {
        Transition::Ignore
    } else if added.contains(Status::FEATURES_OK) {
        Transition::Negotiate(next)
    } else if added.contains(Status::DRIVER_OK) {
        Transition::Start(next)
    } else {
        Transition::Keep(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_1_1_the_usual_order() {
        let mut status = Status::empty();
        for (written, expected) in [
            (1, Transition::Keep(Status::ACKNOWLEDGE)),
            (3, Transition::Keep(Status::from_bits_retain(3))),
            (11, Transition::Negotiate(Status::from_bits_retain(11))),
            (15, Transition::Start(Status::from_bits_retain(15))),
        ] {
            assert_eq!(transition(status, written), expected);
            status = Status::from_bits_retain(u8::try_from(written).unwrap());
        }
        assert_eq!(transition(status, 0), Transition::Reset);
    }

    #[test]
    fn s3_1_1_steps_cannot_be_skipped() {
        assert_eq!(transition(Status::empty(), 2), Transition::Ignore);
        assert_eq!(
            transition(Status::from_bits_retain(1), 9),
            Transition::Ignore
        );
        assert_eq!(
            transition(Status::from_bits_retain(3), 7),
            Transition::Ignore
        );
        assert_eq!(
            transition(Status::from_bits_retain(3), 15),
            Transition::Ignore
        );
    }

    #[test]
    fn s2_1_1_a_driver_does_not_clear_bits() {
        assert_eq!(
            transition(Status::from_bits_retain(15), 11),
            Transition::Ignore
        );
        assert_eq!(
            transition(Status::from_bits_retain(3), 16 | 3),
            Transition::Ignore
        );
        assert_eq!(transition(Status::empty(), 0x100), Transition::Ignore);
    }

    #[test]
    fn s2_1_2_needs_reset_is_the_devices_own() {
        let broken = Status::from_bits_retain(15) | Status::DEVICE_NEEDS_RESET;
        assert_eq!(
            transition(Status::from_bits_retain(15), 15 | 64),
            Transition::Keep(Status::from_bits_retain(15))
        );
        assert_eq!(
            transition(broken, 15 | 128),
            Transition::Keep(broken | Status::FAILED)
        );
        assert_eq!(transition(broken, 0), Transition::Reset);
    }
}
