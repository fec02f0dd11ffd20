//! A device's counters, for whoever may look at the page and no more.

use crate::page::{COUNTERS, LinkPage};
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_model::DeviceType;

/// A link page that is mapped read-only: the counters of a device, also while it works. What its backend writes may be anything.
pub struct Gauge {
    page: &'static LinkPage,
}

impl Gauge {
    /// The counters in `page`, which is only read.
    pub const fn new(page: &'static LinkPage) -> Self {
        Self { page }
    }

    /// All counters, in the device's own order: [`names`] says which they are.
    pub fn counters(&self) -> [u64; COUNTERS] {
        let mut values = [0; COUNTERS];
        for (value, word) in values.iter_mut().zip(&self.page.device.counters) {
            *value = word.load(Relaxed);
        }
        values
    }
}

/// The names of the counters of a device with this id (virtIO 1.2 §5), in their order. Whoever shows counters knows them from here;
/// whoever counts checks that they are as many.
pub const fn names(id: u32) -> &'static [&'static str] {
    const CONSOLE: u32 = DeviceType::Console as u32;
    const BLOCK: u32 = DeviceType::Block as u32;
    const NET: u32 = DeviceType::Net as u32;
    const SOCKET: u32 = DeviceType::Socket as u32;
    match id {
        CONSOLE => &["transmitted", "received", "delayed"],
        BLOCK => &[
            "requests",
            "failed",
            "sectors_read",
            "sectors_written",
            "flushes",
            "delayed",
        ],
        NET => &[
            "transmitted",
            "transmitted_bytes",
            "transmit_dropped",
            "received",
            "received_bytes",
            "receive_failed",
            "delayed",
            "made",
            "joined",
            "unnotified",
        ],
        SOCKET => &[
            "transmitted_bytes",
            "received_bytes",
            "connections",
            "requested",
            "refused",
            "broken",
            "dropped",
            "delayed",
            "lost",
            "resets",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceEnd;

    #[test]
    fn counters_are_those_that_the_device_has_set() {
        let page: &'static LinkPage = Box::leak(Box::default());
        let gauge = Gauge::new(page);
        assert_eq!(gauge.counters(), [0; COUNTERS]);
        DeviceEnd::new(page).set_counters(&[3, 2, 1]);
        assert_eq!(gauge.counters()[..4], [3, 2, 1, 0]);
    }

    #[test]
    fn no_device_has_more_counters_than_there_is_room_for() {
        for id in 0..64 {
            assert!(names(id).len() <= COUNTERS, "{id}");
        }
        assert_eq!(names(2).len(), 6);
        assert_eq!(names(7), [""; 0]);
    }
}
