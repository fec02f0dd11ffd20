//! A network in memory behind a device region.

use sel4cp_memory::{GuestRam, GuestRange};
use sel4cp_ring::layout::{DeviceRegion, DriverEnds};
use sel4cp_ring::net::{Interface, MAX_SEGMENTS, RECEIVE, TRANSMIT};
use sel4cp_ring::request::{Completion, Header, RESET, Segment, status};

pub(crate) struct Wire {
    pub(crate) ends: DriverEnds,
    pub(crate) facts: Interface,
    /// Frames that the guest sent, with their requests, not completed.
    pub(crate) sent: Vec<(Header, Vec<u8>)>,
    /// Buffers to receive into.
    pub(crate) buffers: Vec<(Header, Vec<Segment>)>,
    pub(crate) resets: Vec<Header>,
    ram: GuestRam,
    /// Where the backend makes frames.
    pub(crate) frames: Option<GuestRam>,
}

impl Wire {
    pub(crate) fn new(region: DeviceRegion, ram: GuestRam) -> Self {
        let facts = Interface {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            link_up: 1,
            ..Interface::default()
        };
        let mut wire = Self {
            ends: region.driver(),
            facts,
            sent: Vec::new(),
            buffers: Vec::new(),
            resets: Vec::new(),
            ram,
            frames: None,
        };
        wire.ends.info.start(&facts);
        wire
    }

    fn copy(&self, segment: &Segment, bytes: &mut [u8], out: bool) -> usize {
        let ram = match segment.flags & Segment::FRAMES {
            0 => self.ram,
            _ => self.frames.unwrap(),
        };
        let address = ram.start().checked_add(segment.offset).unwrap();
        let span = ram.check(GuestRange::new(address, segment.len)).unwrap();
        if out {
            ram.write_bytes(span, bytes)
        } else {
            ram.read_bytes(span, bytes)
        }
    }

    /// Takes everything from the ring. Whether the backend is to be notified.
    pub(crate) fn take(&mut self) -> bool {
        let mut segments = [Segment::default(); MAX_SEGMENTS];
        while let Some(header) = self.ends.requests.pop_request(&mut segments).unwrap() {
            let segments = &segments[..usize::from(header.count)];
            match header.op {
                TRANSMIT => {
                    let mut frame = Vec::new();
                    for segment in segments {
                        assert!(!segment.device_writes() && segment.len > 0);
                        let mut part = vec![0; segment.len as usize];
                        self.copy(segment, &mut part, false);
                        frame.extend(part);
                    }
                    self.sent.push((header, frame));
                }
                RECEIVE => {
                    assert!(segments.iter().all(Segment::device_writes));
                    self.buffers.push((header, segments.to_vec()));
                }
                RESET => self.resets.push(header),
                op => panic!("operation {op}"),
            }
        }
        let notify = self.ends.requests.release();
        let _more = self.ends.requests.arm().unwrap();
        notify
    }

    pub(crate) fn answer(&mut self, completion: Completion) -> bool {
        assert!(self.ends.completions.push(completion).unwrap());
        self.ends.completions.publish()
    }

    /// Completes all frames sent; returns them.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        self.take();
        let sent = std::mem::take(&mut self.sent);
        let finish = |(header, frame)| {
            self.answer(Completion::of(&header, status::OK, 0));
            frame
        };
        sent.into_iter().map(finish).collect()
    }

    /// A frame arrives: into the first buffer, if it fits. `header` is what the hardware leaves before it.
    pub(crate) fn deliver(&mut self, frame: &[u8], header: [u8; 12]) -> bool {
        self.take();
        let (request, segments) = self.buffers.remove(0);
        let room: usize = segments.iter().map(|segment| segment.len as usize).sum();
        let mut whole = header.to_vec();
        whole.extend(frame);
        assert!(whole.len() <= room, "{} bytes for {room}", whole.len());
        let mut rest = whole.as_mut_slice();
        for segment in &segments {
            let written = self.copy(segment, rest, true);
            rest = &mut rest[written..];
        }
        let len = u32::try_from(whole.len()).unwrap();
        self.answer(Completion::of(&request, status::OK, len))
    }

    /// A frame arrives that the hardware puts into as many buffers as it takes; `header` says that it is in `number` of them,
    /// if that is not the truth. The completions, which are not given yet.
    pub(crate) fn merge(&mut self, frame: &[u8], number: Option<u16>) -> Vec<Completion> {
        self.take();
        let mut whole = vec![0; 12];
        whole.extend(frame);
        let room = |(_, segments): &(Header, Vec<Segment>)| -> usize {
            segments.iter().map(|segment| segment.len as usize).sum()
        };
        let (mut rooms, mut count) = (0, 0);
        while rooms < whole.len() {
            rooms += room(&self.buffers[count]);
            count += 1;
        }
        let number = number.unwrap_or(u16::try_from(count).unwrap());
        whole[10..12].copy_from_slice(&number.to_le_bytes());
        let mut rest = whole.as_mut_slice();
        let mut done = Vec::new();
        for (request, segments) in self.buffers.drain(..count).collect::<Vec<_>>() {
            let before = rest.len();
            for segment in &segments {
                let written = self.copy(segment, rest, true);
                rest = &mut rest[written..];
            }
            let len = u32::try_from(before - rest.len()).unwrap();
            done.push(Completion::of(&request, status::OK, len));
        }
        done
    }

    /// Gives everything back, as a driver does that is told to reset. Whether the backend is to be notified.
    pub(crate) fn reset(&mut self) -> bool {
        let mut notify = self.take();
        let sent = std::mem::take(&mut self.sent)
            .into_iter()
            .map(|(header, _)| header);
        let buffers = std::mem::take(&mut self.buffers)
            .into_iter()
            .map(|(header, _)| header);
        let all: Vec<_> = sent.chain(buffers).collect();
        for header in all {
            notify |= self.answer(Completion::of(&header, status::CANCELLED, 0));
        }
        for header in std::mem::take(&mut self.resets) {
            notify |= self.answer(Completion::of(&header, status::OK, 0));
        }
        notify
    }
}
