//! Sockets: to the native services at CID 2, and to another guest.

use sel4cp_tests::{Machine, System};

/// Random bytes in `/tmp/a`, and their hash.
fn random(machine: &mut Machine, bytes: u64) -> String {
    machine.run_within(
        &format!("head -c {bytes} /dev/urandom > /tmp/a; sha256sum < /tmp/a"),
        300,
    )
}

#[test]
fn vsock_echo_gives_sixty_four_mib_back() {
    let mut linux = System::new("linux").boot();
    let sent = random(&mut linux, 64 << 20);
    let got = linux.run_within("socat -t60 - VSOCK-CONNECT:2:7 < /tmp/a | sha256sum", 900);
    assert_eq!(got, sent);
    linux.power_off();
}

#[test]
fn vsock_carries_two_hundred_connections_of_four_processes() {
    let mut linux = System::new("linux").boot();
    let got = linux.run_within(
        "for p in 1 2 3 4; do \
           (for i in $(seq 50); do echo $p-$i | socat -t30 - VSOCK-CONNECT:2:7; done > /tmp/out$p) & \
         done; wait; cat /tmp/out1 /tmp/out2 /tmp/out3 /tmp/out4",
        300,
    );
    let expected: String = (1..=4)
        .flat_map(|p| (1..=50).map(move |i| format!("{p}-{i}\n")))
        .collect();
    assert_eq!(got, expected);
    linux.power_off();
}

#[test]
fn vsock_lets_a_slow_reader_stall_itself_alone() {
    let mut linux = System::new("linux").boot();
    // One that reads nothing of what the source sends, and one that sends to the echo and reads nothing.
    linux.run(
        "cat > /tmp/slow.py <<'END'
import socket, time
source = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
source.connect((2, 19))
echo = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
echo.connect((2, 7))
echo.setblocking(False)
try:
    while True:
        echo.send(b'x' * 4096)
        time.sleep(0.001)
except BlockingIOError:
    open('/tmp/stalled', 'w').close()
time.sleep(1000)
END
python3 /tmp/slow.py & echo $! > /tmp/slow.pid",
    );
    linux.run_within("until [ -e /tmp/stalled ]; do sleep 0.1; done", 120);
    let sent = random(&mut linux, 4 << 20);
    let got = linux.run_within("socat -t60 - VSOCK-CONNECT:2:7 < /tmp/a | sha256sum", 120);
    assert_eq!(got, sent);
    let got = linux.run("socat -u VSOCK-CONNECT:2:19 - 2>/dev/null | head -c 1000000 | wc -c");
    assert_eq!(got, "1000000\n");
    linux.run("kill $(cat /tmp/slow.pid)");
    linux.power_off();
}

#[test]
fn vsock_resets_who_asks_for_nobody() {
    let mut linux = System::new("linux").boot();
    for peer in ["2:8", "4:7", "99:1", "1:7"] {
        let (text, status) =
            linux.try_run(&format!("socat - VSOCK-CONNECT:{peer} < /dev/null"), 60);
        assert_ne!(status, 0);
        assert!(text.contains("Connection reset by peer"), "{peer}: {text}");
    }
    // More connections than the services have for one guest are refused, and go on once there is room.
    let got = linux.run(
        "cat > /tmp/many.py <<'END'
import socket
def connect():
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.connect((2, 7))
    return s
held = [connect() for _ in range(16)]
try:
    connect()
    print('accepted')
except ConnectionResetError:
    print('reset')
held.pop().close()
import time
for _ in range(100):
    try:
        held.append(connect())
        break
    except ConnectionResetError:
        time.sleep(0.05)
held[-1].send(b'again')
print(held[-1].recv(100).decode())
END
python3 /tmp/many.py",
    );
    assert_eq!(got, "reset\nagain\n");
    linux.power_off();
}

#[test]
fn vsock_joins_two_guests_in_streams_and_messages() {
    let mut two = System::new("two").boot();
    two.focus("two");
    two.run(
        "cat > /tmp/messages.py <<'END'
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
s.bind((socket.VMADDR_CID_ANY, 6000))
s.listen(1)
open('/tmp/listens', 'w').close()
c, who = s.accept()
print(who[0])
while True:
    message = c.recv(100000)
    if not message:
        break
    print(len(message))
END
(socat -u VSOCK-LISTEN:5000 CREATE:/tmp/got; touch /tmp/stream) & \
(python3 /tmp/messages.py > /tmp/messages; touch /tmp/ends) &",
    );
    two.run("until [ -e /tmp/listens ]; do sleep 0.1; done; sleep 0.5");
    two.focus("one");
    let sent = random(&mut two, 16 << 20);
    two.run_within("socat -u - VSOCK-CONNECT:4:5000 < /tmp/a", 300);
    two.run(
        "cat > /tmp/messages.py <<'END'
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
s.connect((4, 6000))
for length in (1, 5000, 64, 60000, 3):
    s.send(b'm' * length)
s.close()
END
python3 /tmp/messages.py",
    );
    two.focus("two");
    two.run_within(
        "until [ -e /tmp/stream -a -e /tmp/ends ]; do sleep 0.1; done",
        120,
    );
    assert_eq!(two.run("sha256sum < /tmp/got"), sent);
    assert_eq!(two.run("cat /tmp/messages"), "3\n1\n5000\n64\n60000\n3\n");
    // One that reboots takes its connections with it, and comes back.
    two.run("(timeout 100 socat -u VSOCK-LISTEN:5001 CREATE:/tmp/rest; touch /tmp/ended) > /dev/null 2>&1 &");
    two.focus("one");
    two.run("(sleep 1000 | socat -u - VSOCK-CONNECT:4:5001) > /dev/null 2>&1 & sleep 2");
    two.reboot();
    two.focus("two");
    two.run_within("until [ -e /tmp/ended ]; do sleep 0.1; done", 90);
    two.focus("one");
    assert_eq!(
        two.run("echo back | socat -t30 - VSOCK-CONNECT:2:7"),
        "back\n"
    );
    two.send("poweroff\n");
    two.expect_of_machine("guest one powered off");
    two.focus("two");
    two.power_off();
}

#[test]
fn vsock_echo_keeps_the_ends_of_messages() {
    let mut linux = System::new("linux").boot();
    let got = linux.run(
        "cat > /tmp/messages.py <<'END'
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
s.connect((2, 7))
for length in (1, 5000, 64, 65536, 3):
    s.send(bytes([length % 256]) * length)
for length in (1, 5000, 64, 65536, 3):
    message = s.recv(100000)
    print(len(message), message == bytes([length % 256]) * length)
try:
    s.send(b'x' * 65537)
    print('longer than the window')
except OSError:
    print('refused')
END
python3 /tmp/messages.py",
    );
    let expected = "1 True\n5000 True\n64 True\n65536 True\n3 True\nrefused\n";
    assert_eq!(got, expected);
    linux.power_off();
}

#[test]
fn vsock_resets_a_pair_that_is_not_allowed() {
    let mut two = System::new("strangers").boot();
    two.focus("two");
    two.run("(timeout 100 socat VSOCK-LISTEN:5000 -) > /tmp/heard 2>&1 & sleep 1");
    two.focus("one");
    let (text, status) = two.try_run("echo x | socat - VSOCK-CONNECT:4:5000", 60);
    assert_ne!(status, 0);
    assert!(text.contains("Connection reset by peer"), "{text}");
    assert_eq!(two.run("echo ok | socat -t30 - VSOCK-CONNECT:2:7"), "ok\n");
    two.focus("two");
    assert_eq!(two.run("cat /tmp/heard"), "");
    assert_eq!(two.run("echo ok | socat -t30 - VSOCK-CONNECT:2:7"), "ok\n");
    two.send("poweroff\n");
    two.expect_of_machine("guest two powered off");
    two.focus("one");
    two.power_off();
}
