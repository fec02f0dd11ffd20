//! Disk, network and console at once, for a minute.

use sel4cp_tests::{Iperf, MIB, System, iperf};

#[test]
fn a_minute_of_everything() {
    let server = Iperf::start().unwrap();
    let mut linux = System::new("linux").spare_disk(96 * MIB).boot();
    let at = linux.spare_offset();
    linux.run(&format!(
        "(fio --name=stress --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=32m --offset_increment=32m --numjobs=3 \
          --rw=randrw --bsrange=512-1m --iodepth=32 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
          --time_based --runtime=60 --group_reporting > /tmp/fio.log 2>&1; echo $? > /tmp/fio.status) & \
         ({} > /tmp/iperf.log 2>&1; echo $? > /tmp/iperf.status) & true",
        server.client("-t 60 --bidir -J")
    ));
    // The flood lasts as long as they do; every line is numbered, and none may be missing.
    let flood = linux.print(
        "i=0; while [ ! -e /tmp/fio.status ] || [ ! -e /tmp/iperf.status ]; do i=$((i+1)); echo \"flood $i\"; done",
        600,
    );
    let lines = flood.lines().count();
    assert!(lines > 1000, "only {lines} lines in a minute");
    assert!(
        flood
            .lines()
            .enumerate()
            .all(|(i, line)| line == format!("flood {}", i + 1)),
        "lines are missing or out of order"
    );
    assert_eq!(
        linux.run("cat /tmp/fio.status /tmp/iperf.status"),
        "0\n0\n",
        "{}",
        linux.try_run("tail -50 /tmp/fio.log /tmp/iperf.log", 60).0
    );
    assert!(iperf::received(&linux.run("cat /tmp/iperf.log")).unwrap() > 1e5);
    linux.run("ping -q -c 10 -i 0.05 10.0.2.2");
    linux.power_off();
}
