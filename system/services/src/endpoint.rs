//! One end of a wire: its connections, and whom they are for.

use crate::buffer::Buffer;
use crate::socket::{Connection, Socket};
use sel4cp_model::vsock::{Op, SocketType};
use sel4cp_ring::PeerFault;
use sel4cp_ring::wire::{Header, Wire};

/// Most connections of a guest with this protection domain.
pub const CONNECTIONS: usize = 16;
/// Most ports that are listened on, those for messages apart.
pub const PORTS: usize = 8;
/// Packets that are taken before the services get their turn.
const PACKETS: usize = 64;
/// Bytes that a connection may send before others have their turn.
const SHARE: usize = 0x4000;
/// Bytes that must have become free in the wire for another turn.
const WORTH_WAKING: u32 = 4096;
/// The first port that [`Endpoint::connect`] uses: above those with a meaning.
const FIRST_PORT: u32 = 0x8000_0000;

/// The receive buffers of an endpoint: too large for a stack.
pub type Memory = [Buffer; CONNECTIONS];

/// Such memory, to begin with.
pub const fn memory() -> Memory {
    [const { Buffer::new() }; CONNECTIONS]
}

/// The sockets of a protection domain towards one guest.
pub struct Endpoint {
    wire: Wire,
    memory: &'static mut Memory,
    connections: [Option<Connection>; CONNECTIONS],
    ports: heapless::Vec<(SocketType, u32), PORTS>,
    next_port: u32,
    /// How many connections there have been.
    opened: u64,
    /// Who is served first at the next turn.
    turn: usize,
}

impl Endpoint {
    /// The endpoint at this end of a wire.
    pub fn new(wire: Wire, memory: &'static mut Memory) -> Self {
        Self {
            wire,
            memory,
            connections: [None; CONNECTIONS],
            ports: heapless::Vec::new(),
            next_port: FIRST_PORT,
            opened: 0,
            turn: 0,
        }
    }

    /// Accepts streams of bytes to `port` from now on; false when there are [`PORTS`] already.
    pub fn listen(&mut self, port: u32) -> bool {
        self.listen_for((SocketType::Stream, port))
    }

    /// Accepts connections that carry messages (SOCK_SEQPACKET) to `port` from now on; false when there are [`PORTS`] already.
    pub fn listen_for_messages(&mut self, port: u32) -> bool {
        self.listen_for((SocketType::Seqpacket, port))
    }

    fn listen_for(&mut self, port: (SocketType, u32)) -> bool {
        self.ports.contains(&port) || self.ports.push(port).is_ok()
    }

    /// Asks the guest for a stream to its `port`: returns ours, with which [`Socket::port`] says which it is once the
    /// guest has accepted; `None` when there are too many already. The next [`turn`](Self::turn) asks.
    pub fn connect(&mut self, port: u32) -> Option<u32> {
        let own = self.next_port;
        let slot = self.connections.iter_mut().find(|slot| slot.is_none())?;
        self.opened = self.opened.wrapping_add(1);
        let connection = slot.insert(Connection::new(self.opened, SocketType::Stream, own, port));
        connection.owed.request = true;
        self.next_port = own.checked_add(1).unwrap_or(FIRST_PORT);
        Some(own)
    }

    /// Whether the connection with our `port` exists: asked for, or open. One that was refused does not.
    pub fn has(&self, port: u32) -> bool {
        let mut all = self.connections.iter().flatten();
        all.any(|connection| connection.port == port)
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what the guest has sent, and calls `serve` for each open connection. True: call it again, there is more to do, for
    /// which no notification will come.
    pub fn turn(&mut self, mut serve: impl FnMut(&mut Socket<'_>)) -> bool {
        if self.wire.restarted() || !self.wire.works() {
            self.connections = [None; CONNECTIONS];
            self.wire.done();
        }
        for _ in 0..PACKETS {
            match self.wire.front() {
                Ok(Some(header)) => self.take(&header),
                Ok(None) | Err(_) => break,
            }
            self.wire.done();
        }
        let mut short = false;
        let mut again = false;
        for step in 0..CONNECTIONS {
            let index = (self.turn + step) % CONNECTIONS;
            let (Some(slot), Some(buffer)) =
                (self.connections.get_mut(index), self.memory.get_mut(index))
            else {
                continue;
            };
            let Some(connection) = slot else {
                continue;
            };
            if connection.open && !connection.owed.reset {
                let mut socket = Socket {
                    place: index,
                    connection,
                    buffer,
                    wire: &mut self.wire,
                    budget: SHARE,
                    short: false,
                };
                serve(&mut socket);
                short |= socket.short;
                connection.owed.reset |= connection.is_over();
            }
            let was_open = connection.open;
            match connection.pay(&mut self.wire) {
                Some(true) => *slot = None,
                // Just accepted: its service has not seen it yet.
                Some(false) => again |= connection.open && !was_open,
                None => short = true,
            }
        }
        self.turn = (self.turn + 1) % CONNECTIONS;
        if short {
            again |= self.wire.wait_for_room(WORTH_WAKING).unwrap_or(true);
        }
        self.wire.flush();
        again | self.wire.wait().unwrap_or(true)
    }

    /// The rule of the wire that the guest's backend broke; asked once. There are no connections until it starts again.
    pub fn take_fault(&mut self) -> Option<PeerFault> {
        self.wire.take_fault()
    }

    /// Whether the guest's backend is to be notified; asked once.
    pub fn take_notify(&mut self) -> bool {
        self.wire.take_notify()
    }

    /// Takes the wire's first packet.
    fn take(&mut self, header: &Header) {
        let op = Op::from_number(header.op);
        let found = self.connections.iter_mut().zip(self.memory.iter_mut());
        let found = found
            .filter_map(|(slot, buffer)| slot.as_mut().map(|connection| (connection, buffer)))
            .find(|(connection, _)| (connection.port, connection.peer) == (header.to, header.from));
        let Some((connection, buffer)) = found else {
            return self.stranger(op, header);
        };
        connection.announced(header);
        let fine = header.kind == connection.kind as u16
            && match op {
                Some(Op::Rst) => {
                    self.forget(header);
                    return;
                }
                Some(Op::Response) if !connection.open && !connection.owed.response => {
                    connection.open = true;
                    true
                }
                // Also while it is being opened.
                Some(Op::CreditUpdate) => true,
                Some(Op::CreditRequest) => {
                    connection.owed.update = true;
                    true
                }
                _ if !connection.open => false,
                Some(Op::Rw) => connection.store(&mut self.wire, buffer, header.flags),
                Some(Op::Shutdown) => {
                    connection.shut_down(header.flags);
                    true
                }
                Some(Op::Request | Op::Response) | None => false,
            };
        connection.owed.reset |= !fine;
    }

    fn forget(&mut self, header: &Header) {
        for slot in &mut self.connections {
            let gone = |connection: &Connection| {
                (connection.port, connection.peer) == (header.to, header.from)
            };
            if slot.as_ref().is_some_and(gone) {
                *slot = None;
            }
        }
    }

    /// A packet of no connection: one may begin with it.
    fn stranger(&mut self, op: Option<Op>, header: &Header) {
        if op == Some(Op::Rst) {
            return;
        }
        let kind = SocketType::from_number(header.kind)
            .filter(|kind| op == Some(Op::Request) && self.ports.contains(&(*kind, header.to)));
        let slot = self.connections.iter_mut().find(|slot| slot.is_none());
        match (slot, kind) {
            (Some(slot), Some(kind)) => {
                self.opened = self.opened.wrapping_add(1);
                let connection = Connection::new(self.opened, kind, header.to, header.from);
                let connection = slot.insert(connection);
                connection.announced(header);
                connection.owed.response = true;
            }
            _ => {
                let refusal = Header {
                    op: Op::Rst as u16,
                    kind: header.kind,
                    from: header.to,
                    to: header.from,
                    ..Header::default()
                };
                // Whoever fills a wire with what nobody asked for waits in vain.
                let _room = self.wire.tell(&refusal);
            }
        }
    }
}
