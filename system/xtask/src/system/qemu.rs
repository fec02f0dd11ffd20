//! QEMU's arguments for a system's devices.

use super::model::{Block, Guest, Net};
use super::text::mac;
use super::wire::Buses;
use std::path::Path;

/// The arguments for all guests: each with the path of its disk and its places in the machine.
pub(super) fn arguments(guests: &[(&Guest, Option<&Path>, &Buses)]) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    // QEMU adds a network device of its own unless told not to.
    add("-nic", "none".to_owned());
    add("-global", "virtio-mmio.force-legacy=false".to_owned());
    for (guest, root, buses) in guests {
        if let (Some(block), Some(root), Some(bus)) = (&guest.block, root, &buses.block) {
            let id = format!("{}_block", guest.name);
            add("-drive", drive(&id, block, root));
            add("-device", format!("virtio-blk-device,drive={id},bus={bus}"));
        }
        if let (Some(net), Some(bus)) = (&guest.net, &buses.net) {
            let id = format!("{}_net", guest.name);
            add("-netdev", netdev(&id, net));
            add(
                "-device",
                format!(
                    "virtio-net-device,netdev={id},mac={},bus={bus}",
                    mac(net.mac)
                ),
            );
        }
    }
    arguments
}

fn drive(id: &str, block: &Block, root: &Path) -> String {
    // A comma ends a value, two are one.
    let file = root.to_string_lossy().replace(',', ",,");
    let read_only = if block.read_only { ",readonly=on" } else { "" };
    // A full disk below the file is the guest's error to see. QEMU's own way is to stop the machine without a word.
    format!(
        "file={file},format=raw,if=none,id={id},cache={},discard=unmap,werror=report{read_only}",
        block.cache
    )
}

fn netdev(id: &str, net: &Net) -> String {
    let mut text = format!("user,id={id}");
    for forward in &net.forward {
        let protocol = if forward.udp { "udp" } else { "tcp" };
        text.push_str(&format!(
            ",hostfwd={protocol}:127.0.0.1:{}-:{}",
            forward.host, forward.guest
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Forward;

    #[test]
    fn a_comma_in_a_file_name_is_doubled() {
        let block = Block {
            read_only: true,
            serial: String::new(),
            cache: "none".into(),
        };
        assert_eq!(
            drive("a_block", &block, Path::new("/tmp/a,b.img")),
            "file=/tmp/a,,b.img,format=raw,if=none,id=a_block,cache=none,discard=unmap,werror=report,readonly=on"
        );
    }

    #[test]
    fn forwarded_ports_are_the_loopbacks() {
        let forward = vec![Forward {
            udp: false,
            host: 2222,
            guest: 22,
        }];
        let net = Net {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            bulk: None,
            forward,
        };
        assert_eq!(
            netdev("n", &net),
            "user,id=n,hostfwd=tcp:127.0.0.1:2222-:22"
        );
    }
}
