//! The driver between rings and a line in memory.

use super::*;
use core::cell::RefCell;
use core::sync::atomic::Ordering::Acquire;
use pd::host::{self, Call};
use sel4cp_abi::config::{Header, Name, Program, Region, Ring, SerialClient, SerialConfig};
use sel4cp_abi::label::Labels;
use sel4cp_abi::uart::UartKind;
use sel4cp_ring::{Consumer, Producer};
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;

const UART: Channel = Channel::new(0);
const POWER: Channel = Channel::new(1);
const TIMER: Channel = Channel::new(2);
/// Channel of the first client; the others follow.
const CLIENTS: u8 = 3;
/// Bytes of a client's ring each way.
const RING: usize = 0x1000;

/// What happens on the line.
#[derive(Default)]
struct Wire {
    sent: Vec<u8, 0x8000>,
    /// Bytes that the line takes until it is full.
    room: usize,
    /// It is still busy with what was sent.
    busy: bool,
    incoming: VecDeque<u8>,
    listening: (bool, bool),
}

#[derive(Clone)]
struct Fake(Rc<RefCell<Wire>>);

impl Line for Fake {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut wire = self.0.borrow_mut();
        let count = wire.room.min(bytes.len());
        wire.sent.extend_from_slice(&bytes[..count]).unwrap();
        wire.room -= count;
        count
    }
    fn receive(&mut self) -> Option<u8> {
        self.0.borrow_mut().incoming.pop_front()
    }
    fn is_idle(&self) -> bool {
        !self.0.borrow().busy
    }
    fn is_almost_idle(&self) -> bool {
        !self.0.borrow().busy
    }
    fn listen(&mut self, incoming: bool, room: bool) {
        self.0.borrow_mut().listening = (incoming, room);
    }
}

/// A client's side of its rings.
struct Peer {
    channel: Channel,
    to_driver: Producer<u8>,
    from_driver: Consumer<u8>,
}

struct Bench {
    serial: Serial<Fake>,
    wire: Rc<RefCell<Wire>>,
    peers: std::vec::Vec<Peer>,
    state: &'static SerialState,
}

/// Name, kind and guest of each client.
type Clients<'a> = &'a [(&'a str, u32, u32)];

const ONE: Clients<'_> = &[("linux", 0, 0), ("linux_vmm", 2, 0)];
const TWO: Clients<'_> = &[("a", 0, 0), ("b", 0, 1), ("vmm", 2, 0)];

fn config(clients: Clients<'_>) -> SerialConfig {
    let ring = |region: Region, channel: u8| Ring {
        region,
        channel: channel.into(),
        reserved: 0,
    };
    let none = SerialClient {
        name: Name { bytes: [0; 32] },
        ring: Ring::NONE,
        kind: 0,
        guest: 0,
    };
    let mut config = SerialConfig {
        header: Header::new::<SerialConfig>(Program::Serial, 0, Labels::RELEASE, Ring::NONE),
        registers: Region::NONE,
        state: ring(host::region(0x1000), POWER.id()),
        timer: ring(host::region(0x1000), TIMER.id()),
        interrupt_channel: UART.id().into(),
        client_count: u32::try_from(clients.len()).unwrap(),
        focus: 0,
        guest_count: clients.iter().map(|client| client.2).max().unwrap() + 1,
        uart: UartKind::Pl011 as u32,
        reserved: 0,
        clients: [none; MAX_SERIAL_CLIENTS],
    };
    for ((name, kind, guest), (channel, client)) in
        clients.iter().zip((CLIENTS..).zip(&mut config.clients))
    {
        *client = SerialClient {
            name: Name::new(name).unwrap(),
            ring: ring(host::region(0x1000 + 2 * RING), channel),
            kind: *kind,
            guest: *guest,
        };
    }
    config
}

/// The client's side, which is another PD and so does not ask this one's table.
fn peer(ring: Ring) -> Peer {
    let ends = std::thread::spawn(move || {
        host::adopt(ring.region);
        // A configuration of its own makes the region known.
        pd::byte_rings(&ring.region).unwrap().client()
    });
    let (to_driver, from_driver) = ends.join().unwrap();
    Peer {
        channel: Channel::from_config(ring.channel).unwrap(),
        to_driver,
        from_driver,
    }
}

impl Bench {
    fn new(clients: Clients<'_>) -> Self {
        let config = config(clients);
        host::set_config(&config);
        let config = pd::config::<SerialConfig>().unwrap();
        let wire = Rc::new(RefCell::new(Wire {
            room: usize::MAX,
            ..Wire::default()
        }));
        let serial = Serial::new(config, Fake(wire.clone())).unwrap();
        let state = serial.power.as_ref().unwrap().state;
        let used = &config.clients[..clients.len()];
        Self {
            serial,
            wire,
            peers: used.iter().map(|client| peer(client.ring)).collect(),
            state,
        }
    }

    /// Puts text into a client's ring and notifies if asked to.
    fn write(&mut self, client: usize, text: &str) {
        let peer = &mut self.peers[client];
        let pushed = peer.to_driver.push_slice(text.as_bytes()).unwrap();
        assert_eq!(pushed, text.len());
        if peer.to_driver.publish() {
            let channel = peer.channel;
            self.notify(channel);
        }
    }

    fn notify(&mut self, channel: Channel) {
        host::deliver_notification(channel);
        host::run(&mut self.serial);
    }

    fn press(&mut self, keys: &[u8]) {
        self.wire.borrow_mut().incoming.extend(keys);
        if self.wire.borrow().listening.0 {
            self.notify(UART);
        }
    }

    /// What was sent since the last time.
    fn sent(&self) -> String {
        let mut wire = self.wire.borrow_mut();
        let sent = String::from_utf8(wire.sent.to_vec()).unwrap();
        wire.sent.clear();
        sent
    }

    /// What a client finds in its ring, as much as `most`; it waits for more afterwards.
    fn typed(&mut self, client: usize, most: usize) -> String {
        let mut bytes = vec![0; most];
        let peer = &mut self.peers[client];
        let count = peer.from_driver.pop_slice(&mut bytes).unwrap();
        let notify = peer.from_driver.release();
        peer.from_driver.arm().unwrap();
        let channel = peer.channel;
        if notify {
            self.notify(channel);
        }
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    fn pending(&self) -> u32 {
        self.state.pending.load(Acquire)
    }
}

/// The calls since the last time, without receives.
fn calls() -> std::vec::Vec<Call> {
    let calls = host::calls().into_iter();
    calls.filter(|call| *call != Call::Receive).collect()
}

#[test]
fn a_single_guest_talks_to_the_line() {
    let mut bench = Bench::new(ONE);
    assert_eq!(bench.wire.borrow().listening, (true, false));
    bench.write(0, "login: ");
    assert_eq!(bench.sent(), "login: ");
    bench.press(b"ro\x1d1\x03");
    assert_eq!(bench.typed(0, 100), "ro\x1d1\x03");
    calls();
    bench.press(b"x");
    let expected = [Call::Notify(Channel::new(CLIENTS)), Call::IrqAck(UART)];
    assert_eq!(calls(), expected);
}

#[test]
fn a_batch_is_one_notification() {
    let mut bench = Bench::new(ONE);
    bench.typed(0, 1);
    calls();
    bench.press(&[b'k'; 100]);
    let expected = [Call::Notify(Channel::new(CLIENTS)), Call::IrqAck(UART)];
    assert_eq!(calls(), expected);
}

#[test]
fn chords_move_the_input() {
    let mut bench = Bench::new(TWO);
    bench.press(b"to a\x1d2to b\x1d\x1d\x1dnto a");
    assert_eq!(bench.typed(0, 100), "to ato a");
    assert_eq!(bench.typed(1, 100), "to b\x1d");
    assert_eq!(bench.sent(), "sel4cp-vmm: input goes to a\r\n");
    bench.press(b"\x1d2");
    assert_eq!(bench.sent(), "sel4cp-vmm: input goes to b\r\n");
    bench.press(b"\x1d9x");
    let help = "sel4cp-vmm: Ctrl-] and 1 to 2: that guest, n: the next one, Ctrl-]: itself\r\n";
    assert_eq!(bench.sent(), help);
    assert_eq!(bench.typed(1, 100), "x");
}

#[test]
fn a_paste_waits_for_a_slow_guest() {
    let mut bench = Bench::new(ONE);
    let paste: String = (0..150).map(|n| format!("{n:055}\r")).collect();
    bench.press(paste.as_bytes());
    assert!(!bench.wire.borrow().listening.0);
    assert_eq!(bench.wire.borrow().incoming.len(), paste.len() - RING);
    let mut read = String::new();
    while read.len() < paste.len() {
        let piece = bench.typed(0, 100);
        assert!(!piece.is_empty(), "stuck after {}", read.len());
        read.push_str(&piece);
    }
    assert_eq!(read, paste);
    assert!(bench.wire.borrow().listening.0);
}

#[test]
fn output_waits_for_a_slow_line() {
    let mut bench = Bench::new(TWO);
    bench.wire.borrow_mut().room = 0;
    let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
    bench.write(1, &text);
    assert_eq!(bench.wire.borrow().listening, (true, true));
    assert_eq!(bench.pending(), 1);
    let mut sent = String::new();
    while bench.wire.borrow().listening.1 {
        bench.wire.borrow_mut().room = 16;
        bench.notify(UART);
        let piece = bench.sent();
        assert!(!piece.is_empty() || bench.pending() == 0, "stuck");
        sent.push_str(&piece);
    }
    assert_eq!(sent.replace("b| ", ""), text);
    assert_eq!(bench.pending(), 0);
}

#[test]
fn a_full_ring_holds_a_client_back_until_there_is_room() {
    let mut bench = Bench::new(ONE);
    bench.wire.borrow_mut().room = 0;
    let peer = &mut bench.peers[0];
    assert_eq!(peer.to_driver.push_slice(&[b'x'; 2 * RING]).unwrap(), RING);
    assert!(peer.to_driver.publish());
    assert!(!peer.to_driver.arm(1000).unwrap());
    let channel = peer.channel;
    bench.notify(channel);
    calls();
    bench.wire.borrow_mut().room = usize::MAX;
    bench.notify(UART);
    assert_eq!(calls(), [Call::Notify(channel), Call::IrqAck(UART)]);
    assert_eq!(bench.sent().len(), RING);
    assert!(bench.peers[0].to_driver.has_room(1000).unwrap());
}

#[test]
fn the_power_driver_is_told_after_the_last_byte() {
    let mut bench = Bench::new(ONE);
    bench.wire.borrow_mut().busy = true;
    bench.write(0, "bye\n");
    assert_eq!(bench.pending(), 1);
    calls();
    bench.notify(POWER);
    assert_eq!(calls(), []);
    assert!(bench.wire.borrow().listening.1);
    bench.wire.borrow_mut().busy = false;
    bench.notify(UART);
    assert_eq!(calls(), [Call::Notify(POWER), Call::IrqAck(UART)]);
    assert_eq!(bench.pending(), 0);
    bench.write(0, "more\n");
    assert!(!calls().contains(&Call::Notify(POWER)), "it did not ask");
}

#[test]
fn an_unfinished_line_holds_others_back_until_a_deadline() {
    let mut bench = Bench::new(TWO);
    host::set_counter(1_000_000);
    bench.write(0, "half a li");
    bench.write(1, "whole\n");
    assert_eq!(bench.sent(), "a| half a li");
    assert_eq!(bench.pending(), 1);
    let silence = 100 * 62_500;
    let page = bench.serial.timer.as_ref().unwrap().page;
    let deadline = 1_000_000 + silence;
    assert_eq!(page.deadline.load(Acquire), deadline);
    assert!(calls().contains(&Call::Notify(TIMER)));
    host::set_counter(deadline);
    page.deadline.store(0, Release);
    bench.notify(TIMER);
    assert_eq!(bench.sent(), "\r\nb| whole\n");
    assert_eq!(bench.pending(), 0);
}

#[test]
fn a_client_that_breaks_the_rules_is_reported_once_and_can_start_again() {
    let mut bench = Bench::new(TWO);
    bench.write(0, "hello\n");
    assert_eq!(bench.sent(), "a| hello\n");
    let used = pd::config::<SerialConfig>().unwrap().clients[0].ring;
    let words = used.region.vaddr;
    let index = core::ptr::with_exposed_provenance::<core::sync::atomic::AtomicU32>(
        usize::try_from(words).unwrap(),
    );
    #[expect(unsafe_code, reason = "a client that writes what it wants")]
    // SAFETY: the producer's index is the first word of the region, which lives until the tests end.
    let index = unsafe { &*index };
    index.store(0x7fff_ffff, Release);
    let channel = bench.peers[0].channel;
    bench.notify(channel);
    bench.notify(channel);
    let report = bench.sent();
    assert!(report.starts_with("sel4cp-vmm: serial: a: peer's ring index is 0x7fffffff"));
    assert_eq!(report.lines().count(), 1, "{report}");
    bench.write(1, "alive\n");
    assert_eq!(bench.sent(), "b| alive\n");
    // It starts again: its new producer makes sense of the indices.
    bench.peers[0] = peer(used);
    bench.write(0, "back\n");
    assert_eq!(bench.sent(), "a| back\n");
}

#[test]
fn what_was_written_before_the_driver_started_is_shown() {
    let config = config(ONE);
    let mut early = peer(config.clients[0].ring);
    early.to_driver.push_slice(b"early\n").unwrap();
    assert!(early.to_driver.publish());
    host::set_config(&config);
    let wire = Rc::new(RefCell::new(Wire {
        room: usize::MAX,
        ..Wire::default()
    }));
    let config = pd::config::<SerialConfig>().unwrap();
    let _serial = Serial::new(config, Fake(wire.clone())).unwrap();
    assert_eq!(wire.borrow().sent, b"early\n");
}

#[test]
fn a_wrong_configuration_is_refused() {
    let refused = |change: fn(&mut SerialConfig)| {
        let mut config = config(TWO);
        change(&mut config);
        host::set_config(&config);
        let config = pd::config::<SerialConfig>().unwrap();
        let wire = Rc::new(RefCell::new(Wire::default()));
        Serial::new(config, Fake(wire)).err().unwrap()
    };
    let b = Name::new("b").unwrap();
    let many = refused(|config| config.client_count = 1000);
    assert_eq!(many, Misconfigured::Clients(1000));
    let guest = refused(|config| config.guest_count = 1);
    assert_eq!(guest, Misconfigured::Guest(b, 1));
    let guests = refused(|config| config.guest_count = 99);
    assert_eq!(guests, Misconfigured::Guests(99));
    let kind = refused(|config| config.clients[1].kind = 3);
    assert_eq!(kind, Misconfigured::Kind(b, 3));
    let channel = refused(|config| config.interrupt_channel = 62);
    assert_eq!(
        channel.to_string(),
        "channel to the UART is 62, expected one from 0 to 61"
    );
    let region = refused(|config| config.clients[1].ring.region.size = 0);
    assert!(
        region
            .to_string()
            .starts_with("region shared with client b: ")
    );
}

#[test]
fn a_uart_of_an_unknown_kind_is_refused() {
    let mut config = config(ONE);
    config.uart = 5;
    host::set_config(&config);
    let error = Serial::open().err().unwrap();
    assert_eq!(error, Misconfigured::Uart(5));
    assert_eq!(error.to_string(), "the UART is of kind 5, expected 1 to 4");
}
