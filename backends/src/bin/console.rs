//! The console backend: a guest's hvc0 and the serial driver.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_abi::config::BackendConfig;
use sel4cp_backends::console::Console;
use sel4cp_backends::wiring::{Domain, config, need};
use sel4cp_pd::{Handler, byte_rings, guest_ram, protection_domain};

protection_domain!(init = init);

fn init() -> impl Handler {
    let config = config::<BackendConfig>();
    let rings = need("serial ring", byte_rings(&config.ring.region));
    let ram = need("guest RAM", guest_ram(&config.ram));
    let console = Console::new(rings.client(), config.columns, config.rows);
    Domain::new(config, ram, console)
}
