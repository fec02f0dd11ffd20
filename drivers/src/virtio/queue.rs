//! A virtqueue of the hardware, and what its requests in flight are.

use super::chains::{Chain, Chains};
use super::dma::{DriverMemory, Piece};
use super::events::{Events, Witness};
use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering::SeqCst, fence};
use heapless::Vec;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::{Error, Result};

/// Most pieces of one request in each direction.
pub const MAX_PIECES: usize = 258;

/// A request that the hardware has: its pieces, and what it is to the driver.
struct InFlight<R> {
    record: R,
    pieces: Chain,
    /// How many of them the hardware reads: the first ones.
    readable: u16,
}

/// The crate's virtqueue, when it is set up. It is large, and meant for a static: an empty list is all zero, where
/// an empty `Option` would be 16 KiB of the program's file.
pub type Hardware<const SIZE: usize> = Vec<VirtQueue<DriverMemory, SIZE>, 1>;

/// What is known about the requests of a virtqueue with `SIZE` descriptors. It is large, and meant for a static.
pub struct Table<R, const SIZE: usize> {
    pieces: Chains<Piece, SIZE>,
    /// By the head descriptor, which is the crate's token.
    requests: [Option<InFlight<R>>; SIZE],
}

impl<R, const SIZE: usize> Table<R, SIZE> {
    /// No requests: all zero.
    pub const fn new() -> Self {
        Self {
            pieces: Chains::new(Piece::EMPTY),
            requests: [const { None }; SIZE],
        }
    }

    /// Ends a request: its record.
    fn free(&mut self, request: InFlight<R>) -> R {
        self.pieces.free(request.pieces);
        request.record
    }
}

impl<R, const SIZE: usize> Default for Table<R, SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

/// A virtqueue with `SIZE` descriptors, and its requests in flight.
pub struct Queue<R: 'static, const SIZE: usize> {
    hardware: &'static mut Hardware<SIZE>,
    table: &'static mut Table<R, SIZE>,
    index: u16,
    in_flight: usize,
    /// Requests that were added, and those that the hardware was told of, modulo 2¹⁶.
    added: u16,
    told: u16,
    /// When it interrupts; `None`: at each request.
    events: Option<Events>,
    /// Requests that were popped, modulo 2¹⁶.
    popped: u16,
    /// How many requests the next interrupt was last asked for.
    ahead: u16,
}

impl<R, const SIZE: usize> Queue<R, SIZE> {
    /// A queue in the given memory, which is not set up yet.
    pub fn new(hardware: &'static mut Hardware<SIZE>, table: &'static mut Table<R, SIZE>) -> Self {
        Self {
            hardware,
            table,
            index: 0,
            in_flight: 0,
            added: 0,
            told: 0,
            events: None,
            popped: 0,
            ahead: 1,
        }
    }

    /// Sets queue `index` of the device up, after a reset of the device: what was in flight must have been taken
    /// back with [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// The virtio-drivers crate's: the device has no such queue, or there is no memory for it.
    pub fn set_up(
        &mut self,
        transport: &mut impl Transport,
        index: u16,
        event_idx: bool,
    ) -> Result {
        // The old one's memory first: there may not be enough for two.
        self.hardware.clear();
        self.events = None;
        (self.added, self.told) = (0, 0);
        self.index = index;
        // Indirect descriptors would need a heap.
        let mut witness = Witness::new(transport);
        let queue = VirtQueue::new(&mut witness, index, false, event_idx)?;
        self.events = witness.events().filter(|_| event_idx);
        self.popped = 0;
        self.ahead = 1;
        self.hardware.push(queue).map_err(|_| Error::AlreadyUsed)
    }

    /// Requests that the hardware has.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Gives the hardware a request: pieces it reads, then pieces it writes. It learns of it with
    /// [`tell`](Self::tell).
    ///
    /// # Errors
    /// The crate's `QueueFull` when there are not enough descriptors now, `InvalidParam` for no pieces or more
    /// than [`MAX_PIECES`]; nothing happens then.
    pub fn add(&mut self, readable: &[Piece], writable: &[Piece], record: R) -> Result {
        let Some(hardware) = self.hardware.first_mut() else {
            return Err(Error::NotReady);
        };
        let count = readable.len() + writable.len();
        if count == 0 || readable.len() > MAX_PIECES || writable.len() > MAX_PIECES {
            return Err(Error::InvalidParam);
        }
        if self.table.pieces.left() < count || hardware.available_desc() < count {
            return Err(Error::QueueFull);
        }
        let mut inputs = Vec::new();
        add_inputs(&mut inputs, readable.iter().copied());
        let mut outputs = Vec::new();
        add_outputs(&mut outputs, writable.iter().copied());
        // SAFETY: the pieces are inside the windows, which stay mapped; guest memory is never accessed by this
        // PD, and the driver's own only after the request has come back. The slices are gone at the end of
        // this function, the crate keeps the addresses alone.
        let token = unsafe { hardware.add(&inputs, &mut outputs) }?;
        let pieces = readable.iter().chain(writable).copied();
        if let Some(pieces) = self.table.pieces.put(pieces)
            && let Some(place) = self.table.requests.get_mut(usize::from(token))
        {
            *place = Some(InFlight {
                record,
                pieces,
                readable: u16::try_from(readable.len()).unwrap_or(0),
            });
            self.in_flight += 1;
        }
        self.added = self.added.wrapping_add(1);
        Ok(())
    }

    /// Tells the hardware about all requests added since the last time, if it wants to know. Where it cannot say, it is told.
    pub fn tell(&mut self, transport: &mut impl Transport) {
        if !self.is_untold() {
            return;
        }
        let told = core::mem::replace(&mut self.told, self.added);
        if self
            .events
            .is_none_or(|events| events.wants(told, self.added))
        {
            transport.notify(self.index);
        }
    }

    /// Whether requests were added that the hardware has not been told about.
    pub const fn is_untold(&self) -> bool {
        self.added != self.told
    }

    /// Asks for no interrupt until [`ask`](Self::ask) does, if the hardware can be asked. False: it interrupts all the same.
    pub fn mute(&mut self) -> bool {
        self.ahead = 1;
        if let Some(events) = &self.events {
            events.mute(self.popped);
        }
        self.events.is_some()
    }

    /// The next request that the hardware has done, with the number of bytes it says it wrote.
    ///
    /// When there is none, the hardware will interrupt for the next one.
    ///
    /// # Errors
    /// `WrongToken` if the hardware is done with something it was never given; it needs a reset.
    pub fn pop(&mut self) -> Result<Option<(R, u32)>> {
        let Some(hardware) = self.hardware.first_mut() else {
            return Ok(None);
        };
        if !hardware.can_pop() {
            // The wish to be interrupted, which the last pop wrote, must be out before this last look.
            fence(SeqCst);
            if !hardware.can_pop() {
                return Ok(None);
            }
        }
        let token = hardware.peek_used().ok_or(Error::NotReady)?;
        let request = self.table.requests.get_mut(usize::from(token));
        let request = request.and_then(Option::take).ok_or(Error::WrongToken)?;
        let mut inputs = Vec::new();
        // The crate borrows the list for as long as its slices live, so it must not be dropped (it owns nothing).
        let mut outputs = ManuallyDrop::new(Vec::new());
        let mut readable = request.readable;
        for piece in self.table.pieces.iter(&request.pieces) {
            if readable != 0 {
                readable -= 1;
                add_inputs(&mut inputs, [piece]);
            } else {
                add_outputs(&mut outputs, [piece]);
            }
        }
        // SAFETY: these are the pieces that were added under this token.
        let written = unsafe { hardware.pop_used(token, &inputs, &mut outputs) };
        self.in_flight = self.in_flight.saturating_sub(1);
        self.popped = self.popped.wrapping_add(1);
        self.ahead = 1;
        Ok(Some((self.table.free(request), written?)))
    }

    /// Asks for the next interrupt when `ahead` requests more are done, if the hardware can wait for more than one. No
    /// more than are in flight, so that it comes: the hardware finishes everything. True: they are done already.
    #[must_use = "no interrupt may come for what is done already"]
    pub fn ask(&mut self, ahead: usize) -> bool {
        let ahead = u16::try_from(ahead.min(self.in_flight)).unwrap_or(1).max(1);
        self.ahead = ahead;
        match &self.events {
            Some(events) => !events.ask(self.popped, ahead),
            // `pop` has asked for the next one, and has looked again.
            None => false,
        }
    }

    /// Whether as many requests are done as the next interrupt was asked for: it comes, or is on its way.
    pub fn is_due(&self) -> bool {
        match &self.events {
            Some(events) => events.ready(self.popped) >= self.ahead,
            None => true,
        }
    }

    /// Takes all requests back from a device that has been reset and so will not touch them any more.
    pub fn take_back(&mut self, mut each: impl FnMut(R)) {
        self.hardware.clear();
        self.events = None;
        self.in_flight = 0;
        for token in 0..SIZE {
            let request = self.table.requests.get_mut(token).and_then(Option::take);
            if let Some(request) = request {
                each(self.table.free(request));
            }
        }
    }
}

/// Appends pieces that the hardware reads, as the crate wants them. The list is the caller's: to return one is to copy
/// 4 KiB.
fn add_inputs(list: &mut Vec<&[u8], MAX_PIECES>, pieces: impl IntoIterator<Item = Piece>) {
    for piece in pieces {
        // SAFETY: mapped for as long as the PD runs. The slice only carries address and length to the crate,
        // which translates them (`DriverMemory::share`); neither it nor we read through it, so that it does
        // not matter that guest memory changes all the time.
        let piece = unsafe { piece.memory().as_ref() };
        // There are no more than fit: `add` has counted them.
        let _fits = list.push(piece);
    }
}

/// Appends pieces that the hardware writes, as the crate wants them; see [`add_inputs`].
fn add_outputs(list: &mut Vec<&mut [u8], MAX_PIECES>, pieces: impl IntoIterator<Item = Piece>) {
    for piece in pieces {
        // SAFETY: as in `add_inputs`; nobody writes through it either, so that pieces of guest memory which a
        // guest has made overlap do no harm here.
        let piece = unsafe { piece.memory().as_mut() };
        let _fits = list.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::dma::guest_piece;
    use crate::virtio::fake::{self, Fake};
    use std::boxed::Box;
    use virtio_drivers::transport::DeviceType;

    #[test]
    fn s2_7_10_a_device_that_looks_by_itself_is_not_told() {
        fake::windows();
        let mut device = Fake::new(DeviceType::Block, 0, &[]);
        let memory = (Box::new(Hardware::new()), Box::new(Table::new()));
        let mut queue: Queue<(), 4> = Queue::new(Box::leak(memory.0), Box::leak(memory.1));
        queue.set_up(&mut device, 0, true).unwrap();
        let mut told = |looks: bool| {
            device.0.borrow_mut().looks = looks;
            let piece = guest_piece(0, 1).unwrap();
            queue.add(&[piece], &[], ()).unwrap();
            assert!(queue.is_untold());
            queue.tell(&mut device);
            assert!(!queue.is_untold());
            let taken = device.0.borrow_mut().take(0).unwrap();
            device.0.borrow_mut().done(0, taken.head, 0);
            assert_eq!(queue.pop(), Ok(Some(((), 0))));
            core::mem::take(&mut device.0.borrow_mut().notified).len()
        };
        assert_eq!(told(true), 1, "it has not looked yet");
        for _ in 1..=0xffff {
            assert_eq!(told(true), 0);
        }
        assert_eq!(told(true), 1, "indices wrap around");
        assert_eq!([told(false), told(false), told(true)], [0, 1, 1]);
        assert_eq!(told(true), 0);
    }
}
