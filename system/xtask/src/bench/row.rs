//! The rows of a comparison: what is run in the guest, and where the figure is in what it prints.

use super::vsock::Load;
use serde_json::Value;

/// What is measured.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Its name, which stays the same from commit to commit.
    pub name: &'static str,
    /// The figure's unit.
    pub unit: &'static str,
    /// Whether less is better.
    pub inverse: bool,
    /// How it is measured.
    pub how: How,
    /// What libvmm 0.2.0 with sDDF 0.7.0 reaches on release seL4, as a ratio like ours, where it was measured.
    pub peer: Option<f64>,
}

/// How something is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// From QEMU's start to the shell.
    Boot,
    /// QEMU's share of a host core while the guest does nothing.
    Idle,
    /// A load on the disk.
    Fio {
        /// fio's arguments.
        arguments: &'static str,
        /// KiB of one unit.
        unit: f64,
    },
    /// A load on the network.
    Iperf {
        /// iperf3's arguments.
        arguments: &'static str,
    },
    /// The time that an echo takes.
    Ping,
    /// Sockets with the native services, beside a row of our own side: bare QEMU has no such thing.
    Vsock(Load),
    /// The time that one access to a device's register takes.
    Register {
        /// Whether it is a write, which traps; a read need not.
        write: bool,
    },
}

const fn fio(name: &'static str, arguments: &'static str, small: bool, peer: Option<f64>) -> Row {
    let (unit, size) = if small {
        ("IOPS", 4.0)
    } else {
        ("MiB/s", 1024.0)
    };
    Row {
        name,
        unit,
        inverse: false,
        how: How::Fio {
            arguments,
            unit: size,
        },
        peer,
    }
}

const fn iperf(name: &'static str, arguments: &'static str, peer: Option<f64>) -> Row {
    Row {
        name,
        unit: "Mbit/s",
        inverse: false,
        how: How::Iperf { arguments },
        peer,
    }
}

const fn vsock(name: &'static str, load: Load) -> Row {
    Row {
        name,
        unit: "Mbit/s",
        inverse: false,
        how: How::Vsock(load),
        peer: None,
    }
}

const fn time(name: &'static str, unit: &'static str, how: How, peer: Option<f64>) -> Row {
    Row {
        name,
        unit,
        inverse: true,
        how,
        peer,
    }
}

const fn register(name: &'static str, write: bool) -> Row {
    // 0.12 µs on bare QEMU and 69 µs with libvmm, whose guest traps for both.
    time(name, "us", How::Register { write }, Some(0.12 / 69.0))
}

/// The program that accesses a register, and how many accesses a second's worth is on the slower side.
const REGISTER: (&str, u32) = (include_str!("register.py"), 20_000);
/// What a command line needs for user space to see a register of a device that has a driver.
pub const REGISTER_WORDS: &str = "iomem=relaxed";

/// All rows, in the order in which they are measured.
pub const ROWS: &[Row] = &[
    time("boot", "s", How::Boot, Some(1.0 / 2.8)),
    time("idle-cpu", "%", How::Idle, None),
    fio(
        "randread-4k-qd1",
        "--rw=randread --bs=4k --iodepth=1",
        true,
        Some(0.18),
    ),
    fio(
        "randread-4k-qd32",
        "--rw=randread --bs=4k --iodepth=32",
        true,
        Some(0.11),
    ),
    fio(
        "randwrite-4k-qd1",
        "--rw=randwrite --bs=4k --iodepth=1",
        true,
        None,
    ),
    fio(
        "randwrite-4k-qd32",
        "--rw=randwrite --bs=4k --iodepth=32",
        true,
        None,
    ),
    fio(
        "randread-4k-qd32-jobs4",
        "--rw=randread --bs=4k --iodepth=32 --numjobs=4 --group_reporting",
        true,
        None,
    ),
    fio(
        "read-128k-qd32",
        "--rw=read --bs=128k --iodepth=32",
        false,
        Some(0.13),
    ),
    fio(
        "write-128k-qd32",
        "--rw=write --bs=128k --iodepth=32",
        false,
        Some(0.08),
    ),
    iperf("tcp-tx", "", Some(0.21)),
    iperf("tcp-rx", "-R", Some(0.22)),
    iperf("tcp-tx-streams4", "-P 4", None),
    iperf("tcp-rx-streams4", "-P 4 -R", None),
    iperf("udp-tx", "-u -b 1G -l 1400", None),
    iperf("udp-rx", "-u -b 1G -l 1400 -R", None),
    time("ping", "ms", How::Ping, Some(1.0 / 2.6)),
    vsock("vsock-tx", Load::Transmit),
    vsock("vsock-rx", Load::Receive),
    time("vsock-rtt", "ms", How::Vsock(Load::Echo), None),
    register("register-read", false),
    register("register-write", true),
];

impl Row {
    /// The row called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// The row of our own side that this one is compared with, because bare QEMU cannot do it.
    pub fn beside(&self) -> Option<&'static Self> {
        match self.how {
            How::Vsock(load) => Self::named(load.beside()),
            _ => None,
        }
    }

    /// Our share of the limit: above 1 is better than the limit, whatever the unit.
    pub fn ratio(&self, limit: f64, ours: f64) -> f64 {
        if self.inverse {
            limit / ours
        } else {
            ours / limit
        }
    }
}

impl How {
    /// The command to run in a guest whose disk has room from `offset` on; loads run for `seconds`.
    pub(super) fn command(&self, offset: u64, seconds: u32) -> String {
        match self {
            Self::Fio { arguments, .. } => format!(
                "fio --name=row --filename=/dev/vda --allow_mounted_write=1 --offset={offset} --size=64m --ioengine=libaio \
                 --direct=1 --time_based --runtime={seconds} --ramp_time=1 {arguments} --output-format=json"
            ),
            Self::Ping => format!("ping -q -i 0.01 -c {} 10.0.2.2", 50 * seconds),
            Self::Vsock(load) => load.command(seconds),
            Self::Register { write } => register_command(*write, REGISTER.1 * seconds),
            Self::Boot | Self::Idle | Self::Iperf { .. } => String::new(),
        }
    }

    /// The figure in what the command printed; `None` if there is none, or it is not positive.
    pub(super) fn value(&self, report: &str) -> Option<f64> {
        let value = match self {
            Self::Fio { unit, .. } => fio_kib(report)? / unit,
            Self::Iperf { .. } => super::iperf::received(report)? / 1e6,
            // rtt min/avg/max/mdev = 0.104/0.265/1.085/0.114 ms
            Self::Ping => {
                let times = report.split("mdev = ").nth(1)?;
                times.split('/').nth(1)?.parse().ok()?
            }
            Self::Vsock(_) => Load::value(report)?,
            // 0.1234 us
            Self::Register { .. } => report.split(" us").next()?.trim().parse().ok()?,
            Self::Boot | Self::Idle => return None,
        };
        (value > 0.0).then_some(value)
    }
}

/// The command that accesses a register so often.
pub(super) fn register_command(write: bool, count: u32) -> String {
    let how = if write { "write" } else { "read" };
    format!("python3 - {how} {count} <<'END'\n{}END", REGISTER.0)
}

/// Read and write bandwidth in KiB/s of all jobs in a report.
fn fio_kib(report: &str) -> Option<f64> {
    // fio may complain before the report.
    let json = report.get(report.find('{')?..)?;
    let report: Value = serde_json::from_str(json).ok()?;
    let jobs = report.get("jobs")?.as_array()?;
    let bandwidth = |job: &Value, way: &str| job.get(way)?.get("bw")?.as_f64();
    let all = jobs
        .iter()
        .flat_map(|job| ["read", "write"].map(|way| bandwidth(job, way)));
    Some(all.flatten().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(
                ROWS.iter().position(|other| other.name == row.name),
                Some(index)
            );
        }
        assert!(Row::named("tcp-tx").is_some() && Row::named("tcp").is_none());
    }

    #[test]
    fn a_ratio_above_one_is_better_than_the_limit() {
        assert_eq!(Row::named("tcp-rx").unwrap().ratio(100.0, 50.0), 0.5);
        assert_eq!(Row::named("boot").unwrap().ratio(1.0, 2.0), 0.5);
    }

    #[test]
    fn figures_are_found_in_what_the_programs_print() {
        let report = "fio: note\n{\"jobs\": [{\"read\": {\"bw\": 4000}, \"write\": {\"bw\": 96}}, {\"read\": {\"bw\": 0}}]}";
        let iops = Row::named("randread-4k-qd1").unwrap();
        assert_eq!(iops.how.value(report), Some(1024.0));
        assert_eq!(
            Row::named("read-128k-qd32").unwrap().how.value(report),
            Some(4.0)
        );
        assert_eq!(iops.how.value("fio: no"), None);
        let ping = "rtt min/avg/max/mdev = 0.104/0.265/1.085/0.114 ms\n";
        assert_eq!(How::Ping.value(ping), Some(0.265));
        assert_eq!(How::Ping.value("100% packet loss"), None);
        let write = How::Register { write: true };
        assert_eq!(write.value("12.5000 us\n"), Some(12.5));
        assert_eq!(write.value("Operation not permitted"), None);
    }
}
