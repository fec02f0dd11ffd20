//! §5.10.6.7: what a guest hears when communication is interrupted, and what becomes of everybody's connections.

use crate::rig::{CID, PEERS, RX, Rig, TX, answer, packet};
use sel4cp_backends::Trouble;
use sel4cp_backends::vsock::counter;
use sel4cp_model::vsock::{Header, Op};
use sel4cp_testing::{readable_obj, writable};

const STREAM: u16 = 1;
const EVENT: usize = 2;
const RST: u16 = Op::Rst as u16;

impl Rig {
    /// A guest with a connection to each of its peers, and this many buffers for events.
    fn with_two_connections(events: usize) -> Self {
        let mut rig = Self::new();
        for _ in 0..events {
            rig.bench.guest.queue(EVENT).add(&[writable(8)]);
        }
        rig.bench.kick(EVENT);
        rig.connect(STREAM);
        rig.connect_other();
        rig
    }

    fn connect_other(&mut self) {
        self.send(&to_other(Op::Request), b"");
        self.tell(1, &answer(Op::Response, 0), b"");
        assert_eq!(self.got_ops(), [Op::Response as u16]);
        assert_eq!(self.arrived_ops(1), [Op::Request as u16]);
    }

    /// The events that the guest got.
    fn events(&mut self) -> Vec<Vec<u8>> {
        self.bench.turn();
        let used = self.bench.guest.queue(EVENT).collect();
        used.into_iter().map(|used| used.bytes).collect()
    }

    /// After a reset of the transport: what the guest still says of a connection is refused, and everything works anew.
    fn begins_anew(&mut self) {
        self.bench.guest.queue(TX).collect();
        assert_eq!(self.counter(counter::CONNECTIONS), 0);
        self.send(&packet(Op::Rw, 0), b"");
        self.send(&to_other(Op::CreditUpdate), b"");
        assert_eq!(self.got_ops(), [RST, RST]);
        self.bench.guest.queue(TX).collect();
        self.connect(STREAM);
        self.connect_other();
        self.tell(0, &answer(Op::Rw, 2), b"hi");
        assert_eq!(self.got()[0].1, b"hi");
        assert_eq!(self.counter(counter::CONNECTIONS), 2);
        assert_eq!(self.bench.trouble, None);
        assert!(!self.bench.needs_reset);
    }
}

fn to_other(op: Op) -> Header {
    Header {
        dst_cid: PEERS[1].into(),
        ..packet(op, 0)
    }
}

#[test]
fn s5_10_6_7_a_native_side_that_starts_again_resets_the_transport() {
    let mut rig = Rig::with_two_connections(2);
    rig.bench.take_interrupt();
    rig.peers[0] = rig.pairs[0].second();
    assert_eq!(rig.events(), [[0; 4]], "TRANSPORT_RESET, once");
    assert!(rig.bench.take_interrupt());
    assert_eq!(rig.got_ops(), [0; 0], "the event says it all");
    assert_eq!(rig.arrived_ops(0), [0; 0]);
    assert_eq!(rig.arrived_ops(1), [RST]);
    assert_eq!(rig.counter(counter::RESETS), 1);
    assert_eq!(rig.config_cid(), CID);
    rig.begins_anew();
    // There is a buffer for the next one.
    rig.peers[0] = rig.pairs[0].second();
    assert_eq!(rig.events().len(), 1);
    rig.end();
}

impl Rig {
    /// The CID that a driver reads again after the event.
    fn config_cid(&mut self) -> u64 {
        let bytes = self.bench.config();
        u64::from_le_bytes(bytes[..8].try_into().unwrap())
    }
}

#[test]
fn s5_10_6_7_without_a_buffer_for_the_event_each_connection_gets_its_rst() {
    let mut rig = Rig::with_two_connections(0);
    rig.peers[0] = rig.pairs[0].second();
    assert_eq!(rig.got_ops(), [RST]);
    assert_eq!(rig.arrived_ops(1), [0; 0]);
    assert_eq!(rig.counter(counter::CONNECTIONS), 1);
    // A buffer that comes later is for what happens later.
    rig.bench.guest.queue(EVENT).add(&[writable(8)]);
    rig.bench.kick(EVENT);
    assert!(rig.events().is_empty());
    assert_eq!(rig.counter(counter::RESETS), 0);
    rig.end();
}

#[test]
fn s5_10_6_7_only_an_interruption_is_one() {
    // Nobody was connected with the native side.
    let mut rig = Rig::new();
    rig.bench.guest.queue(EVENT).add(&[writable(8)]);
    rig.bench.kick(EVENT);
    rig.offer(16, 1000);
    rig.connect_other();
    rig.peers[0] = rig.pairs[0].second();
    assert!(rig.events().is_empty());
    // Another guest concerns its own connections.
    rig.peers[1] = rig.pairs[1].second();
    assert!(rig.events().is_empty());
    assert_eq!(rig.got_ops(), [RST]);
    assert_eq!(rig.counter(counter::RESETS), 0);
    rig.end();
}

#[test]
fn s5_10_6_7_a_device_that_starts_again_resets_the_transport() {
    let mut rig = Rig::with_two_connections(1);
    rig.bench.interrupts = 0;
    // A packet that the earlier life has not seen.
    let unseen = [readable_obj(&packet(Op::CreditRequest, 0))];
    rig.bench.guest.queue(TX).add(&unseen);
    let _asked = rig.bench.guest.queue(TX).kick();
    rig.revive();
    assert_eq!(rig.events(), [[0; 4]]);
    assert!(rig.bench.take_interrupt(), "one may have been lost");
    // Its peers see that it is another life, and forget what they had.
    assert!(rig.peers[0].restarted() && rig.peers[1].restarted());
    assert_eq!(rig.got_ops(), [RST], "the packet is of no connection");
    assert_eq!(rig.counter(counter::RESETS), 1);
    rig.begins_anew();
    rig.end();
}

#[test]
fn s5_10_6_7_a_device_that_starts_again_waits_for_a_buffer() {
    let mut rig = Rig::with_two_connections(0);
    rig.revive();
    assert!(rig.events().is_empty());
    rig.bench.guest.queue(EVENT).add(&[writable(8)]);
    rig.bench.kick(EVENT);
    assert_eq!(rig.events(), [[0; 4]]);
    rig.begins_anew();
    rig.end();
}

#[test]
fn a_device_that_starts_again_gives_up_without_an_event_queue() {
    let mut rig = Rig::new();
    assert!(rig.bench.reset());
    let mut setups: Vec<_> = (0..2)
        .map(|index| crate::common::setup(rig.bench.guest.queue(index).config()))
        .collect();
    let features = rig.bench.vmm.facts().unwrap().features;
    rig.bench.vmm.set_features(features);
    for (index, setup) in (0..).zip(setups.drain(..)) {
        rig.bench.vmm.set_queue(index, setup);
    }
    assert!(rig.bench.vmm.set_status(15));
    rig.bench.turn();
    assert_eq!(rig.bench.trouble, None);
    rig.revive();
    assert_eq!(rig.bench.trouble, Some(Trouble::Resumed));
    assert!(rig.bench.needs_reset);
    rig.end();
}

#[test]
fn a_buffer_too_short_for_an_event_is_the_guests_fault() {
    let mut rig = Rig::with_two_connections(0);
    rig.bench.guest.queue(EVENT).add(&[writable(3)]);
    rig.bench.kick(EVENT);
    rig.peers[0] = rig.pairs[0].second();
    rig.bench.turn();
    rig.bench.assert_broken();
    rig.end();
}

#[test]
fn a_used_index_that_the_guest_has_changed_hurts_the_guest_alone() {
    let mut rig = Rig::with_two_connections(1);
    for queue in [RX, TX] {
        let used = rig.bench.guest.queue(queue).config().device;
        let index = sel4cp_memory::GuestRange::new(used, 4);
        let ram = rig.bench.guest.ram();
        let span = ram.check(index).unwrap();
        ram.write_bytes(span, &[0, 0, 0x77, 0x77]);
    }
    rig.revive();
    rig.bench.assert_broken();
    rig.end();
}
