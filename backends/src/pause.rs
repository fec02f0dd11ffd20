//! Tells a network backend when its guest pauses: this domain has the guest's priority, so that it runs when the guest has nothing to do,
//! or its time slice is over.
//!
//! A backend that comes before the guest cannot find out by itself, and need not be told each time: it asks, and as long as it asks
//! again meanwhile, its guest is at work for it.

use crate::wiring::{config, need};
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_abi::config::PauseConfig;
use sel4cp_pd::{self as pd, Channel, ChannelSet, Handler};
use sel4cp_ring::shared::PausePage;

/// The domain.
pub struct Pause {
    page: &'static PausePage,
    backend: Option<Channel>,
}

/// The domain, from its configuration; stops as [`need`] does.
pub fn init() -> impl Handler {
    let config = config::<PauseConfig>();
    let page = need("page of the backend", pd::shared(&config.backend.region));
    Pause::new(page, Channel::from_config(config.backend.channel))
}

impl Pause {
    /// Tells the backend at `backend`, which asks in `page`.
    pub const fn new(page: &'static PausePage, backend: Option<Channel>) -> Self {
        Self { page, backend }
    }
}

impl Handler for Pause {
    fn notified(&mut self, _: ChannelSet) {
        // Who is woken comes before the others of its priority: the guest has not run yet. A backend that never stops asking keeps
        // nobody waiting, as each round lets the others run.
        loop {
            let asked = self.page.asked.load(Relaxed);
            pd::yield_now();
            if self.page.asked.load(Relaxed) == asked {
                break;
            }
        }
        if let Some(backend) = self.backend {
            backend.defer_notify();
        }
    }
}
