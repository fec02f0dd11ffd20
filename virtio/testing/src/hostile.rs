//! A driver that misbehaves: writes whatever it is told to.

use sel4cp_queue::Descriptor;

use crate::driver::Driver;

/// Misbehaviour. After any of these writes the queue's accounts are closed:
/// [`Guest::finish`](crate::Guest::finish) does not look at it any more.
impl Driver<'_> {
    /// Writes a descriptor, right or wrong.
    pub fn write_descriptor(&mut self, index: u16, descriptor: Descriptor) {
        self.ring().accounts = false;
        self.put_descriptor(index, descriptor);
    }

    /// Writes an entry of the available ring; `position` counts modulo the queue's size.
    pub fn write_available(&mut self, position: u16, head: u16) {
        self.ring().accounts = false;
        self.put_available(position, head);
    }

    /// Writes the available index.
    pub fn write_available_index(&mut self, index: u16) {
        let ram = self.ram();
        self.ring().accounts = false;
        ram.store_release(self.ring().available_index, index);
    }

    /// Writes the word that EVENT_IDX looks at.
    pub fn write_used_event(&mut self, event: u16) {
        let ram = self.ram();
        ram.store(self.ring().used_event, event);
    }

    /// Makes `head` available as it is, without a chain that this driver knows about.
    pub fn offer(&mut self, head: u16) {
        let position = self.ring().added;
        self.write_available(position, head);
        self.ring().added = position.wrapping_add(1);
        self.kick();
    }

    /// Writes a chain of these descriptors from index 0 on, and makes it available. `next` and
    /// NEXT are as given.
    pub fn offer_raw(&mut self, descriptors: &[Descriptor]) {
        for (index, descriptor) in (0..).zip(descriptors) {
            self.write_descriptor(index, *descriptor);
        }
        self.offer(0);
    }

    /// The used ring's index.
    #[must_use]
    pub fn used_index(&mut self) -> u16 {
        let ram = self.ram();
        ram.load_acquire(self.ring().used_index)
    }

    /// The entry with this index of the used ring: id and length, as they are.
    #[must_use]
    pub fn used_entry(&mut self, index: u16) -> (u32, u32) {
        let ram = self.ram();
        let ring = self.ring();
        let at = u32::from(index) * 2;
        (ram.load(ring.used.at(at)), ram.load(ring.used.at(at + 1)))
    }
}
