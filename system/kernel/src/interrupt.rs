//! Device interrupts: each is a badge of a domain's notification.

use crate::capability::Badge;
use crate::id::DomainId;
use crate::kernel::Kernel;
use crate::machine::Machine;

/// One past the last INTID of a shared interrupt.
const INTERRUPTS: usize = 1020;

/// Whose interrupts are whose.
#[derive(Debug)]
pub(crate) struct Routes([Option<(DomainId, u8)>; INTERRUPTS]);

impl Routes {
    pub(crate) const fn new() -> Self {
        Self([None; INTERRUPTS])
    }

    pub(crate) fn insert(&mut self, number: u16, domain: DomainId, channel: u8) {
        if let Some(route) = self.0.get_mut(usize::from(number)) {
            *route = Some((domain, channel));
        }
    }

    fn get(&self, number: u16) -> Option<(DomainId, u8)> {
        self.0.get(usize::from(number)).copied().flatten()
    }
}

impl<M: Machine> Kernel<M> {
    /// A device raised an interrupt, which stays off until its domain acknowledges it; whether it has a domain.
    pub fn device_interrupt(&mut self, number: u16) -> bool {
        let route = self.routes.get(number);
        if let Some((domain, channel)) = route {
            self.signal(domain, Badge::Channel(channel));
        }
        route.is_some()
    }
}
