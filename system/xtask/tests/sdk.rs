//! The SDK's own tool takes what is generated. Run with `MICROKIT_SDK=FOLDER cargo test -p xtask --test sdk -- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]

mod support;

use sel4cp_abi::label::Labels;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{image, programs};
use tempfile::TempDir;
use xtask::system::{GuestFiles, KernelKind, System, Target, generate};

#[test]
#[ignore = "needs the Microkit SDK, named by MICROKIT_SDK: `cargo xtask test --kernel sel4` runs it"]
fn the_sdk_takes_what_is_generated_for_each_of_its_boards() {
    let sdk = PathBuf::from(std::env::var_os("MICROKIT_SDK").unwrap());
    let boards = std::fs::read_dir(sdk.join("board")).unwrap();
    let boards: Vec<String> = boards
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(boards.len() >= 5, "{boards:?}");
    for (file, board) in boards
        .iter()
        .flat_map(|board| [("linux.toml", board), ("two.toml", board)])
    {
        let toml = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("Image"), image(0x1_0000, 0x12_3456)).unwrap();
        std::fs::write(path("initrd"), [1; 0x2345]).unwrap();
        std::fs::write(path("root"), [0; 0x400]).unwrap();
        programs(folder.path());
        let system = System::load_on(&toml, Some(board)).unwrap_or_else(|error| panic!("{error}"));
        let guest = GuestFiles {
            kernel: path("Image"),
            initrd: Some(path("initrd")),
            root: Some(path("root")),
        };
        let files = vec![guest; system.guests().len()];
        for (configuration, labels) in [("debug", Labels::DEBUG), ("release", Labels::RELEASE)] {
            let target = Target {
                labels,
                debug_put_char: configuration == "debug",
                kernel_kind: KernelKind::Sel4,
            };
            let generated = generate(&system, &files, &target, &path("out")).unwrap();
            let output = Command::new(sdk.join("bin/microkit"))
                .arg(&generated.sdf)
                .args([
                    "--board",
                    system.board(),
                    "--config",
                    configuration,
                    "--search-path",
                ])
                .arg(folder.path())
                .args(&generated.search_paths)
                .arg("-o")
                .arg(path("loader.img"))
                .arg("-r")
                .arg(path("report.txt"))
                .env("MICROKIT_SDK", &sdk)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{file}, {board}, {configuration}: {text}"
            );
        }
    }
}
