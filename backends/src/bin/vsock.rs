//! The vsock backend: a guest's sockets, native services, and other guests.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_abi::config::VsockConfig;
use sel4cp_backends::vsock::{Line, MAX_WIRES, Vsock};
use sel4cp_backends::wiring::{Domain, config, need};
use sel4cp_pd::{Channel, Handler, guest_ram, protection_domain, wire_rings};

protection_domain!(init = init);

fn init() -> impl Handler {
    let config = config::<VsockConfig>();
    let ram = need("guest RAM", guest_ram(&config.ram));
    let mut vsock = Vsock::new(config.cid);
    let mut channels = [None; MAX_WIRES];
    let count = usize::try_from(config.wire_count).unwrap_or(0);
    for (wire, channel) in config.wires.iter().take(count).zip(&mut channels) {
        let pair = need("wire", wire_rings(&wire.ring.region));
        let end = if wire.first != 0 {
            pair.first()
        } else {
            pair.second()
        };
        // There is room: the configuration has no more places.
        let _room = vsock.add(Line::new(wire.cid, end));
        *channel = Channel::from_config(wire.ring.channel);
    }
    Domain::wired(&config.link, channels, ram, vsock)
}
