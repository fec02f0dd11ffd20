//! The fake guest finds what a bad device does. Each device here does one thing wrong.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use sel4cp_memory::{GuestAddress, GuestRam, GuestRange, Span};
use sel4cp_queue::{Config, Features};
use sel4cp_testing::{Guest, readable, writable};

/// Adds one chain, lets `device` do its worst, and gives the failure's message.
fn failure(device: impl FnOnce(&GuestRam, &Config)) -> Option<String> {
    let mut guest = Guest::new();
    guest.add_queue(8, Features::all());
    guest.queue(0).add(&[readable(b"to be read"), writable(8)]);
    guest.queue(0).kick();
    device(&guest.ram(), &guest.queue(0).config());
    let caught = catch_unwind(AssertUnwindSafe(|| guest.finish()));
    caught
        .err()
        .map(|message| message.downcast_ref::<String>().unwrap().clone())
}

fn at(ram: &GuestRam, start: GuestAddress, offset: u64, len: u32) -> Span {
    let start = start.checked_add(offset).unwrap();
    ram.check(GuestRange::new(start, len)).unwrap()
}

/// Writes a used element and the index after it.
fn publish(ram: &GuestRam, config: &Config, index: u16, id: u32, len: u32) {
    let used = at(ram, config.device, 0, 70);
    let slot = 4 + 8 * (u32::from(index) % 8);
    ram.store(ram.word::<u32>(used, slot).unwrap(), id);
    ram.store(ram.word::<u32>(used, slot + 4).unwrap(), len);
    ram.store(ram.word::<u16>(used, 2).unwrap(), index + 1);
}

/// The head of the chain that was offered.
fn head(ram: &GuestRam, config: &Config) -> u32 {
    u32::from(ram.load(ram.word::<u16>(at(ram, config.driver, 4, 2), 0).unwrap()))
}

/// Where the first buffer of the chain is.
fn buffer(ram: &GuestRam, config: &Config) -> GuestAddress {
    let descriptor = at(
        ram,
        config.descriptors,
        u64::from(head(ram, config)) * 16,
        16,
    );
    GuestAddress::new(ram.load(ram.word::<u64>(descriptor, 0).unwrap()))
}

#[test]
fn a_good_device_passes() {
    assert_eq!(
        failure(|ram, config| publish(ram, config, 0, head(ram, config), 8)),
        None
    );
}

#[test]
fn a_chain_that_is_forgotten() {
    let message = failure(|_, _| {}).unwrap();
    assert!(message.contains("never came back"), "{message}");
}

#[test]
fn a_chain_that_comes_back_twice() {
    let twice = |ram: &GuestRam, config: &Config| {
        publish(ram, config, 0, head(ram, config), 0);
        publish(ram, config, 1, head(ram, config), 0);
    };
    assert!(failure(twice).unwrap().contains("only 1 were out"));
}

#[test]
fn a_chain_that_never_was() {
    let wrong = |id| failure(move |ram, config| publish(ram, config, 0, id, 0)).unwrap();
    for id in [8, 0x1_0000, u32::MAX] {
        let message = wrong(id);
        assert!(message.contains("which is not out"), "{message}");
    }
}

#[test]
fn more_bytes_than_there_is_room_for() {
    let long = |ram: &GuestRam, config: &Config| publish(ram, config, 0, head(ram, config), 9);
    let message = failure(long).unwrap();
    assert!(
        message.contains("9 bytes written, but there is room for 8"),
        "{message}"
    );
}

#[test]
fn a_write_to_a_buffer_that_is_to_be_read() {
    let scribble = |ram: &GuestRam, config: &Config| {
        ram.fill(at(ram, buffer(ram, config), 3, 1), b'!');
        publish(ram, config, 0, head(ram, config), 0);
    };
    assert!(failure(scribble).unwrap().contains("only read (§2.7.5.1)"));
}

#[test]
fn a_write_to_a_descriptor() {
    let scribble = |ram: &GuestRam, config: &Config| {
        ram.fill(
            at(
                ram,
                config.descriptors,
                u64::from(head(ram, config)) * 16 + 12,
                1,
            ),
            0,
        );
        publish(ram, config, 0, head(ram, config), 0);
    };
    assert!(
        failure(scribble)
            .unwrap()
            .contains("wrote to it (§2.7.5.1)")
    );
}

#[test]
fn flags_with_event_idx() {
    let flags = |ram: &GuestRam, config: &Config| {
        ram.fill(at(ram, config.device, 0, 1), 1);
        publish(ram, config, 0, head(ram, config), 0);
    };
    assert!(failure(flags).unwrap().contains("used flags"));
}

#[test]
fn dropping_the_guest_checks_as_well() {
    let caught = catch_unwind(|| {
        let mut guest = Guest::new();
        guest.add_queue(8, Features::all());
        guest.queue(0).add(&[writable(1)]);
    });
    assert!(caught.is_err());
}

#[test]
fn a_reset_forgets_and_frees_everything() {
    let mut guest = Guest::with_ram(GuestAddress::new(0), 0x2000);
    guest.add_queue(4, Features::all());
    for _ in 0..100 {
        guest
            .queue(0)
            .add_indirect(&[readable([1; 1000]), writable(2000)]);
        guest.queue(0).kick();
        guest.queue(0).reset();
        assert_eq!(
            (guest.queue(0).free(), guest.queue(0).outstanding()),
            (4, Vec::new())
        );
    }
    guest.finish();
}
