//! Receiving: what a badge means, and which system call comes next.

use crate::channel::flush;
use crate::state::with;
use crate::{Channel, ChannelSet, Child, Handler, MessageInfo, sys};
use sel4cp_abi::slot;

/// How to receive the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Only receive.
    Plain,
    /// Send to the slot without blocking, and receive.
    AfterSend(u64, MessageInfo),
    /// Answer the caller, and receive.
    AfterReply(MessageInfo),
}

/// What has been received, by its badge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Notified(ChannelSet),
    Protected(Channel),
    Fault(Child),
}

impl Event {
    fn from_badge(badge: u64) -> Self {
        let low = badge.to_le_bytes()[0];
        if badge & slot::BADGE_FAULT != 0 {
            return Self::Fault(Child::new(low));
        }
        match Channel::try_new(low & 0x3f) {
            Some(channel) if badge & slot::BADGE_PPC != 0 => Self::Protected(channel),
            _ => Self::Notified(ChannelSet::from_bits(badge)),
        }
    }
}

/// What happens once before the first message: interrupts that came while nobody listened are acknowledged (the
/// kernel may hold them back otherwise), and a passive PD tells the monitor that it can take its time away.
pub(crate) fn begin(irqs: ChannelSet) {
    for channel in irqs {
        channel.irq_ack();
    }
    if sys::is_passive() {
        flush();
        with(|state| {
            state
                .deferred
                .set(Some((slot::MONITOR, MessageInfo::default())));
        });
    }
}

/// Receives one message and has it handled; takes the answer to the last one and returns the answer to this one.
pub(crate) fn step(handler: &mut impl Handler, answer: Option<MessageInfo>) -> Option<MessageInfo> {
    let how = match answer {
        Some(info) => {
            // An answer and a deferred call do not fit into one system call.
            flush();
            Receive::AfterReply(info)
        }
        None => match with(|state| state.deferred.take()) {
            Some((slot, info)) => Receive::AfterSend(slot, info),
            None => Receive::Plain,
        },
    };
    let (badge, info) = sys::receive(how);
    match Event::from_badge(badge) {
        Event::Notified(channels) => {
            handler.notified(channels);
            None
        }
        Event::Protected(channel) => Some(handler.protected(channel, info)),
        Event::Fault(child) => handler.fault(child, info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{self, Call};

    struct Recorder(Vec<Event>);

    impl Handler for Recorder {
        fn notified(&mut self, channels: ChannelSet) {
            self.0.push(Event::Notified(channels));
            channels.into_iter().for_each(Channel::defer_notify);
        }
        fn protected(&mut self, channel: Channel, info: MessageInfo) -> MessageInfo {
            self.0.push(Event::Protected(channel));
            channel.defer_notify();
            info
        }
    }

    #[test]
    fn badges_are_told_apart() {
        let channel = Channel::new(5);
        assert_eq!(Event::from_badge(1 << 63 | 5), Event::Protected(channel));
        assert_eq!(Event::from_badge(1 << 62 | 7), Event::Fault(Child::new(7)));
        assert_eq!(
            Event::from_badge(1 << 5),
            Event::Notified(ChannelSet::EMPTY.with(channel))
        );
        assert_eq!(Event::from_badge(0), Event::Notified(ChannelSet::EMPTY));
    }

    #[test]
    fn a_deferred_call_goes_with_the_next_receive() {
        let mut handler = Recorder(vec![]);
        host::deliver(1 << 3, MessageInfo::default(), &[]);
        host::deliver(1 << 63 | 4, MessageInfo::new(9, 1), &[42]);
        host::deliver(0, MessageInfo::default(), &[]);
        assert_eq!(step(&mut handler, None), None);
        assert_eq!(host::calls(), [Call::Receive]);
        // Two notifications at once would not fit: only channel 3's waits, and goes with the receive.
        let answer = step(&mut handler, None);
        assert_eq!(answer, Some(MessageInfo::new(9, 1)));
        assert_eq!(crate::get_mr(0), 42);
        assert_eq!(
            host::calls(),
            [Call::Notify(Channel::new(3)), Call::Receive]
        );
        // A reply cannot carry it, so it goes before.
        step(&mut handler, answer);
        assert_eq!(
            host::calls(),
            [
                Call::Notify(Channel::new(4)),
                Call::Reply(MessageInfo::new(9, 1), vec![42]),
                Call::Receive
            ]
        );
    }

    #[test]
    fn interrupts_are_acknowledged_before_the_first_message() {
        host::begin(ChannelSet::from_bits(1 << 2 | 1 << 9));
        let acks = [Channel::new(2), Channel::new(9)].map(Call::IrqAck);
        assert_eq!(host::calls(), acks);
    }

    #[test]
    fn an_unexpected_fault_leaves_the_child_stopped() {
        host::deliver(
            1 << 62 | 3,
            MessageInfo::new(6, 4),
            &[0x20_0000, 0, 0, 0x9200_0047],
        );
        assert_eq!(step(&mut Recorder(vec![]), None), None);
        let log = host::log();
        assert!(log.contains("child 3"), "{log}");
        assert!(log.contains("0x200000"), "{log}");
    }
}
