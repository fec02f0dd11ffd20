//! The net backend: a guest's eth0 and the driver of the interface.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_abi::config::BackendConfig;
use sel4cp_backends::net::{Net, Pauses};
use sel4cp_backends::wiring::{Domain, config, need};
use sel4cp_pd::{Handler, device_rings, guest_ram, protection_domain, shared};

protection_domain!(init = init);

fn init() -> impl Handler {
    let config = config::<BackendConfig>();
    let region = need("interface ring", device_rings(&config.ring.region));
    let ram = need("guest RAM", guest_ram(&config.ram));
    let frames = (config.frames.is_some()).then(|| need("frames", guest_ram(&config.frames)));
    let pause = &config.pause.region;
    let pauses = (pause.is_some()).then(|| Pauses {
        page: need("page of pauses", shared(pause)),
        most_made: config.most_made,
    });
    let net = Net::new(region, ram, frames, pauses, config.mac, config.mtu);
    Domain::new(config, ram, net)
}
