//! The connections of a guest: what each side has said, what it may say next, and how much it may send.
//!
//! ```text
//!            REQUEST               RESPONSE of the other side
//!   (none) ───────────► requested ───────────────────────────► established ─── RW, SHUTDOWN, credit
//!      ▲                    │                                       │
//!      └──────── RST ───────┴─────────────── RST ───────────────────┘
//! ```
//! Everything else is a breach: then both sides are owed a RST, and the connection stays until they have got it. Nothing
//! happens to any other connection.

use sel4cp_model::vsock::{Op, Seq, Shutdown, SocketType};
use sel4cp_ring::wire::{Credit, Header};

/// Most connections of a guest.
pub const CONNECTIONS: usize = 128;
/// Most that its peers may open together, each an equal share, so that they leave some to the guest and to each other.
pub const FROM_PEERS: usize = CONNECTIONS / 2;

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The guest.
    Guest,
    /// Whoever is at the other end of a wire.
    Peer,
}

/// What is kept for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Both<T> {
    guest: T,
    peer: T,
}

impl<T> Both<T> {
    const fn of(&mut self, side: Side) -> &mut T {
        match side {
            Side::Guest => &mut self.guest,
            Side::Peer => &mut self.peer,
        }
    }
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Guest => Self::Peer,
            Self::Peer => Self::Guest,
        }
    }
}

/// What tells connections of a guest apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Number of the wire.
    pub wire: usize,
    /// The guest's port.
    pub guest: u32,
    /// The peer's port.
    pub peer: u32,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on to the other side, with these flags.
    Pass(u32),
    /// Answer with a RST.
    Refuse,
    /// It broke its connection: [`Table::owed`] has a RST for each side.
    Broken,
    /// Nothing.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    key: Key,
    kind: SocketType,
    opener: Side,
    established: bool,
    /// It said that it will not send any more.
    finished: Both<bool>,
    /// What it may send.
    credit: Both<Credit>,
    /// It is to get a RST; the connection is over.
    owed: Both<bool>,
}

impl Connection {
    fn is_over(&self) -> bool {
        self.owed.guest || self.owed.peer
    }

    /// The flags with which a packet of `side` that is no RST goes on; `None`: a breach.
    fn accept(&mut self, side: Side, header: &Header) -> Option<u32> {
        if header.kind != self.kind as u16 {
            return None;
        }
        let op = Op::from_number(header.op)?;
        if op != Op::Rw && header.len != 0 {
            return None;
        }
        if op == Op::Response {
            if self.established || side == self.opener {
                return None;
            }
            self.established = true;
        }
        // Who asks for a connection may already say how much it takes: Linux does when its buffer is resized meanwhile.
        let credit_alone = matches!(op, Op::CreditUpdate | Op::CreditRequest);
        let early = credit_alone && side == self.opener;
        if !self.established && !early {
            return None;
        }
        let flags = match op {
            // A second request: the side that made it has forgotten the first one.
            Op::Request | Op::Rst => return None,
            Op::Response | Op::CreditUpdate | Op::CreditRequest => 0,
            Op::Shutdown => {
                let flags = Shutdown::from_bits_truncate(header.flags);
                *self.finished.of(side) |= flags.contains(Shutdown::SEND);
                flags.bits()
            }
            Op::Rw => {
                if *self.finished.of(side) || !self.credit.of(side).take(header.len) {
                    return None;
                }
                match self.kind {
                    SocketType::Stream => 0,
                    SocketType::Seqpacket => Seq::from_bits_truncate(header.flags).bits(),
                }
            }
        };
        let credit = self.credit.of(side.other());
        credit.announce(header.buf_alloc, header.fwd_cnt);
        Some(flags)
    }

    /// Both sides are to get a RST.
    fn break_up(&mut self) {
        self.owed = Both {
            guest: true,
            peer: true,
        };
    }
}

/// All connections of a guest.
pub struct Table {
    connections: [Option<Connection>; CONNECTIONS],
    /// Most that one peer may open.
    share: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            connections: [None; CONNECTIONS],
            share: FROM_PEERS,
        }
    }
}

impl Table {
    /// Says how many peers there are.
    pub fn share(&mut self, peers: usize) {
        self.share = FROM_PEERS / peers.max(1);
    }

    /// How many there are, those included that are over and whose sides do not know.
    pub fn len(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the connection is there and not over.
    pub fn is_open(&self, key: Key) -> bool {
        self.has(|other| *other == key)
    }

    /// Whether there is such a connection that is not over.
    pub fn has(&self, which: impl Fn(&Key) -> bool) -> bool {
        let mut all = self.connections.iter().flatten();
        all.any(|connection| which(&connection.key) && !connection.is_over())
    }

    /// Takes a packet of `side` into account, and says what to do with it. `seqpacket`: sockets with messages were agreed on.
    pub fn packet(&mut self, side: Side, key: Key, header: &Header, seqpacket: bool) -> Verdict {
        let mut slots = self.connections.iter_mut();
        let Some(slot) = slots.find(|slot| slot.is_some_and(|connection| connection.key == key))
        else {
            return self.stranger(side, key, header, seqpacket);
        };
        let reset = header.op == Op::Rst as u16;
        match slot {
            Some(connection) if !connection.is_over() => {
                // One with payload would bring more than the other side has room for.
                if reset && header.len == 0 {
                    *slot = None;
                    Verdict::Pass(0)
                } else if let Some(flags) = connection.accept(side, header) {
                    Verdict::Pass(flags)
                } else {
                    connection.break_up();
                    Verdict::Broken
                }
            }
            Some(connection) => {
                let owed = core::mem::take(connection.owed.of(side));
                if owed && !reset {
                    // Its RST is on the way.
                    *connection.owed.of(side) = true;
                    return Verdict::Ignore;
                }
                if !connection.is_over() {
                    *slot = None;
                }
                if reset {
                    Verdict::Ignore
                } else {
                    Verdict::Refuse
                }
            }
            None => Verdict::Refuse,
        }
    }

    /// A packet of no connection: one may begin with it.
    fn stranger(&mut self, side: Side, key: Key, header: &Header, seqpacket: bool) -> Verdict {
        let kind = match (
            Op::from_number(header.op),
            SocketType::from_number(header.kind),
        ) {
            (Some(Op::Rst), _) => return Verdict::Ignore,
            (Some(Op::Request), Some(SocketType::Seqpacket)) if !seqpacket => None,
            (Some(Op::Request), kind) if header.len == 0 => kind,
            _ => None,
        };
        let Some(kind) = kind else {
            return Verdict::Refuse;
        };
        if side == Side::Peer {
            let all = self.connections.iter().flatten();
            let own = |other: &&Connection| other.opener == side && other.key.wire == key.wire;
            if all.filter(own).count() >= self.share {
                return Verdict::Refuse;
            }
        }
        let Some(slot) = self.connections.iter_mut().find(|slot| slot.is_none()) else {
            return Verdict::Refuse;
        };
        let mut credit = Both::<Credit>::default();
        let other = credit.of(side.other());
        other.announce(header.buf_alloc, header.fwd_cnt);
        *slot = Some(Connection {
            key,
            kind,
            opener: side,
            established: false,
            finished: Both::default(),
            credit,
            owed: Both::default(),
        });
        Verdict::Pass(0)
    }

    /// One side of these connections is gone: the other is to get a RST.
    pub fn gone(&mut self, side: Side, which: impl Fn(&Key) -> bool) {
        for slot in &mut self.connections {
            let Some(connection) = slot.as_mut().filter(|connection| which(&connection.key)) else {
                continue;
            };
            if !connection.is_over() {
                connection.break_up();
            }
            *connection.owed.of(side) = false;
            if !connection.is_over() {
                *slot = None;
            }
        }
    }

    /// A connection of which `side` is to get a RST, with its type; [`paid`](Self::paid) once it has.
    pub fn owed(&self, side: Side, which: impl Fn(&Key) -> bool) -> Option<(Key, SocketType)> {
        let mut all = self.connections.iter().flatten();
        let found = all.find(|connection| {
            let mut owed = connection.owed;
            *owed.of(side) && which(&connection.key)
        });
        found.map(|connection| (connection.key, connection.kind))
    }

    /// `side` of the connection has got its RST.
    pub fn paid(&mut self, side: Side, key: Key) {
        for slot in &mut self.connections {
            let Some(connection) = slot.as_mut().filter(|connection| connection.key == key) else {
                continue;
            };
            let owed = core::mem::take(connection.owed.of(side));
            if owed && !connection.is_over() {
                *slot = None;
            }
        }
    }
}
