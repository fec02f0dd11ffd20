//! The control queue (virtIO 1.2 §5.1.6.5): which of the received packets' offloads the guest takes from now on.
//!
//! A guest that looks at each frame itself, such as one with a program at its interface (XDP), or that passes frames on, can so have
//! them as they came. Everything else that a command may ask for is not offered, and refused.

use sel4cp_memory::Span;
use sel4cp_model::net::{COMMAND_ERR, COMMAND_OK, Features, OffloadsCommand};
use sel4cp_queue::{Chain, GuestFault, Queue};

/// Commands that may wait: a driver has one at a time.
pub(super) const CONTROL_SIZE: u16 = 16;

/// The device's side of the queue.
pub(super) struct Control {
    /// The offloads among which the guest may choose; `None`: it may not.
    choice: Option<Features>,
    /// The guest notifies of its next command.
    armed: bool,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self {
            choice: None,
            armed: false,
        }
    }

    /// For a guest that has accepted these features.
    pub(super) fn start(&mut self, accepted: Features) {
        let control = Features::CTRL_VQ | Features::CTRL_GUEST_OFFLOADS;
        let offloads = accepted & Features::RECEIVE_OFFLOADS;
        self.choice = accepted.contains(control).then_some(offloads);
        self.armed = false;
    }

    /// Answers the guest's commands. The offloads that it takes now, if it has chosen; and whether there may be more, and nobody will say so.
    ///
    /// # Errors
    /// A command without a byte for the answer, or a queue that breaks the specification.
    pub(super) fn serve(
        &mut self,
        queue: &mut Queue,
        spans: &mut [Span],
    ) -> Result<(Option<Features>, bool), GuestFault> {
        let mut chosen = None;
        for _ in 0..queue.size() {
            let Some((token, chain)) = queue.pop(spans)? else {
                if self.armed || !queue.enable_notifications()? {
                    self.armed = true;
                    return Ok((chosen, false));
                }
                continue;
            };
            self.armed = false;
            match self.answer(&chain) {
                Ok(new) => {
                    chosen = new.or(chosen);
                    let _fresh = queue.complete(token, 1);
                }
                Err(fault) => {
                    // Nobody has it: a reset must not wait for it.
                    let _last = queue.put_back(token);
                    return Err(fault);
                }
            }
        }
        Ok((chosen, true))
    }

    /// Answers one in the first byte that may be written: what it chooses.
    fn answer(&self, chain: &Chain<'_>) -> Result<Option<Features>, GuestFault> {
        let chosen = self.chosen(chain);
        let answer = match chosen {
            Some(_) => COMMAND_OK,
            None => COMMAND_ERR,
        };
        chain.writer().write_all(&[answer])?;
        Ok(chosen)
    }

    fn chosen(&self, chain: &Chain<'_>) -> Option<Features> {
        let mut reader = chain.reader();
        let command = reader.read_obj::<OffloadsCommand>().ok()?;
        let is_known = (command.class, command.command)
            == (OffloadsCommand::CLASS, OffloadsCommand::SET)
            && reader.remaining() == 0;
        let offloads = Features::from_bits(command.offloads.get())?;
        (is_known && self.choice?.contains(offloads)).then(|| offloads.consistent_offloads())
    }
}
