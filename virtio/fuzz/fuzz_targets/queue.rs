//! An input is a list of calls: what a guest writes, and what a device does meanwhile.
//!
//! Found wrong is a panic, a span outside RAM, a step without a bound, or accounts that do not add
//! up. The guest's memory is small, so that the fuzzer's numbers hit something.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sel4cp_memory::{GuestAddress, GuestRange, HostRam, Span};
use sel4cp_queue::{Config, Descriptor, Features, GuestFault, Queue, Served, Token};

const START: u64 = 0x8000;
const LEN: u32 = 0x2000;
/// How many descriptors this device takes in one chain.
const LIMIT: usize = 40;

#[derive(Arbitrary, Debug)]
struct Input {
    features: u8,
    size: u8,
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
enum Call {
    /// The guest writes descriptor `slot` of the queue's table, or of a table behind it. The
    /// address is mostly in RAM: `far` is added in the upper half.
    Describe {
        slot: u8,
        offset: u16,
        far: u32,
        len: u32,
        flags: u8,
        next: u16,
    },
    /// The guest writes an entry of the available ring.
    Offer {
        position: u8,
        head: u16,
    },
    /// The guest moves the available index.
    Advance(u16),
    /// The guest writes any aligned word of its RAM.
    Poke {
        at: u16,
        value: u64,
    },
    Pop,
    Complete {
        which: u8,
        written: u32,
    },
    PutBack,
    Publish,
    Enable,
    Disable,
    Serve {
        later: u8,
    },
    /// The driver resets the device and sets the queue up anew, perhaps badly.
    Reset {
        size: u16,
        descriptors: u16,
        driver: u16,
        device: u16,
    },
}

fn config(input: &Input) -> Config {
    let at = |offset| GuestAddress::new(START + offset);
    Config {
        size: 1 << (input.size % 6),
        descriptors: at(0),
        driver: at(0x800),
        device: at(0x900),
        features: Features::from_bits_truncate(u64::from(input.features) << 28),
    }
}

fuzz_target!(|input: Input| {
    let Ok(host) = HostRam::new(GuestAddress::new(START), u64::from(LEN)) else {
        return;
    };
    let ram = host.ram();
    let whole = ram
        .check(GuestRange::new(ram.start(), LEN))
        .expect("all of RAM");
    let inside =
        |span: &Span| !span.is_empty() && span.offset() + u64::from(span.len()) <= u64::from(LEN);
    let mut config = config(&input);
    let mut queue = Queue::new(&ram, &config).expect("a good configuration");
    let mut segments = [Span::EMPTY; LIMIT];
    let mut tokens: Vec<Token> = Vec::new();
    for call in &input.calls {
        let offset = |address: GuestAddress| (address.value() - START) as u32;
        match *call {
            Call::Describe {
                slot,
                offset,
                far,
                len,
                flags,
                next,
            } => {
                let descriptor = Descriptor {
                    address: (START + u64::from(offset) + (u64::from(far) << 32)).into(),
                    len: len.into(),
                    flags: u16::from(flags).into(),
                    next: next.into(),
                };
                let place = whole.slice(u32::from(slot) * 16, 16).expect("in RAM");
                ram.write(place, &descriptor).expect("16 bytes");
            }
            Call::Offer { position, head } => {
                let at = offset(config.driver) + 4 + 2 * u32::from(position);
                if let Some(word) = ram.word::<u16>(whole, at) {
                    ram.store(word, head);
                }
            }
            Call::Advance(by) => {
                let word = ram
                    .word::<u16>(whole, offset(config.driver) + 2)
                    .expect("aligned");
                ram.store_release(word, ram.load(word).wrapping_add(by));
            }
            Call::Poke { at, value } => {
                let at = u32::from(at) % (LEN / 8) * 8;
                ram.store(ram.word::<u64>(whole, at).expect("aligned"), value);
            }
            Call::Pop => {
                if let Ok(Some((token, chain))) = queue.pop(&mut segments) {
                    let count = chain.readable().len() + chain.writable().len();
                    assert!(count <= LIMIT);
                    assert!(chain.readable().iter().chain(chain.writable()).all(inside));
                    assert!(token.head() < queue.size());
                    assert!(tokens.iter().all(|other| other.head() != token.head()));
                    tokens.push(token);
                }
            }
            Call::Complete { which, written } if !tokens.is_empty() => {
                let token = tokens.swap_remove(usize::from(which) % tokens.len());
                queue
                    .complete(token, written)
                    .expect("a token of this queue");
            }
            Call::Complete { .. } => {}
            Call::PutBack => {
                if let Some(Err(token)) = tokens.pop().map(|token| queue.put_back(token)) {
                    tokens.push(token);
                }
            }
            Call::Publish => {
                let _interrupt = queue.publish();
            }
            Call::Enable => {
                let _more = queue.enable_notifications();
            }
            Call::Disable => queue.disable_notifications(),
            Call::Serve { later } => {
                let mut served = 0;
                let _batch = queue.serve::<GuestFault>(&mut segments, |reader, writer| {
                    served += 1;
                    assert!(served <= u32::from(config.size) * 2);
                    if served == u32::from(later) {
                        return Ok(Served::Later);
                    }
                    let half = reader.remaining() / 2;
                    let (mut first, mut second) = reader.split_at(half)?;
                    let (mut data, mut status) = writer.split_last(1)?;
                    let mut bytes = [0; 100];
                    let read = first.read(&mut bytes);
                    data.write(bytes.get(..read).unwrap_or_default());
                    let header: Descriptor = second.read_obj()?;
                    status.write_obj(&header.len.get().to_le_bytes()[0])?;
                    data.fill(0xff, u64::from(header.next.get()));
                    Ok(Served::Done(data.written()))
                });
            }
            Call::Reset {
                size,
                descriptors,
                driver,
                device,
            } => {
                let at = |offset: u16| GuestAddress::new(START + u64::from(offset));
                let next = Config {
                    size,
                    descriptors: at(descriptors),
                    driver: at(driver),
                    device: at(device),
                    features: config.features,
                };
                if let Ok(fresh) = Queue::new(&ram, &next) {
                    config = next;
                    queue = fresh;
                    for token in tokens.drain(..) {
                        queue
                            .complete(token, 0)
                            .expect_err("a token from before the reset");
                    }
                }
            }
        }
        assert_eq!(usize::from(queue.out()), tokens.len());
    }
});
