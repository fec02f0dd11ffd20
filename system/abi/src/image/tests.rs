//! A small system that is right, and one test for each way to get it wrong.

use super::*;
use crate::slot::{IPC_BUFFER, STACK_TOP};
use zerocopy::{FromZeros, IntoBytes};

/// The tables of a system, to be broken.
#[derive(Clone)]
struct System {
    header: Header,
    domains: Vec<Domain>,
    vcpus: Vec<Vcpu>,
    spaces: Vec<Space>,
    mappings: Vec<Mapping>,
    clears: Vec<Clear>,
    interrupts: Vec<Interrupt>,
    channels: Vec<Channel>,
    user_caps: Vec<UserCap>,
}

const KERNEL_END: u64 = BASE + 0x8000;
const RW: u32 = Mapping::READ | Mapping::WRITE | Mapping::CACHED;
const RX: u32 = Mapping::READ | Mapping::EXECUTE | Mapping::CACHED;

fn mapping(vaddr: u64, paddr: u64, bytes: u64, flags: u32) -> Mapping {
    Mapping {
        vaddr,
        paddr,
        bytes,
        flags,
        reserved: 0,
    }
}

fn domain(text: &str, priority: u32, space: u32) -> Domain {
    Domain {
        name: name(text).unwrap(),
        entry: 0x20_0000,
        stack_top: STACK_TOP,
        stack_bottom: STACK_TOP - 0x2000,
        budget: 1000,
        period: 1000,
        priority,
        flags: 0,
        parent: NONE,
        child: 0,
        space,
        reserved: 0,
    }
}

fn end(domain: u32, id: u32, flags: u32) -> End {
    End {
        domain,
        id,
        flags,
        reserved: 0,
    }
}

/// A VMM (1) with one vCPU under a parent (0), an interrupt, a channel and a capability.
fn system() -> System {
    let vmm = Domain {
        parent: 0,
        child: 3,
        ..domain("vmm", 100, 1)
    };
    let vcpu = Vcpu {
        name: name("guest").unwrap(),
        budget: 1000,
        period: 1000,
        priority: 10,
        domain: 1,
        id: 0,
        space: 2,
    };
    let large = RW | Mapping::EXECUTE | Mapping::LARGE;
    let mut system = System {
        header: Header::new(Header::DEBUG, BASE + 0x10_0000, 0..0, no_tables()),
        domains: vec![domain("parent", 200, 0), vmm],
        vcpus: vec![vcpu],
        spaces: vec![
            Space { first: 0, count: 2 },
            Space { first: 2, count: 2 },
            Space { first: 4, count: 2 },
        ],
        mappings: vec![
            mapping(0x20_0000, BASE + 0x1_0000, 0x1000, RX),
            mapping(IPC_BUFFER, 0x7800_0000, 0x1000, RW),
            mapping(0x20_0000, BASE + 0x1_0000, 0x1000, RX),
            mapping(IPC_BUFFER, 0x7800_1000, 0x1000, RW),
            mapping(
                0x801_0000,
                0x804_0000,
                0x1000,
                Mapping::READ | Mapping::WRITE,
            ),
            mapping(0x4000_0000, 0x4000_0000, 0x20_0000, large),
        ],
        clears: vec![Clear {
            paddr: 0x7800_0000,
            bytes: 0x2000,
        }],
        interrupts: vec![Interrupt {
            domain: 0,
            channel: 5,
            number: 33,
            trigger: Interrupt::LEVEL,
        }],
        channels: vec![Channel {
            ends: [
                end(0, 1, End::NOTIFY),
                end(1, 2, End::NOTIFY | End::PROTECTED),
            ],
        }],
        user_caps: vec![UserCap {
            domain: 1,
            slot: 7,
            kind: UserCap::VSPACE,
            target: 0,
        }],
    };
    let free = 0x7900_0000..0x7900_0000 + table_bytes(3, &system.mappings);
    system.header = Header::new(Header::DEBUG, BASE + 0x10_0000, free, no_tables());
    system
}

fn no_tables() -> Tables {
    Tables::new_zeroed()
}

impl System {
    fn bytes(&self) -> Vec<u8> {
        let count = |length: usize| u32::try_from(length).unwrap();
        let tables = Tables {
            domains: count(self.domains.len()),
            vcpus: count(self.vcpus.len()),
            spaces: count(self.spaces.len()),
            mappings: count(self.mappings.len()),
            clears: count(self.clears.len()),
            interrupts: count(self.interrupts.len()),
            channels: count(self.channels.len()),
            user_caps: count(self.user_caps.len()),
        };
        let header = Header {
            tables,
            description_bytes: tables.description_bytes(),
            ..self.header
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(self.domains.as_bytes());
        bytes.extend(self.vcpus.as_bytes());
        bytes.extend(self.spaces.as_bytes());
        bytes.extend(self.mappings.as_bytes());
        bytes.extend(self.clears.as_bytes());
        bytes.extend(self.interrupts.as_bytes());
        bytes.extend(self.channels.as_bytes());
        bytes.extend(self.user_caps.as_bytes());
        assert_eq!(bytes.len() as u64, tables.description_bytes());
        bytes
    }

    /// Checks a copy of the tables in memory that is aligned as the kernel's is.
    fn check(&self) -> Result<(), Refused> {
        let bytes = self.bytes();
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
        Description::parse(words.as_bytes(), KERNEL_END)?.check()
    }
}

/// Asserts that the right system is accepted, and refused in `table` after `change`, with these words.
#[track_caller]
fn refused(table: &str, words: &str, change: impl FnOnce(&mut System)) {
    let mut broken = system();
    assert_eq!(broken.check(), Ok(()));
    change(&mut broken);
    let refused = broken.check().expect_err("the system is broken");
    assert_eq!(refused.table, table, "{refused}");
    assert!(refused.to_string().contains(words), "{refused}");
}

#[test]
fn a_header_must_be_ours_and_complete() {
    refused("header", "magic", |s| s.header.magic[0] = b'S');
    refused("header", "version", |s| s.header.version = 2);
    refused("header", "unknown flags", |s| s.header.flags = 2);
    refused("header", "image_end", |s| {
        s.header.image_end = RAM_END + PAGE
    });
    refused("header", "image_end", |s| s.header.image_end = BASE);
    refused("header", "overlaps the image", |s| {
        s.header.tables_start = BASE;
    });
    refused("header", "too small", |s| s.header.tables_end -= PAGE);
    let bytes = system().bytes();
    let short = Description::parse(&bytes[..bytes.len() - 8], KERNEL_END);
    assert_eq!(short.unwrap_err().table, "user_caps");
}

#[test]
fn mappings_must_be_sorted_aligned_and_somebody_elses() {
    refused("mappings", "vaddr lies before", |s| {
        s.mappings[1].vaddr = 0x20_0000;
    });
    refused("mappings", "vaddr is not aligned", |s| {
        s.mappings[5].vaddr += PAGE
    });
    refused("mappings", "paddr is not aligned", |s| {
        s.mappings[5].paddr += PAGE
    });
    refused("mappings", "multiple", |s| s.mappings[0].bytes = 0);
    refused("mappings", "40 bits", |s| s.mappings[5].vaddr = GUEST_TOP);
    refused("mappings", "neither RAM nor", |s| {
        s.mappings[5].paddr = RAM_END
    });
    refused("mappings", "neither RAM nor", |s| {
        s.mappings[0].paddr = u64::MAX - 0xfff;
    });
    refused("mappings", "interrupt controller", |s| {
        s.mappings[4].paddr = GIC_START;
    });
    refused("mappings", "interrupt controller", |s| {
        s.mappings[4].paddr = GICR_END - PAGE;
    });
    refused("mappings", "kernel's", |s| s.mappings[0].paddr = KERNEL_END);
    refused("mappings", "kernel's", |s| {
        s.mappings[0].paddr = 0x7900_0000
    });
    refused("mappings", "for guests", |s| s.mappings[0].paddr = GIC_END);
    refused("mappings", "not readable", |s| {
        s.mappings[0].flags = Mapping::WRITE;
    });
    refused("mappings", "no space", |s| s.spaces[2].count = 1);
    refused("spaces", "follow", |s| s.spaces[2].first = 3);
    refused("spaces", "more mappings", |s| s.spaces[2].count = u32::MAX);
    refused("spaces", "expected one domain", |s| s.vcpus[0].space = 1);
}

#[test]
fn clears_must_spare_the_image() {
    refused("clears", "holds the image", |s| {
        s.clears[0].paddr = BASE + 0x1_0000;
    });
    refused("clears", "holds the image", |s| {
        s.clears[0].paddr = 0x7900_0000
    });
    refused("clears", "not RAM", |s| s.clears[0].paddr = 0x900_0000);
    refused("clears", "whole pages", |s| s.clears[0].bytes = 8);
}

#[test]
fn domains_must_be_able_to_run() {
    refused("domains", "1 to 63", |s| s.domains.clear());
    refused("domains", "name", |s| s.domains[0].name[1] = b'\n');
    refused("domains", "priority", |s| s.domains[0].priority = 255);
    refused("domains", "budget", |s| s.domains[0].budget = 0);
    refused("domains", "period", |s| s.domains[0].period = 999);
    refused("domains", "hour", |s| s.domains[0].period = u64::MAX);
    refused("domains", "entry", |s| s.domains[0].entry = 0x20_1000);
    refused("domains", "IPC buffer", |s| {
        s.mappings[1].flags = Mapping::READ
    });
    refused("domains", "IPC buffer", |s| {
        s.mappings[1].paddr = 0x900_0000
    });
    refused("domains", "parent", |s| s.domains[0].parent = 1);
    refused("domains", "child id", |s| s.domains[1].child = 62);
    refused("vcpus", "taken", |s| {
        s.domains[1].child = 0;
        s.vcpus[0].domain = 0;
    });
    refused("vcpus", "priority", |s| s.vcpus[0].priority = 300);
    refused("vcpus", "space", |s| s.vcpus[0].space = 9);
}

#[test]
fn interrupts_channels_and_capabilities_must_be_unique_and_allowed() {
    refused("interrupts", "expected a shared", |s| {
        s.interrupts[0].number = 27
    });
    refused("interrupts", "expected a shared", |s| {
        s.interrupts[0].number = 1020;
    });
    refused("interrupts", "two channels", |s| {
        let twice = Interrupt {
            channel: 6,
            ..s.interrupts[0]
        };
        s.interrupts.push(twice);
    });
    refused("interrupts", "trigger", |s| s.interrupts[0].trigger = 2);
    refused("channels", "taken", |s| s.channels[0].ends[0].id = 5);
    refused("channels", "no such domain", |s| {
        s.channels[0].ends[0].domain = 2;
    });
    refused("channels", "same domain", |s| {
        s.channels[0].ends = [end(1, 1, 0), end(1, 2, 0)]
    });
    refused("channels", "higher priority", |s| {
        s.channels[0].ends[0].flags = End::PROTECTED;
    });
    refused("user_caps", "slot", |s| s.user_caps[0].slot = 0);
    refused("user_caps", "slot", |s| s.user_caps[0].slot = 64);
    refused("user_caps", "target", |s| s.user_caps[0].target = 2);
    refused("user_caps", "kind", |s| s.user_caps[0].kind = 3);
}

#[test]
fn who_receives_on_an_endpoint() {
    let bytes = system().bytes();
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
    let description = Description::parse(words.as_bytes(), KERNEL_END).unwrap();
    assert!(description.has_endpoint(0), "a parent and a server");
    assert!(description.has_endpoint(1), "a VMM");
    assert!(!description.has_endpoint(2));
}

#[test]
fn table_bytes_count_every_level() {
    let small = mapping(0x1f_f000, 0, 0x2000, RW);
    assert_eq!(
        table_bytes(1, &[small]),
        6 * PAGE + 3 * PAGE,
        "two level 3, one level 2"
    );
    let large = mapping(0x3fe0_0000, 0, 0x40_0000, RW | Mapping::LARGE);
    assert_eq!(table_bytes(0, &[large]), 3 * PAGE + 2 * PAGE);
}
