//! The disk: what the guest writes is what the host's file holds, and the other way round.

use sel4cp_tests::{MIB, System, pattern};

#[test]
fn fio_verifies_mixed_sizes_at_depth() {
    let mut linux = System::new("linux").spare_disk(96 * MIB).boot();
    let at = linux.spare_offset();
    // Three jobs, each in a third of the spare area; libaio would be as good, but fio is built with io_uring off here.
    let report = linux.run_within(
        &format!(
            "fio --name=mixed --filename=/dev/vda --allow_mounted_write=1 --offset={at} --size=32m --offset_increment=32m \
             --numjobs=3 --rw=randrw --bsrange=512-1m --iodepth=32 --ioengine=libaio --direct=1 \
             --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 --group_reporting"
        ),
        600,
    );
    assert!(report.contains("err= 0"), "{report}");
    linux.power_off();
}

#[test]
fn bytes_go_both_ways() {
    let ours = pattern(8 * MIB, 1);
    let mut linux = System::new("linux")
        .spare_disk(64 * MIB)
        .spare_bytes(&ours)
        .boot();
    let at = linux.spare_offset();
    assert_eq!(at % 512, 0);
    // Host to guest.
    let sum = linux.run(&format!(
        "dd if=/dev/vda iflag=direct,skip_bytes,count_bytes skip={at} count={} bs=1M status=none | sha256sum | cut -d' ' -f1",
        ours.len()
    ));
    assert_eq!(sum.trim(), linux.host_sha256(at, 8 * MIB));
    // Guest to host: what the guest made up, 16 MiB further on.
    let there = at + 16 * MIB;
    let sum = linux.run(&format!(
        "head -c {} /dev/urandom > /tmp/x && dd if=/tmp/x of=/dev/vda oflag=direct,seek_bytes seek={there} bs=64k conv=notrunc,fsync status=none \
         && sha256sum /tmp/x | cut -d' ' -f1",
        4 * MIB
    ));
    linux.power_off_and_look(|disk| assert_eq!(sum.trim(), disk.sha256(there, 4 * MIB)));
}

#[test]
fn a_flush_reaches_the_device() {
    let mut linux = System::new("linux").spare_disk(MIB).boot();
    linux.run("sync");
    let before = linux.disk_flushes();
    linux.run("for i in 1 2 3 4 5; do echo $i > /root/file; sync /root/file; done");
    let after = linux.disk_flushes();
    assert!(
        after >= before + 5,
        "the hardware saw {before} flushes, then {after}"
    );
    linux.power_off();
}

#[test]
fn discard_and_the_serial_are_answered() {
    let mut linux = System::new("linux").spare_disk(16 * MIB).boot();
    let at = linux.spare_offset();
    assert_eq!(linux.run("cat /sys/block/vda/serial"), "linux");
    linux.run(&format!("blkdiscard -f -o {at} -l {} /dev/vda", 4 * MIB));
    linux.run(&format!(
        "blkdiscard -f -z -o {} -l {} /dev/vda",
        at + 8 * MIB,
        4 * MIB
    ));
    let zeroes = linux.run(&format!(
        "dd if=/dev/vda iflag=direct,skip_bytes,count_bytes skip={} count={} bs=1M status=none | tr -d '\\0' | wc -c",
        at + 8 * MIB,
        4 * MIB
    ));
    assert_eq!(zeroes, "0\n");
    linux.power_off();
}
