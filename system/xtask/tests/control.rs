//! The control service's pages: who shares them, and that there are none where nobody may use it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use roxmltree::Document;
use sel4cp_abi::config::{
    Access, NO_CHANNEL, PowerConfig, ServicesConfig, SupervisorConfig, VmmConfig,
};
use support::made::{self, Made};
use support::sdf::Sdf;
use tempfile::TempDir;
use xtask::system::KernelKind;

fn make(text: &str) -> Made {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, format!("board = \"qemu_virt_aarch64\"\n{text}")).unwrap();
    made::make(&path, None, KernelKind::Bundled)
}

#[test]
fn the_control_service_shares_a_page_with_each_vmm_and_reads_the_rest() {
    let made = make(
        "[[vm]]\nname = \"a\"\nmemory = \"64M\"\n[vm.block]\n[vm.net]\n[vm.vsock]\ncontrol = \"all\"\n\
         [[vm]]\nname = \"b\"\nmemory = \"64M\"\n[vm.vsock]\ncid = 9\ncontrol = \"status\"\n\
         [[vm]]\nname = \"c\"\nmemory = \"64M\"\n[vm.vsock]\n\
         [[vm]]\nname = \"d\"\nmemory = \"64M\"\n",
    );
    let text = made.sdf();
    let document = Document::parse(&text).unwrap();
    let sdf = Sdf::new(&document);
    let services: ServicesConfig = made.config("services");
    let supervisor: SupervisorConfig = made.config("supervisor");
    let power: PowerConfig = made.config("power");
    sdf.header("services", &services.header);
    assert_eq!(
        sdf.check("services", &services.domains.region, "r", true),
        None
    );
    assert_eq!(sdf.ring("supervisor", &supervisor.domains).0, "services");
    let count = usize::try_from(supervisor.child_count).unwrap();
    assert_eq!(services.child_count, supervisor.child_count);
    assert_eq!(services.children, supervisor.children);
    assert_eq!((services.guest_count, power.guest_count), (4, 4));
    let expected = [
        ("a", "a_vmm", 3, Access::All, &[3, 2, 1, 19][..]),
        ("b", "b_vmm", 9, Access::Status, &[3, 19]),
        ("c", "c_vmm", 5, Access::None, &[3, 19]),
        ("d", "d_vmm", 0, Access::None, &[3]),
    ];
    let guests = services.guests.iter().zip(&power.guests);
    for ((guest, powered), (name, vmm, cid, access, kinds)) in guests.zip(expected) {
        assert_eq!((guest.name.as_str(), guest.cid), (name, cid));
        assert_eq!(Access::from_number(guest.access), access);
        let child = usize::try_from(guest.vmm).unwrap();
        assert!(child < count);
        assert_eq!(services.children[child].as_str(), vmm);
        let (peer, own) = sdf.ring("services", &guest.page);
        let config: VmmConfig = made.config(vmm);
        assert_eq!((peer, own), (vmm, config.control.channel));
        assert_eq!(sdf.ring(vmm, &config.control).0, "services");
        assert_eq!(sdf.check("power", &powered.region, "r", true), None);
        assert_eq!(sdf.channels[&("power", powered.channel)].0, vmm);
        let devices = &guest.devices[..usize::try_from(guest.device_count).unwrap()];
        let shown: Vec<u32> = devices.iter().map(|device| device.kind).collect();
        assert_eq!(shown, kinds);
        for device in devices {
            assert_eq!(sdf.check("services", &device.link, "r", true), None);
        }
    }
}

#[test]
fn where_nobody_may_use_it_there_is_nothing_of_it() {
    let made = make(
        "[[vm]]\nname = \"a\"\nmemory = \"64M\"\n[vm.vsock]\ncontrol = \"none\"\n\
         [[vm]]\nname = \"b\"\nmemory = \"64M\"\n[vm.vsock]\n",
    );
    let services: ServicesConfig = made.config("services");
    assert_eq!((services.guest_count, services.child_count), (0, 0));
    assert!(!services.domains.region.is_some());
    let vmm: VmmConfig = made.config("a_vmm");
    assert_eq!(vmm.control.channel, NO_CHANNEL);
    let supervisor: SupervisorConfig = made.config("supervisor");
    assert_eq!(supervisor.domains.channel, NO_CHANNEL);
    assert!(!made.sdf().contains("_control\""));
}
