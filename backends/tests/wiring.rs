//! A backend's protection domain on the host: regions from a configuration, notifications through channels.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]

use sel4cp_abi::config::{BackendConfig, Header, Name, Program, Region, Ring, VsockConfig, Wire};
use sel4cp_abi::label::Labels;
use sel4cp_backends::console::Console;
use sel4cp_backends::pause::Pause;
use sel4cp_backends::vsock::{Line, MAX_WIRES, Vsock};
use sel4cp_backends::wiring::{Domain, config, need};
use sel4cp_link::{QueueSetup, VmmEnd};
use sel4cp_memory::{GuestAddress, GuestRange};
use sel4cp_pd::host::{self, Call};
use sel4cp_pd::{Channel, byte_rings, guest_ram, shared, wire_rings};
use sel4cp_ring::layout::{BYTE_PAIR_SIZE, WIRE_SIZE};
use sel4cp_ring::shared::PausePage;
use sel4cp_ring::wire;
use std::sync::atomic::Ordering::Relaxed;

const VMM: Channel = Channel::new(3);
const DRIVER: Channel = Channel::new(5);

/// The descriptor table, the rings and a buffer of a queue, at these offsets of guest RAM.
const QUEUE: u64 = 0x1000;
const RAM: u64 = 0x4000_0000;

fn ring(size: usize, channel: Channel) -> Ring {
    Ring {
        region: host::region(size),
        channel: channel.id().into(),
        reserved: 0,
    }
}

#[test]
fn a_console_domain_announces_serves_and_notifies() {
    let header = Header::new::<BackendConfig>(Program::Console, 0, Labels::RELEASE, Ring::NONE);
    let mut ram = host::region(0x20_0000);
    ram.bus = RAM;
    let description = BackendConfig {
        header,
        device: Name::new("test.console").unwrap(),
        link: ring(0x1000, VMM),
        ram,
        ring: ring(BYTE_PAIR_SIZE, DRIVER),
        mac: [0; 6],
        mtu: 0,
        columns: 80,
        rows: 25,
        read_only: 0,
        queues: 1,
        serial: [0; 20],
        most_made: 0,
        frames: Region::NONE,
        pause: Ring::NONE,
    };
    host::set_config(&description);

    // What the program's init does, but for one thing: the test keeps a copy of each end.
    let config = config::<BackendConfig>();
    let page = need("link", shared(&config.link.region));
    let pair = need("serial ring", byte_rings(&config.ring.region));
    let ram = need("guest RAM", guest_ram(&config.ram));
    let console = Console::new(pair.client(), config.columns, config.rows);
    let mut vmm = VmmEnd::new(page);
    let (mut output, _) = pair.driver();
    let mut domain = Domain::on(page, config, ram, console);
    host::run(&mut domain);
    assert!(host::calls().contains(&Call::Notify(VMM)), "announced");
    assert!(vmm.poll().announced && vmm.is_ready());

    // A guest with one queue, by hand: one chain of one buffer.
    let write = |offset: u64, bytes: &[u8]| {
        let address = GuestAddress::new(RAM + offset);
        let len = u32::try_from(bytes.len()).unwrap();
        let span = ram.check(GuestRange::new(address, len));
        ram.write_bytes(span.unwrap(), bytes);
    };
    write(0x8000, b"hello");
    write(QUEUE, &(RAM + 0x8000).to_le_bytes());
    write(QUEUE + 8, &[5, 0, 0, 0, 0, 0, 0, 0]);
    write(QUEUE + 0x1000 + 2, &[1, 0]);
    vmm.set_features(1 << 32);
    vmm.set_queue(
        1,
        QueueSetup {
            size: 4,
            ready: true,
            descriptors: RAM + QUEUE,
            driver: RAM + QUEUE + 0x1000,
            device: RAM + QUEUE + 0x2000,
        },
    );
    assert!(vmm.set_status(15));
    host::deliver_notification(VMM);
    host::run(&mut domain);
    let calls = host::calls();
    let at = |call: &Call| calls.iter().position(|made| made == call);
    let (driver, guest) = (at(&Call::Notify(DRIVER)), at(&Call::Notify(VMM)));
    assert!(
        guest.is_some() && guest < driver,
        "the driver's goes with the receive: {calls:?}"
    );
    assert_eq!(vmm.poll().interrupts, 1);
    let mut bytes = [0; 8];
    assert_eq!(output.pop_slice(&mut bytes).unwrap(), 5);
    assert_eq!(&bytes[..5], b"hello");
}

#[test]
fn a_socket_domain_notifies_the_peer_that_it_has_something_for() {
    let peers = [Channel::new(6), Channel::new(7)];
    let mut ram = host::region(0x20_0000);
    ram.bus = RAM;
    let mut wires = [Wire::NONE; MAX_WIRES];
    for ((wire, channel), cid) in wires.iter_mut().zip(peers).zip(2..) {
        wire.cid = cid;
        wire.ring = ring(WIRE_SIZE, channel);
    }
    host::set_config(&VsockConfig {
        header: Header::new::<VsockConfig>(Program::Vsock, 0, Labels::RELEASE, Ring::NONE),
        device: Name::new("test.vsock").unwrap(),
        link: ring(0x1000, VMM),
        ram,
        cid: 5,
        wire_count: 2,
        reserved: 0,
        wires,
    });
    // As the program's init does it, but that the test keeps the other ends.
    let config = config::<VsockConfig>();
    let ram = need("guest RAM", guest_ram(&config.ram));
    let mut vsock = Vsock::new(config.cid);
    let mut ends = Vec::new();
    for wire in &config.wires[..2] {
        let pair = need("wire", wire_rings(&wire.ring.region));
        assert!(vsock.add(Line::new(wire.cid, pair.second())));
        ends.push(pair.first());
    }
    let mut channels = [None; MAX_WIRES];
    for (channel, peer) in channels.iter_mut().zip(peers) {
        *channel = Some(peer);
    }
    let mut domain = Domain::wired(&config.link, channels, ram, vsock);
    host::run(&mut domain);
    assert!(host::calls().contains(&Call::Notify(VMM)), "announced");
    // There is no guest yet: who asks for a connection is refused, and nobody else hears of it.
    for end in &mut ends {
        assert!(!end.wait().unwrap());
    }
    let request = wire::Header {
        op: 1,
        kind: 1,
        from: 7,
        to: 8,
        ..wire::Header::default()
    };
    assert!(ends[1].tell(&request).unwrap());
    ends[1].flush();
    assert!(ends[1].take_notify(), "the domain waits for it");
    host::deliver_notification(peers[1]);
    host::run(&mut domain);
    let calls = host::calls();
    assert!(calls.contains(&Call::Notify(peers[1])), "{calls:?}");
    assert!(!calls.contains(&Call::Notify(peers[0])), "{calls:?}");
    let answer = ends[1].front().unwrap().unwrap();
    assert_eq!((answer.op, answer.from, answer.to), (3, 8, 7));
}

#[test]
fn a_backend_is_told_of_a_pause_when_it_has_not_asked_again_meanwhile() {
    let backend = Channel::new(2);
    let page: &'static PausePage = Box::leak(Box::default());
    let mut domain = Pause::new(page, Some(backend));
    host::run(&mut domain);
    assert_eq!(host::calls(), [], "nobody has asked");
    page.asked.store(1, Relaxed);
    for _ in 0..2 {
        host::meanwhile(|| {
            page.asked.fetch_add(1, Relaxed);
        });
    }
    host::deliver_notification(backend);
    host::run(&mut domain);
    let told = [
        Call::Receive,
        Call::Yield,
        Call::Yield,
        Call::Yield,
        Call::Notify(backend),
    ];
    assert_eq!(host::calls(), told);
    host::deliver_notification(backend);
    host::run(&mut domain);
    assert_eq!(
        host::calls(),
        [Call::Receive, Call::Yield, Call::Notify(backend)]
    );
}
