//! Channels to other protection domains and to interrupts.

use crate::state::with;
use crate::{MessageInfo, sys};
use core::fmt;
use sel4cp_abi::config::NO_CHANNEL;
use sel4cp_abi::slot;

/// A channel: a peer that can be notified or called, or an interrupt that can be acknowledged.
///
/// Which of these it is, and whether the peer may be notified, is what the system file says; the kernel ignores
/// a notification through a channel that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(u8);

impl Channel {
    /// The channel with this id.
    ///
    /// # Panics
    /// If `id` is above 61: at build time, when evaluated in a constant. Ids that come from the configuration
    /// go through [`from_config`](Self::from_config).
    #[expect(clippy::panic, reason = "ids in constants are checked by the compiler")]
    pub const fn new(id: u8) -> Self {
        match Self::try_new(id) {
            Some(channel) => channel,
            None => panic!("channel ids are 0 to 61"),
        }
    }

    /// The channel with this id, `None` above 61.
    pub const fn try_new(id: u8) -> Option<Self> {
        if (id as usize) < slot::CHANNELS {
            Some(Self(id))
        } else {
            None
        }
    }

    /// The channel that a field of the configuration names; `None` if the peer does not exist in this system.
    pub fn from_config(id: u32) -> Option<Self> {
        if id == NO_CHANNEL {
            return None;
        }
        Self::try_new(u8::try_from(id).ok()?)
    }

    /// The id, 0 to 61.
    pub const fn id(self) -> u8 {
        self.0
    }

    /// Notifies the peer now.
    pub fn notify(self) {
        sys::send(self.slot(slot::NOTIFICATION), MessageInfo::default());
    }

    /// Notifies the peer together with the next receive: one system call less than [`notify`](Self::notify).
    ///
    /// One call can wait like this. A second one sends the first at once.
    pub fn defer_notify(self) {
        defer(self.slot(slot::NOTIFICATION), MessageInfo::default());
    }

    /// Acknowledges the interrupt, so that it can be raised again.
    pub fn irq_ack(self) {
        sys::send(self.slot(slot::IRQ), irq_ack_info());
    }

    /// Acknowledges the interrupt together with the next receive.
    pub fn defer_irq_ack(self) {
        defer(self.slot(slot::IRQ), irq_ack_info());
    }

    /// Calls the peer, which must have a strictly higher priority, and waits for its answer.
    ///
    /// The message registers hold the arguments before and the results after.
    pub fn pp_call(self, info: MessageInfo) -> MessageInfo {
        sys::call(self.slot(slot::ENDPOINT), info)
    }

    fn slot(self, first: u64) -> u64 {
        first + u64::from(self.0)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn irq_ack_info() -> MessageInfo {
    MessageInfo::new(with(|state| state.labels.get().irq_ack_irq).into(), 0)
}

/// Keeps a call for the next receive; one that waits already and is another is made now.
fn defer(slot: u64, info: MessageInfo) {
    let earlier = with(|state| state.deferred.replace(Some((slot, info))));
    if let Some((earlier, info)) = earlier.filter(|call| *call != (slot, info)) {
        sys::send(earlier, info);
    }
}

/// Makes the call that waits for the next receive, if there is one.
pub(crate) fn flush() {
    if let Some((slot, info)) = with(|state| state.deferred.take()) {
        sys::send(slot, info);
    }
}

/// A set of channels; iterates from the lowest id.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSet(u64);

impl ChannelSet {
    const ALL: u64 = (1 << slot::CHANNELS) - 1;

    /// No channel.
    pub const EMPTY: Self = Self(0);

    /// The channels whose bit is set (bit n is channel n).
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL)
    }

    /// Bit n is channel n.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `channel` is in the set.
    pub const fn contains(self, channel: Channel) -> bool {
        self.0 & 1 << channel.0 != 0
    }

    /// Whether there is no channel in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with `channel` in it.
    #[must_use]
    pub const fn with(self, channel: Channel) -> Self {
        Self(self.0 | 1 << channel.0)
    }

    /// The channels, from the lowest id.
    pub const fn iter(self) -> Self {
        self
    }
}

impl Iterator for ChannelSet {
    type Item = Channel;

    fn next(&mut self) -> Option<Channel> {
        let id = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        Channel::try_new(u8::try_from(id).ok()?)
    }
}

impl FromIterator<Channel> for ChannelSet {
    fn from_iter<I: IntoIterator<Item = Channel>>(channels: I) -> Self {
        channels.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for ChannelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Call, calls};

    #[test]
    fn ids_end_at_61() {
        assert_eq!(Channel::try_new(61), Some(Channel::new(61)));
        assert_eq!(Channel::try_new(62), None);
        assert_eq!(Channel::from_config(NO_CHANNEL), None);
        assert_eq!(Channel::from_config(256), None);
        assert_eq!(Channel::from_config(7), Some(Channel::new(7)));
    }

    #[test]
    fn a_set_iterates_from_the_lowest() {
        let set = ChannelSet::from_bits(u64::MAX);
        assert_eq!(set.count(), 62);
        let set = ChannelSet::from_bits(1 << 61 | 1 << 3 | 1 << 62);
        assert_eq!(set.collect::<Vec<_>>(), [Channel::new(3), Channel::new(61)]);
        assert!(set.contains(Channel::new(61)) && !set.contains(Channel::new(4)));
        assert_eq!(set, [61, 3].map(Channel::new).into_iter().collect());
    }

    #[test]
    fn a_second_deferred_call_sends_the_first() {
        Channel::new(1).defer_notify();
        Channel::new(1).defer_notify();
        assert_eq!(calls(), []);
        Channel::new(2).defer_irq_ack();
        assert_eq!(calls(), [Call::Notify(Channel::new(1))]);
        flush();
        flush();
        assert_eq!(calls(), [Call::IrqAck(Channel::new(2))]);
    }
}
