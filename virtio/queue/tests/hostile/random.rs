//! Queues of random content, and random calls on both sides.

use proptest::prelude::*;
use sel4cp_memory::{GuestAddress, GuestRange, HostRam, Span};
use sel4cp_queue::{Config, Descriptor, Features, GuestFault, Queue, Served, Token};

/// Small, so that random numbers hit something.
const START: u64 = 0x8000;
const LEN: u64 = 0x1000;
const SIZE: u16 = 8;
const LIMIT: usize = 20;

/// What a guest or a device does next.
#[derive(Clone, Debug)]
enum Call {
    /// The guest writes a descriptor into the queue's table, or a table behind it.
    Describe {
        slot: u16,
        address: u64,
        len: u32,
        flags: u16,
        next: u16,
    },
    Offer {
        position: u16,
        head: u16,
    },
    Index(u16),
    /// Any word of the RAM.
    Poke {
        at: u16,
        value: u64,
    },
    Pop,
    Complete {
        which: usize,
        written: u32,
    },
    PutBack,
    Publish,
    Enable,
    Disable,
    Serve,
    Reset {
        size: u16,
        moved: u8,
    },
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![8 => START..START + LEN, 1 => any::<u64>(), 1 => START + LEN - 4..START + LEN + 4]
}

fn call() -> impl Strategy<Value = Call> {
    let len = prop_oneof![4 => 0u32..40, 2 => (0u32..9).prop_map(|n| n * 16), 1 => any::<u32>()];
    let flags = prop_oneof![8 => 0u16..8, 1 => any::<u16>()];
    let next = prop_oneof![8 => 0..SIZE, 1 => any::<u16>()];
    prop_oneof![
        6 => (0..SIZE * 2, address(), len, flags, next).prop_map(
            |(slot, address, len, flags, next)| Call::Describe { slot, address, len, flags, next }
        ),
        4 => (0..SIZE, prop_oneof![9 => 0..SIZE, 1 => any::<u16>()])
            .prop_map(|(position, head)| Call::Offer { position, head }),
        4 => prop_oneof![9 => 0u16..40, 1 => any::<u16>()].prop_map(Call::Index),
        1 => (any::<u16>(), any::<u64>()).prop_map(|(at, value)| Call::Poke { at, value }),
        6 => Just(Call::Pop),
        3 => (any::<usize>(), any::<u32>())
            .prop_map(|(which, written)| Call::Complete { which, written }),
        1 => Just(Call::PutBack),
        2 => Just(Call::Publish),
        1 => Just(Call::Enable),
        1 => Just(Call::Disable),
        2 => Just(Call::Serve),
        1 => (prop_oneof![4 => Just(SIZE), 1 => any::<u16>()], 0u8..32)
            .prop_map(|(size, moved)| Call::Reset { size, moved }),
    ]
}

fn config(features: Features) -> Config {
    let at = |offset| GuestAddress::new(START + offset);
    Config {
        size: SIZE,
        descriptors: at(0),
        driver: at(0x200),
        device: at(0x300),
        features,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1024 }))]

    #[test]
    fn any_calls_on_any_content_end_well(
        bits in 0u64..4,
        calls in prop::collection::vec(call(), 1..80),
    ) {
        let features = Features::from_bits_truncate(bits << 28);
        let host = HostRam::new(GuestAddress::new(START), LEN).unwrap();
        let ram = host.ram();
        let whole = ram.check(GuestRange::new(ram.start(), 0x1000)).unwrap();
        let inside = |span: &Span| span.offset() + u64::from(span.len()) <= LEN && !span.is_empty();
        let mut queue = Queue::new(&ram, &config(features)).unwrap();
        let mut segments = [Span::EMPTY; LIMIT];
        let mut tokens: Vec<Token> = Vec::new();
        for call in calls {
            match call {
                Call::Describe { slot, address, len, flags, next } => {
                    let place = whole.slice(u32::from(slot) * 16, 16).unwrap();
                    let descriptor = Descriptor {
                        address: address.into(),
                        len: len.into(),
                        flags: flags.into(),
                        next: next.into(),
                    };
                    ram.write(place, &descriptor).unwrap();
                }
                Call::Offer { position, head } => {
                    let at = 0x204 + 2 * u32::from(position);
                    ram.store(ram.word::<u16>(whole, at).unwrap(), head);
                }
                Call::Index(index) => ram.store(ram.word::<u16>(whole, 0x202).unwrap(), index),
                Call::Poke { at, value } => {
                    let at = u32::from(at) % 0x200 * 8;
                    ram.store(ram.word::<u64>(whole, at).unwrap(), value);
                }
                Call::Pop => if let Ok(Some((token, chain))) = queue.pop(&mut segments) {
                    let all: Vec<Span> = chain.readable().iter().chain(chain.writable()).copied().collect();
                    prop_assert!(all.len() <= LIMIT && all.iter().all(inside));
                    let sum = |spans: &[Span]| spans.iter().map(|span| u64::from(span.len())).sum::<u64>();
                    prop_assert_eq!(chain.readable_len(), sum(chain.readable()));
                    prop_assert_eq!(chain.writable_len(), sum(chain.writable()));
                    prop_assert!(token.head() < queue.size());
                    prop_assert!(tokens.iter().all(|other| other.head() != token.head()));
                    tokens.push(token);
                },
                Call::Complete { which, written } => if !tokens.is_empty() {
                    let token = tokens.swap_remove(which % tokens.len());
                    queue.complete(token, written).unwrap();
                },
                Call::PutBack => if let Some(token) = tokens.pop()
                    && let Err(token) = queue.put_back(token)
                {
                    tokens.push(token);
                },
                Call::Publish => { let _any = queue.publish(); }
                Call::Enable => { let _any = queue.enable_notifications(); }
                Call::Disable => queue.disable_notifications(),
                Call::Serve => {
                    let before = queue.out();
                    let mut served = 0;
                    let result = queue.serve::<GuestFault>(&mut segments, |mut reader, mut writer| {
                        served += 1;
                        let mut byte = [0];
                        while reader.read(&mut byte) == 1 && writer.write(&byte) == 1 {}
                        Ok(Served::Done(writer.written()))
                    });
                    prop_assert!(served <= u32::from(SIZE) * 2);
                    prop_assert_eq!(result.map_or(served, |batch| batch.chains), served);
                    prop_assert_eq!(queue.out(), before);
                }
                Call::Reset { size, moved } => {
                    let good = config(features);
                    let descriptors = GuestAddress::new(START + u64::from(moved));
                    if let Ok(fresh) = Queue::new(&ram, &Config { size, descriptors, ..good }) {
                        prop_assert!(size.is_power_of_two() && moved % 16 == 0);
                        // Sizes other than ours may not have room for their tokens here.
                        if size == SIZE {
                            queue = fresh;
                            for token in tokens.drain(..) {
                                prop_assert!(queue.complete(token, 1).is_err());
                            }
                            prop_assert_eq!(queue.out(), 0);
                        }
                    }
                }
            }
            prop_assert_eq!(usize::from(queue.out()), tokens.len());
        }
    }
}
