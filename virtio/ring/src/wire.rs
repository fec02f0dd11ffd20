//! A wire: the packets of sockets, both ways, between a guest's vsock backend and one peer.
//!
//! ```text
//! 0x0000  control words of both rings        a packet:  header (2 slots) · payload, filled up to whole slots
//! 0x1000  slots, first → second end
//! …       slots, second → first end
//! ```
//! Whose wire it is says where a packet comes from and goes to: no CID crosses it, so none can be pretended. A
//! packet is published whole and taken whole. Payload leaves some slots free ([`RESERVE`]), so that what ends or
//! refuses a connection does not wait behind what others send.
//!
//! A [`PeerFault`] ends the use of a wire until the peer starts again: [`Wire::restarted`].

use crate::consumer::Consumer;
use crate::fault::PeerFault;
use crate::producer::Producer;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A slot.
pub type Block = [u64; 2];

/// Bytes of a slot.
const BLOCK: usize = size_of::<Block>();
/// Slots of a header.
const HEADER: u32 = 2;
/// Most bytes of payload in one packet.
pub const MAX_PAYLOAD: u32 = 0x1_0000;
/// Slots that payload leaves free.
pub const RESERVE: u32 = 128;
/// Slots that are copied at once.
const CHUNK: usize = 32;

/// What precedes each payload. The numbers are those of virtIO 1.2 §5.10.6.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// The operation.
    pub op: u16,
    /// The type of socket.
    pub kind: u16,
    /// Flags of the operation.
    pub flags: u32,
    /// The sender's port.
    pub from: u32,
    /// The receiver's port.
    pub to: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Bytes of the sender's receive buffer.
    pub buf_alloc: u32,
    /// Bytes that the sender has taken out of it, modulo 2³².
    pub fwd_cnt: u32,
    /// Always 0.
    pub reserved: u32,
}

/// How much one side may send to the other, to the byte (virtIO 1.2 §5.10.6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Bytes sent, modulo 2³².
    sent: u32,
    /// Bytes that may still be sent.
    free: u32,
}

impl Credit {
    /// Takes over what the receiver announces. What it has promised once stays promised: a buffer that shrinks does so by not
    /// being announced again.
    pub const fn announce(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        // A receiver that has taken more than was sent lies, and gets nothing for it: the difference is huge.
        let in_flight = self.sent.wrapping_sub(fwd_cnt);
        let free = buf_alloc.saturating_sub(in_flight);
        if free > self.free {
            self.free = free;
        }
    }

    /// Bytes that may be sent now.
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// Sends `len` bytes; false, and nothing is sent, if that is more than may be.
    #[must_use = "false: the sender broke the rule"]
    pub const fn take(&mut self, len: u32) -> bool {
        match self.free.checked_sub(len) {
            Some(rest) => {
                self.free = rest;
                self.sent = self.sent.wrapping_add(len);
                true
            }
            None => false,
        }
    }
}

/// One end of a wire.
pub struct Wire {
    /// Where packets go; [`host`](crate::host) puts other things there.
    pub(crate) out: Producer<Block>,
    into: Consumer<Block>,
    /// The packet that is being taken, and how much of its payload has not been read.
    open: Option<(Header, u32)>,
    failed: bool,
    /// What the peer did, until somebody has asked.
    fault: Option<PeerFault>,
    notify: bool,
}

/// Slots of `len` bytes of payload.
const fn blocks(len: u32) -> u32 {
    len.div_ceil(16)
}

impl Wire {
    pub(crate) fn new((out, into): (Producer<Block>, Consumer<Block>)) -> Self {
        Self {
            out,
            into,
            open: None,
            failed: false,
            fault: None,
            notify: false,
        }
    }

    /// Whether the peer started again since this was last asked: its connections are gone. A wire that failed works again
    /// from then on.
    pub fn restarted(&mut self) -> bool {
        let restarted = self.into.peer_restarted() | self.out.peer_restarted();
        if restarted && self.failed {
            self.out.resynchronize();
            self.into.resynchronize();
            self.failed = false;
            self.open = None;
            // What made it fail is among what is there.
            let result = self.into.available();
            let count = self.check(result).unwrap_or(0);
            self.into.skip(count);
        }
        restarted
    }

    /// Whether the peer has not broken a rule.
    pub const fn works(&self) -> bool {
        !self.failed
    }

    /// The rule that the peer broke; asked once.
    pub fn take_fault(&mut self) -> Option<PeerFault> {
        self.fault.take()
    }

    /// The packet that came first, until [`done`](Self::done) with it.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn front(&mut self) -> Result<Option<Header>, PeerFault> {
        if self.failed {
            return Ok(None);
        }
        if let Some((header, _)) = self.open {
            return Ok(Some(header));
        }
        let result = self.open();
        self.check(result)
    }

    fn open(&mut self) -> Result<Option<Header>, PeerFault> {
        let Some(first) = self.into.peek(0)? else {
            return Ok(None);
        };
        let second = self.into.peek(1)?;
        let header: Header = zerocopy::transmute!([first, second.unwrap_or_default()]);
        if header.len > MAX_PAYLOAD {
            return Err(PeerFault::Payload {
                found: header.len,
                limit: MAX_PAYLOAD,
            });
        }
        let expected = HEADER + blocks(header.len);
        if self.into.peek(expected - 1)?.is_none() {
            let found = self.into.available()?;
            return Err(PeerFault::Torn { expected, found });
        }
        self.into.skip(HEADER);
        self.open = Some((header, header.len));
        Ok(Some(header))
    }

    /// Bytes of the first packet's payload that have not been read.
    pub fn left(&self) -> u32 {
        self.open.map_or(0, |(_, left)| left)
    }

    /// Reads on in the first packet's payload: as much as is left, or else whole slots of 16 bytes. Returns how much.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, PeerFault> {
        let left = usize::try_from(self.left()).unwrap_or(0);
        let count = if to.len() < left {
            to.len() / BLOCK * BLOCK
        } else {
            left
        };
        let to = to.get_mut(..count).unwrap_or_default();
        for part in to.chunks_mut(CHUNK * BLOCK) {
            let mut blocks = [Block::default(); CHUNK];
            let wanted = blocks.get_mut(..part.len().div_ceil(BLOCK));
            // They are all there: `front` said so.
            let result = self.into.pop_slice(wanted.unwrap_or_default());
            self.check(result)?;
            for (to, from) in part.iter_mut().zip(blocks.as_bytes()) {
                *to = *from;
            }
        }
        if let Some((_, left)) = &mut self.open {
            *left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        }
        Ok(count)
    }

    /// Takes the first packet, read or not.
    pub fn done(&mut self) {
        if let Some((_, left)) = self.open.take() {
            self.into.skip(blocks(left));
        }
    }

    /// Slots that must be free for a packet with `len` bytes of payload.
    const fn needed(len: u32) -> u32 {
        match len {
            0 => HEADER,
            _ => HEADER + blocks(len) + RESERVE,
        }
    }

    /// Whether a packet with `len` bytes of payload can be sent now.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn has_room(&mut self, len: u32) -> Result<bool, PeerFault> {
        if self.failed || len > MAX_PAYLOAD {
            return Ok(false);
        }
        let result = self.out.has_room(Self::needed(len));
        self.check(result)
    }

    /// Bytes of payload that a packet can have now.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn room(&mut self) -> Result<u32, PeerFault> {
        if self.failed {
            return Ok(0);
        }
        let result = self.out.free();
        let free = self.check(result)?.saturating_sub(HEADER + RESERVE);
        Ok(free.saturating_mul(16).min(MAX_PAYLOAD))
    }

    /// Asks to be woken when a packet with `len` bytes of payload can be sent. True: it can already.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn wait_for_room(&mut self, len: u32) -> Result<bool, PeerFault> {
        if self.failed {
            return Ok(false);
        }
        let result = self.out.arm(Self::needed(len));
        self.check(result)
    }

    /// Stages a packet, its payload from `fill`, which is called with the next part of it until it is complete. False: there
    /// is no room. [`flush`](Self::flush) shows it to the peer.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn send(
        &mut self,
        header: &Header,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Result<bool, PeerFault> {
        if !self.has_room(header.len)? {
            return Ok(false);
        }
        let head: [Block; 2] = zerocopy::transmute!(*header);
        let result = self.out.push_slice(&head);
        self.check(result)?;
        let mut left = usize::try_from(header.len).unwrap_or(0);
        while left > 0 {
            let mut chunk = [Block::default(); CHUNK];
            let length = left.min(CHUNK * BLOCK);
            fill(chunk.as_mut_bytes().get_mut(..length).unwrap_or_default());
            let used = chunk.get(..length.div_ceil(BLOCK)).unwrap_or_default();
            // There is room for it: `has_room` said so, and only this end takes from that.
            let result = self.out.push_slice(used);
            self.check(result)?;
            left -= length;
        }
        Ok(true)
    }

    /// Stages a packet without payload.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn tell(&mut self, header: &Header) -> Result<bool, PeerFault> {
        self.send(&Header { len: 0, ..*header }, |_| {})
    }

    /// Shows the peer what was sent and taken.
    pub fn flush(&mut self) {
        self.notify |= self.out.publish();
        // Between two packets only, so that whoever takes over this end later begins with a header.
        if self.open.is_none() {
            self.notify |= self.into.release();
        }
    }

    /// Asks to be woken by the next packet. True: there is one already.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn wait(&mut self) -> Result<bool, PeerFault> {
        if self.failed {
            return Ok(false);
        }
        let result = self.into.arm();
        self.check(result)
    }

    /// Whether the peer is to be notified; asked once.
    pub fn take_notify(&mut self) -> bool {
        core::mem::take(&mut self.notify)
    }

    /// Notes a fault of the peer on its way to the caller.
    fn check<T>(&mut self, result: Result<T, PeerFault>) -> Result<T, PeerFault> {
        if let Err(fault) = result {
            self.failed = true;
            self.fault = Some(fault);
            self.out.discard();
        }
        result
    }
}
