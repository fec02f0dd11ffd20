//! The native services of all guests that have sockets: echo, discard and a source of characters.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_abi::config::{MAX_WIRES, ServicesConfig};
use sel4cp_pd::{self as pd, Channel, ChannelSet, Handler, Once, protection_domain, wire_rings};
use sel4cp_services::{Endpoint, Memory, memory, services};

protection_domain!(init = init);

static BUFFERS: [Once<Memory>; MAX_WIRES] = [const { Once::new(memory()) }; MAX_WIRES];

struct Services {
    guests: heapless::Vec<(Endpoint, Option<Channel>), MAX_WIRES>,
}

fn init() -> impl Handler {
    let config = match pd::config::<ServicesConfig>() {
        Ok(config) => config,
        Err(error) => pd::fatal!("{error}"),
    };
    let mut guests = heapless::Vec::new();
    let count = usize::try_from(config.wire_count).unwrap_or(0);
    for (wire, buffers) in config.wires.iter().take(count).zip(&BUFFERS) {
        let pair = match wire_rings(&wire.ring.region) {
            Ok(pair) => pair,
            Err(error) => pd::fatal!("wire: {error}"),
        };
        let end = if wire.first != 0 {
            pair.first()
        } else {
            pair.second()
        };
        let Some(buffers) = buffers.take() else {
            continue;
        };
        let mut endpoint = Endpoint::new(end, buffers);
        services::listen(&mut endpoint);
        // There is room: the configuration has no more places.
        let _room = guests.push((endpoint, Channel::from_config(wire.ring.channel)));
    }
    let mut services = Services { guests };
    services.work();
    services
}

impl Services {
    /// Every guest has its turn before one has another.
    fn work(&mut self) {
        loop {
            let mut again = false;
            for (endpoint, channel) in &mut self.guests {
                again |= endpoint.turn(services::serve);
                if let Some(fault) = endpoint.take_fault() {
                    pd::log!("{fault}");
                }
                if let (true, Some(channel)) = (endpoint.take_notify(), *channel) {
                    channel.defer_notify();
                }
            }
            if !again {
                break;
            }
        }
    }
}

impl Handler for Services {
    fn notified(&mut self, _: ChannelSet) {
        self.work();
    }
}
