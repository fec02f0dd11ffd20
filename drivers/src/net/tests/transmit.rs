//! Frames to be sent.

use super::*;

#[test]
fn s5_1_6_2_a_frame_is_sent_with_a_zero_header() {
    for (legacy, size) in [(false, 12), (true, 10)] {
        let mut bench = bench_of(legacy);
        write_at(bench.guest.vaddr + 0x100, &[7; 60]);
        bench.ask(TRANSMIT, 3, &[(0x100, 20), (0x114, 40)]);
        bench.ask(TRANSMIT, 4, &[(0x100, 60)]);
        bench.server.work();
        assert_eq!(
            bench.device.0.borrow().notified,
            [1],
            "one notification for both"
        );
        let taken = bench.device.0.borrow_mut().take(TX).unwrap();
        assert_eq!(taken.writable, []);
        let (header, frame) = taken.readable.split_first().unwrap();
        assert_eq!(bytes_at(header.0, header.1), vec![0; size]);
        let sent: Vec<u8> = frame
            .iter()
            .flat_map(|(at, len)| bytes_at(*at, *len))
            .collect();
        assert_eq!(sent, [7; 60]);
        bench.device.0.borrow_mut().done(TX, taken.head, 0);
        bench.server.interrupt();
        assert_eq!(bench.answers(), [(3, status::OK, 0)]);
    }
}

#[test]
fn a_frame_that_the_backend_has_made_is_sent_from_where_it_made_it() {
    let mut bench = bench();
    write_at(bench.frames.vaddr + 0x803, &[9; 60]);
    let frames = Segment::FRAMES;
    bench.flagged(transmit(0x4001, Offload::default()), &[(0x803, 60)], frames);
    // What is outside, and what the hardware would write there.
    let end = bench.frames.size;
    bench.flagged(
        transmit(0x4002, Offload::default()),
        &[(end - 59, 60)],
        frames,
    );
    let receive = Header {
        id: 3,
        op: RECEIVE,
        ..Header::default()
    };
    let both = frames | Segment::DEVICE_WRITES;
    bench.flagged(receive, &[(0, 1526)], both);
    bench.flagged(Header { id: 4, ..receive }, &[(0, 1526)], frames);
    bench.server.work();
    let error = status::ERROR;
    assert_eq!(
        bench.answers(),
        [(0x4002, error, 0), (3, error, 0), (4, error, 0)]
    );
    let mut device = bench.device.0.borrow_mut();
    assert!(device.take(RX).is_none());
    let taken = device.take(TX).expect("a frame");
    let (at, len) = taken.readable[1];
    assert_eq!((at, len), (bench.frames.vaddr + 0x803, 60));
    assert_eq!(bytes_at(at, len), [9; 60]);
    device.done(TX, taken.head, 0);
    drop(device);
    bench.server.interrupt();
    assert_eq!(bench.answers(), [(0x4001, status::OK, 0)]);
}

/// To be cut into pieces of 1460 bytes, with checksums.
const CUT: Offload = Offload {
    needs_csum: true,
    gso_type: 1,
    hdr_len: 54,
    gso_size: 1460,
    csum_start: 34,
    csum_offset: 16,
};

#[test]
fn s2_7_7_no_interrupt_says_what_is_found_without_it() {
    // Sent while the interface is told of it, as by QEMU when both run on one processor.
    let mut bench = bench();
    bench.device.0.borrow_mut().prompt = Some(Vec::new());
    for sent in 0..3 {
        bench.ask(TRANSMIT, sent, &[(0x1000, 60)]);
        bench.server.work();
        assert_eq!(bench.answers(), [(sent, status::OK, 0)]);
        let mut device = bench.device.0.borrow_mut();
        let asked = device.prompt.replace(Vec::new());
        let far = sent.wrapping_sub(1);
        assert_eq!(asked, Some(vec![far]), "not at the next one");
        assert_eq!(device.used_event(TX), sent + 1, "but of the one after");
    }
}

fn transmit(id: u16, offload: Offload) -> Header {
    offload.put(Header {
        id,
        op: TRANSMIT,
        ..Header::default()
    })
}

#[test]
fn s5_1_6_2_the_hardware_hears_what_it_is_to_do() {
    for (legacy, size) in [(false, 12), (true, 10)] {
        let mut bench = bench_of(legacy);
        bench.request(transmit(1, CUT), &[(0x100, 30_000)]);
        bench.ask(TRANSMIT, 2, &[(0x100, 60)]);
        bench.server.work();
        let expected = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
        for (id, header) in [(1, expected), (2, [0; 12])] {
            let taken = bench.device.0.borrow_mut().take(TX).unwrap();
            let (at, len) = taken.readable[0];
            assert_eq!(bytes_at(at, len), header[..size]);
            bench.device.0.borrow_mut().done(TX, taken.head, 0);
            bench.server.interrupt();
            assert_eq!(bench.answers(), [(id, status::OK, 0)]);
        }
    }
}

#[test]
fn each_frame_in_flight_has_a_header_of_its_own_and_gives_it_back() {
    let mut bench = bench();
    // Four times as many as there are places, with a reset in the middle.
    for round in 0..4 {
        for id in 0..255 {
            bench.request(transmit(id, CUT), &[(0x100, 60)]);
        }
        bench.server.work();
        let mut places = Vec::new();
        while let Some(taken) = bench.device.0.borrow_mut().take(TX) {
            places.push((taken.readable[0].0, taken.head));
        }
        let heads: Vec<u16> = places.iter().map(|(_, head)| *head).collect();
        places.sort_unstable();
        places.dedup_by_key(|(at, _)| *at);
        assert_eq!((places.len(), heads.len()), (255, 255));
        if round == 1 {
            bench.ask(RESET, 1000, &[]);
        } else {
            for head in heads {
                bench.device.0.borrow_mut().done(TX, head, 0);
            }
        }
        bench.server.interrupt();
        assert_eq!(bench.answers().len(), if round == 1 { 256 } else { 255 });
    }
}

#[test]
fn what_the_hardware_does_not_do_is_refused() {
    let mut bench = bench();
    let v6 = Offload { gso_type: 4, ..CUT };
    let ecn = Offload {
        gso_type: 0x81,
        ..CUT
    };
    for (id, offload) in (0..).zip([v6, ecn, Offload { gso_type: 3, ..CUT }]) {
        bench.request(transmit(id, offload), &[(0x100, 3000)]);
    }
    let outside = Offload {
        csum_start: 3000,
        ..CUT
    };
    bench.request(transmit(3, outside), &[(0x100, 3000)]);
    bench.server.work();
    let none = status::UNSUPPORTED;
    assert_eq!(
        bench.answers(),
        [
            (0, none, 0),
            (1, none, 0),
            (2, none, 0),
            (3, status::ERROR, 0)
        ]
    );
    assert!(bench.device.0.borrow_mut().take(TX).is_none());
}
