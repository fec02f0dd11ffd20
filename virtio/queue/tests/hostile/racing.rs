//! A guest that writes to the queue while the device serves it.

use std::sync::atomic::{AtomicBool, Ordering};

use sel4cp_memory::{GuestRam, GuestRange, Span};
use sel4cp_queue::{Area, Config, Features, GuestFault, Queue, Served};
use sel4cp_testing::Guest;

const SIZE: u16 = 16;

/// A xorshift generator: no two runs need to be alike, but it needs no library.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Writes descriptors that are nearly right, heads, and indices, for ever.
fn scribble(ram: &GuestRam, config: &Config, stop: &AtomicBool) -> u64 {
    let span = |area: Area, address| {
        ram.check(GuestRange::new(address, area.bytes(SIZE)))
            .unwrap()
    };
    let table = span(Area::Descriptors, config.descriptors);
    let available = span(Area::Available, config.driver);
    let used = span(Area::Used, config.device);
    let descriptors = ram.words::<u64>(table, 0, u32::from(SIZE) * 2).unwrap();
    let index = ram.word::<u16>(available, 2).unwrap();
    let heads = ram.words::<u16>(available, 4, u32::from(SIZE)).unwrap();
    let used_index = ram.word::<u16>(used, 2).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut writes = 0;
    while !stop.load(Ordering::Relaxed) {
        let slot = u32::try_from(random.below(u64::from(SIZE))).unwrap();
        match random.below(8) {
            0..=2 => {
                let address = match random.below(16) {
                    0 => random.next(),
                    1 => config.descriptors.value(),
                    2 => ram.start().value() + ram.len() - 8,
                    _ => ram.start().value() + random.below(ram.len()),
                };
                ram.store(descriptors.at(slot * 2), address);
            }
            3 | 4 => {
                let len = match random.below(8) {
                    0 => random.next() & 0xffff_ffff,
                    1 => 16 * random.below(20),
                    _ => random.below(64),
                };
                let flags = random.below(8);
                let next = random.below(u64::from(SIZE) + 1);
                ram.store(descriptors.at(slot * 2 + 1), len | flags << 32 | next << 48);
            }
            5 => {
                let head = u16::try_from(random.below(u64::from(SIZE) + 1)).unwrap();
                ram.store(heads.at(slot), head);
            }
            6 => {
                // Mostly a few more entries, sometimes a jump.
                let more = u16::try_from(random.below(5)).unwrap();
                let jump = if random.below(64) == 0 { 0x4000 } else { 0 };
                let old = ram.load(index);
                ram.store_release(index, old.wrapping_add(more + jump));
            }
            _ => ram.store(used_index, u16::try_from(random.below(0x1_0000)).unwrap()),
        }
        writes += 1;
        // Neither thread may keep the other waiting for its whole slice on a machine with one core.
        if cfg!(miri) || writes % 0x4000 == 0 {
            std::thread::yield_now();
        }
    }
    writes
}

/// What a driver does at a reset, so that the next round begins with something that is right: the
/// index is 0, and the ring is full of chains of one descriptor.
fn restart(ram: &GuestRam, config: &Config) {
    let span = |area: Area, address| {
        ram.check(GuestRange::new(address, area.bytes(SIZE)))
            .unwrap()
    };
    let table = span(Area::Descriptors, config.descriptors);
    let available = span(Area::Available, config.driver);
    let descriptors = ram.words::<u64>(table, 0, u32::from(SIZE) * 2).unwrap();
    let heads = ram.words::<u16>(available, 4, u32::from(SIZE)).unwrap();
    ram.store(ram.word::<u16>(available, 2).unwrap(), 0);
    for slot in 0..SIZE {
        let writable = u64::from(slot % 2) << 33;
        ram.store(heads.at(slot.into()), slot);
        ram.store(
            descriptors.at(u32::from(slot) * 2),
            ram.start().value() + 0x8000,
        );
        ram.store(descriptors.at(u32::from(slot) * 2 + 1), 64 | writable);
    }
}

/// Ends the other thread, also when this one fails.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_guest_that_races_gets_faults_and_nothing_else() {
    // On a busy machine the two threads may take turns rarely: go on until enough has happened.
    let enough = if cfg!(miri) { 1 } else { 20_000 };
    let mut guest = Guest::new();
    guest.add_queue(SIZE, Features::all());
    let config = guest.queue(0).config();
    guest.queue(0).write_available_index(0);
    let ram = guest.ram();
    let stop = AtomicBool::new(false);
    let (mut chains, mut faults) = (0u64, 0u64);
    let writes = std::thread::scope(|scope| {
        let scribbler = scope.spawn(|| scribble(&ram, &config, &stop));
        let stopper = Stopper(&stop);
        let mut queue = Queue::new(&ram, &config).unwrap();
        let mut segments = [Span::EMPTY; 64];
        while chains < enough || faults < enough {
            let mut budget = u32::from(SIZE) * 2;
            let result = queue.serve::<GuestFault>(&mut segments, |mut reader, mut writer| {
                budget = budget.checked_sub(1).expect("serving has a bound");
                let whole = GuestRange::new(ram.start(), u32::try_from(ram.len()).unwrap());
                let whole = ram.check(whole).unwrap();
                let mut bytes = 0;
                for span in reader.spans().chain(writer.spans()) {
                    let end = span.offset() + u64::from(span.len());
                    assert!(
                        !span.is_empty() && end <= u64::from(whole.len()),
                        "{span:?}"
                    );
                    bytes += u64::from(span.len());
                }
                assert_eq!(bytes, reader.remaining() + writer.remaining());
                let mut header = [0; 16];
                let read = reader.read(&mut header);
                writer.write(&header[..read]);
                chains += 1;
                Ok(Served::Done(writer.written()))
            });
            assert_eq!(queue.out(), 0);
            if result.as_ref().is_ok_and(|batch| batch.chains == 0) {
                std::thread::yield_now();
            }
            if result.is_err() {
                faults += 1;
                restart(&ram, &config);
                queue = Queue::new(&ram, &config).unwrap();
            }
        }
        drop(stopper);
        scribbler.join().unwrap()
    });
    assert!(writes > 0);
}
