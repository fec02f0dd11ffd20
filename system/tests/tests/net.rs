//! The network, through QEMU's user-mode stack: the host is 10.0.2.2.

use sel4cp_tests::{Iperf, System, iperf};

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
