//! The main job: a Linux guest with console, disk and network, and what one command from outside sees.

use sel4cp_tests::{System, Tool};

#[test]
fn linux_has_its_console_its_root_and_its_network() {
    let mut linux = System::new("linux").boot();
    assert_eq!(linux.run("uname -m"), "aarch64\n");
    assert_eq!(linux.run("findmnt -no SOURCE /"), "/dev/vda\n");
    assert_eq!(linux.run("tty"), "/dev/hvc0\n");
    let address = linux.run("ip -br addr show eth0");
    assert!(
        address.contains("UP") && address.contains("10.0.2.15/24"),
        "eth0: {address}"
    );
    assert_eq!(
        linux.run("cat /sys/block/vda/queue/hw_sector_size /sys/class/net/eth0/mtu"),
        "512\n1500\n"
    );
    linux.power_off();
}

#[test]
fn a_command_prints_its_output_alone_and_gives_its_status() {
    let all = Tool::run(&[
        "run",
        "--command",
        "uname -m; findmnt -no SOURCE /; ip -br addr show eth0; tty",
    ]);
    let lines: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(all.status, 0, "{all}");
    assert_eq!(lines.len(), 4, "{all}");
    assert_eq!(
        (lines[0], lines[1], lines[3]),
        ("aarch64", "/dev/vda", "/dev/hvc0"),
        "{all}"
    );
    assert!(
        lines[2].starts_with("eth0") && lines[2].contains("10.0.2.15/24"),
        "{all}"
    );

    let seven = Tool::run(&["run", "--command", "exit 7"]);
    assert_eq!((seven.status, seven.stdout.as_str()), (7, ""), "{seven}");
}

#[test]
fn a_command_that_takes_too_long_is_stopped() {
    let late = Tool::run(&["run", "--timeout", "12", "--command", "sleep 1000"]);
    assert_eq!(late.status, 124, "{late}");
    assert!(late.stderr.contains("12"), "the limit is named: {late}");
}

#[test]
fn the_early_console_shows_output_from_before_virtio() {
    let early = System::new("earlycon").boot();
    let log = early.console_log();
    let (booting, virtio) = (log.find("Booting Linux on physical CPU"), log.find("hvc0"));
    assert!(
        booting.is_some() && booting < virtio,
        "console so far:\n{log}"
    );
    early.power_off();
}

#[test]
fn a_debug_build_runs_the_same() {
    let mut linux = System::new("linux").debug().boot();
    assert_eq!(linux.run("uname -m"), "aarch64\n");
    linux.power_off();
}

/// Where the tests' usual processor has the host extensions, the first does not. The other has extensions that no guest gets.
#[test]
fn other_processors_run_the_same() {
    for cpu in ["cortex-a53", "max"] {
        let mut linux = System::new("linux").bundled().on(cpu).boot();
        assert_eq!(linux.run("uname -m"), "aarch64\n");
        let loads = "dd if=/dev/vda of=/dev/null bs=1M count=8 iflag=direct 2>/dev/null && ping -qc 3 10.0.2.2 >/dev/null && echo good";
        assert_eq!(linux.run(loads), "good\n");
        linux.power_off();
    }
}

#[test]
fn the_programs_are_the_same_for_every_kernel_and_configuration() {
    let hashes = System::new("linux").program_hashes();
    assert!(hashes.len() >= 10, "{hashes:?}");
    assert_eq!(hashes, System::new("linux").debug().program_hashes());
    assert_eq!(hashes, System::new("linux").bundled().program_hashes());
}
