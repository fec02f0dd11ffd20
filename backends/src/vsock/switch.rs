//! Between the guest's packets and the wires.

use super::connection::{Key, Side, Table, Verdict};
use super::counter;
use super::line::{Line, flags, reset};
use sel4cp_model::vsock::{HOST_CID, Header, Op};
use sel4cp_queue::{GuestFault, Reader, Writer};
use sel4cp_ring::PeerFault;
use sel4cp_ring::wire::{self, MAX_PAYLOAD};

/// Most peers of a guest.
pub const MAX_WIRES: usize = sel4cp_abi::config::MAX_WIRES;
/// Answers that wait for a buffer of the guest's before its queue does.
const ANSWERS: usize = 64;
/// Packets of one wire that are looked at in one go and are not for the guest.
const REFUSALS: usize = 64;
/// Bytes that are copied at once.
const CHUNK: usize = 1024;
/// Least bytes of a buffer: a header, and one slot of a wire.
pub(super) const LEAST_BUFFER: u64 = 44 + 16;

/// What became of a packet of the guest.
pub(super) enum Sent {
    /// It is dealt with.
    Done,
    /// There is no room for it; `again`: now there is.
    Full {
        /// Try again at once.
        again: bool,
    },
}

/// What became of a wire's first packet.
enum Taken {
    /// There is none.
    Nothing,
    /// It was none for the guest.
    Refused,
    /// The guest gets it, or a part of it.
    Delivered,
    /// The peer broke a rule in the middle of it.
    Failed,
}

/// Whether the guest is to be told that its connections are gone, all at once (§5.10.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// There is no reason to.
    None,
    /// The native side has started again. If the guest has no buffer for that, it gets a RST for each connection.
    Possible,
    /// This device has: nobody knows which connections there were.
    Needed,
}

/// Everything but the queues.
pub(super) struct Switch {
    cid: u64,
    lines: heapless::Vec<Line, MAX_WIRES>,
    table: Table,
    /// RSTs for the guest, of no connection.
    answers: heapless::Deque<Header, ANSWERS>,
    /// Which wire is to be looked at first.
    turn: usize,
    running: bool,
    seqpacket: bool,
    reset: Reset,
    counters: [u64; counter::COUNT],
}

impl Switch {
    pub(super) fn new(cid: u64) -> Self {
        Self {
            cid,
            lines: heapless::Vec::new(),
            table: Table::default(),
            answers: heapless::Deque::new(),
            turn: 0,
            running: false,
            seqpacket: false,
            reset: Reset::None,
            counters: [0; counter::COUNT],
        }
    }

    pub(super) fn add(&mut self, line: Line) -> bool {
        let room = self.lines.push(line).is_ok();
        self.table.share(self.lines.len());
        room
    }

    pub(super) fn start(&mut self, seqpacket: bool) {
        self.seqpacket = seqpacket;
        self.running = true;
    }

    /// Goes on with a driver that knows connections which nobody else does.
    pub(super) fn resume(&mut self, seqpacket: bool) {
        self.start(seqpacket);
        self.reset = Reset::Needed;
    }

    /// The guest's side of all connections is gone.
    pub(super) fn stop(&mut self) {
        self.running = false;
        self.forget();
    }

    /// The guest knows of no connection any more; its peers are to get a RST of each.
    fn forget(&mut self) {
        self.reset = Reset::None;
        self.answers.clear();
        self.table.gone(Side::Guest, |_| true);
    }

    /// Whether the guest is to be told of a transport reset.
    pub(super) fn wanted_reset(&self) -> Reset {
        self.reset
    }

    /// The guest was told of a transport reset (`told`), or it could not be and need not.
    pub(super) fn settle_reset(&mut self, told: bool) {
        self.reset = Reset::None;
        if told {
            self.count(counter::RESETS, 1);
            self.forget();
        }
    }

    pub(super) fn counters(&self) -> &[u64] {
        &self.counters
    }

    fn count(&mut self, counter: usize, more: u64) {
        if let Some(value) = self.counters.get_mut(counter) {
            *value = value.wrapping_add(more);
        }
    }

    /// What comes first in a step: peers that are gone, and RSTs that peers are owed. True: there is more to do, and nobody
    /// will say so. Without a guest, everybody who asks for it is refused.
    pub(super) fn begin(&mut self, running: bool) -> bool {
        if !running {
            self.stop();
        }
        let mut again = false;
        for index in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(index) else {
                break;
            };
            if line.wire.restarted() {
                let native = line.cid == HOST_CID && self.table.has(|key| key.wire == index);
                self.lost(index);
                if running && native && self.reset == Reset::None {
                    self.reset = Reset::Possible;
                }
            } else if !line.wire.works() {
                self.table.gone(Side::Peer, |key| key.wire == index);
            }
            again |= self.pay(index);
            if !running {
                for _ in 0..REFUSALS {
                    match self.take(index, None) {
                        Ok(Taken::Refused) => {}
                        Ok(_) | Err(_) => break,
                    }
                }
            }
        }
        if !running {
            again |= self.wait();
        }
        again
    }

    /// The peer of a wire is gone, or not to be trusted any more: the guest is told for each connection with it.
    fn lost(&mut self, index: usize) {
        self.count(counter::LOST, 1);
        self.table.gone(Side::Peer, |key| key.wire == index);
        if let Some(line) = self.lines.get_mut(index) {
            line.admitted = false;
            line.wire.done();
        }
    }

    /// Sends the RSTs that the peer of a wire is owed. True: there is room for more after all.
    fn pay(&mut self, index: usize) -> bool {
        let mut again = false;
        while let Some((key, kind)) = self.table.owed(Side::Peer, |key| key.wire == index) {
            let Some(line) = self.lines.get_mut(index) else {
                break;
            };
            match line.wire.tell(&reset(kind as u16, key.guest, key.peer)) {
                Ok(true) => self.table.paid(Side::Peer, key),
                Ok(false) if line.wire.works() => {
                    again = line.wire.wait_for_room(0).unwrap_or(false);
                    break;
                }
                Ok(false) | Err(_) => {
                    self.lost(index);
                    break;
                }
            }
        }
        again
    }

    /// Whether answers wait for the guest's buffers in such numbers that it must offer some first (§5.10.6.1).
    pub(super) fn must_answer_first(&self) -> bool {
        self.answers.is_full()
    }

    /// Answers a packet of the guest with a RST.
    fn refuse(&mut self, header: &Header) {
        self.count(counter::REFUSED, 1);
        let answer = Header {
            src_cid: header.dst_cid,
            dst_cid: header.src_cid,
            src_port: header.dst_port,
            dst_port: header.src_port,
            kind: header.kind,
            op: (Op::Rst as u16).into(),
            ..Header::default()
        };
        // There is room: `must_answer_first` was asked.
        let _room = self.answers.push_back(answer);
    }

    /// Passes on a packet of the guest.
    pub(super) fn transmit(&mut self, reader: &mut Reader<'_>) -> Sent {
        let header = match reader.read_obj::<Header>() {
            Ok(header) if header.src_cid.get() == self.cid => header,
            _ => {
                self.count(counter::DROPPED, 1);
                return Sent::Done;
            }
        };
        let mut packet = wire::Header {
            op: header.op.get(),
            kind: header.kind.get(),
            flags: header.flags.get(),
            from: header.src_port.get(),
            to: header.dst_port.get(),
            len: header.len.get(),
            buf_alloc: header.buf_alloc.get(),
            fwd_cnt: header.fwd_cnt.get(),
            reserved: 0,
        };
        if packet.len > MAX_PAYLOAD || u64::from(packet.len) > reader.remaining() {
            // What has a length that it cannot have is no operation, and ends its connection.
            (packet.op, packet.len) = (0, 0);
        }
        let to = header.dst_cid.get();
        let mut lines = self.lines.iter_mut().enumerate();
        let Some((index, line)) = lines.find(|(_, line)| line.cid == to && line.wire.works())
        else {
            if packet.op != Op::Rst as u16 {
                self.refuse(&header);
            }
            return Sent::Done;
        };
        match line.wire.has_room(packet.len) {
            Ok(true) => {}
            Ok(false) => {
                let again = line.wire.wait_for_room(packet.len).unwrap_or(true);
                self.count(counter::DELAYED, 1);
                return Sent::Full { again };
            }
            Err(_) => self.lost(index),
        }
        let key = Key {
            wire: index,
            guest: packet.from,
            peer: packet.to,
        };
        match self.table.packet(Side::Guest, key, &packet, self.seqpacket) {
            Verdict::Pass(flags) => {
                let passed = wire::Header { flags, ..packet };
                let sent = self.lines.get_mut(index).map(|line| {
                    line.wire.send(&passed, |part| {
                        // All of it: `remaining` said so.
                        reader.read(part);
                    })
                });
                self.passed(&packet);
                self.count(counter::TRANSMITTED, packet.len.into());
                if !matches!(sent, Some(Ok(true))) {
                    self.lost(index);
                }
            }
            Verdict::Refuse => self.refuse(&header),
            Verdict::Broken => {
                self.count(counter::BROKEN, 1);
                self.pay(index);
            }
            Verdict::Ignore => {}
        }
        Sent::Done
    }

    fn passed(&mut self, packet: &wire::Header) {
        if packet.op == Op::Request as u16 {
            self.count(counter::REQUESTED, 1);
        }
    }

    /// Writes the next packet for the guest; false when there is none.
    pub(super) fn receive(&mut self, writer: &mut Writer<'_>) -> Result<bool, GuestFault> {
        if let Some(answer) = self.answers.pop_front() {
            writer.write_obj(&answer)?;
            return Ok(true);
        }
        if let Some((key, kind)) = self.table.owed(Side::Guest, |_| true) {
            let packet = reset(kind as u16, key.peer, key.guest);
            writer.write_obj(&self.header(key.wire, &packet))?;
            self.table.paid(Side::Guest, key);
            return Ok(true);
        }
        for _ in 0..self.lines.len() {
            for _ in 0..REFUSALS {
                match self.take(self.turn, Some(&mut *writer))? {
                    Taken::Delivered => return Ok(true),
                    Taken::Refused => {}
                    Taken::Nothing => break,
                    // Something is in the buffer already.
                    Taken::Failed => return Ok(false),
                }
            }
            self.next_turn();
        }
        Ok(false)
    }

    fn next_turn(&mut self) {
        self.turn += 1;
        if self.turn >= self.lines.len() {
            self.turn = 0;
        }
    }

    /// The header that the guest sees.
    fn header(&self, index: usize, packet: &wire::Header) -> Header {
        let cid = self.lines.get(index).map_or(0, |line| line.cid);
        Header {
            src_cid: cid.into(),
            dst_cid: self.cid.into(),
            src_port: packet.from.into(),
            dst_port: packet.to.into(),
            len: packet.len.into(),
            kind: packet.kind.into(),
            op: packet.op.into(),
            flags: packet.flags.into(),
            buf_alloc: packet.buf_alloc.into(),
            fwd_cnt: packet.fwd_cnt.into(),
        }
    }

    /// Takes the first packet of a wire, or a part of it that fits the guest's buffer. Without a buffer it goes nowhere.
    fn take(&mut self, index: usize, writer: Option<&mut Writer<'_>>) -> Result<Taken, GuestFault> {
        let Some(line) = self.lines.get_mut(index) else {
            return Ok(Taken::Nothing);
        };
        let mut packet = match line.wire.front() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Taken::Nothing),
            Err(_) => {
                self.lost(index);
                return Ok(Taken::Refused);
            }
        };
        let key = Key {
            wire: index,
            guest: packet.to,
            peer: packet.from,
        };
        let verdict = match (line.admitted, self.running) {
            // The rest of a packet whose connection may be over by now.
            (true, _) if self.table.is_open(key) => Verdict::Pass(flags(&packet)),
            (true, _) => Verdict::Ignore,
            (false, true) => self.table.packet(Side::Peer, key, &packet, self.seqpacket),
            (false, false) if packet.op == Op::Rst as u16 => {
                self.table.paid(Side::Peer, key);
                Verdict::Ignore
            }
            (false, false) => Verdict::Refuse,
        };
        match (verdict, writer) {
            (Verdict::Pass(flags), Some(writer)) => {
                if !core::mem::replace(&mut line.admitted, true) {
                    self.passed(&packet);
                }
                packet.flags = flags;
                return self.deliver(index, packet, writer);
            }
            (Verdict::Refuse, _) => {
                let refusal = reset(packet.kind, packet.to, packet.from);
                // A peer that fills a wire with what it has no right to waits in vain.
                let _room = line.wire.tell(&refusal);
                self.count(counter::REFUSED, 1);
            }
            (Verdict::Broken, _) => {
                self.count(counter::BROKEN, 1);
                self.pay(index);
            }
            (Verdict::Ignore | Verdict::Pass(_), _) => {}
        }
        if let Some(line) = self.lines.get_mut(index) {
            line.admitted = false;
            line.wire.done();
        }
        Ok(Taken::Refused)
    }

    /// Writes what is left of a wire's first packet to a buffer, as much as fits: payload may come in any
    /// pieces, and a message ends with its last one.
    fn deliver(
        &mut self,
        index: usize,
        packet: wire::Header,
        writer: &mut Writer<'_>,
    ) -> Result<Taken, GuestFault> {
        let Some(line) = self.lines.get(index) else {
            return Ok(Taken::Nothing);
        };
        let left = line.wire.left();
        let room = writer.remaining().saturating_sub(u64::from(Header::SIZE));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let len = if room < left { room / 16 * 16 } else { left };
        let last = len == left;
        let piece = wire::Header {
            len,
            flags: if last { packet.flags } else { 0 },
            ..packet
        };
        writer.write_obj(&self.header(index, &piece))?;
        let mut chunk = [0; CHUNK];
        let mut rest = usize::try_from(len).unwrap_or(0);
        while rest > 0 {
            let part = chunk.get_mut(..rest.min(CHUNK)).unwrap_or_default();
            let line = self.lines.get_mut(index);
            match line.map(|line| line.wire.read(part)) {
                Some(Ok(count)) if count > 0 => {
                    writer.write(part.get(..count).unwrap_or_default());
                    rest = rest.saturating_sub(count);
                }
                _ => {
                    self.lost(index);
                    return Ok(Taken::Failed);
                }
            }
        }
        self.count(counter::RECEIVED, len.into());
        if last {
            if let Some(line) = self.lines.get_mut(index) {
                line.admitted = false;
                line.wire.done();
            }
            // The others are next, whatever this one still has.
            self.next_turn();
        }
        Ok(Taken::Delivered)
    }

    /// Asks all wires to wake this device. True: there is something already.
    pub(super) fn wait(&mut self) -> bool {
        let mut again = self.table.owed(Side::Guest, |_| true).is_some();
        for index in 0..self.lines.len() {
            match self.lines.get_mut(index).map(|line| line.wire.wait()) {
                Some(Ok(more)) => again |= more,
                Some(Err(_)) => self.lost(index),
                None => {}
            }
        }
        again
    }

    /// The rule that a peer broke; asked once for each.
    pub(super) fn take_fault(&mut self) -> Option<PeerFault> {
        self.lines
            .iter_mut()
            .find_map(|line| line.wire.take_fault())
    }

    /// Shows the peers what was sent and taken. Bit n: the peer of wire n is to be notified.
    pub(super) fn flush(&mut self) -> u32 {
        if let Some(open) = self.counters.get_mut(counter::CONNECTIONS) {
            *open = u64::try_from(self.table.len()).unwrap_or(u64::MAX);
        }
        let mut notify = 0;
        for (index, line) in self.lines.iter_mut().enumerate() {
            line.wire.flush();
            if line.wire.take_notify() {
                notify |= 1 << index;
            }
        }
        notify
    }
}
