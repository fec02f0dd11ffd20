//! What every file of the repository must keep to.

use crate::toolchain::{Metadata, Package};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The longest that a source file may be: after that, it has more than one subject.
const MOST_LINES: usize = 500;
/// The licence of every crate.
const LICENCE: &str = "MIT OR Apache-2.0";
/// Crates with a budget for unsafe code; in all others each crate forbids it.
const UNSAFE: &[&str] = &[
    "sel4cp-memory",
    "sel4cp-ring",
    "sel4cp-pd",
    "sel4cp-kernel",
    "sel4cp-drivers",
];
/// What a crate without a budget says.
const FORBID: &str = "#![forbid(unsafe_code)]";
/// Where the budgets are spent: starts of paths. Of the drivers it is MMIO and DMA, and a test of the serial driver
/// that plays a client with other ideas about shared memory.
const UNSAFE_FILES: &[&str] = &[
    "virtio/memory/",
    "virtio/ring/",
    "system/pd/",
    "system/kernel/",
    "drivers/src/virtio/",
    "drivers/src/timer/registers.rs",
    "drivers/src/serial/tests.rs",
    "drivers/src/serial/uart.rs",
];
/// What follows the word `unsafe` where code is unsafe.
const AFTER_UNSAFE: &[&str] = &["{", "fn ", "impl", "trait ", "extern ", "("];
/// Folders that hold no sources of ours.
const SKIPPED: &[&str] = &["target", "build"];

/// Every violation in the checkout at `root`.
///
/// # Errors
/// When it cannot be read.
pub fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for path in sources(root)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        wrong.extend(file(&shown, &text));
    }
    for package in &metadata.packages {
        wrong.extend(manifest(package));
        wrong.extend(forbids(root, package)?);
    }
    Ok(wrong)
}

/// What is wrong with one source file.
fn file(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let first = text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        wrong.push(format!("{name}: does not open with `//!` and what it is"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        wrong.push(format!(
            "{name}: {lines} lines; expected at most {MOST_LINES}: split it by subject"
        ));
    }
    let budget = UNSAFE_FILES.iter().any(|start| name.starts_with(start));
    for (index, line) in text.lines().enumerate() {
        if line.contains('\t') {
            wrong.push(format!("{name}:{}: a tab; expected spaces", index + 1));
        }
        if line.ends_with(' ') {
            wrong.push(format!("{name}:{}: ends with a space", index + 1));
        }
        if !budget && is_unsafe(line) {
            wrong.push(format!(
                "{name}:{}: unsafe code; it is for {}",
                index + 1,
                UNSAFE_FILES.join(", ")
            ));
        }
    }
    wrong
}

/// Whether a line of code, without its comment, is unsafe.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("unsafe").any(|(at, word)| {
        let (before, rest) = code.split_at(at);
        let rest = rest.trim_start_matches(word).trim_start();
        !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
            && AFTER_UNSAFE.iter().any(|start| rest.starts_with(start))
    })
}

/// What is wrong with a package's `Cargo.toml`.
fn manifest(package: &Package) -> Vec<String> {
    let path = package.manifest_path.display();
    let mut wrong = Vec::new();
    if package.license.as_deref() != Some(LICENCE) {
        let found = package.license.as_deref().unwrap_or("none");
        wrong.push(format!(
            "{path}: licence {found:?}; expected `license.workspace = true`, which is {LICENCE}"
        ));
    }
    if package.description.as_deref().is_none_or(str::is_empty) {
        wrong.push(format!(
            "{path}: no `description`; expected what it is, in a few words"
        ));
    }
    wrong
}

/// The crates of a package without a budget that do not forbid unsafe code.
fn forbids(root: &Path, package: &Package) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if UNSAFE.contains(&package.name.as_str()) {
        return Ok(wrong);
    }
    for target in &package.targets {
        let program = target
            .kind
            .iter()
            .any(|kind| matches!(kind.as_str(), "lib" | "bin"));
        if !program {
            continue;
        }
        let text = std::fs::read_to_string(&target.src_path)
            .with_context(|| format!("cannot read {}", target.src_path.display()))?;
        if !text.lines().any(|line| line.trim() == FORBID) {
            let shown = target
                .src_path
                .strip_prefix(root)
                .unwrap_or(&target.src_path);
            wrong.push(format!(
                "{}: no `{FORBID}`; unsafe code is for {}",
                shown.display(),
                UNSAFE.join(", ")
            ));
        }
    }
    Ok(wrong)
}

/// All Rust files below `folder`, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".rs") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::CrateTarget;

    #[test]
    fn a_file_says_what_it_is_and_is_short() {
        assert!(file("a.rs", "//! What it is.\n\nfn a() {}\n").is_empty());
        assert_eq!(file("a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(file("a.rs", "").len(), 1);
        assert_eq!(
            file("a.rs", &format!("//! A.\n{}", "x\n".repeat(500))).len(),
            1
        );
        assert!(file("a.rs", &format!("//! A.\n{}", "x\n".repeat(499))).is_empty());
        assert_eq!(file("a.rs", "//! A.\n\tx \n").len(), 2);
    }

    #[test]
    fn only_crates_with_a_budget_may_be_unsafe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.rs");
        std::fs::write(&path, "//! A.\n").unwrap();
        let mut package = Package {
            name: "sel4cp-backends".into(),
            description: Some("A crate".into()),
            license: Some(LICENCE.into()),
            manifest_path: "Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: vec![CrateTarget {
                kind: vec!["lib".into()],
                name: "backends".into(),
                src_path: path.clone(),
            }],
        };
        assert_eq!(forbids(folder.path(), &package).unwrap().len(), 1);
        package.name = "sel4cp-ring".into();
        assert!(forbids(folder.path(), &package).unwrap().is_empty());
        package.name = "sel4cp-backends".into();
        std::fs::write(&path, "//! A.\n#![forbid(unsafe_code)]\n").unwrap();
        assert!(forbids(folder.path(), &package).unwrap().is_empty());
    }

    #[test]
    fn unsafe_code_stays_in_its_files() {
        let word = ["un", "safe"].concat();
        for code in ["{ a() }", "fn a() {}", "impl A for B {}", "(no_mangle)]"] {
            let text = format!("//! A.\n    x = {word} {code}\n");
            assert_eq!(file("drivers/src/serial/mux.rs", &text).len(), 1, "{code}");
            assert!(file("drivers/src/virtio/dma.rs", &text).is_empty());
        }
        for fine in ["_code)]", " code is for others"] {
            let text = format!("//! A.\n{word}{fine}\n// {word} {{\n");
            assert!(file("vmm/src/lib.rs", &text).is_empty(), "{fine}");
        }
    }

    #[test]
    fn a_manifest_has_a_description_and_the_licence() {
        let mut package = Package {
            name: "sel4cp-backends".into(),
            description: Some("What it is".into()),
            license: Some(LICENCE.into()),
            manifest_path: "Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: Vec::new(),
        };
        assert!(manifest(&package).is_empty());
        package.description = None;
        assert_eq!(manifest(&package).len(), 1);
        package.license = Some("MIT".into());
        assert_eq!(manifest(&package).len(), 2);
    }
}
