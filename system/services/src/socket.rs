//! One connection.

use crate::buffer::{Buffer, WINDOW};
use sel4cp_model::vsock::{Op, Seq, Shutdown, SocketType};
use sel4cp_ring::wire::{Credit, Header, MAX_PAYLOAD, Wire};

/// Bytes of a connection's receive buffer, as packets say it.
const BUF_ALLOC: u32 = MAX_PAYLOAD;
const _: () = assert!(WINDOW == BUF_ALLOC as usize);
/// A guest is told that there is room again once there is so much that it does not know of.
const WORTH_TELLING: u32 = BUF_ALLOC / 2;

/// What the guest is to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) request: bool,
    pub(crate) response: bool,
    pub(crate) update: bool,
    pub(crate) shutdown: bool,
    pub(crate) reset: bool,
}

/// What is known about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// No other connection of the endpoint has had it.
    id: u64,
    pub(crate) kind: SocketType,
    pub(crate) port: u32,
    pub(crate) peer: u32,
    pub(crate) open: bool,
    /// What was received and not taken: where it begins in the buffer, and how much it is.
    start: usize,
    length: usize,
    /// The last byte that was received is not the end of a message.
    inside: bool,
    /// The end of a message whose last byte has been taken before it was known to be that.
    late_end: Seq,
    /// Bytes taken out of the buffer, modulo 2³², and what the guest knows of it.
    taken: u32,
    told: u32,
    credit: Credit,
    /// What the guest said that it will not do any more.
    peer_shut: Shutdown,
    finished: bool,
    pub(crate) owed: Owed,
}

impl Connection {
    pub(crate) fn new(id: u64, kind: SocketType, port: u32, peer: u32) -> Self {
        Self {
            id,
            kind,
            port,
            peer,
            open: false,
            start: 0,
            length: 0,
            inside: false,
            late_end: Seq::empty(),
            taken: 0,
            told: 0,
            credit: Credit::default(),
            peer_shut: Shutdown::empty(),
            finished: false,
            owed: Owed::default(),
        }
    }

    fn header(&mut self, op: Op) -> Header {
        self.told = self.taken;
        Header {
            op: op as u16,
            kind: self.kind as u16,
            from: self.port,
            to: self.peer,
            buf_alloc: BUF_ALLOC,
            fwd_cnt: self.taken,
            ..Header::default()
        }
    }

    /// Takes over what each packet of the guest says.
    pub(crate) fn announced(&mut self, header: &Header) {
        self.credit.announce(header.buf_alloc, header.fwd_cnt);
    }

    pub(crate) fn shut_down(&mut self, flags: u32) {
        self.peer_shut |= Shutdown::from_bits_truncate(flags);
    }

    /// Puts the payload of the wire's first packet, with these flags, into the buffer; false when the guest sent more than it may.
    pub(crate) fn store(&mut self, wire: &mut Wire, buffer: &mut Buffer, flags: u32) -> bool {
        let wanted = usize::try_from(wire.left()).unwrap_or(usize::MAX);
        if wanted > WINDOW - self.length || self.peer_shut.contains(Shutdown::SEND) {
            return false;
        }
        let messages = self.kind == SocketType::Seqpacket;
        let mut chunk = [0; 1024];
        while wire.left() > 0 {
            let Ok(count) = wire.read(&mut chunk) else {
                return false;
            };
            let at = self.start + self.length;
            buffer.write(at, chunk.get(..count).unwrap_or_default());
            if messages {
                buffer.clear_marks(at, count);
            }
            self.length += count;
        }
        if messages {
            self.end_message(buffer, wanted, Seq::from_bits_truncate(flags));
        }
        true
    }

    /// A packet of `count` bytes ended with this. An end without bytes is that of the bytes before it; an empty message is none.
    fn end_message(&mut self, buffer: &mut Buffer, count: usize, end: Seq) {
        self.inside |= count > 0;
        if end.is_empty() || !self.inside {
            return;
        }
        self.inside = false;
        match self.length.checked_sub(1) {
            Some(last) => buffer.set_mark(self.start + last, end),
            None => self.late_end = end,
        }
    }

    /// Whether everything that was received was taken.
    fn is_empty(&self) -> bool {
        self.length == 0 && self.late_end.is_empty()
    }

    /// Whether both sides are done with it, or the guest alone with all of it.
    pub(crate) fn is_over(&self) -> bool {
        self.peer_shut == Shutdown::all() && self.is_empty()
    }

    /// Tells the guest what it is owed; true when that was the end of the connection, `None` when there is no room for it.
    pub(crate) fn pay(&mut self, wire: &mut Wire) -> Option<bool> {
        let mut tell = |header: &Header| wire.tell(header).ok().filter(|sent| *sent);
        if self.owed.reset {
            tell(&self.header(Op::Rst))?;
            return Some(true);
        }
        if self.owed.request {
            tell(&self.header(Op::Request))?;
            self.owed.request = false;
        }
        if self.owed.response {
            tell(&self.header(Op::Response))?;
            self.owed.response = false;
            self.open = true;
        }
        if self.owed.update && self.open {
            tell(&self.header(Op::CreditUpdate))?;
            self.owed.update = false;
        }
        if self.owed.shutdown {
            let mut flags = Shutdown::SEND;
            // Then the guest need not wait for us to read on.
            flags.set(Shutdown::RCV, self.peer_shut.contains(Shutdown::SEND));
            let header = self.header(Op::Shutdown);
            tell(&Header {
                flags: flags.bits(),
                ..header
            })?;
            self.owed.shutdown = false;
        }
        Some(false)
    }
}

/// A connection, for the service that serves it: while it does, nothing else happens to it.
pub struct Socket<'e> {
    pub(crate) place: usize,
    pub(crate) connection: &'e mut Connection,
    pub(crate) buffer: &'e mut Buffer,
    pub(crate) wire: &'e mut Wire,
    /// Bytes that it may still send before others have their turn.
    pub(crate) budget: usize,
    /// It would have sent more, but for the wire.
    pub(crate) short: bool,
}

impl Socket<'_> {
    /// Our port: the one that the service listens on, or the one that [`connect`](crate::Endpoint::connect) returned.
    pub fn port(&self) -> u32 {
        self.connection.port
    }

    /// A number that no other connection of this endpoint has had.
    pub fn id(&self) -> u64 {
        self.connection.id
    }

    /// A number below [`CONNECTIONS`](crate::CONNECTIONS) that no other connection has at the same time, for a service that keeps
    /// something for each. [`id`](Self::id) tells when it is for another one.
    pub fn place(&self) -> usize {
        self.place
    }

    /// The guest's port.
    pub fn peer_port(&self) -> u32 {
        self.connection.peer
    }

    /// What it carries.
    pub fn kind(&self) -> SocketType {
        self.connection.kind
    }

    /// Bytes that [`receive`](Self::receive) has.
    pub fn available(&self) -> usize {
        self.connection.length
    }

    /// Takes bytes that the guest has sent, as many as there are and fit; returns how many. Messages run into one another.
    pub fn receive(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.connection.length);
        let to = to.get_mut(..count).unwrap_or_default();
        self.buffer.read(self.connection.start, to);
        self.taken(count);
        self.connection.late_end = Seq::empty();
        count
    }

    /// Like [`receive`](Self::receive), no further than a message: how many bytes, and what ends with them, if anything does. There
    /// is something as long as that says so, or [`available`](Self::available): the end of a message may come without bytes. A
    /// message is at most [`WINDOW`] bytes long, and may be taken before it is all there.
    pub fn receive_part(&mut self, to: &mut [u8]) -> (usize, Seq) {
        if self.connection.kind == SocketType::Stream {
            return (self.receive(to), Seq::empty());
        }
        let most = to.len().min(self.connection.length);
        let start = self.connection.start;
        let (count, mut end) = match self.buffer.first_mark(start, most) {
            Some((last, end)) => (last + 1, end),
            None => (most, Seq::empty()),
        };
        let to = to.get_mut(..count).unwrap_or_default();
        self.buffer.read(start, to);
        self.taken(count);
        if self.connection.length == 0 && end.is_empty() {
            end = core::mem::take(&mut self.connection.late_end);
        }
        (count, end)
    }

    /// Whether [`receive_part`](Self::receive_part) has something.
    pub fn has_more(&self) -> bool {
        !self.connection.is_empty()
    }

    /// So many bytes are out of the buffer.
    fn taken(&mut self, count: usize) {
        let connection = &mut *self.connection;
        connection.start = (connection.start + count) % WINDOW;
        connection.length -= count;
        let more = u32::try_from(count).unwrap_or(0);
        connection.taken = connection.taken.wrapping_add(more);
        let untold = connection.taken.wrapping_sub(connection.told);
        connection.owed.update |= untold >= WORTH_TELLING;
    }

    /// Bytes that [`send`](Self::send) takes now.
    pub fn room(&mut self) -> usize {
        let connection = &*self.connection;
        if connection.finished || connection.peer_shut.contains(Shutdown::RCV) {
            return 0;
        }
        let credit = usize::try_from(connection.credit.free()).unwrap_or(usize::MAX);
        let wanted = credit.min(self.budget);
        let wire = self.wire.room().unwrap_or(0);
        let wire = usize::try_from(wire).unwrap_or(0);
        self.short |= wire < wanted || self.budget < credit;
        wanted.min(wire)
    }

    /// Sends bytes, as many as there is room for; returns how many. When there is room for more, the service is called again.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.put(bytes, count, Seq::empty())
    }

    /// Sends a part of a message, and what ends with it; false, and nothing is sent, unless there is [`room`](Self::room) for all of
    /// it, or for one byte where there is none. To be used on a socket of messages.
    #[must_use = "false: it is to be sent later"]
    pub fn send_part(&mut self, bytes: &[u8], end: Seq) -> bool {
        if bytes.is_empty() && end.is_empty() {
            return true;
        }
        let count = bytes.len();
        if self.room() < count.max(1) {
            return false;
        }
        self.put(bytes, count, end) == count
    }

    /// Sends the first `count` bytes, for which there is room.
    fn put(&mut self, bytes: &[u8], count: usize, end: Seq) -> usize {
        let length = u32::try_from(count).unwrap_or(0);
        if length == 0 && end.is_empty() || !self.connection.credit.take(length) {
            return 0;
        }
        let header = Header {
            len: length,
            flags: end.bits(),
            ..self.connection.header(Op::Rw)
        };
        let mut rest = bytes;
        let sent = self.wire.send(&header, |part| {
            for (to, from) in part.iter_mut().zip(rest) {
                *to = *from;
            }
            rest = rest.get(part.len()..).unwrap_or_default();
        });
        if !sent.unwrap_or(false) {
            // The peer broke a rule of the wire: all its connections are over.
            return 0;
        }
        self.budget = self.budget.saturating_sub(count);
        // The packet said it.
        self.connection.owed.update = false;
        count
    }

    /// Whether the guest sends no more, and all that it sent was received.
    pub fn is_finished(&self) -> bool {
        self.connection.is_empty() && self.connection.peer_shut.contains(Shutdown::SEND)
    }

    /// Whether the guest receives no more.
    pub fn is_deaf(&self) -> bool {
        self.connection.peer_shut.contains(Shutdown::RCV)
    }

    /// Nothing more is to be sent. The connection ends once the guest is done too.
    pub fn finish(&mut self) {
        self.connection.owed.shutdown |= !self.connection.finished;
        self.connection.finished = true;
    }

    /// Ends the connection at once; what was not received is lost.
    pub fn reset(&mut self) {
        self.connection.owed.reset = true;
    }
}
