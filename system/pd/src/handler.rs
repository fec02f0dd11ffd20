//! What a protection domain reacts to.

use crate::{Channel, ChannelSet, Child, Error, MessageInfo, report};

/// The reactions of a protection domain.
///
/// Calls to the kernel overwrite the message registers: [`protected`](Self::protected) and
/// [`fault`](Self::fault) read theirs with [`get_mr`](crate::get_mr) before anything else.
pub trait Handler {
    /// Peers or interrupts have notified: `channels` says which, each at least once since the last call.
    fn notified(&mut self, channels: ChannelSet);

    /// The PD at the other end of `channel` calls with the message `info`; what is returned goes back, with
    /// the message registers that [`set_mr`](crate::set_mr) has set.
    ///
    /// Without an implementation the call is refused: the label of the answer is [`Error::IllegalOperation`].
    fn protected(&mut self, channel: Channel, info: MessageInfo) -> MessageInfo {
        crate::log!("unexpected call with label {} from {channel}", info.label());
        MessageInfo::new(Error::IllegalOperation as u64, 0)
    }

    /// `child` (a PD, or a vCPU: [`Child::vcpu`]) has faulted; `info` and the message registers say how.
    ///
    /// With `Some` the fault is answered and the child goes on; with `None` it stays stopped until somebody
    /// writes its registers with `resume`, resumes or restarts it.
    ///
    /// Without an implementation the fault is reported and the child stays stopped.
    fn fault(&mut self, child: Child, info: MessageInfo) -> Option<MessageInfo> {
        report::child_fault(child, info);
        None
    }
}
