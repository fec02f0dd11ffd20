//! The repository keeps its own rules: those of `cargo xtask check` that take no compiler.

use xtask::check::{dependencies, tidy};
use xtask::repo::Repo;
use xtask::toolchain::Metadata;

#[test]
fn every_file_is_tidy() {
    let repo = Repo::find().unwrap();
    let metadata = Metadata::load(&repo).unwrap();
    let wrong = tidy::check(repo.root(), &metadata).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn knowledge_flows_down() {
    let repo = Repo::find().unwrap();
    let metadata = Metadata::load(&repo).unwrap();
    let wrong = dependencies::check(&metadata);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
