//! Runs systems in QEMU: for a person at a terminal, for one command, and for tests.
//!
//! [`Machine`] is a running QEMU and the log of its serial line. [`Console`] talks to one guest's shell on it.

pub mod bare;
mod console;
mod demux;
mod fault;
mod machine;
mod payload;
pub mod terminal;
pub mod version;

pub use console::{Console, Output};
pub use fault::Fault;
pub use machine::{Log, Machine};

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// Where the loader puts an image, and where its entry is.
const LOAD_ADDRESS: u64 = sel4cp_abi::image::BASE;
/// RAM of the machine.
const MEMORY: &str = "size=2G";
/// Lines of the console that an error repeats.
const TAIL: usize = 40;

/// Models of processors without pages of 16 KiB (ID_AA64MMFR0_EL1.TGran16): a kernel that is built for these stops before its first word.
const WITHOUT_16K: [&str; 3] = ["cortex-a53", "cortex-a57", "cortex-a72"];

/// Whether QEMU's model `cpu` has pages of so many KiB, as far as is known.
pub fn has_pages(cpu: &str, kib: u32) -> bool {
    let model = cpu.split(',').next().unwrap_or(cpu);
    kib != 16 || !WITHOUT_16K.contains(&model)
}

/// What the serial line is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// Standard input and output with QEMU's keys (`Ctrl-a x` ends it): for a person.
    Person,
    /// Standard input and output, every byte as it is: for a program.
    Program,
}

impl Serial {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Person => &["-nographic"],
            Self::Program => &["-nographic", "-serial", "stdio", "-monitor", "none"],
        }
    }
}

/// The machine's processors and interrupt controller.
#[derive(Clone, Copy, Debug)]
pub struct Hardware<'a> {
    /// The processors' model.
    pub cpu: &'a str,
    /// How many there are.
    pub processors: u32,
    /// The GIC's version.
    pub gic: u32,
}

/// The command that runs `image` on this `hardware` with the system's `devices`.
pub fn command(
    program: &Path,
    image: &Path,
    hardware: Hardware<'_>,
    devices: &[String],
    serial: Serial,
) -> Command {
    let mut command = Command::new(program);
    let machine = machine(
        "virt,virtualization=on,highmem=off,secure=off",
        hardware.gic,
    );
    command
        .args(["-machine", &machine])
        .args(["-cpu", hardware.cpu, "-m", MEMORY]);
    command
        .args(["-smp", &processors(hardware.processors)])
        .args(serial.arguments())
        .arg("-device")
        .arg(loader(image))
        .args(devices);
    command
}

/// The `machine` with a GIC of this version, where it is not QEMU's own choice.
fn machine(machine: &str, gic: u32) -> String {
    match gic {
        2 => machine.to_owned(),
        _ => format!("{machine},gic-version={gic}"),
    }
}

/// The machine's number of processors, with room for a second one.
///
/// Where there is no room, QEMU before 8.1 leaves out all memory barriers, although its devices run on a thread of their own. An interrupt is then lost
/// now and then: the driver says when it wants one (§2.7.7) and looks once more, the look overtakes the word, and device and
/// driver wait for each other for ever.
fn processors(count: u32) -> String {
    format!("{count},maxcpus={}", count.max(2))
}

/// The loader device for `image`; a comma in its path is doubled, as QEMU wants it.
fn loader(image: &Path) -> OsString {
    let path = image.display().to_string().replace(',', ",,");
    format!("loader,file={path},addr={LOAD_ADDRESS:#x},cpu-num=0").into()
}

/// Why waiting for something on the console ended without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The time limit passed.
    TimedOut {
        /// What was waited for.
        waited_for: String,
        /// The end of the console.
        tail: String,
    },
    /// QEMU ended.
    Ended {
        /// What was waited for.
        waited_for: String,
        /// The end of the console.
        tail: String,
    },
    /// A guest was stopped or a PD faulted.
    Stopped {
        /// The console from there on.
        report: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { waited_for, tail } => {
                write!(f, "waited too long for {waited_for}{}", Tail(tail))
            }
            Self::Ended { waited_for, tail } => {
                write!(f, "QEMU ended, expected {waited_for}{}", Tail(tail))
            }
            Self::Stopped { report } => f.write_str(report.trim_end()),
        }
    }
}

impl std::error::Error for Failure {}

/// The end of a console, after what is said about it.
struct Tail<'a>(&'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("; the console is empty (what QEMU itself says is on standard error)")
        } else {
            write!(f, "; the console ended with\n{}", self.0)
        }
    }
}

/// The last lines of a console.
fn tail(text: &str) -> String {
    crate::process::tail(text, TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_16_kib_are_not_everywhere() {
        assert!(!has_pages("cortex-a53", 16) && !has_pages("cortex-a72,pmu=off", 16));
        assert!(has_pages("cortex-a53", 4) && has_pages("cortex-a53", 64));
        assert!(has_pages("cortex-a76", 16) && has_pages("max", 16));
    }

    #[test]
    fn the_command_is_the_documented_one() {
        let devices = ["-nic".to_owned(), "none".to_owned()];
        let command = command(
            Path::new("qemu-system-aarch64"),
            Path::new("build/a,b/loader.img"),
            Hardware {
                cpu: "cortex-a53",
                processors: 1,
                gic: 2,
            },
            &devices,
            Serial::Person,
        );
        assert_eq!(
            crate::process::shown(&command),
            "qemu-system-aarch64 -machine virt,virtualization=on,highmem=off,secure=off -cpu cortex-a53 \
             -m size=2G -smp 1,maxcpus=2 -nographic -device loader,file=build/a,,b/loader.img,addr=0x70000000,cpu-num=0 -nic none"
        );
    }
}
