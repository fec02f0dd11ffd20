//! A generated `.system` file, and its mappings and channels held against configurations.

use roxmltree::{Document, Node};
use sel4cp_abi::config::{Header, Region, Ring};
use sel4cp_abi::label::Labels;
use std::collections::BTreeMap;

/// The PDs of a system file, and what they map where: address to region and attributes.
pub struct Sdf<'a> {
    pub regions: BTreeMap<&'a str, Node<'a, 'a>>,
    pub domains: BTreeMap<&'a str, Node<'a, 'a>>,
    /// Other end of each channel's end.
    pub channels: BTreeMap<(&'a str, u32), (&'a str, u32)>,
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

impl<'a> Sdf<'a> {
    pub fn new(document: &'a Document<'a>) -> Self {
        let root = document.root_element();
        let named = |tag: &'static str| {
            root.descendants()
                .filter(move |node| node.has_tag_name(tag))
                .map(|node| (node.attribute("name").unwrap(), node))
                .collect::<BTreeMap<_, _>>()
        };
        let mut channels = BTreeMap::new();
        for channel in root.children().filter(|node| node.has_tag_name("channel")) {
            let ends: Vec<(&str, u32)> = channel
                .children()
                .filter(Node::is_element)
                .map(|end| {
                    (
                        end.attribute("pd").unwrap(),
                        end.attribute("id").unwrap().parse().unwrap(),
                    )
                })
                .collect();
            channels.insert(ends[0], ends[1]);
            channels.insert(ends[1], ends[0]);
        }
        Self {
            regions: named("memory_region"),
            domains: named("protection_domain"),
            channels,
        }
    }

    /// The mapping at `vaddr` in `pd`.
    pub fn map(&self, pd: &str, vaddr: u64) -> Node<'a, 'a> {
        let found = self.domains[pd].children().find(|map| {
            map.has_tag_name("map") && number(map.attribute("vaddr").unwrap()) == vaddr
        });
        found.unwrap_or_else(|| panic!("{pd} maps nothing at {vaddr:#x}"))
    }

    pub fn region_of(&self, map: Node<'a, 'a>) -> Node<'a, 'a> {
        self.regions[map.attribute("mr").unwrap()]
    }

    /// Holds `region` of `pd` against the mapping: how it is mapped, and its physical address.
    pub fn check(&self, pd: &str, region: &Region, perms: &str, cached: bool) -> Option<u64> {
        let map = self.map(pd, region.vaddr);
        assert_eq!(map.attribute("perms"), Some(perms), "{pd} {region:x?}");
        assert_eq!(
            map.attribute("cached"),
            Some(if cached { "true" } else { "false" }),
            "{pd} {region:x?}"
        );
        let memory = self.region_of(map);
        match memory.attribute("prefill_path") {
            Some(path) => assert_eq!(std::fs::metadata(path).unwrap().len(), region.size, "{pd}"),
            None => assert_eq!(
                number(memory.attribute("size").unwrap()),
                region.size,
                "{pd}"
            ),
        }
        memory.attribute("phys_addr").map(number)
    }

    /// Holds a ring against the mappings and the channel: both ends map the same region. Returns the other end.
    pub fn ring(&self, pd: &'a str, ring: &Ring) -> (&'a str, u32) {
        let other = self.channels[&(pd, ring.channel)];
        assert_eq!(self.check(pd, &ring.region, "rw", true), None);
        let region = self.map(pd, ring.region.vaddr).attribute("mr");
        let mut maps = self.domains[other.0].children();
        assert!(
            maps.any(|map| map.attribute("mr") == region),
            "{pd} and {} share {region:?}",
            other.0
        );
        other
    }

    /// Holds a header against what was asked for; every PD but the serial driver has a log towards it.
    pub fn header(&self, pd: &'a str, header: &Header) {
        assert_eq!(header.labels, Labels::RELEASE);
        assert!(header.has_debug_put_char());
        assert_eq!(self.ring(pd, &header.log).0, "serial");
        let config = self.domains[pd]
            .children()
            .filter(|map| map.attribute("setvar_vaddr") == Some("sel4cp_config"));
        assert_eq!(config.count(), 1);
    }
}
