//! One bad system file for each message: `mistakes/*.toml`, whose first lines say what the tool must say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

use std::path::Path;
use xtask::system::System;

/// Marks a line of the expected output.
const MARK: &str = "#> ";

#[test]
fn each_mistake_has_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix(MARK))
            .collect();
        assert!(
            !expected.is_empty(),
            "{}: no line starts with {MARK}",
            path.display()
        );
        let found = match System::load(&path) {
            Ok(_) => "no mistake".to_owned(),
            // Paths start with the folder, which is another one on each machine.
            Err(error) => error
                .to_string()
                .replace(&format!("{}/", folder.display()), ""),
        };
        let expected = expected.join("\n");
        if found != expected {
            wrong.push(format!("found    {found}\nexpected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 60, "found {count} bad files");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = System::load(Path::new("nowhere.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read nowhere.toml: "), "{error}");
}
