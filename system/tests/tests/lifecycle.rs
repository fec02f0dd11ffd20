//! Reboot, power-off, and a guest that panics: the guest's affair alone.

use sel4cp_tests::System;

#[test]
fn reboot_twice_then_power_off() {
    let mut linux = System::new("linux").boot();
    for round in 1..=2 {
        linux.run(&format!("echo {round} >> /root/rounds"));
        linux.reboot();
    }
    assert_eq!(
        linux.run("cat /root/rounds"),
        "1\n2\n",
        "the disk outlives the guest"
    );
    assert_eq!(
        linux.run("ping -q -c 3 10.0.2.2 > /dev/null && echo ok"),
        "ok\n"
    );
    linux.power_off();
}

#[test]
fn a_kernel_panic_is_survived() {
    let mut linux = System::new("linux").boot();
    linux.run("sync; sysctl -q kernel.panic=1 || echo 1 > /proc/sys/kernel/panic");
    linux.send("echo c > /proc/sysrq-trigger\n");
    linux.expect("Kernel panic - not syncing");
    linux.shell_again();
    assert_eq!(linux.run("uname -m"), "aarch64\n");
    linux.power_off();
}
