//! The PD that owns a virtio-net interface and serves one net backend.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use sel4cp_drivers::net::{Server, Storage};
use sel4cp_drivers::virtio::{Driver, Hardware};

static STORAGE: Storage = Storage::new();

fn init() -> Driver<Server<Hardware>> {
    Driver::start(&STORAGE)
}

sel4cp_pd::protection_domain!(init = init);
