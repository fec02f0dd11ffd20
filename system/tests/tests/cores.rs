//! Guests on cores of their own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states what must hold"
)]

use sel4cp_tests::{MIB, Machine, System, Tool};

/// The guests of the system file, and the cores that it gives them.
const GUESTS: [(&str, usize); 2] = [("one", 1), ("two", 2)];

/// Each guest has its core to itself.
fn check_cores(machine: &mut Machine) {
    for (guest, core) in GUESTS {
        machine.focus(guest);
        let before = machine.core_times();
        machine.run_within("head -c 256M /dev/zero | sha256sum", 300);
        let after = machine.core_times();
        let worked: Vec<f64> = (after.iter().zip(&before))
            .map(|(after, before)| (*after - *before).as_secs_f64())
            .collect();
        let others = GUESTS
            .iter()
            .map(|(_, other)| *other)
            .filter(|other| *other != core);
        for other in others {
            assert!(
                worked[core] > 2.0 * worked[other],
                "{guest} worked on core {core}, the host for the cores {worked:?}"
            );
        }
    }
}

#[test]
fn guests_work_on_cores_of_their_own() {
    let Some(system) = System::new("cores").on_several_cores() else {
        let tool = Tool::run(&["build", "system/tests/systems/cores.toml"]);
        assert_eq!(tool.status, 1, "{tool}");
        for (line, core) in [(7, 1), (20, 2)] {
            let message =
                format!("cores.toml:{line}: found `core = {core}`; expected 0 (bundled kernel");
            assert!(tool.stderr.contains(&message), "{tool}");
        }
        return;
    };
    let mut machine = system.spare_disk(64 * MIB).boot();
    check_cores(&mut machine);

    // Both disks and networks at once.
    let at = machine.spare_offset();
    for (guest, _) in GUESTS {
        machine.focus(guest);
        machine.run(&format!(
            "(fio --name=verify --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=32m --rw=randrw --bsrange=512-64k \
             --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=32 --time_based --runtime=5 \
             && ping -q -c 100 -i 0.02 10.0.2.2 && echo passed; touch /tmp/ended) > /tmp/log 2>&1 &"
        ));
    }
    for (guest, _) in GUESTS {
        machine.focus(guest);
        machine.run_within(
            "until [ -e /tmp/ended ]; do sleep 0.1; done; rm /tmp/ended",
            300,
        );
        assert_eq!(machine.run("tail -n 1 /tmp/log"), "passed\n");
    }

    // From one core to another, and to the services on the first one.
    machine.focus("two");
    machine
        .run("(socat -u VSOCK-LISTEN:5000 CREATE:/tmp/got; touch /tmp/ended) > /dev/null 2>&1 &");
    machine.focus("one");
    let sent = machine.run("head -c 16M /dev/urandom > /tmp/a; sha256sum < /tmp/a");
    machine.run_within(
        "until socat -u - VSOCK-CONNECT:4:5000 < /tmp/a 2> /dev/null; do sleep 0.2; done",
        300,
    );
    assert_eq!(
        machine.run("echo back | socat -t30 - VSOCK-CONNECT:2:7"),
        "back\n"
    );
    machine.focus("two");
    machine.run_within("until [ -e /tmp/ended ]; do sleep 0.1; done", 120);
    assert_eq!(machine.run("sha256sum < /tmp/got"), sent);

    // One looks after the other, which works all the time.
    machine.run("(while :; do date > /root/now; sync; done) > /dev/null 2>&1 &");
    machine.focus("one");
    for order in ["pause", "resume", "pause", "resume", "restart"] {
        let answer = machine.run(&format!(
            "echo '{order} two' | socat -t30 - VSOCK-CONNECT:2:1; sleep 0.3"
        ));
        assert!(answer.starts_with("ok two"), "{answer}");
    }
    machine.focus("two");
    machine.expect("A Debian guest");
    machine.shell_again();
    check_cores(&mut machine);

    machine.send("poweroff\n");
    machine.expect_of_machine("guest two powered off");
    machine.focus("one");
    machine.power_off();
}
