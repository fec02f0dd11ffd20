//! One queue's driver: adds chains, kicks, and collects.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{Ordering, fence};

use sel4cp_memory::{GuestRam, GuestRange, Span, Word, Words};
use sel4cp_queue::{
    Area, AvailableFlags, Config, Descriptor, DescriptorFlags, Features, UsedFlags, need_event,
};

use crate::buffer::Buffer;
use crate::guest::Guest;

/// What writable buffers contain until the device writes them.
const PATTERN: u8 = 0xa5;

/// A chain that a driver has added: the index of its first descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u16);

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A chain that the device has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which one.
    pub id: ChainId,
    /// How many bytes the device said it wrote.
    pub len: u32,
    /// Those bytes, from the first writable one on.
    pub bytes: Vec<u8>,
    /// All writable bytes, whatever the device said; what it left alone is 0xa5.
    pub writable: Vec<u8>,
}

impl Used {
    /// The last writable byte: the status of a disk request. `None` if there is none.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        self.writable.last().copied()
    }
}

/// A chain that the device has not used yet.
#[derive(Debug)]
struct Pending {
    /// The descriptors in the queue's own table.
    descriptors: Vec<(u16, Descriptor)>,
    /// The indirect table.
    table: Option<(Span, Vec<u8>)>,
    readable: Vec<(Span, Vec<u8>)>,
    writable: Vec<Span>,
    /// What is to be freed: everything above but `Buffer::At`.
    memory: Vec<Span>,
}

/// Where a queue is, and what its driver remembers.
#[derive(Debug)]
pub(crate) struct Ring {
    config: Config,
    descriptors: Span,
    available_flags: Word<u16>,
    pub(crate) available_index: Word<u16>,
    available: Words<u16>,
    pub(crate) used_event: Word<u16>,
    used_flags: Word<u16>,
    pub(crate) used_index: Word<u16>,
    pub(crate) used: Words<u32>,
    available_event: Word<u16>,
    free: Vec<u16>,
    pending: BTreeMap<ChainId, Pending>,
    /// Entries written to the available ring, and those that the device has been shown.
    pub(crate) added: u16,
    shown: u16,
    /// Used entries collected.
    seen: u16,
    /// Used index when `interrupt_due` last looked.
    judged: u16,
    pub(crate) accounts: bool,
}

impl Ring {
    pub(crate) fn new(ram: &GuestRam, config: Config) -> Self {
        let count = u32::from(config.size);
        let span = |area: Area, address| {
            ram.check(GuestRange::new(address, area.bytes(config.size)))
                .ok()
        };
        let build = || {
            let descriptors = span(Area::Descriptors, config.descriptors)?;
            let available = span(Area::Available, config.driver)?;
            let used = span(Area::Used, config.device)?;
            Some(Self {
                config,
                descriptors,
                available_flags: ram.word(available, 0)?,
                available_index: ram.word(available, 2)?,
                available: ram.words(available, 4, count)?,
                used_event: ram.word(available, 4 + 2 * count)?,
                used_flags: ram.word(used, 0)?,
                used_index: ram.word(used, 2)?,
                used: ram.words(used, 4, 2 * count)?,
                available_event: ram.word(used, 4 + 8 * count)?,
                free: (0..config.size).rev().collect(),
                pending: BTreeMap::new(),
                added: 0,
                shown: 0,
                seen: 0,
                judged: 0,
                accounts: true,
            })
        };
        let ring = build();
        assert!(ring.is_some(), "a queue that cannot be: {config:?}");
        ring.unwrap_or_else(|| std::process::abort())
    }
}

/// The driver of one queue of a [`Guest`].
#[derive(Debug)]
pub struct Driver<'g> {
    guest: &'g mut Guest,
    index: usize,
}

impl<'g> Driver<'g> {
    pub(crate) fn new(guest: &'g mut Guest, index: usize) -> Self {
        Self { guest, index }
    }

    pub(crate) fn ring(&mut self) -> &mut Ring {
        #[expect(clippy::indexing_slicing, reason = "Guest::queue has checked it")]
        &mut self.guest.rings[self.index]
    }

    pub(crate) fn ram(&self) -> GuestRam {
        self.guest.ram()
    }

    /// What the driver tells the transport about this queue.
    #[must_use]
    pub fn config(&mut self) -> Config {
        self.ring().config
    }

    fn has(&mut self, feature: Features) -> bool {
        self.ring().config.features.contains(feature)
    }

    /// Adds a chain with a descriptor for each buffer, in the order given. The device sees it after
    /// the next [`Driver::kick`].
    pub fn add(&mut self, buffers: &[Buffer]) -> ChainId {
        self.add_mixed(buffers, &[])
    }

    /// Adds a chain of one descriptor, for an indirect table with one for each buffer.
    pub fn add_indirect(&mut self, buffers: &[Buffer]) -> ChainId {
        self.add_mixed(&[], buffers)
    }

    /// Adds a chain of direct descriptors that ends in an indirect table, unless that is empty.
    pub fn add_mixed(&mut self, direct: &[Buffer], indirect: &[Buffer]) -> ChainId {
        let mut pending = Pending {
            descriptors: Vec::new(),
            table: None,
            readable: Vec::new(),
            writable: Vec::new(),
            memory: Vec::new(),
        };
        let mut links: Vec<Descriptor> = direct
            .iter()
            .map(|buffer| self.place(buffer, &mut pending))
            .collect();
        if !indirect.is_empty() {
            let mut table: Vec<Descriptor> = indirect
                .iter()
                .map(|buffer| self.place(buffer, &mut pending))
                .collect();
            link(&mut table, 1..);
            let bytes: Vec<u8> = table.iter().flat_map(descriptor_bytes).collect();
            let span = self.memory(bytes.len(), &mut pending);
            self.ram().write_bytes(span, &bytes);
            links.push(Descriptor {
                address: self.ram().address_of(span).value().into(),
                len: span.len().into(),
                flags: DescriptorFlags::INDIRECT.bits().into(),
                next: 0.into(),
            });
            pending.table = Some((span, bytes));
        }
        let ring = self.ring();
        let wanted = links.len();
        assert!(wanted > 0, "a chain of no descriptors");
        let left = ring.free.len();
        assert!(
            wanted <= left,
            "{wanted} descriptors for a chain, but only {left} are free"
        );
        let indices = ring.free.split_off(left - wanted);
        let mut next = indices.iter().rev().copied();
        let head = next.next().unwrap_or_default();
        link(&mut links, next);
        for (&index, &descriptor) in indices.iter().rev().zip(&links) {
            self.put_descriptor(index, descriptor);
            pending.descriptors.push((index, descriptor));
        }
        self.ring().pending.insert(ChainId(head), pending);
        let position = self.ring().added;
        self.put_available(position, head);
        self.ring().added = position.wrapping_add(1);
        ChainId(head)
    }

    /// Gives a buffer memory and a descriptor.
    fn place(&mut self, buffer: &Buffer, pending: &mut Pending) -> Descriptor {
        let (address, len) = match buffer {
            Buffer::Readable(bytes) => {
                let span = self.memory(bytes.len(), pending);
                self.ram().write_bytes(span, bytes);
                pending.readable.push((span, bytes.clone()));
                (self.ram().address_of(span), span.len())
            }
            Buffer::Writable(len) => {
                let span = self.memory(*len as usize, pending);
                self.ram().fill(span, PATTERN);
                pending.writable.push(span);
                (self.ram().address_of(span), span.len())
            }
            Buffer::At {
                address,
                len,
                writable,
            } => {
                if *writable && let Ok(span) = self.ram().check(GuestRange::new(*address, *len)) {
                    pending.writable.push(span);
                }
                (*address, *len)
            }
        };
        let flags = if buffer.is_writable() {
            DescriptorFlags::WRITE
        } else {
            DescriptorFlags::empty()
        };
        Descriptor {
            address: address.value().into(),
            len: len.into(),
            flags: flags.bits().into(),
            next: 0.into(),
        }
    }

    fn memory(&mut self, len: usize, pending: &mut Pending) -> Span {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let address = self.guest.allocate(len);
        let span = self.guest.span(address, len);
        pending.memory.push(span);
        span
    }

    /// Shows the device all chains that have been added. True if the device wants to be notified
    /// of one of them (§2.7.10).
    pub fn kick(&mut self) -> bool {
        let ram = self.ram();
        let event_index = self.has(Features::EVENT_IDX);
        let ring = self.ring();
        let (old, new) = (ring.shown, ring.added);
        ring.shown = new;
        ram.store_release(ring.available_index, new);
        fence(Ordering::SeqCst);
        if event_index {
            need_event(ram.load(ring.available_event), new, old)
        } else {
            let flags = UsedFlags::from_bits_truncate(ram.load(ring.used_flags));
            old != new && !flags.contains(UsedFlags::NO_NOTIFY)
        }
    }

    /// Asks to be interrupted for the next chain that the device uses (§2.7.7). True if there are
    /// used chains that have not been collected: no interrupt comes for those.
    pub fn enable_interrupts(&mut self) -> bool {
        let ram = self.ram();
        let event_index = self.has(Features::EVENT_IDX);
        let ring = self.ring();
        if event_index {
            ram.store(ring.used_event, ring.seen);
        } else {
            ram.store(ring.available_flags, AvailableFlags::empty().bits());
        }
        fence(Ordering::SeqCst);
        ram.load_acquire(ring.used_index) != ring.seen
    }

    /// Asks not to be interrupted: with EVENT_IDX, not before another 2¹⁵ chains are used.
    pub fn disable_interrupts(&mut self) {
        let ram = self.ram();
        let event_index = self.has(Features::EVENT_IDX);
        let ring = self.ring();
        if event_index {
            ram.store(ring.used_event, ring.seen.wrapping_add(1 << 15));
        } else {
            ram.store(ring.available_flags, AvailableFlags::NO_INTERRUPT.bits());
        }
    }

    /// Whether the device must have interrupted the guest since this was last asked, going by what
    /// the rings say now and counting entry by entry.
    pub fn interrupt_due(&mut self) -> bool {
        let ram = self.ram();
        let event_index = self.has(Features::EVENT_IDX);
        let ring = self.ring();
        let new = ram.load_acquire(ring.used_index);
        let mut index = std::mem::replace(&mut ring.judged, new);
        if !event_index {
            let flags = AvailableFlags::from_bits_truncate(ram.load(ring.available_flags));
            return index != new && !flags.contains(AvailableFlags::NO_INTERRUPT);
        }
        let event = ram.load(ring.used_event);
        while index != new {
            if index == event {
                return true;
            }
            index = index.wrapping_add(1);
        }
        false
    }

    /// Takes back what the device has used, in its order, and checks all of it.
    pub fn collect(&mut self) -> Vec<Used> {
        let ram = self.ram();
        let mut all = Vec::new();
        let new = ram.load_acquire(self.ring().used_index);
        let count = usize::from(new.wrapping_sub(self.ring().seen));
        let shown = self.ring().pending.len();
        assert!(
            count <= shown,
            "used index {new}: {count} more, but only {shown} were out"
        );
        for _ in 0..count {
            let ring = self.ring();
            let at = u32::from(ring.seen) * 2;
            let id = ram.load(ring.used.at(at));
            let len = ram.load(ring.used.at(at + 1));
            ring.seen = ring.seen.wrapping_add(1);
            all.push(self.take_back(id, len));
        }
        if self.has(Features::EVENT_IDX) {
            let flags = ram.load(self.ring().used_flags);
            assert_eq!(
                flags, 0,
                "used flags, which §2.7.10.2 wants to be 0 with EVENT_IDX"
            );
        }
        all
    }

    fn take_back(&mut self, id: u32, len: u32) -> Used {
        let ram = self.ram();
        let id = ChainId(u16::try_from(id).unwrap_or(u16::MAX));
        let pending = self.ring().pending.remove(&id);
        assert!(
            pending.is_some(),
            "used chain {id:?}, which is not out: used twice?"
        );
        let Some(pending) = pending else {
            std::process::abort()
        };
        let content = |span: Span| {
            let mut bytes = vec![0; span.len() as usize];
            ram.read_bytes(span, &mut bytes);
            bytes
        };
        for (span, bytes) in pending.readable.iter().chain(&pending.table) {
            let same = content(*span) == *bytes;
            assert!(
                same,
                "chain {id:?}: the device wrote to what it may only read (§2.7.5.1)"
            );
        }
        for (index, descriptor) in &pending.descriptors {
            let now = content(self.descriptor_place(*index));
            let same = now == descriptor_bytes(descriptor);
            assert!(
                same,
                "descriptor {index}: the device wrote to it (§2.7.5.1)"
            );
        }
        let writable: Vec<u8> = pending
            .writable
            .iter()
            .flat_map(|span| content(*span))
            .collect();
        let bytes = writable.get(..len as usize);
        let room = writable.len();
        assert!(
            bytes.is_some(),
            "chain {id:?}: {len} bytes written, but there is room for {room}"
        );
        let bytes = bytes.unwrap_or_default().to_vec();
        let start = ram.start();
        for span in pending.memory {
            let address = ram.address_of(span);
            let offset = address.checked_offset_from(start).unwrap_or_default();
            self.guest.heap.free(offset, u64::from(span.len()));
        }
        let ring = self.ring();
        ring.free
            .extend(pending.descriptors.iter().rev().map(|(index, _)| *index));
        Used {
            id,
            len,
            bytes,
            writable,
        }
    }

    /// The chains that the device has not used yet, or whose use has not been collected.
    #[must_use]
    pub fn outstanding(&mut self) -> Vec<ChainId> {
        self.ring().pending.keys().copied().collect()
    }

    /// How many descriptors are free.
    #[must_use]
    pub fn free(&mut self) -> usize {
        self.ring().free.len()
    }

    /// Forgets everything, as a driver does that resets the device: the rings are zero, all chains
    /// are the driver's again. Only after the device has acknowledged the reset.
    pub fn reset(&mut self) -> Config {
        let ram = self.ram();
        let config = self.ring().config;
        for (area, address) in [
            (Area::Descriptors, config.descriptors),
            (Area::Available, config.driver),
            (Area::Used, config.device),
        ] {
            ram.fill(self.guest.span(address, area.bytes(config.size)), 0);
        }
        let fresh = Ring::new(&ram, config);
        let old = std::mem::replace(self.ring(), fresh);
        let start = ram.start();
        for span in old.pending.into_values().flat_map(|pending| pending.memory) {
            let offset = ram
                .address_of(span)
                .checked_offset_from(start)
                .unwrap_or_default();
            self.guest.heap.free(offset, u64::from(span.len()));
        }
        config
    }

    fn descriptor_place(&mut self, index: u16) -> Span {
        let table = self.ring().descriptors;
        let place = table.slice(u32::from(index) * Descriptor::SIZE, Descriptor::SIZE);
        assert!(place.is_some(), "descriptor {index} is not in the table");
        place.unwrap_or_default()
    }

    pub(crate) fn put_descriptor(&mut self, index: u16, descriptor: Descriptor) {
        let place = self.descriptor_place(index);
        self.ram()
            .write_bytes(place, &descriptor_bytes(&descriptor));
    }

    pub(crate) fn put_available(&mut self, position: u16, head: u16) {
        let ram = self.ram();
        ram.store(self.ring().available.at(u32::from(position)), head);
    }

    pub(crate) fn keeps_accounts(&mut self) -> bool {
        self.ring().accounts
    }
}

/// Chains descriptors: each but the last gets the next of `indices`.
fn link(descriptors: &mut [Descriptor], indices: impl IntoIterator<Item = u16>) {
    let Some((_, all_but_last)) = descriptors.split_last_mut() else {
        return;
    };
    for (descriptor, next) in all_but_last.iter_mut().zip(indices) {
        let flags = descriptor.flags() | DescriptorFlags::NEXT;
        descriptor.flags = flags.bits().into();
        descriptor.next = next.into();
    }
}

fn descriptor_bytes(descriptor: &Descriptor) -> Vec<u8> {
    zerocopy::IntoBytes::as_bytes(descriptor).to_vec()
}
