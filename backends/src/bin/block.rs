//! The block backend: a guest's /dev/vda and the driver of the disk.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_abi::config::BackendConfig;
use sel4cp_backends::block::Block;
use sel4cp_backends::wiring::{Domain, config, need};
use sel4cp_pd::{Handler, device_rings, guest_ram, protection_domain};

protection_domain!(init = init);

fn init() -> impl Handler {
    let config = config::<BackendConfig>();
    let region = need("disk ring", device_rings(&config.ring.region));
    let ram = need("guest RAM", guest_ram(&config.ram));
    let read_only = config.read_only != 0;
    let block = Block::new(region, ram, read_only, config.serial, config.queues);
    Domain::new(config, ram, block)
}
