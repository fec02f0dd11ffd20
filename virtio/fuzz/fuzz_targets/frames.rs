//! An input is a list of frames, from a guest and from its network, and of what happens between them.
//!
//! Most frames are TCP segments in which some bytes are wrong. Found wrong is a panic, a device that does not come to rest, that calls
//! any of this trouble, or that does not let go of the guest's memory at a reset.
#![no_main]

#[path = "../../../backends/tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../../../backends/tests/net/rig.rs"]
mod rig;
#[allow(dead_code)]
#[path = "../../../backends/tests/net/tcp.rs"]
mod tcp;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rig::{GARBAGE, RECEIVEQ, Rig, Setup, TRANSMITQ, WHOLE};
use sel4cp_backends::net::Pauses;
use sel4cp_model::net::{CONTROLQ, Features, Header};
use sel4cp_testing::{readable, writable};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use tcp::{ACK, PSH, Segment, chain};
use zerocopy::{FromBytes, IntoBytes};

/// Memory for the frames that the device makes.
const FRAMES: u64 = 256 * 2048;

/// Most frames and buffers that the guest has memory for.
const SENDING: usize = 8;
const OFFERED: usize = 64;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Before hardware that does everything, or nothing.
    hardware: bool,
    features: u64,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The guest sends a frame with this header, and notifies if it is asked to.
    Send {
        shape: Shape,
        size: u16,
        header: Vec<(u8, u8)>,
        cuts: Vec<u16>,
    },
    /// The guest offers buffers to receive into.
    Offer { count: u8, len: u8 },
    /// A frame arrives, after hardware that has left this before it: a segment like the last one, of what comes next, or of nothing
    /// but a later acknowledgement; or another one.
    Arrive {
        follows: bool,
        shape: Shape,
        before: Option<[u8; 2]>,
    },
    /// The guest gives a command: of this class, with these bytes behind it.
    Command { class: u8, rest: Vec<u8> },
    /// The hardware has sent what it has.
    Sent,
    /// The device works.
    Work,
    /// The guest pauses.
    Pause,
    /// The guest looks at its queues.
    Collect,
}

/// A segment, with these bytes of its frame replaced.
#[derive(Arbitrary, Debug)]
struct Shape {
    tagged: bool,
    v6: bool,
    tcp_options: u8,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: u16,
    edits: Vec<(u16, u8)>,
}

impl Shape {
    fn segment(&self, longest: usize) -> Segment {
        let mut options = vec![1; usize::from(self.tcp_options % 11) * 4];
        if let [a, b, kind, len, ..] = options.as_mut_slice() {
            (*a, *b, *kind, *len) = (1, 1, 8, 10);
        }
        // Mostly what may be joined.
        let flags = match self.flags {
            0..=127 => ACK | self.flags & PSH,
            other => other,
        };
        Segment {
            tagged: self.tagged,
            v6: self.v6,
            tcp_options: options,
            sequence: self.sequence,
            acknowledged: self.acknowledged,
            flags,
            ..Segment::plain(usize::from(self.payload).min(longest))
        }
    }

    fn edit(&self, mut frame: Vec<u8>) -> Vec<u8> {
        for (at, value) in &self.edits {
            let at = usize::from(*at) % frame.len();
            frame[at] = *value;
        }
        frame
    }
}

thread_local! {
    /// One of each, because what a device is made of is never freed.
    static RIGS: RefCell<ManuallyDrop<[Rig; 2]>> = RefCell::new(ManuallyDrop::new(
        [Features::empty(), Features::all()].map(behind),
    ));
}

fn behind(hardware: Features) -> Rig {
    let page = Box::leak(Box::default());
    let mut rig = Rig::of(Setup {
        frames: FRAMES,
        offloads: hardware,
        pauses: Some(Pauses {
            page,
            most_made: 100,
        }),
        ..Setup::default()
    });
    rig.bench.start(0);
    reset(&mut rig);
    rig
}

/// A full ring takes the device's request for a reset only after what is in it has been taken.
fn reset(rig: &mut Rig) {
    let mut done = rig.bench.reset();
    for _ in 0..2 {
        if done {
            return;
        }
        rig.wire.reset();
        done = rig.bench.turn().reset_done;
    }
    assert!(done, "the device holds on to something");
}

/// The driver answers what the device asks of it.
fn agree(rig: &mut Rig) {
    rig.wire.take();
    if !rig.wire.resets.is_empty() {
        rig.wire.reset();
        rig.bench.turn();
    }
}

fn step(rig: &mut Rig, last: &mut Option<Segment>, step: Step) {
    match step {
        Step::Send {
            shape,
            size,
            header,
            cuts,
        } => {
            let segment = shape.segment(64_000);
            let mut bytes = [0; 12];
            bytes.copy_from_slice(segment.request(size).as_bytes());
            for (at, value) in header {
                bytes[usize::from(at) % 12] = value;
            }
            let header = Header::read_from_bytes(&bytes).unwrap();
            let frame = shape.edit(segment.to_do());
            let cuts: Vec<u16> = cuts.into_iter().take(20).collect();
            if rig.bench.guest.queue(TRANSMITQ).outstanding().len() < SENDING {
                let buffers = chain(&header, &frame, &cuts);
                rig.bench.guest.queue(TRANSMITQ).add_indirect(&buffers);
                rig.bench.kick(TRANSMITQ);
            }
        }
        Step::Offer { count, len } => {
            let len = WHOLE + u32::from(len);
            let room = OFFERED - rig.bench.guest.queue(RECEIVEQ).outstanding().len();
            for _ in 0..usize::from(count).min(room) {
                rig.bench.guest.queue(RECEIVEQ).add(&[writable(len)]);
            }
            rig.bench.kick(RECEIVEQ);
        }
        Step::Arrive {
            follows,
            shape,
            before,
        } => {
            let mut segment = shape.segment(1460);
            if let Some(last) = last.take_if(|_| follows) {
                let sent = u32::try_from(last.payload.len()).unwrap();
                segment = Segment {
                    sequence: last.sequence.wrapping_add(sent),
                    acknowledged: last.acknowledged.wrapping_add(shape.acknowledged >> 16),
                    id: last.id.wrapping_add(1),
                    flags: segment.flags,
                    ..last
                };
            }
            rig.wire.take();
            if !rig.wire.buffers.is_empty() {
                let mut garbage = GARBAGE;
                if let Some(before) = before {
                    garbage[..2].copy_from_slice(&before);
                }
                let mut frame = shape.edit(segment.done());
                frame.truncate(1514);
                rig.wire.deliver(&frame, garbage);
            }
            *last = Some(segment);
        }
        Step::Command { class, mut rest } => {
            rest.truncate(20);
            rest.insert(0, class % 8);
            let queue = usize::from(CONTROLQ);
            let facts = rig.bench.vmm.facts().unwrap();
            // Before hardware that does everything there is no such queue.
            if facts.queue_max(CONTROLQ.into()) != 0 {
                let buffers = [readable(&rest), writable(1)];
                rig.bench.guest.queue(queue).add_indirect(&buffers);
                rig.bench.kick(queue);
                let used = rig.bench.guest.queue(queue).collect();
                assert_eq!(used.len(), 1, "it is answered at once");
            }
        }
        Step::Sent => drop(rig.wire.sent()),
        Step::Work => drop(rig.bench.turn()),
        Step::Pause => {
            rig.bench.backend.paused();
            rig.bench.turn();
        }
        Step::Collect => {
            for queue in [RECEIVEQ, TRANSMITQ] {
                rig.bench.guest.queue(queue).collect();
            }
        }
    }
    agree(rig);
}

fuzz_target!(|input: Input| {
    RIGS.with(|rigs| {
        let rig = &mut rigs.borrow_mut()[usize::from(input.hardware)];
        rig.bench.restart(3, input.features);
        agree(rig);
        let mut last = None;
        for next in input.steps {
            step(rig, &mut last, next);
        }
        assert!(rig.bench.trouble.is_none(), "{:?}", rig.bench.trouble);
        reset(rig);
    });
});
