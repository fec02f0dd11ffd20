//! The initial RAM disk: busybox, the virtIO modules, and a script that hands over to the root disk.

use super::modules::Modules;
use super::unpack::read_module;
use anyhow::{Context as _, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::fmt::Write as _;
use std::path::Path;

/// The script that the kernel starts.
pub(super) const INIT: &str = include_str!("../../guest/initramfs/init");

/// What the script loads; the kernel's own lists say what these need.
const MODULES: &[&str] = &[
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "vmw_vsock_virtio_transport",
];

/// busybox's applets that the script uses.
const APPLETS: &[&str] = &[
    "cat",
    "cttyhack",
    "dmesg",
    "ls",
    "modprobe",
    "mount",
    "poweroff",
    "ps",
    "reboot",
    "setsid",
    "sh",
    "sleep",
    "switch_root",
    "test",
];

const EXECUTABLE: u32 = 0o755;

/// Builds the archive from the unpacked root folder `root`, whose kernel modules are of `version`.
///
/// # Errors
/// When the kernel lacks a module, or a file cannot be read.
pub(super) fn build(root: &Path, version: &str) -> Result<Vec<u8>> {
    let folder = root.join("usr/lib/modules").join(version);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let modules = Modules::parse(&read("modules.dep")?, &read("modules.builtin")?);
    let busybox = root.join("usr/bin/busybox");
    let busybox =
        std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;

    let mut archive = Archive::default();
    for name in [
        "bin",
        "dev",
        "proc",
        "sys",
        "root",
        "run",
        "tmp",
        "lib",
        "lib/modules",
    ] {
        archive.folder(name)?;
    }
    let base = format!("lib/modules/{version}");
    archive.folder(&base)?;
    archive.device("dev/null", 1, 3)?;
    archive.file("init", EXECUTABLE, INIT.as_bytes())?;
    archive.file("bin/busybox", EXECUTABLE, &busybox)?;
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    // The kernel's folders are flattened: a module's name is enough.
    let mut list = String::new();
    for path in modules.closure(MODULES)? {
        let contents = read_module(&folder.join(&path))?;
        archive.file(&format!("{base}/{}", flat(&path)), 0o644, &contents)?;
        let needs: Vec<String> = modules.needs(&path).iter().map(|need| flat(need)).collect();
        let _ = writeln!(list, "{}: {}", flat(&path), needs.join(" "));
    }
    archive.file(&format!("{base}/modules.dep"), 0o644, list.as_bytes())?;
    archive.finish()
}

/// A module's file name in the archive: unpacked and without folders.
fn flat(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    format!("{stem}.ko")
}

/// An archive in the format that the kernel unpacks.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) -> Result<()> {
        self.add(
            Builder::new(name).nlink(2),
            ModeFileType::Directory,
            EXECUTABLE,
            &[],
        )
    }

    fn file(&mut self, name: &str, permissions: u32, contents: &[u8]) -> Result<()> {
        self.add(
            Builder::new(name),
            ModeFileType::Regular,
            permissions,
            contents,
        )
    }

    fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.add(
            Builder::new(name),
            ModeFileType::Symlink,
            0o777,
            to.as_bytes(),
        )
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        let builder = Builder::new(name).rdev_major(major).rdev_minor(minor);
        self.add(builder, ModeFileType::Char, 0o666, &[])
    }

    fn add(
        &mut self,
        builder: Builder,
        kind: ModeFileType,
        permissions: u32,
        contents: &[u8],
    ) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(contents.len()).context("a file of more than 4 GiB")?;
        let mut writer = builder
            .ino(self.inode)
            .mode(permissions)
            .set_mode_file_type(kind)
            .write(&mut self.bytes, size);
        std::io::Write::write_all(&mut writer, contents)?;
        writer.finish()?;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        trailer(&mut self.bytes)?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_can_be_read_back() {
        let mut archive = Archive::default();
        archive.folder("dev").unwrap();
        archive.device("dev/null", 1, 3).unwrap();
        archive.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        archive.link("bin", "usr/bin").unwrap();
        let bytes = archive.finish().unwrap();
        let mut found = Vec::new();
        let mut rest = std::io::Cursor::new(bytes);
        loop {
            let entry = cpio::newc::Reader::new(rest).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            found.push((entry.entry().name().to_owned(), entry.entry().mode()));
            rest = entry.finish().unwrap();
        }
        let expected = [
            ("dev", 0o040_755),
            ("dev/null", 0o020_666),
            ("init", 0o100_755),
            ("bin", 0o120_777),
        ];
        assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn modules_lose_folder_and_packing() {
        assert_eq!(
            flat("kernel/drivers/block/virtio_blk.ko.xz"),
            "virtio_blk.ko"
        );
    }

    #[test]
    fn the_script_uses_only_applets_that_are_there() {
        for applet in [
            "mount",
            "modprobe",
            "sleep",
            "setsid",
            "cttyhack",
            "switch_root",
        ] {
            assert!(
                INIT.contains(applet) && APPLETS.contains(&applet),
                "{applet}"
            );
        }
    }
}
