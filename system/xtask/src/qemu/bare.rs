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
    /// The processor's model.
    pub cpu: String,
    /// How many of them.
    pub vcpus: u32,
    /// The GIC's version.
    pub gic: u32,
    /// Bytes of RAM.
    pub memory: u64,
    /// The kernel's command line.
    pub command_line: String,
    /// QEMU's arguments for its disk and its network device: those of our own system, unchanged.
    pub devices: Vec<String>,
}

impl Bare {
    /// The command that runs it: the console is a virtIO port, as it is ours.
    pub fn command(&self, program: &Path, serial: Serial) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-machine", &super::machine("virt", self.gic)])
            .args(["-cpu", &self.cpu, "-m"])
            .arg(format!("{}M", self.memory >> 20))
            .args(["-smp", &super::processors(self.vcpus)])
            .args(["-nographic", "-serial", "null", "-monitor", "none"])
            .arg("-kernel")
            .arg(&self.kernel);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        let port = match serial {
            Serial::Person => "stdio,id=console,mux=on,signal=off",
            Serial::Program => "stdio,id=console,signal=off",
        };
        command
            .args(["-append", &self.command_line])
            .args(["-device", "virtio-serial-device", "-chardev", port])
            .args(["-device", "virtconsole,chardev=console"])
            .args(&self.devices);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_systems_own_devices() {
        let bare = Bare {
            kernel: "Image".into(),
            initrd: None,
            cpu: "cortex-a53".into(),
            vcpus: 2,
            gic: 3,
            memory: 256 << 20,
            command_line: "console=hvc0 nokaslr".into(),
            devices: vec!["-nic".into(), "none".into()],
        };
        let command = bare.command(Path::new("qemu"), Serial::Program);
        assert_eq!(
            crate::process::shown(&command),
            "qemu -machine virt,gic-version=3 -cpu cortex-a53 -m 256M -smp 2,maxcpus=2 -nographic -serial null -monitor none -kernel Image \
             -append 'console=hvc0 nokaslr' -device virtio-serial-device -chardev stdio,id=console,signal=off \
             -device virtconsole,chardev=console -nic none"
        );
    }
}
