//! The control service, with fake guests, VMMs, devices and a fake supervisor around it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test states what must hold"
)]

mod common;

use common::{Guest, header, turn};
use proptest::prelude::*;
use sel4cp_abi::config::{Access, Name};
use sel4cp_link::{DeviceEnd, Gauge, LinkPage};
use sel4cp_model::vsock::{Op, Shutdown};
use sel4cp_ring::control::{Controlled, Controller, DomainsPage, GuestPage, Life, Order, Outcome};
use sel4cp_ring::host;
use sel4cp_ring::wire::Header;
use sel4cp_services::control::{self, Caller, Control, Device, PORT, Session};
use sel4cp_services::{CONNECTIONS, Endpoint, memory, services};

/// Three guests: `one` may do all, `two` may ask, `three` is nobody's.
struct Bench {
    control: Control,
    vmms: Vec<Controlled>,
    domains: &'static DomainsPage,
    /// Those of the guest's disk and sockets.
    devices: Vec<DeviceEnd>,
    guest: Guest,
    endpoint: Endpoint,
    caller: Caller,
    sessions: Vec<Session>,
    /// What came back and is no whole line.
    rest: String,
}

fn leak<T: Default>() -> &'static T {
    Box::leak(Box::default())
}

impl Bench {
    fn new(guest: usize, access: Access) -> Self {
        let pages: Vec<&'static GuestPage> = (0..3).map(|_| leak()).collect();
        let links: Vec<&'static LinkPage> = (0..2).map(|_| leak()).collect();
        let mut guests = heapless::Vec::new();
        for (index, (name, page)) in ["one", "two", "three"].iter().zip(&pages).enumerate() {
            let mut devices = heapless::Vec::new();
            if index == 0 {
                for (kind, link) in [2, 19].into_iter().zip(&links) {
                    let gauge = Gauge::new(link);
                    assert!(devices.push(Device { kind, gauge }).is_ok());
                }
            }
            let guest = control::Guest {
                name,
                vmm: index as u8 + 1,
                controller: Controller::new(page),
                devices,
                notify: false,
            };
            guests.push(guest).unwrap();
        }
        let names = ["serial", "one_vmm", "two_vmm", "three_vmm"];
        let children: Vec<Name> = names.iter().map(|name| Name::new(name).unwrap()).collect();
        let domains = leak();
        let pair = host::wire().unwrap();
        let mut endpoint = Endpoint::new(pair.second(), Box::leak(Box::new(memory())));
        services::listen(&mut endpoint);
        endpoint.listen(PORT);
        let mut bench = Self {
            control: Control {
                guests,
                domains,
                children: children.leak(),
            },
            vmms: pages.iter().map(|page| Controlled::new(page)).collect(),
            domains,
            devices: links.iter().map(|link| DeviceEnd::new(link)).collect(),
            guest: Guest {
                pair,
                wire: pair.first(),
            },
            endpoint,
            caller: Caller { guest, access },
            sessions: (0..CONNECTIONS).map(|_| Session::default()).collect(),
            rest: String::new(),
        };
        for vmm in &bench.vmms {
            vmm.show(Life::Running);
        }
        bench.connect(1000);
        bench
    }

    fn connect(&mut self, port: u32) {
        self.guest.send(&header(Op::Request, port, PORT), b"");
        self.turn();
        assert_eq!(self.guest.ops(), [Op::Response as u16]);
    }

    fn turn(&mut self) {
        let Self {
            control, sessions, ..
        } = self;
        let caller = self.caller;
        turn(&mut self.endpoint, |socket| {
            assert_eq!(socket.port(), PORT);
            control.serve(caller, &mut sessions[socket.place()], socket);
        });
    }

    fn send(&mut self, text: &[u8]) {
        for part in text.chunks(4000) {
            self.guest.send(&header(Op::Rw, 1000, PORT), part);
            self.turn();
        }
    }

    /// The lines that came back.
    fn lines(&mut self) -> Vec<String> {
        for (header, bytes) in self.guest.take() {
            let fine = [Op::Rw, Op::CreditUpdate].map(|op| op as u16);
            assert!(fine.contains(&header.op), "{header:?}");
            self.rest += core::str::from_utf8(&bytes).unwrap();
        }
        let (lines, rest) = match self.rest.rfind('\n') {
            Some(end) => self.rest.split_at(end + 1),
            None => ("", self.rest.as_str()),
        };
        let lines = lines.lines().map(str::to_owned).collect();
        self.rest = rest.to_owned();
        lines
    }

    /// The one line that answers one line.
    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes());
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    /// A VMM takes the order that it was notified of, and answers.
    fn obey(&mut self, guest: usize, order: Order, outcome: Outcome, life: Life) {
        assert!(core::mem::take(&mut self.control.guests[guest].notify));
        assert_eq!(self.vmms[guest].take(), Some(order));
        self.vmms[guest].show(life);
        self.vmms[guest].answer(outcome);
        self.turn();
    }

    fn nobody_is_notified(&self) {
        assert!(self.control.guests.iter().all(|guest| !guest.notify));
    }
}

#[test]
fn states_and_counters_are_told_in_a_line_each() {
    let mut bench = Bench::new(1, Access::Status);
    bench.vmms[1].show(Life::Paused);
    assert_eq!(bench.ask("vms"), "ok one=running two=paused three=running");
    bench.domains.set_faulted(3);
    assert_eq!(
        bench.ask("vms\r"),
        "ok one=running two=paused three=faulted"
    );
    assert_eq!(
        bench.ask("pds"),
        "ok serial=running one_vmm=running two_vmm=running three_vmm=faulted"
    );
    bench.devices[0].set_counters(&[5, 4, 3, 2, 1, u64::MAX, 99]);
    let disk = "one.block requests=5 failed=4 sectors_read=3 sectors_written=2 flushes=1 \
                delayed=18446744073709551615";
    let all = bench.ask("counters one");
    assert!(
        all.starts_with(&format!("ok {disk}; one.vsock transmitted_bytes=0 ")),
        "{all}"
    );
    assert_eq!(
        bench.ask("counters"),
        format!("{all}; ; "),
        "guests without devices"
    );
    assert_eq!(bench.ask("help"), "ok help, vms, pds, counters [NAME]");
    bench.nobody_is_notified();
}

#[test]
fn orders_are_answered_when_the_vmm_has() {
    let mut bench = Bench::new(0, Access::All);
    let help = bench.ask("help");
    assert!(help.ends_with("restart NAME, poweroff NAME"), "{help}");
    for (line, order, life, answer) in [
        ("pause two", Order::Pause, Life::Paused, "ok two paused"),
        ("resume two", Order::Resume, Life::Running, "ok two resumed"),
        (
            "restart two",
            Order::Restart,
            Life::Resetting,
            "ok two restarts",
        ),
        (
            "poweroff two",
            Order::PowerOff,
            Life::Resetting,
            "ok two powers off",
        ),
    ] {
        bench.send(format!("{line}\nvms\n").as_bytes());
        assert_eq!(bench.lines(), [""; 0], "nothing before the VMM answers");
        bench.obey(1, order, Outcome::Done, life);
        let vms = format!("ok one=running two={} three=running", life.as_str());
        assert_eq!(bench.lines(), [answer, &vms]);
    }
    bench.send(b"pause two\n");
    bench.obey(1, Order::Pause, Outcome::Refused, Life::Off);
    assert_eq!(bench.lines(), ["error: two is off"]);
}

#[test]
fn two_who_order_the_same_guest_have_their_turns() {
    let mut bench = Bench::new(0, Access::All);
    bench.connect(1001);
    bench
        .guest
        .send(&header(Op::Rw, 1000, PORT), b"pause two\n");
    bench
        .guest
        .send(&header(Op::Rw, 1001, PORT), b"resume two\n");
    bench.turn();
    bench.obey(1, Order::Pause, Outcome::Done, Life::Paused);
    bench.obey(1, Order::Resume, Outcome::Done, Life::Running);
    let all = bench.guest.take();
    let got: Vec<(u32, &[u8])> = all.iter().map(|(h, b)| (h.to, b.as_slice())).collect();
    let expected = [(1000, &b"ok two paused\n"[..]), (1001, b"ok two resumed\n")];
    assert_eq!(got, expected);
}

#[test]
fn a_dead_vmm_keeps_nobody_waiting() {
    let mut bench = Bench::new(0, Access::All);
    bench.send(b"pause two\npause two\n");
    assert_eq!(bench.lines(), [""; 0]);
    bench.domains.set_faulted(2);
    bench.turn();
    let dead = "error: the VMM of two has faulted";
    assert_eq!(bench.lines(), [dead, dead]);
    bench.send(b"pause three\n");
    bench.obey(2, Order::Pause, Outcome::Done, Life::Paused);
    assert_eq!(bench.lines(), ["ok three paused"]);
}

#[test]
fn what_is_not_allowed_changes_nothing() {
    let mut bench = Bench::new(1, Access::Status);
    let denied = "error: not allowed: the system file gives this VM status only";
    for order in ["pause one", "resume two", "restart two", "poweroff nobody"] {
        assert_eq!(bench.ask(order), denied);
    }
    bench.nobody_is_notified();
    let mut bench = Bench::new(0, Access::All);
    assert_eq!(bench.ask("pause one"), "error: a VM cannot pause itself");
    bench.nobody_is_notified();
    // It goes by the order itself, and there may be nobody to hear the answer.
    bench.send(b"restart one\n");
    bench.obey(0, Order::Restart, Outcome::Done, Life::Resetting);
    assert_eq!(bench.lines(), ["ok one restarts"]);
}

#[test]
fn mistakes_have_an_answer_each() {
    let mut bench = Bench::new(0, Access::All);
    for (line, answer) in [
        ("", "an empty line; expected a command, see help"),
        ("  ", "an empty line; expected a command, see help"),
        ("stop two", "unknown command \"stop\", see help"),
        ("a\u{1b}[2Jb", "unknown command \"a?[2Jb\", see help"),
        ("pause", "expected a VM's name after \"pause\", see vms"),
        ("pause four", "unknown VM \"four\", see vms"),
        ("counters four", "unknown VM \"four\", see vms"),
        (
            "pause two three",
            "too many words after \"pause\", see help",
        ),
        ("vms now", "too many words after \"vms\", see help"),
        (&"x".repeat(65), "a line of more than 64 bytes"),
        (&"pause two ".repeat(1000), "a line of more than 64 bytes"),
    ] {
        assert_eq!(bench.ask(line), format!("error: {answer}"));
    }
    assert!(
        bench
            .ask(&"x".repeat(64))
            .starts_with("error: unknown command")
    );
    bench.send(b"\xff\xfe\n");
    assert_eq!(bench.lines(), ["error: a line that is not UTF-8"]);
    bench.nobody_is_notified();
}

#[test]
fn a_guest_that_closes_has_its_last_line_carried_out() {
    for (flags, answer) in [
        (Shutdown::SEND, &["ok two paused"][..]),
        // One that hears nothing more.
        (Shutdown::all(), &[]),
    ] {
        let mut bench = Bench::new(0, Access::All);
        bench.guest.send(&header(Op::Rw, 1000, PORT), b"pause two");
        let shutdown = Header {
            flags: flags.bits(),
            ..header(Op::Shutdown, 1000, PORT)
        };
        bench.guest.send(&shutdown, b"");
        bench.turn();
        bench.obey(1, Order::Pause, Outcome::Done, Life::Paused);
        let all = bench.guest.take();
        let (last, rest) = all.split_last().unwrap();
        let told: Vec<&str> = (rest.iter())
            .map(|(_, bytes)| core::str::from_utf8(bytes).unwrap().trim_end())
            .collect();
        assert_eq!(told, answer);
        let end = if answer.is_empty() {
            Op::Rst
        } else {
            Op::Shutdown
        };
        assert_eq!(last.0.op, end as u16);
    }
}

#[test]
fn who_takes_no_answers_waits_alone_and_keeps_nothing() {
    let mut bench = Bench::new(0, Access::All);
    let poor = |op, buf_alloc| Header {
        buf_alloc,
        ..header(op, 1001, PORT)
    };
    bench.guest.send(&poor(Op::Request, 10), b"");
    bench.turn();
    assert_eq!(bench.guest.ops(), [Op::Response as u16]);
    bench.guest.send(&poor(Op::Rw, 10), b"vms\nvms\n");
    bench.turn();
    assert_eq!(bench.guest.ops(), [0; 0]);
    assert!(bench.ask("vms").starts_with("ok one"));
    bench.guest.send(&poor(Op::CreditUpdate, 1000), b"");
    bench.turn();
    assert_eq!(bench.lines().len(), 2);
    // The next connection in its place begins with nothing of it.
    bench.guest.send(&poor(Op::Rw, 1000), b"half a li");
    bench.guest.send(&poor(Op::Rst, 1000), b"");
    bench.turn();
    bench.guest.send(&poor(Op::Request, 1000), b"");
    bench.turn();
    bench.guest.send(&poor(Op::Rw, 1000), b"vms\n");
    bench.turn();
    let all = bench.guest.take();
    assert!(all[1].1.starts_with(b"ok one"), "{all:?}");
}

#[test]
fn the_longest_answers_fit() {
    let mut bench = Bench::new(0, Access::All);
    let long = Name::new(&"n".repeat(32)).unwrap();
    bench.control.children = vec![long; sel4cp_abi::config::MAX_CHILDREN].leak();
    for child in 0..62 {
        bench.domains.set_faulted(child);
    }
    let line = bench.ask("pds");
    assert_eq!(line.len(), 2 + 62 * (1 + 32 + 8));
    assert!(line.ends_with("=faulted"));
    bench.control.guests[0].name = "a_name_of_20_letters";
    for device in &bench.devices {
        device.set_counters(&[u64::MAX; 16]);
    }
    let line = bench.ask("counters a_name_of_20_letters");
    assert!(line.ends_with("resets=18446744073709551615"), "{line}");
}

proptest! {
    /// Whatever a guest sends, in whatever pieces: as many lines come back, unless an order waits for its VMM.
    #[test]
    fn every_line_has_its_answer(
        lines in prop::collection::vec(
            prop_oneof![
                "[ -~]{0,100}".boxed(),
                "(help|vms|pds|counters|pause|restart|poweroff)( (one|two|four)){0,2}".boxed(),
                "\\PC{0,40}".boxed(),
            ],
            0..40,
        ),
        cut in 1usize..200,
    ) {
        let mut bench = Bench::new(1, Access::Status);
        let text: String = lines.iter().map(|line| line.replace('\n', "") + "\n").collect();
        let mut answers = 0;
        for part in text.as_bytes().chunks(cut) {
            bench.send(part);
            let got = bench.lines();
            answers += got.len();
            for line in got {
                prop_assert!(line.starts_with("ok ") || line.starts_with("error: "), "{line}");
            }
        }
        prop_assert_eq!(answers, lines.len());
        bench.nobody_is_notified();
    }
}
