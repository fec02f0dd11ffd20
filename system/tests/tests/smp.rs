//! Guests with several vCPUs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test states what must hold"
)]

use sel4cp_tests::{MIB, Machine, System};

/// Interrupts that a vCPU has had of those whose line in /proc/interrupts has `text`.
fn interrupts(machine: &mut Machine, text: &str, cpu: usize) -> u64 {
    let lines = machine.run("cat /proc/interrupts");
    let line = lines.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no {text} in {lines}"));
    let count = line.split_whitespace().nth(1 + cpu);
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no CPU {cpu} in {line}"))
}

fn boot() -> Machine {
    let mut machine = System::new("smp").spare_disk(64 * MIB).boot();
    machine.focus("two");
    assert_eq!(machine.run("nproc"), "2\n");
    machine.focus("one");
    assert_eq!(machine.run("nproc"), "4\n");
    machine
}

#[test]
fn four_vcpus_work_side_by_side() {
    let mut machine = boot();
    assert_eq!(machine.run("ls /sys/block/vda/mq"), "0\n1\n2\n3\n");
    // What one writes another one reads, and each has its timer and gets the others' interrupts.
    let at = machine.spare_offset();
    machine.run_within(
        &format!(
            "fio --name=verify --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=16m --offset_increment=16m --numjobs=4 \
             --cpus_allowed=0-3 --cpus_allowed_policy=split --rw=randrw --bsrange=512-64k --iodepth=16 --ioengine=libaio --direct=1 \
             --verify=crc32c --verify_fatal=1 --verify_backlog=32 --time_based --runtime=5 --group_reporting > /tmp/fio.log 2>&1 || \
             (cat /tmp/fio.log; false)"
        ),
        300,
    );
    machine.run(
        "cat > /tmp/pass.py <<'END'
import os, sys
# A token goes round the vCPUs, by pipes.
COUNT = os.cpu_count()
pipes = [os.pipe() for _ in range(COUNT)]
for cpu in range(1, COUNT):
    if os.fork() == 0:
        os.sched_setaffinity(0, [cpu])
        while True:
            token = os.read(pipes[cpu - 1][0], 1)
            os.write(pipes[cpu][1], token)
            if token == b'.':
                os._exit(0)
os.sched_setaffinity(0, [0])
for token in [b'x'] * 300 + [b'.']:
    os.write(pipes[0][1], token)
    assert os.read(pipes[COUNT - 1][0], 1) == token
for _ in range(1, COUNT):
    assert os.wait()[1] == 0
print('passed')
END",
    );
    assert_eq!(machine.run_within("python3 /tmp/pass.py", 120), "passed\n");
    for cpu in 0..4 {
        assert!(interrupts(&mut machine, "arch_timer", cpu) > 0, "CPU {cpu}");
        let others = interrupts(&mut machine, "IPI0", cpu) + interrupts(&mut machine, "IPI1", cpu);
        assert!(others > 0, "CPU {cpu}");
    }
    // A device's interrupt goes where the guest wants it.
    let virtio = machine.run("basename $(dirname $(dirname $(readlink -f /sys/class/net/eth0)))");
    let virtio = virtio.trim().to_owned();
    assert!(virtio.starts_with("virtio"), "{virtio}");
    machine.run(&format!(
        "irq=$(sed -n 's/^ *\\([0-9]*\\):.* {virtio}$/\\1/p' /proc/interrupts); echo 2 > /proc/irq/$irq/smp_affinity_list"
    ));
    machine.run("ping -q -c 1 10.0.2.2");
    let before = [0, 2].map(|cpu| interrupts(&mut machine, &virtio, cpu));
    machine.run("ping -q -i 0.02 -c 20 10.0.2.2");
    let after = [0, 2].map(|cpu| interrupts(&mut machine, &virtio, cpu));
    assert_eq!(after[0], before[0]);
    assert!(after[1] >= before[1] + 20, "{before:?} {after:?}");
    machine.power_off();
}

#[test]
fn vcpus_go_off_and_on_while_the_others_work() {
    let mut machine = boot();
    machine.run("(while :; do sha256sum /bin/bash; done) > /tmp/sums & (while :; do ls -lR /proc/self; done) > /dev/null 2>&1 &");
    for cpu in [1, 2, 3, 1, 3] {
        machine.run(&format!(
            "cd /sys/devices/system/cpu/cpu{cpu} && echo 0 > online && echo 1 > online"
        ));
        assert_eq!(
            machine.run(&format!("taskset -c {cpu} echo here")),
            "here\n"
        );
    }
    machine.run("for cpu in 1 2 3; do echo 0 > /sys/devices/system/cpu/cpu$cpu/online; done");
    assert_eq!(machine.run("nproc"), "1\n");
    assert_eq!(machine.run("sort -u /tmp/sums | wc -l"), "1\n");
    // Those that are off are on after a reboot.
    machine.reboot();
    assert_eq!(machine.run("nproc"), "4\n");
    machine.send(
        "taskset -c 3 sh -c 'echo 1 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger'\n",
    );
    machine.expect("Kernel panic - not syncing");
    machine.shell_again();
    assert_eq!(machine.run("nproc"), "4\n");
    machine.power_off();
}

#[test]
fn control_of_a_guest_with_several_vcpus() {
    let mut machine = boot();
    machine.focus("two");
    machine.run(
        "for cpu in 0 1; do (taskset -c $cpu sh -c 'while :; do date > /root/now$0; sync; done' $cpu) > /dev/null 2>&1 & done",
    );
    let ask = |machine: &mut Machine, order: &str| {
        machine.focus("one");
        let answer = machine.run(&format!(
            "echo '{order} two' | socat -t30 - VSOCK-CONNECT:2:1"
        ));
        assert!(answer.starts_with("ok two"), "{answer}");
    };
    for _ in 0..5 {
        ask(&mut machine, "pause");
        machine.run("sleep 0.3");
        ask(&mut machine, "resume");
        machine.focus("two");
        for cpu in [0, 1] {
            machine.run(&format!(
                "rm -f /root/now{cpu}; until [ -e /root/now{cpu} ]; do sleep 0.1; done"
            ));
        }
    }
    for order in ["restart", "poweroff", "restart"] {
        ask(&mut machine, order);
        if order == "poweroff" {
            machine.expect_of_machine("guest two powered off");
            continue;
        }
        machine.focus("two");
        machine.expect("A Debian guest");
        machine.shell_again();
        assert_eq!(machine.run("nproc"), "2\n");
    }
    machine.power_off();
}
