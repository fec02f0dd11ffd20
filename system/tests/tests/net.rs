//! The network, through QEMU's user-mode stack or a tap: the host is 10.0.2.2.
#![allow(
    clippy::unwrap_used,
    reason = "a test states what must hold by unwrapping it"
)]

use sel4cp_tests::{Iperf, MIB, Machine, System, Tap, iperf, pattern, sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

#[test]
fn iperf3_tcp_both_ways_and_udp() {
    let server = Iperf::start().unwrap();
    let mut linux = System::new("linux").boot();
    for way in ["", "-R"] {
        let report = linux.run_within(&server.client(&format!("-t 5 {way} -J")), 120);
        assert!(iperf::received(&report).unwrap() > 1e6, "{report}");
    }
    let report = linux.run_within(&server.client("-u -b 5M -t 5 -J"), 120);
    assert!(iperf::received(&report).unwrap() > 1e6, "{report}");
    linux.power_off();
}

#[test]
fn a_thousand_pings_and_full_frames() {
    let mut linux = System::new("linux").boot();
    let report = linux.run_within("ping -q -c 1000 -i 0.002 10.0.2.2", 300);
    assert!(
        report.contains("1000 packets transmitted, 1000 received, 0% packet loss"),
        "{report}"
    );
    // 1472 bytes of payload, 8 of ICMP and 20 of IP fill an MTU of 1500.
    let report = linux.run_within("ping -q -c 100 -i 0.01 -M do -s 1472 10.0.2.2", 120);
    assert!(
        report.contains("100 packets transmitted, 100 received, 0% packet loss"),
        "{report}"
    );
    let (refused, _) = linux.try_run("ping -q -c 1 -M do -s 1473 10.0.2.2", 60);
    assert!(
        refused.contains("message too long") || refused.contains("100% packet loss"),
        "{refused}"
    );
    assert!(linux.alive());
    linux.power_off();
}

#[test]
fn bytes_arrive_as_they_were_sent() {
    let mut linux = System::new("linux").boot();
    let server = sel4cp_tests::EchoServer::start();
    let report = linux.run_within(
        &format!(
            "head -c 8388608 /dev/urandom > /tmp/a && socat -t30 - TCP:10.0.2.2:{} < /tmp/a > /tmp/b && cmp /tmp/a /tmp/b && wc -c < /tmp/b",
            server.port()
        ),
        300,
    );
    assert_eq!(report, "8388608\n");
    linux.power_off();
}

/// Feature bits of a network device (virtIO 1.2 §5.1.3): those that frames longer than the link's need, each way.
const OFFLOADS: [(&str, usize); 5] = [
    ("CSUM", 0),
    ("GUEST_CSUM", 1),
    ("GUEST_TSO4", 7),
    ("HOST_TSO4", 11),
    ("MRG_RXBUF", 15),
];

/// These must be among the features of eth0.
fn features_with(linux: &mut Machine, wanted: &[(&str, usize)]) {
    let features = linux.run("cat /sys/class/net/eth0/device/features");
    for (name, bit) in wanted {
        let digit = features.as_bytes().get(*bit);
        assert_eq!(digit, Some(&b'1'), "{name} is not in {features}");
    }
}

/// What eth0 has counted.
fn counted(linux: &mut Machine, counter: &str) -> u64 {
    let text = linux.run(&format!("cat /sys/class/net/eth0/statistics/{counter}"));
    text.trim().parse().unwrap()
}

/// Bytes of an average frame on eth0 that goes in `direction` while the guest runs `command`.
fn frames_of(linux: &mut Machine, direction: &str, command: &str) -> u64 {
    let mut count = |what: &str| counted(linux, &format!("{direction}_{what}"));
    let (bytes, frames) = (count("bytes"), count("packets"));
    linux.run(command);
    let mut count = |what: &str| counted(linux, &format!("{direction}_{what}"));
    (count("bytes") - bytes) / (count("packets") - frames)
}

/// The port of a socket that serves one client, and the thread that does.
fn serve<T: Send + 'static>(
    listener: TcpListener,
    serve: impl FnOnce(std::net::TcpStream) -> T + Send + 'static,
) -> (u16, thread::JoinHandle<T>) {
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || serve(listener.accept().unwrap().0));
    (port, served)
}

/// Feature bits of what the device itself does to frames, with QEMU's user-mode network behind it, which does nothing.
const DONE_HERE: [(&str, usize); 7] = [
    ("CSUM", 0),
    ("GUEST_CSUM", 1),
    ("GUEST_TSO4", 7),
    ("GUEST_TSO6", 8),
    ("HOST_TSO4", 11),
    ("HOST_TSO6", 12),
    ("HOST_ECN", 13),
];

#[test]
fn long_frames_are_cut_on_their_way_to_the_host_and_joined_on_their_way_to_the_guest() {
    let mut linux = System::new("linux").boot();
    features_with(&mut linux, &DONE_HERE);
    linux.run("mount -t tmpfs tmpfs /mnt && head -c 33554432 /dev/urandom > /mnt/bytes");
    // Writes of odd sizes, so that data lies anywhere in the guest's pages.
    let mut send = |how: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, server) = serve(listener, |mut guest| {
            let mut bytes = Vec::new();
            guest.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let send = format!("socat -u {how} TCP:10.0.2.2:{port}");
        let before = counted(&mut linux, "rx_packets");
        let average = frames_of(&mut linux, "tx", &send);
        let answers = counted(&mut linux, "rx_packets") - before;
        (server.join().unwrap(), average, answers)
    };
    let (bytes, average, answers) = send("-b 262144 OPEN:/mnt/bytes");
    // No frame of the link is longer than 1514 bytes.
    assert!(average > 3000, "frames from the guest have {average} bytes");
    // QEMU acknowledges each of the 22,983 frames: what arrives together comes as one.
    assert!(answers < 11_000, "{answers} frames came to the guest");
    let (again, ..) = send("-b 9999 OPEN:/mnt/bytes");
    assert!(bytes == again, "the second time, other bytes arrived");
    let report = linux.run("sha256sum < /mnt/bytes");
    let sum = sha256(&bytes);
    assert!(
        report.starts_with(&sum),
        "{report} in the guest, {sum} here"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, server) = serve(listener, move |mut guest| guest.write_all(&bytes).unwrap());
    let receive = format!("socat -u -b 262144 TCP:10.0.2.2:{port} CREATE:/mnt/back");
    let average = frames_of(&mut linux, "rx", &receive);
    server.join().unwrap();
    assert!(average > 3000, "frames to the guest have {average} bytes");
    linux.run("cmp /mnt/bytes /mnt/back");
    // UDP has a checksum to be completed too.
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    linux.run(&format!("echo -n hello | socat -u - UDP:10.0.2.2:{port}"));
    let mut datagram = [0; 16];
    listener
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let count = listener.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..count], b"hello");
    linux.power_off();
}

#[test]
#[ignore = "takes root's rights and /dev/net/tun"]
fn frames_longer_than_the_links_carry_every_byte_behind_a_tap() {
    let tap = Tap::new().unwrap();
    let mut linux = System::new("linux").boot_behind(&tap);
    features_with(&mut linux, &OFFLOADS);
    let bytes = pattern(64 * MIB, 1);
    linux.run("mount -t tmpfs tmpfs /mnt");
    let sent = bytes.clone();
    let (port, server) = serve(tap.listen().unwrap(), move |mut guest| {
        guest.write_all(&sent).unwrap();
    });
    let receive = format!("socat -u -b 262144 TCP:10.0.2.2:{port} CREATE:/mnt/bytes");
    let received = frames_of(&mut linux, "rx", &receive);
    server.join().unwrap();
    let (port, server) = serve(tap.listen().unwrap(), |mut guest| {
        let mut bytes = Vec::new();
        guest.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let send = format!("socat -u -b 262144 OPEN:/mnt/bytes TCP:10.0.2.2:{port}");
    let transmitted = frames_of(&mut linux, "tx", &send);
    // Once around: what either way changed is changed here.
    assert!(server.join().unwrap() == bytes, "other bytes came back");
    for (way, average) in [("to", received), ("from", transmitted)] {
        // Without offloads no frame is longer than 1514 bytes.
        assert!(
            average > 3000,
            "frames {way} the guest have {average} bytes"
        );
    }
    // Short frames come between long ones, and after them.
    let report = linux.run("ping -q -c 100 -i 0.01 10.0.2.2");
    assert!(report.contains("100 received, 0% packet loss"), "{report}");
    linux.power_off();
}
