//! Two guests: consoles that share the UART, disks and networks of their own.

use sel4cp_tests::System;

#[test]
fn two_guests_each_with_its_own() {
    let mut two = System::new("two").boot();
    let names = two.guests();
    assert_eq!(names.len(), 2);
    let mut machines = Vec::new();
    for name in &names {
        two.focus(name);
        assert_eq!(two.run("uname -m"), "aarch64\n");
        assert_eq!(two.run("findmnt -no SOURCE /"), "/dev/vda\n");
        two.run("ping -q -c 20 -i 0.05 10.0.2.2");
        two.run(&format!("echo {name} > /root/whose; sync"));
        machines.push(two.run("cat /sys/class/net/eth0/address"));
    }
    assert_ne!(machines[0], machines[1]);
    for name in &names {
        two.focus(name);
        assert_eq!(two.run("cat /root/whose"), format!("{name}\n"));
    }
    // One reboots while the other goes on.
    two.focus(&names[0]);
    let booted = two.run("cat /proc/sys/kernel/random/boot_id");
    two.focus(&names[1]);
    two.reboot();
    two.focus(&names[0]);
    assert_eq!(two.run("cat /proc/sys/kernel/random/boot_id"), booted);
    // The machine ends when the last one is off.
    two.send("poweroff\n");
    two.expect_of_machine(&format!("guest {} powered off", names[0]));
    two.focus(&names[1]);
    assert_eq!(two.run("echo alone"), "alone\n");
    two.power_off();
}
