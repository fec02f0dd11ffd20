//! A tap in a network namespace of its own, in the place of QEMU's user-mode network.
//!
//! QEMU and the other end of the guest's network run in the namespace, so that nothing of the host's own network is touched. The
//! addresses are those of the user-mode network, and so are the commands of all rows. Unlike that network's, a tap's network device offers
//! checksums and segmentation, on both sides alike.

use super::iperf::HOST;
use crate::{apt, process};
use anyhow::{Context as _, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

/// A command that waits until the guest has an address.
pub const ADDRESS: &str = "until ip -4 -br addr show eth0 | grep -q /; do sleep 0.1; done";

/// The tap's name in its namespace.
const NAME: &str = "tap0";
/// What a namespace's name begins with; the number of the process that made it follows.
const NAMESPACE: &str = "sel4cp-bench-";
/// Where `ip` shows namespaces.
const NAMESPACES: &str = "/run/netns";
/// What a tap is made of.
const DEVICE: &str = "/dev/net/tun";
/// How long one command about it may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The namespace, which ends with this.
#[derive(Debug)]
pub struct Tap {
    namespace: String,
}

impl Tap {
    /// Whether there can be one.
    ///
    /// # Errors
    /// When the user is not root, or the host's kernel has no taps.
    pub fn possible() -> Result<()> {
        if !apt::is_root() {
            bail!("a tap in a network namespace takes root's rights: found another user");
        }
        if !Path::new(DEVICE).exists() {
            bail!("a tap takes {DEVICE}: found none");
        }
        Ok(())
    }

    /// Makes namespace and tap.
    ///
    /// # Errors
    /// When the user is not root, or the host's kernel has no taps or no namespaces.
    pub fn new() -> Result<Self> {
        Self::possible()?;
        apt::ensure(&[apt::IP])?;
        let there = String::from_utf8_lossy(&ip(&["netns", "list"])?.stdout).into_owned();
        let lives = |process: &str| Path::new("/proc").join(process).exists();
        for namespace in left_behind(&there, lives) {
            ip(&["netns", "del", namespace])?;
        }
        let namespace = format!("{NAMESPACE}{}", std::process::id());
        ip(&["netns", "add", &namespace])?;
        let tap = Self { namespace };
        let address = format!("{HOST}/24");
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["tuntap", "add", "dev", NAME, "mode", "tap", "vnet_hdr"],
            &["addr", "add", &address, "dev", NAME],
            &["link", "set", NAME, "up"],
        ] {
            ip(&[&["-n", &tap.namespace], arguments].concat())?;
        }
        Ok(tap)
    }

    /// A TCP server's socket in the namespace, on a free port at the address that guests know.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn listen(&self) -> Result<TcpListener> {
        let namespace = PathBuf::from(NAMESPACES).join(&self.namespace);
        // A socket stays in the namespace that its thread was in, and the thread would too: so it is one for nothing else.
        let bind = move || -> Result<TcpListener> {
            let namespace = File::open(namespace)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpListener::bind((HOST, 0))?)
        };
        let bound = thread::spawn(bind).join();
        let bound = bound.unwrap_or_else(|_| Err(anyhow!("the thread that binds it panicked")));
        bound.with_context(|| format!("no socket in the namespace {}", self.namespace))
    }

    /// The same command, run in the namespace, with the tap for QEMU's user-mode network.
    pub fn command(&self, inside: &Command) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(inside.get_program());
        for argument in inside.get_args() {
            let user = argument
                .to_str()
                .and_then(|text| text.strip_prefix("user,id="));
            match user {
                Some(id) => command.arg(format!(
                    "tap,id={id},ifname={NAME},script=no,downscript=no,vhost=off"
                )),
                None => command.arg(argument),
            };
        }
        command
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // The tap goes with it. That it is gone already is no trouble.
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

fn ip(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("ip");
    command.args(arguments);
    process::run(&mut command, LIMIT).context("cannot make a tap in a network namespace")
}

/// Of the namespaces in what `ip netns list` prints, those of benchmarks that were interrupted: nobody else ends them.
fn left_behind(list: &str, lives: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
    list.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(move |name| {
            name.strip_prefix(NAMESPACE)
                .is_some_and(|process| !lives(process))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_benchmark_leaves_is_found() {
        let list = "sel4cp-bench-7 (id: 0)\nother\nsel4cp-bench-8\n";
        let found: Vec<&str> = left_behind(list, |process| process == "8").collect();
        assert_eq!(found, ["sel4cp-bench-7"]);
    }

    #[test]
    fn only_the_network_is_another() {
        let tap = Tap {
            namespace: "no-such-namespace".to_owned(),
        };
        let mut qemu = Command::new("qemu");
        qemu.args([
            "-netdev",
            "user,id=linux_net",
            "-device",
            "virtio-net-device,netdev=linux_net",
        ]);
        assert_eq!(
            process::shown(&tap.command(&qemu)),
            "ip netns exec no-such-namespace qemu -netdev tap,id=linux_net,ifname=tap0,script=no,downscript=no,vhost=off \
             -device virtio-net-device,netdev=linux_net"
        );
    }
}
