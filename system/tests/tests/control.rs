//! The control service at CID 2: one guest looks after another.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test states what must hold"
)]

use sel4cp_tests::{Machine, System};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

/// The answer to one line.
fn ask(machine: &mut Machine, line: &str) -> String {
    machine.run(&format!("echo '{line}' | socat -t30 - VSOCK-CONNECT:2:1"))
}

/// The value of a counter of a guest's device.
fn counter(machine: &mut Machine, device: &str, counter: &str) -> u64 {
    let (guest, _) = device.split_once('.').expect("GUEST.DEVICE");
    let answer = ask(machine, &format!("counters {guest}"));
    let mut words = answer.split([' ', ';', '\n']);
    assert!(words.any(|word| word == device), "no {device} in {answer}");
    let value = words.find_map(|word| word.strip_prefix(counter)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {counter} in {answer}"));
    value.parse().expect("a counter is a number")
}

/// A socket on the host's loopback, which a guest finds at 10.0.2.2, and its port.
fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    (listener, port)
}

#[test]
fn control_of_one_guest_by_another() {
    let mut machine = System::new("control").boot();
    machine.focus("two");
    let (text, status) = machine.try_run("echo vms | socat - VSOCK-CONNECT:2:1", 60);
    assert_ne!(status, 0);
    assert!(text.contains("Connection reset by peer"), "{text}");
    machine.run("(while :; do date > /root/now; sync; sleep 0.1; done) > /dev/null 2>&1 &");
    let booted = machine.run("cat /proc/sys/kernel/random/boot_id");

    machine.focus("one");
    assert_eq!(ask(&mut machine, "vms"), "ok one=running two=running\n");
    let pds = ask(&mut machine, "pds");
    for pd in ["serial", "services", "one_vmm", "two_vmm", "two_block"] {
        let state = format!("{pd}=running");
        assert!(pds.split_whitespace().any(|word| word == state), "{pds}");
    }
    assert_eq!(pds.lines().count(), 1);
    assert!(!pds.contains("faulted"), "{pds}");
    assert!(ask(&mut machine, "help").ends_with("poweroff NAME\n"));
    assert_eq!(
        ask(&mut machine, "halt two\nvms"),
        "error: unknown command \"halt\", see help\nok one=running two=running\n"
    );
    assert_eq!(
        ask(&mut machine, "pause one"),
        "error: a VM cannot pause itself\n"
    );

    // It works, stands still, and goes on where it was.
    let before = counter(&mut machine, "two.block", "requests");
    machine.run("sleep 2");
    assert!(counter(&mut machine, "two.block", "requests") > before);
    assert_eq!(ask(&mut machine, "pause two"), "ok two paused\n");
    assert_eq!(ask(&mut machine, "vms"), "ok one=running two=paused\n");
    assert_eq!(ask(&mut machine, "pause two"), "error: two is paused\n");
    machine.run("sleep 1");
    let paused = counter(&mut machine, "two.block", "requests");
    machine.run("sleep 3");
    assert_eq!(counter(&mut machine, "two.block", "requests"), paused);
    assert_eq!(ask(&mut machine, "resume two"), "ok two resumed\n");
    machine.run("sleep 2");
    assert!(counter(&mut machine, "two.block", "requests") > paused);
    machine.focus("two");
    assert_eq!(
        machine.run("cat /proc/sys/kernel/random/boot_id"),
        booted,
        "it is the same guest"
    );

    // It starts again, also when it was paused or is off.
    for order in ["restart two", "pause two\nrestart two"] {
        machine.focus("one");
        let answers = ask(&mut machine, order);
        assert!(answers.ends_with("ok two restarts\n"), "{answers}");
        machine.expect_of_machine("guest two rebooting");
        machine.focus("two");
        machine.expect("A Debian guest");
        machine.shell_again();
    }
    assert_ne!(machine.run("cat /proc/sys/kernel/random/boot_id"), booted);
    // Its end is that of its connections.
    machine.run("(sleep 1000 | socat - VSOCK-CONNECT:2:7) > /dev/null 2>&1 & sleep 2");
    machine.focus("one");
    assert_eq!(counter(&mut machine, "two.vsock", "connections"), 1);
    assert_eq!(ask(&mut machine, "poweroff two"), "ok two powers off\n");
    machine.expect_of_machine("guest two powered off");
    assert_eq!(counter(&mut machine, "two.vsock", "connections"), 0);
    assert_eq!(ask(&mut machine, "vms"), "ok one=running two=off\n");
    assert_eq!(ask(&mut machine, "pause two"), "error: two is off\n");
    assert_eq!(ask(&mut machine, "restart two"), "ok two restarts\n");
    machine.focus("two");
    machine.expect("A Debian guest");
    machine.shell_again();

    // The machine ends with the last guest, also with one that was started again, and that ends itself.
    machine.focus("one");
    assert_eq!(ask(&mut machine, "poweroff two"), "ok two powers off\n");
    machine.run(
        "until echo vms | socat -t30 - VSOCK-CONNECT:2:1 | grep -q two=off; do sleep 0.2; done",
    );
    machine.send("echo 'poweroff one' | socat -t30 - VSOCK-CONNECT:2:1\n");
    machine.ended();
}

#[test]
fn control_tells_that_ten_thousand_connections_leave_nothing_behind() {
    let mut machine = System::new("control").boot();
    // The one that asks is there when it is answered.
    assert_eq!(counter(&mut machine, "one.vsock", "connections"), 1);
    let requested = counter(&mut machine, "one.vsock", "requested");
    machine.run(
        "cat > /tmp/many.py <<'END'
import socket
for number in range(2500):
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    while True:
        try:
            s.connect((2, 7))
            break
        except ConnectionResetError:
            # As many as there may be are not closed yet.
            s.close()
            s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    if number % 100 == 0:
        s.send(b'hello')
        assert s.recv(5) == b'hello'
    s.close()
END",
    );
    machine.run_within(
        "for p in 1 2 3 4; do (python3 /tmp/many.py || echo failed) & done; wait",
        300,
    );
    machine.run("until echo 'counters one' | socat -t30 - VSOCK-CONNECT:2:1 | grep -q ' connections=1 '; do sleep 0.2; done");
    let made = counter(&mut machine, "one.vsock", "requested") - requested;
    assert!(made >= 10_000, "{made}");
    assert_eq!(counter(&mut machine, "one.vsock", "broken"), 0);
    machine.focus("two");
    machine.send("poweroff\n");
    machine.expect_of_machine("guest two powered off");
    machine.focus("one");
    machine.power_off();
}

#[test]
fn a_guest_that_sends_much_notifies_of_every_other_frame() {
    let mut machine = System::new("control").boot();
    machine.focus("one");
    let (listener, port) = listen();
    let host = std::thread::spawn(move || {
        let (mut guest, _) = listener.accept().expect("the guest connects");
        std::io::copy(&mut guest, &mut std::io::sink()).expect("it sends")
    });
    let count = |machine: &mut Machine, name| counter(machine, "one.net", name);
    let before = count(&mut machine, "transmitted");
    machine.run(&format!(
        "head -c 67108864 /dev/zero | socat -u -b 262144 - TCP:10.0.2.2:{port}"
    ));
    assert_eq!(host.join().expect("all arrived"), 67_108_864);
    let frames = count(&mut machine, "transmitted") - before;
    let unnotified = count(&mut machine, "unnotified");
    assert!(
        unnotified > frames / 5,
        "{unnotified} of {frames} frames came with the next one"
    );
    machine.power_off();
}

#[test]
fn a_guest_that_receives_by_several_connections_notifies_of_fewer_answers() {
    const CONNECTIONS: usize = 4;
    const BYTES: usize = 16 << 20;
    let mut machine = System::new("control").boot();
    machine.focus("one");
    let (listener, port) = listen();
    let host = std::thread::spawn(move || {
        let bytes: &[u8] = &(0..251).cycle().take(BYTES).collect::<Vec<u8>>();
        let guests: Vec<_> = listener.incoming().take(CONNECTIONS).collect();
        std::thread::scope(|scope| {
            for guest in guests {
                let mut guest = guest.expect("a connection");
                scope.spawn(move || guest.write_all(bytes).expect("it reads"));
            }
        });
    });
    let count = |machine: &mut Machine, name| counter(machine, "one.net", name);
    let before = count(&mut machine, "transmitted");
    let right = machine.run(&format!(
        "python3 -c '
import selectors, socket
ready = selectors.DefaultSelector()
for _ in range({CONNECTIONS}):
    ready.register(socket.create_connection((\"10.0.2.2\", {port})), selectors.EVENT_READ, 0)
pattern = bytes(range(251)) * 8192
right = 0
while ready.get_map():
    for key, _ in ready.select():
        got, done = key.fileobj.recv(1 << 16), key.data
        at = done % 251
        assert got == pattern[at:at + len(got)], done
        if got:
            ready.modify(key.fileobj, selectors.EVENT_READ, done + len(got))
        else:
            ready.unregister(key.fileobj)
            right += done == {BYTES}
print(right)
'"
    ));
    assert_eq!(right.trim().parse(), Ok(CONNECTIONS));
    host.join().expect("all was taken");
    let frames = count(&mut machine, "transmitted") - before;
    let unnotified = count(&mut machine, "unnotified");
    assert!(
        unnotified > frames / 5,
        "{unnotified} of {frames} frames came with another one"
    );
    machine.power_off();
}

#[test]
fn a_guest_that_sends_datagrams_notifies_of_few() {
    const COUNT: usize = 4000;
    let mut machine = System::new("control").boot();
    machine.focus("one");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("a bound socket").port();
    let patience = socket.set_read_timeout(Some(Duration::from_secs(120)));
    patience.expect("a socket has a limit");
    let host = std::thread::spawn(move || {
        let mut bytes = [0; 1000];
        let (mut count, mut last) = (0, 0);
        while last != COUNT {
            socket.recv(&mut bytes).expect("it sends");
            let number = u64::from_be_bytes(*bytes.first_chunk().expect("it is long enough"));
            let number = usize::try_from(number).expect("a small number");
            assert!(number > last, "{number} after {last}");
            (count, last) = (count + 1, number);
        }
        count
    });
    let count = |machine: &mut Machine, name| counter(machine, "one.net", name);
    let before = count(&mut machine, "transmitted");
    machine.run(&format!(
        "python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((\"10.0.2.2\", {port}))
for number in range(1, {COUNT}):
    s.send(number.to_bytes(8, \"big\") + bytes(992))
# The last one, until the host has it: any may get lost.
for _ in range(50):
    s.send(({COUNT}).to_bytes(8, \"big\") + bytes(992))
    time.sleep(0.05)
'"
    ));
    let arrived = host.join().expect("the last one arrived");
    let frames = count(&mut machine, "transmitted") - before;
    let unnotified = count(&mut machine, "unnotified");
    assert!(
        unnotified > frames / 2 && arrived > COUNT / 2,
        "{unnotified} of {frames} frames came with the next one, {arrived} arrived"
    );
    machine.power_off();
}

/// Attaches a program of two instructions, which passes every frame on (XDP_PASS), to eth0 until it is killed: the calls BPF_PROG_LOAD and
/// BPF_LINK_CREATE of bpf(2).
const PROGRAM: &str = "cat > /tmp/xdp.py << 'END'
import ctypes, os, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    result = libc.syscall(280, command, ctypes.create_string_buffer(attributes, 128), 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
code = ctypes.create_string_buffer(bytes.fromhex('b7000000020000009500000000000000'))
licence = ctypes.create_string_buffer(b'GPL')
program = bpf(5, struct.pack('<IIQQ', 6, 2, ctypes.addressof(code), ctypes.addressof(licence)))
link = bpf(28, struct.pack('<IIII', program, socket.if_nametoindex('eth0'), 37, 0))
print('attached', flush=True)
signal.pause()
END";

#[test]
fn a_program_at_the_interface_sees_frames_as_they_came() {
    const BYTES: usize = 16 << 20;
    let mut machine = System::new("control").boot();
    machine.focus("one");
    let (listener, port) = listen();
    std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..251).cycle().take(BYTES).collect();
        for mut guest in listener.incoming().flatten() {
            let _ = guest.write_all(&bytes);
        }
    });
    // How many frames came in another, of those that bring so much.
    let joined = |machine: &mut Machine| {
        let before = counter(machine, "one.net", "joined");
        let got = machine.run(&format!("socat -u TCP:10.0.2.2:{port} - | md5sum"));
        (counter(machine, "one.net", "joined") - before, got)
    };
    let (alone, first) = joined(&mut machine);
    assert!(alone > 1000, "{alone}");
    machine.run(PROGRAM);
    machine.run("python3 /tmp/xdp.py > /tmp/xdp 2>&1 & echo $! > /tmp/xdp.pid");
    machine.run("until grep -q . /tmp/xdp; do sleep 0.1; done");
    assert_eq!(machine.run("cat /tmp/xdp"), "attached\n");
    let (seen, second) = joined(&mut machine);
    assert_eq!((seen, &second), (0, &first));
    machine
        .run("kill $(cat /tmp/xdp.pid); while ip link show eth0 | grep -q xdp; do sleep 0.1; done");
    let (again, third) = joined(&mut machine);
    assert!(again > 1000, "{again}");
    assert_eq!(third, first);
    machine.power_off();
}
