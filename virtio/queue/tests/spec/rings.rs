//! §2.7.6, §2.7.8, §2.7.13, §2.7.14: what goes through the two rings; and what the specification
//! leaves to a device: back-pressure, reset, and an end.

use sel4cp_memory::GuestAddress;
use sel4cp_queue::{
    Descriptor, Direction, End, Features, GuestFault, Queue, Served, StaleToken, Token,
};
use sel4cp_testing::{Buffer, readable, writable};

use crate::{NONE, guest, invert, pop, scratch};

#[test]
fn s2_7_6_indices_wrap_at_65536() {
    let (mut guest, mut queue) = guest(2, Features::all());
    for round in 0..70_000u32 {
        let round = u8::try_from(round % 251).unwrap();
        guest.queue(0).add(&[readable([round]), writable(1)]);
        assert!(
            guest.queue(0).kick(),
            "every chain comes when the device waits"
        );
        let batch = invert(&mut queue);
        assert_eq!((batch.chains, batch.end), (1, End::Drained));
        assert!(batch.interrupt);
        assert_eq!(guest.queue(0).collect()[0].bytes, [!round]);
        guest.queue(0).enable_interrupts();
    }
    guest.finish();
}

#[test]
fn s2_7_8_2_len_counts_from_the_first_writable_byte() {
    let (mut guest, mut queue) = guest(8, NONE);
    let chains = [(10, 4), (10, 10), (10, u32::MAX), (0, 7)];
    for (room, _) in chains {
        guest.queue(0).add(&[readable([0]), writable(room)]);
    }
    guest.queue(0).kick();
    for (room, written) in chains {
        let mut segments = scratch();
        let (token, chain) = pop(&mut queue, &mut segments);
        assert_eq!(chain.writable_len(), u64::from(room));
        // More than there is room for cannot have been written: it is cut.
        queue.complete(token, written).unwrap();
    }
    assert!(queue.publish());
    let lengths: Vec<u32> = guest
        .queue(0)
        .collect()
        .iter()
        .map(|used| used.len)
        .collect();
    assert_eq!(lengths, [4, 10, 10, 0]);
}

#[test]
fn s2_7_8_chains_may_come_back_in_any_order() {
    let (mut guest, mut queue) = guest(8, Features::all());
    let ids: Vec<_> = (0..8u8)
        .map(|i| guest.queue(0).add(&[readable([i])]))
        .collect();
    guest.queue(0).kick();
    let mut segments = scratch();
    let mut tokens: Vec<Token> = (0..8).map(|_| pop(&mut queue, &mut segments).0).collect();
    assert_eq!(queue.out(), 8);
    assert!(queue.pop(&mut segments).unwrap().is_none());
    tokens.swap(0, 5);
    tokens.swap(2, 7);
    let order: Vec<u16> = tokens.iter().map(Token::head).collect();
    for token in tokens {
        queue.complete(token, 0).unwrap();
    }
    assert_eq!(queue.out(), 0);
    assert!(
        guest.queue(0).collect().is_empty(),
        "nothing is visible before it is published"
    );
    assert!(queue.publish());
    let used: Vec<u16> = guest
        .queue(0)
        .collect()
        .iter()
        .map(|used| used.id.0)
        .collect();
    assert_eq!(used, order);
    assert_eq!(ids.len(), used.len());
    guest.finish();
}

#[test]
fn s2_7_13_1_zero_length_elements_are_no_buffers() {
    let (mut guest, mut queue) = guest(8, NONE);
    let nowhere = Buffer::At {
        address: GuestAddress::new(u64::MAX),
        len: 0,
        writable: false,
    };
    guest.queue(0).add(&[
        nowhere.clone(),
        readable(b"x"),
        nowhere,
        writable(0),
        writable(1),
    ]);
    guest.queue(0).kick();
    let mut segments = scratch();
    let (token, chain) = pop(&mut queue, &mut segments);
    assert_eq!((chain.readable().len(), chain.writable().len()), (1, 1));
    assert_eq!((chain.readable_len(), chain.writable_len()), (1, 1));
    queue.complete(token, 0).unwrap();
    assert!(queue.publish());
}

#[test]
fn a_chain_that_was_put_back_comes_again() {
    let (mut guest, mut queue) = guest(8, NONE);
    for i in 0..3u8 {
        guest.queue(0).add(&[readable([i])]);
    }
    guest.queue(0).kick();
    let mut segments = scratch();
    let first = pop(&mut queue, &mut segments).0;
    let second = pop(&mut queue, &mut segments).0;
    let first = queue.put_back(first).expect_err("it is not the last one");
    let head = second.head();
    queue.put_back(second).unwrap();
    assert_eq!(queue.out(), 1);
    let (second, chain) = pop(&mut queue, &mut segments);
    assert_eq!((second.head(), chain.readable_len()), (head, 1));
    queue.complete(first, 0).unwrap();
    queue.complete(second, 0).unwrap();
    let batch = queue
        .serve::<GuestFault>(&mut segments, |_, _| Ok(Served::Later))
        .unwrap();
    assert_eq!((batch.chains, batch.end), (0, End::Later));
    assert!(batch.interrupt, "for the two that were completed before");
    assert_eq!(invert(&mut queue).chains, 1);
    guest.finish();
}

#[test]
fn a_token_from_before_a_reset_is_stale() {
    let (mut guest, mut queue) = guest(8, NONE);
    guest.queue(0).add(&[writable(8)]);
    guest.queue(0).kick();
    let old = pop(&mut queue, &mut scratch()).0;
    assert_eq!(queue.out(), 1, "the device sees that a reset has to wait");

    let config = guest.queue(0).reset();
    let mut queue = Queue::new(&guest.ram(), &config).unwrap();
    guest.queue(0).add(&[writable(8)]);
    guest.queue(0).kick();
    let new = pop(&mut queue, &mut scratch()).0;
    assert_eq!(old.head(), new.head());
    let old = queue.put_back(old).expect_err("it is of another queue");
    assert_eq!(queue.complete(old, 8), Err(StaleToken { head: 0 }));
    assert_eq!(queue.out(), 1);
    assert!(!queue.publish(), "the stale one left no trace");
    queue.complete(new, 0).unwrap();
    assert!(queue.publish());
    guest.finish();
}

#[test]
fn serving_ends_even_if_the_driver_never_does() {
    let (mut guest, mut queue) = guest(4, NONE);
    guest.queue(0).offer_raw(&[Descriptor::default(); 4]);
    // The guest adds a chain while the device serves the one before it.
    let mut head = 0;
    let batch = queue
        .serve::<GuestFault>(&mut scratch(), |_, _| {
            head = (head + 1) % 4;
            guest.queue(0).offer(head);
            Ok(Served::Done(0))
        })
        .unwrap();
    assert_eq!((batch.chains, batch.end), (8, End::Budget));
    assert_eq!(guest.queue(0).used_index(), 8);
    assert_eq!(invert(&mut queue).chains, 1);
}

#[test]
fn what_was_done_before_a_fault_is_published() {
    let (mut guest, mut queue) = guest(8, NONE);
    guest.queue(0).add(&[readable(b"good"), writable(4)]);
    guest.queue(0).add(&[readable(b"bad"), writable(4)]);
    guest.queue(0).kick();
    let fault = queue
        .serve::<GuestFault>(&mut scratch(), |mut reader, _| {
            reader.read_exact(&mut [0; 4])?;
            Ok(Served::Done(4))
        })
        .unwrap_err();
    let short = GuestFault::BufferTooShort {
        direction: Direction::Readable,
        found: 3,
        needed: 4,
    };
    assert_eq!(fault, short);
    assert_eq!(
        fault.to_string(),
        "3 device-readable bytes; expected at least 4 (virtIO 1.2 §2.7.4)"
    );
    assert_eq!(guest.queue(0).collect().len(), 1);
    assert_eq!(
        queue.out(),
        0,
        "nobody has the bad one: a reset does not wait for it"
    );
    guest.abandon();
}
