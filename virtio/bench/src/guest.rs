//! What a guest offers to both queues: rings in which chains of disk requests go round and round.

use sel4cp_memory::{GuestAddress, GuestRam};
use sel4cp_queue::{Config, Features};
use sel4cp_testing::{Guest, readable, writable};

/// Descriptors of the queue.
pub const SIZE: u16 = 256;
/// Chains in the queue: 64 of four descriptors fill it, as many indirect ones do not.
pub const CHAINS: u16 = SIZE / 4;
/// Bytes of a chain's buffers: header, two pages, status.
pub const BYTES: u64 = 16 + 2 * 4096 + 1;
/// Bytes of them that the device writes.
pub const WRITABLE: u32 = 2 * 4096 + 1;
/// Where the guest's RAM begins.
pub const START: u64 = 0x4000_0000;
/// How large it is.
pub const LEN: u32 = 4 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Whether each chain is an indirect table.
    pub indirect: bool,
    /// Whether event indices decide about notifications.
    pub event_index: bool,
    /// How many chains the guest makes available at a time.
    pub batch: u16,
}

const fn case(name: &'static str, indirect: bool, event_index: bool, batch: u16) -> Case {
    Case {
        name,
        indirect,
        event_index,
        batch,
    }
}

/// All cases.
pub const CASES: [Case; 8] = [
    case("direct-1", false, false, 1),
    case("direct-32", false, false, 32),
    case("direct-event-1", false, true, 1),
    case("direct-event-32", false, true, 32),
    case("indirect-1", true, false, 1),
    case("indirect-32", true, false, 32),
    case("indirect-event-1", true, true, 1),
    case("indirect-event-32", true, true, 32),
];

impl Case {
    /// The features that the driver has accepted.
    pub fn features(&self) -> Features {
        let mut features = Features::INDIRECT_DESC;
        features.set(Features::EVENT_IDX, self.event_index);
        features
    }
}

/// A guest whose available ring names all chains again and again; its index is still 0.
#[derive(Debug)]
pub struct Rings {
    guest: Guest,
    config: Config,
}

impl Rings {
    /// The rings of `case`.
    pub fn new(case: &Case) -> Self {
        let mut guest = Guest::with_ram(GuestAddress::new(START), LEN.into());
        guest.add_queue(SIZE, case.features());
        let request = [
            readable([0; 16]),
            writable(4096),
            writable(4096),
            writable(1),
        ];
        let mut driver = guest.queue(0);
        let heads: Vec<u16> = (0..CHAINS)
            .map(|_| match case.indirect {
                true => driver.add_indirect(&request).0,
                false => driver.add(&request).0,
            })
            .collect();
        for (position, head) in (0..SIZE).zip(heads.into_iter().cycle()) {
            driver.write_available(position, head);
        }
        let config = driver.config();
        Self { guest, config }
    }

    /// The memory.
    pub fn ram(&self) -> GuestRam {
        self.guest.ram()
    }

    /// Where the rings are.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Every byte of the memory.
    pub fn bytes(&self) -> Vec<u8> {
        self.guest.read(GuestAddress::new(START), LEN)
    }
}
