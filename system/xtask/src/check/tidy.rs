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
        wrong.extend(licence(package));
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
    for (index, line) in text.lines().enumerate() {
        if line.contains('\t') {
            wrong.push(format!("{name}:{}: a tab; expected spaces", index + 1));
        }
        if line.ends_with(' ') {
            wrong.push(format!("{name}:{}: ends with a space", index + 1));
        }
    }
    wrong
}

fn licence(package: &Package) -> Option<String> {
    (package.license.as_deref() != Some(LICENCE)).then(|| {
        format!(
            "{}: licence {:?}; expected `license.workspace = true`, which is {LICENCE}",
            package.manifest_path.display(),
            package.license.as_deref().unwrap_or("none")
        )
    })
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
        assert_eq!(licence(&package), None);
        package.license = None;
        assert!(licence(&package).is_some());
    }
}
