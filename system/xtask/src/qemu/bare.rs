//! The same guest on bare QEMU, without a VMM: what ours is compared with.

use super::Serial;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A guest for bare QEMU.
#[derive(Clone, Debug)]
pub struct Bare {
    /// An arm64 `Image`.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// A raw disk image: `/dev/vda`.
    pub disk: Option<PathBuf>,
    /// The disk must not be written.
    pub read_only: bool,
    /// The MAC address of `eth0`.
    pub mac: Option<[u8; 6]>,
    /// QEMU's port forwarding rules.
    pub forward: Vec<String>,
    /// Bytes of RAM.
    pub memory: u64,
    /// The kernel's command line.
    pub command_line: String,
}

impl Bare {
    /// The command that runs it: modern virtio-mmio devices, the console on a virtIO port.
    pub fn command(&self, program: &Path, serial: Serial) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-machine", "virt", "-cpu", "cortex-a53", "-m"])
            .arg(format!("{}M", self.memory >> 20))
            .args(["-nographic", "-serial", "null", "-monitor", "none"])
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args(["-nic", "none"])
            .arg("-kernel")
            .arg(&self.kernel);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        let mux = match serial {
            Serial::Person => "stdio,id=console,mux=on,signal=off",
            Serial::Program => "stdio,id=console,signal=off",
        };
        command
            .args(["-append", &self.command_line])
            .args(["-device", "virtio-serial-device", "-chardev", mux])
            .args(["-device", "virtconsole,chardev=console"]);
        if let Some(disk) = &self.disk {
            let path = disk.display().to_string().replace(',', ",,");
            let read_only = if self.read_only { "on" } else { "off" };
            command
                .arg("-drive")
                .arg(format!(
                    "file={path},format=raw,if=none,id=disk,read-only={read_only}"
                ))
                .args(["-device", "virtio-blk-device,drive=disk"]);
        }
        if let Some(mac) = self.mac {
            let forward: String = self
                .forward
                .iter()
                .map(|rule| format!(",hostfwd={rule}"))
                .collect();
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            command
                .arg("-netdev")
                .arg(format!("user,id=net{forward}"))
                .arg("-device")
                .arg(format!("virtio-net-device,netdev=net,mac={mac}"));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_guests_devices_only() {
        let mut bare = Bare {
            kernel: "Image".into(),
            initrd: None,
            disk: None,
            read_only: false,
            mac: None,
            forward: Vec::new(),
            memory: 256 << 20,
            command_line: "console=hvc0 nokaslr".into(),
        };
        let shown =
            |bare: &Bare| crate::process::shown(&bare.command(Path::new("qemu"), Serial::Program));
        let text = shown(&bare);
        assert!(
            text.contains("-m 256M") && text.contains("-append 'console=hvc0 nokaslr'"),
            "{text}"
        );
        assert!(
            !text.contains("virtio-blk-device") && !text.contains("virtio-net-device"),
            "{text}"
        );
        bare.disk = Some("a.img".into());
        bare.mac = Some([0x52, 0x54, 0, 0, 0, 1]);
        let text = shown(&bare);
        assert!(text.contains("file=a.img,format=raw"), "{text}");
        assert!(text.contains("mac=52:54:00:00:00:01"), "{text}");
    }
}
