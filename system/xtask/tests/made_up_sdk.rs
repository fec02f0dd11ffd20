//! SDK folders that are made up, each with one thing wrong, and what is said about it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

use sel4cp_abi::label::Labels;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xtask::sdk::{Sdk, Wanted};

const WANTED: Wanted<'static> = Wanted {
    board: "qemu_virt_aarch64",
    config: "release",
    kernel: &[("ARM_GIC_V3_SUPPORT", "false")],
};
/// A tool that notes how it was called and makes what it was asked for.
const TOOL: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$MICROKIT_SDK/called\"\nwhile [ $# -gt 0 ]; do\n\
    case $1 in -o) echo image > \"$2\";; -r) echo report > \"$2\";; esac; shift; done\n";

struct MadeUp(TempDir);

impl MadeUp {
    /// One that is as it must be.
    fn new() -> Self {
        let sdk = Self(TempDir::new().unwrap());
        sdk.write("VERSION", "2.3.0\n");
        sdk.write("bin/microkit", TOOL);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(sdk.path("bin/microkit"), mode).unwrap();
        sdk.write("board/maaxboard/debug/x", "");
        sdk.configuration(&[], &[]);
        sdk
    }

    /// Writes the files of the board's configuration, with other values for some entries; `None` leaves one out.
    fn configuration(&self, kernel: &[(&str, Option<&str>)], labels: &[(&str, Option<&str>)]) {
        let entries = |entries: &[(&str, &str)], other: &[(&str, Option<&str>)]| {
            let lines = entries.iter().filter_map(|(name, value)| {
                let other = other.iter().find(|(other, _)| other == name);
                let value = other.map_or(Some(*value), |(_, value)| *value)?;
                Some(format!("\"{name}\": {value}"))
            });
            format!("{{{}}}", lines.collect::<Vec<_>>().join(", "))
        };
        let known = [
            ("ARCH_AARCH64", "true"),
            ("ARM_HYPERVISOR_SUPPORT", "true"),
            ("KERNEL_MCS", "true"),
            ("ARM_PA_SIZE_BITS_40", "true"),
            ("NUM_PRIORITIES", "\"256\""),
            ("EXPORT_PCNT_USER", "true"),
            ("ALLOW_SMC_CALLS", "true"),
            ("DISABLE_WFI_WFE_TRAPS", "false"),
            ("ARM_GIC_V3_SUPPORT", "false"),
            ("PRINTING", "false"),
            ("MAX_NUM_NODES", "\"1\""),
        ];
        self.write(
            &format!("{}/include/kernel/gen_config.json", PLACE),
            &entries(&known, kernel),
        );
        let known = [
            ("TCBReadRegisters", "2"),
            ("TCBWriteRegisters", "3"),
            ("TCBSetPriority", "6"),
            ("TCBSuspend", "12"),
            ("TCBResume", "13"),
            ("TCBBindNotification", "14"),
            ("TCBSetFlags", "17"),
            ("IRQAckIRQ", "27"),
            ("SchedContextConsumed", "37"),
            ("SchedContextYieldTo", "38"),
            ("ARMVSpaceClean_Data", "39"),
            ("ARMVSpaceInvalidate_Data", "40"),
            ("ARMVSpaceCleanInvalidate_Data", "41"),
            ("ARMVSpaceUnify_Instruction", "42"),
            ("ARMSMCCall", "43"),
            ("ARMVCPUSetTCB", "55"),
            ("ARMVCPUInjectIRQ", "56"),
            ("ARMVCPUReadReg", "57"),
            ("ARMVCPUWriteReg", "58"),
            ("ARMVCPUAckVPPI", "59"),
        ];
        self.write(
            &format!("{}/invocations_all.json", PLACE),
            &entries(&known, labels),
        );
        self.write(
            &format!("{}/address_space_constants.json", PLACE),
            "{\"vspace_user_top\": 1099511627775}",
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What is said about it, which must contain all `parts`.
    fn refused(&self, parts: &[&str]) {
        let error = Sdk::open(self.0.path(), WANTED).unwrap_err();
        let text = format!("{error:#}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

const PLACE: &str = "board/qemu_virt_aarch64/release";

#[test]
fn one_that_fits_is_taken_and_its_tool_is_called() {
    let made_up = MadeUp::new();
    let sdk = Sdk::open(made_up.0.path(), WANTED).unwrap();
    assert_eq!(sdk.labels, Labels::RELEASE);
    assert_eq!((sdk.debug_put_char, sdk.processors), (false, 1));
    let (image, report) = (made_up.path("image"), made_up.path("report"));
    let search = [PathBuf::from("/a"), PathBuf::from("/b")];
    sdk.build(Path::new("/x.system"), &search, &image, &report)
        .unwrap();
    assert!(image.is_file() && report.is_file());
    let called = std::fs::read_to_string(made_up.path("called")).unwrap();
    let called: Vec<&str> = called.lines().collect();
    assert!(called.starts_with(&[
        "/x.system",
        "--board",
        "qemu_virt_aarch64",
        "--config",
        "release"
    ]));
    assert!(called.ends_with(&["--search-path", "/a", "/b"]));
}

#[test]
fn labels_are_what_the_sdk_says() {
    let made_up = MadeUp::new();
    made_up.configuration(&[("PRINTING", Some("true"))], &[("IRQAckIRQ", Some("31"))]);
    let sdk = Sdk::open(made_up.0.path(), WANTED).unwrap();
    assert_eq!((sdk.labels.irq_ack_irq, sdk.debug_put_char), (31, true));
}

#[test]
fn a_tool_that_fails_is_quoted() {
    let made_up = MadeUp::new();
    made_up.write(
        "bin/microkit",
        "#!/bin/sh\necho Error: no way >&2\nexit 1\n",
    );
    let sdk = Sdk::open(made_up.0.path(), WANTED).unwrap();
    let out = made_up.path("image");
    let error = sdk.build(Path::new("x"), &[], &out, &out).unwrap_err();
    assert!(format!("{error:#}").contains("no way"), "{error:#}");
}

#[test]
fn a_wrong_path_is_named() {
    let nowhere = Path::new("/nowhere/sdk");
    let error = Sdk::open(nowhere, WANTED).unwrap_err().to_string();
    assert!(error.contains("/nowhere/sdk"), "{error}");
    let empty = MadeUp(TempDir::new().unwrap());
    empty.refused(&["VERSION", "2.3.0"]);
}

#[test]
fn another_version_is_refused() {
    let made_up = MadeUp::new();
    made_up.write("VERSION", "2.2.0\n");
    made_up.refused(&["VERSION", "found 2.2.0", "expected 2.3.0"]);
}

#[test]
fn a_missing_tool_board_or_configuration_is_named_with_those_that_are_there() {
    let made_up = MadeUp::new();
    std::fs::remove_file(made_up.path("bin/microkit")).unwrap();
    made_up.refused(&["bin/microkit", "no such file"]);
    let made_up = MadeUp::new();
    std::fs::rename(
        made_up.path(PLACE),
        made_up.path("board/qemu_virt_aarch64/debug"),
    )
    .unwrap();
    made_up.refused(&["no configuration release", "it has: debug"]);
    std::fs::remove_dir_all(made_up.path("board/qemu_virt_aarch64")).unwrap();
    made_up.refused(&["no board qemu_virt_aarch64", "it has: maaxboard"]);
}

#[test]
fn a_kernel_of_another_kind_is_refused_with_both_values() {
    let made_up = MadeUp::new();
    for (name, value) in [
        ("KERNEL_MCS", "false"),
        ("ARM_HYPERVISOR_SUPPORT", "false"),
        ("NUM_PRIORITIES", "\"128\""),
        ("ARM_GIC_V3_SUPPORT", "true"),
    ] {
        made_up.configuration(&[(name, Some(value))], &[]);
        let value = value.trim_matches('"');
        made_up.refused(&["gen_config.json", &format!("{name} = {value}"), "made for"]);
    }
    made_up.configuration(&[("KERNEL_MCS", None)], &[]);
    made_up.refused(&["gen_config.json", "no entry KERNEL_MCS"]);
    made_up.configuration(&[], &[]);
    made_up.write(
        &format!("{PLACE}/address_space_constants.json"),
        "{\"vspace_user_top\": 17592186044415}",
    );
    made_up.refused(&["vspace_user_top is 0xfffffffffff", "expected 0xffffffffff"]);
}

#[test]
fn labels_that_are_missing_or_none_are_refused() {
    let made_up = MadeUp::new();
    made_up.configuration(&[], &[("ARMVCPUInjectIRQ", None)]);
    made_up.refused(&["invocations_all.json", "no entry ARMVCPUInjectIRQ"]);
    for bad in ["0", "4096", "\"many\"", "-1"] {
        made_up.configuration(&[], &[("ARMSMCCall", Some(bad))]);
        made_up.refused(&["invocations_all.json", "ARMSMCCall", "expected"]);
    }
    made_up.write(&format!("{PLACE}/invocations_all.json"), "not JSON");
    made_up.refused(&["invocations_all.json", "expected JSON"]);
}
