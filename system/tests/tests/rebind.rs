//! Drivers unbound from their devices and bound again, idle and with I/O running (device reset, §2.4).

use sel4cp_tests::{Iperf, MIB, System};

/// A script that unbinds and binds `driver`'s device whose sysfs link is `class`.
fn rebind(driver: &str, class: &str) -> String {
    format!(
        "d=$(basename $(readlink -f {class})); cd /sys/bus/virtio/drivers/{driver}; echo $d > unbind; test ! -e $d; echo $d > bind; test -e $d"
    )
}

/// The same of eth0, which has its address again then.
fn rebind_net() -> String {
    format!(
        "{}; sleep 0.2; ip addr replace 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route replace default via 10.0.2.2",
        rebind("virtio_net", "/sys/class/net/eth0/device")
    )
}

#[test]
fn virtio_net_behind_hardware_that_does_not_merge_buffers() {
    let server = Iperf::start().unwrap();
    let mut linux = System::new("linux").boot_with(&["-global", "virtio-net-device.mrg_rxbuf=off"]);
    // The backend has joined frames, and offered the buffers that were empty then again.
    for way in ["", "-R"] {
        linux.run(&server.client(&format!("-t 2 {way}")));
        linux.run(&rebind_net());
        linux.run("ping -q -c 10 -i 0.05 -W 5 10.0.2.2");
    }
    linux.power_off();
}

#[test]
fn virtio_net_idle_and_busy() {
    let server = Iperf::start().unwrap();
    let mut linux = System::new("linux").boot();
    let again = rebind_net();
    for _ in 0..3 {
        linux.run(&again);
        linux.run("ping -q -c 10 -i 0.05 -W 5 10.0.2.2");
    }
    for way in ["", "-R"] {
        linux.run(&format!(
            "({} >/dev/null 2>&1 &) ; sleep 1",
            server.client(&format!("-t 20 {way}"))
        ));
        linux.run(&again);
        linux.run("ping -q -c 10 -i 0.05 -W 5 10.0.2.2; pkill iperf3; true");
    }
    linux.power_off();
}

/// The disk carries the root file system, so this guest stays in its initial RAM disk.
#[test]
fn virtio_blk_idle_and_busy() {
    let mut linux = System::new("memory").spare_disk(64 * MIB).boot();
    let rebind = rebind("virtio_blk", "/sys/block/vda/device");
    for _ in 0..3 {
        linux.run(&rebind);
        linux.run("dd if=/dev/vda of=/dev/null bs=1M count=8 iflag=direct status=none");
    }
    let at = linux.spare_offset();
    for _ in 0..3 {
        linux.run(&format!(
            "(for i in 1 2 3 4; do dd if=/dev/vda of=/dev/null bs=64k skip=$((i*16)) iflag=direct >/dev/null 2>&1 & done; \
              dd if=/dev/zero of=/dev/vda bs=256k oflag=direct,seek_bytes seek={at} count=256 >/dev/null 2>&1 &) ; sleep 0.5"
        ));
        linux.run_within(&rebind, 120);
        linux.run("dd if=/dev/vda of=/dev/null bs=1M count=8 iflag=direct status=none");
    }
    assert!(linux.alive());
    // Nobody here is an init that could be asked.
    linux.send("poweroff -f\n");
    linux.ended();
}

#[test]
fn virtio_console_idle_and_busy() {
    let mut linux = System::new("linux").boot();
    // The shell that runs this lives on the console that goes away, so the script is on its own and says when it is done.
    for busy in ["", "seq 1 100000 > /dev/hvc0 & sleep 0.1;"] {
        linux.detached(&format!(
            "{busy} cd /sys/bus/virtio/drivers/virtio_console; d=$(ls -d virtio*); echo $d > unbind; echo $d > bind"
        ));
        // The old shell's last prompt; the next one is the new shell's.
        linux.expect("root@linux:~# ");
        linux.shell_again();
        assert_eq!(linux.run("echo back"), "back\n");
    }
    linux.power_off();
}
