//! A TCP segment without data that acknowledges some, and whether a later one says all that it says.
//!
//! Acknowledgements are cumulative (RFC 9293 §3.4), and a network may lose any of them: of those that have arrived together the guest gets
//! the last, as with the receive offload of FreeBSD (`tcp_lro`). What tells more than the others is never left out: one that
//! acknowledges no more than the one before (three of those are a loss, RFC 5681 §3.2), or has selective acknowledgements, a signal
//! of congestion, an end, or any other flag or option.

use super::fields::{
    ACK, TCP_ACKNOWLEDGEMENT, TCP_FLAGS, TCP_HEADER, TCP_OFFSET, TCP_SUM, TCP_WINDOW, TIMESTAMPS,
    V4_ID, V4_SUM, packet_length,
};
use super::segment::{
    LONGEST, NONE, PACKET, Place, Words, is_begun, is_same, is_whole, size, take,
};
use sel4cp_model::net::Features;
use zerocopy::IntoBytes;

/// What an acknowledgement says.
pub(super) struct Acknowledgement {
    /// The headers, with 0 for what may differ and behind them.
    words: Words,
    /// Up to which byte the other end has everything.
    number: u32,
}

impl Acknowledgement {
    /// Looks at a buffer with `len` bytes in it. `None` unless there is a segment of a kind that the guest `takes`, without data, whose
    /// checksums are right, and which says what is acknowledged, how much may be sent, and maybe the time.
    pub(super) fn parse(
        len: u32,
        takes: Features,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Self> {
        let mut words = NONE;
        let bytes = words.as_mut_bytes().get_mut(..size(len))?;
        if read(bytes) != bytes.len() {
            return None;
        }
        // The rest, if there is one, fills a short frame up.
        let length = packet_length(bytes.get(PACKET..)?)?;
        let place = Place::find(bytes, length, takes)?;
        let (bytes, rest) = bytes.split_at_mut_checked(PACKET + length)?;
        if place.data != bytes.len() || is_begun(bytes) {
            return None;
        }
        rest.fill(0);
        let tcp = u16::try_from(place.data - place.transport).ok()?;
        let (network, transport) = place.sums(bytes)?;
        if !(place.is_v6 || is_whole(network)) || !is_whole(transport.with_u16(tcp)) {
            return None;
        }
        let (before, tcp) = bytes.split_at_mut_checked(place.transport)?;
        if !place.is_v6 {
            let ip = before.get_mut(PACKET..)?;
            take::<2>(ip, V4_ID)?;
            take::<2>(ip, V4_SUM)?;
        }
        let number = u32::from_be_bytes(take(tcp, TCP_ACKNOWLEDGEMENT)?);
        take::<2>(tcp, TCP_WINDOW)?;
        take::<2>(tcp, TCP_SUM)?;
        if tcp.get(TCP_OFFSET)? & 0xf != 0 || *tcp.get(TCP_FLAGS)? != ACK {
            return None;
        }
        match tcp.get_mut(TCP_HEADER..)? {
            [] => {}
            [options @ .., _, _, _, _, _, _, _, _] if *options == TIMESTAMPS => {
                take::<8>(tcp, TCP_HEADER + TIMESTAMPS.len())?;
            }
            _ => return None,
        }
        Some(Self { words, number })
    }

    /// Whether this one, which came later, says all that the `earlier` one does, and acknowledges more.
    pub(super) fn supersedes(&self, earlier: &Self) -> bool {
        let more = self.number.wrapping_sub(earlier.number);
        more != 0 && more < 1 << 31 && is_same(&self.words, &earlier.words, LONGEST)
    }
}
