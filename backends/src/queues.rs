//! The queues of a device between DRIVER_OK and reset.

use sel4cp_link::{MAX_QUEUES, Session};
use sel4cp_memory::{GuestAddress, GuestRam};
use sel4cp_queue::{Config, Features, GuestFault, Queue};

/// A device's queues. Those that the driver did not enable are not there, and none is after a fault or a reset:
/// then what was taken from them goes nowhere.
#[derive(Default)]
pub struct Queues {
    queues: [Option<Queue>; MAX_QUEUES],
}

impl Queues {
    /// Takes over what the driver has set up; of a session that is resumed, as [`Queue::resume`] says.
    ///
    /// # Errors
    /// The first queue that breaks the specification.
    pub(crate) fn new(ram: &GuestRam, session: &Session) -> Result<Self, GuestFault> {
        let take_over = if session.resumed {
            Queue::resume
        } else {
            Queue::new
        };
        let mut new = Self::default();
        for (queue, setup) in new.queues.iter_mut().zip(&session.queues) {
            if !setup.ready {
                continue;
            }
            *queue = Some(take_over(
                ram,
                &Config {
                    size: setup.size,
                    descriptors: GuestAddress::new(setup.descriptors),
                    driver: GuestAddress::new(setup.driver),
                    device: GuestAddress::new(setup.device),
                    features: Features::from_bits_truncate(session.features),
                },
            )?);
        }
        Ok(new)
    }

    /// Queue `index`, if it is enabled.
    pub fn get(&mut self, index: u16) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(index))?.as_mut()
    }

    /// Shows the driver what has been completed; whether it wants an interrupt for it.
    pub(crate) fn publish(&mut self) -> bool {
        let mut interrupt = false;
        for queue in self.queues.iter_mut().flatten() {
            interrupt |= queue.publish();
        }
        interrupt
    }
}
