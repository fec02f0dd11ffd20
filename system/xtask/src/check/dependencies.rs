//! Who may depend on whom: knowledge flows down.
//!
//! `vmm`, `backends`, `drivers`, `services` → `virtio/*`, `system/pd` → `system/abi`. `virtio/*` knows neither the Microkit nor MMIO nor an
//! architecture; backends know neither the VMM nor the drivers. Tests may use the fake guest everywhere.

use crate::toolchain::{Metadata, Package};

/// The crates of `virtio/`, which may use each other.
const VIRTIO: &[&str] = &[
    "sel4cp-memory",
    "sel4cp-queue",
    "sel4cp-model",
    "sel4cp-link",
    "sel4cp-ring",
    "sel4cp-testing",
];

/// The crates of the project that each other crate may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sel4cp-abi", &[]),
    ("sel4cp-kernel", &["sel4cp-abi"]),
    (
        "sel4cp-pd",
        &["sel4cp-abi", "sel4cp-ring", "sel4cp-link", "sel4cp-memory"],
    ),
    ("sel4cp-vmm", PROGRAM),
    ("sel4cp-backends", PROGRAM),
    ("sel4cp-drivers", PROGRAM),
    ("sel4cp-services", PROGRAM),
    // The tool computes the sizes of what PDs share.
    (
        "xtask",
        &["sel4cp-abi", "sel4cp-ring", "sel4cp-link", "sel4cp-model"],
    ),
    (
        "sel4cp-bench",
        &[
            "sel4cp-memory",
            "sel4cp-queue",
            "sel4cp-ring",
            "sel4cp-testing",
        ],
    ),
    ("sel4cp-tests", &["xtask", "sel4cp-abi", "sel4cp-model"]),
];

/// What programs of protection domains may use.
const PROGRAM: &[&str] = &[
    "sel4cp-abi",
    "sel4cp-pd",
    "sel4cp-memory",
    "sel4cp-queue",
    "sel4cp-model",
    "sel4cp-link",
    "sel4cp-ring",
];

/// Starts of the names of crates that know the Microkit, MMIO or an architecture: not for `virtio/`.
const HARDWARE: &[&str] = &[
    "aarch64-",
    "arm-",
    "safe-mmio",
    "sel4-",
    "smccc",
    "tock-registers",
    "virtio-drivers",
];

/// For tests only.
const FAKES: &str = "sel4cp-testing";

/// Every dependency that breaks the rules.
pub fn check(metadata: &Metadata) -> Vec<String> {
    metadata.packages.iter().flat_map(of_package).collect()
}

fn of_package(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let virtio = VIRTIO.contains(&name);
    let allowed = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name);
    if !virtio && allowed.is_none() {
        return vec![format!(
            "{name}: no rule says what it may depend on (system/xtask/src/check/dependencies.rs)"
        )];
    }
    let mut wrong = Vec::new();
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        let ours = other == "xtask" || other.starts_with("sel4cp-");
        let fine = if ours {
            let testing = dependency.kind.as_deref() == Some("dev") && other == FAKES;
            let listed = match allowed {
                Some((_, names)) => names.contains(&other),
                None => VIRTIO.contains(&other) && (other != FAKES || name == FAKES),
            };
            testing || listed
        } else {
            !virtio || !HARDWARE.iter().any(|start| other.starts_with(start))
        };
        if !fine {
            wrong.push(format!(
                "{name} depends on {other}: {}",
                reason(virtio, ours)
            ));
        }
    }
    wrong
}

fn reason(virtio: bool, ours: bool) -> &'static str {
    match (virtio, ours) {
        (true, false) => "virtio/* knows neither the Microkit nor MMIO nor an architecture",
        (true, true) => "virtio/* may use only virtio/*, and the fake guest only in tests",
        (false, _) => {
            "knowledge flows down, from vmm, backends and drivers to virtio/* and system/pd to system/abi"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Metadata {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
            })
            .collect();
        Metadata {
            packages: vec![Package {
                name: name.to_owned(),
                description: None,
                license: None,
                manifest_path: "Cargo.toml".into(),
                dependencies,
                targets: Vec::new(),
            }],
        }
    }

    #[test]
    fn knowledge_flows_down_only() {
        let fine = package(
            "sel4cp-backends",
            &[("sel4cp-queue", None), ("heapless", None)],
        );
        assert!(check(&fine).is_empty());
        for other in ["sel4cp-vmm", "sel4cp-drivers", "xtask"] {
            assert_eq!(
                check(&package("sel4cp-backends", &[(other, None)])).len(),
                1,
                "{other}"
            );
        }
    }

    #[test]
    fn virtio_knows_no_hardware() {
        for other in ["sel4cp-pd", "sel4cp-abi", "aarch64-cpu", "virtio-drivers"] {
            assert_eq!(
                check(&package("sel4cp-queue", &[(other, None)])).len(),
                1,
                "{other}"
            );
        }
        assert!(
            check(&package(
                "sel4cp-queue",
                &[("zerocopy", None), ("virtio-bindings", Some("dev"))]
            ))
            .is_empty()
        );
    }

    #[test]
    fn the_fake_guest_is_for_tests() {
        assert!(check(&package("sel4cp-backends", &[(FAKES, Some("dev"))])).is_empty());
        assert_eq!(
            check(&package("sel4cp-backends", &[(FAKES, None)])).len(),
            1
        );
        assert_eq!(check(&package("sel4cp-queue", &[(FAKES, None)])).len(), 1);
    }

    #[test]
    fn a_crate_without_a_rule_is_reported() {
        assert_eq!(check(&package("sel4cp-new", &[])).len(), 1);
    }
}
