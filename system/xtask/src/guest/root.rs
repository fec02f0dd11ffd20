//! The root disk: Debian's packages, a small init of our own, and an ext4 file system made without mounting anything.

use crate::{apt, process};
use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Size of the disk; the file is sparse.
const SIZE: &str = "2G";
/// Far longer than making the file system takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Files of our own: path, permissions, contents.
pub(super) const FILES: &[(&str, u32, &str)] = &[
    (
        "usr/sbin/init",
        0o755,
        include_str!("../../guest/root/init"),
    ),
    (
        "usr/sbin/network-up",
        0o755,
        include_str!("../../guest/root/network-up"),
    ),
    (
        "etc/udhcpc.script",
        0o755,
        include_str!("../../guest/root/udhcpc.script"),
    ),
    (
        "etc/profile",
        0o644,
        include_str!("../../guest/root/profile"),
    ),
    (
        "etc/inputrc",
        0o644,
        include_str!("../../guest/root/inputrc"),
    ),
    ("etc/hostname", 0o644, "linux\n"),
    (
        "etc/hosts",
        0o644,
        "127.0.0.1 localhost linux\n::1 localhost\n",
    ),
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n",
    ),
    ("etc/shadow", 0o600, "root::19000:0:99999:7:::\n"),
    ("etc/fstab", 0o644, include_str!("../../guest/root/fstab")),
    (
        "etc/motd",
        0o644,
        "\nA Debian guest: fio, iperf3, ip, ping, socat and more are there. `poweroff` ends it, `reboot` starts it again.\n\n",
    ),
];

/// Links of our own: path, target.
pub(super) const LINKS: &[(&str, &str)] = &[
    ("etc/mtab", "../proc/self/mounts"),
    ("etc/resolv.conf", "../run/resolv.conf"),
    ("usr/bin/awk", "mawk"),
    ("usr/bin/sh", "dash"),
    ("usr/sbin/halt", "../bin/busybox"),
    ("usr/sbin/poweroff", "../bin/busybox"),
    ("usr/sbin/reboot", "../bin/busybox"),
    ("usr/bin/clear", "busybox"),
    ("usr/bin/gunzip", "busybox"),
    ("usr/bin/gzip", "busybox"),
    ("usr/bin/hostname", "busybox"),
    ("usr/bin/less", "busybox"),
    ("usr/bin/nc", "busybox"),
    ("usr/bin/tar", "busybox"),
    ("usr/bin/vi", "busybox"),
    ("usr/bin/wget", "busybox"),
    ("usr/bin/which", "busybox"),
    ("usr/bin/zcat", "busybox"),
];

/// Folders that Debian's packages make only in scripts, which do not run here.
const FOLDERS: &[&str] = &[
    "dev", "proc", "sys", "run", "tmp", "root", "mnt", "var/tmp", "var/log",
];

/// What nobody reads in this guest.
const UNUSED: &[&str] = &[
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// Makes the unpacked packages in `root` a system that boots: our files, links and folders.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn complete(root: &Path) -> Result<()> {
    for name in UNUSED {
        let path = root.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
    }
    for name in FOLDERS {
        std::fs::create_dir_all(root.join(name))?;
    }
    for name in ["tmp", "var/tmp"] {
        permit(&root.join(name), 0o1777)?;
    }
    for (name, permissions, contents) in FILES {
        write(root, name, *permissions, contents)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    write(root, "etc/made", 0o644, &format!("{now}\n"))?;
    for (name, target) in LINKS {
        let path = root.join(name);
        if path.symlink_metadata().is_err() {
            symlink(target, &path).with_context(|| format!("cannot link {}", path.display()))?;
        }
    }
    // No script made ld.so's cache; it finds the standard folders without one.
    Ok(())
}

/// Makes the file `disk` with an ext4 file system of what is in `root`, owned by root.
///
/// # Errors
/// When mke2fs fails.
pub(super) fn make_disk(root: &Path, disk: &Path) -> Result<()> {
    apt::ensure(&[apt::MKE2FS])?;
    let program = process::find("mke2fs").context("mke2fs is gone")?;
    let mut command = if apt::is_root() {
        Command::new(program)
    } else {
        // In a user namespace of its own, the files of the user that unpacked them are root's.
        let mut command = Command::new("unshare");
        command.arg("--map-root-user").arg(program);
        command
    };
    command
        .args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "0"])
        // Nothing is left for the guest's kernel to initialise in the background.
        .args([
            "-E",
            "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0",
        ])
        .arg("-d")
        .arg(root)
        .arg(disk)
        .arg(SIZE);
    match process::run(&mut command, LIMIT) {
        Ok(_) => Ok(()),
        Err(error) if apt::is_root() => Err(error),
        Err(error) => bail!(
            "{error}\nthe files are to belong to root; without being root, that takes user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
        ),
    }
}

fn write(root: &Path, name: &str, permissions: u32, contents: &str) -> Result<()> {
    let path = root.join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Never through a link that a package brought.
    if path.symlink_metadata().is_ok() {
        std::fs::remove_file(&path)?;
    }
    std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    permit(&path, permissions)
}

fn permit(path: &Path, permissions: u32) -> Result<()> {
    let permissions = std::fs::Permissions::from_mode(permissions);
    std::fs::set_permissions(path, permissions)
        .with_context(|| format!("cannot set the permissions of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_files_replace_links_and_do_not_follow_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.join("usr/share/doc/x")).unwrap();
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "untouched").unwrap();
        symlink(&outside, root.join("etc/hostname")).unwrap();
        complete(&root).unwrap();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
        assert_eq!(
            std::fs::read_to_string(root.join("etc/hostname")).unwrap(),
            "linux\n"
        );
        assert!(!root.join("usr/share/doc").exists());
        let init = std::fs::metadata(root.join("usr/sbin/init")).unwrap();
        assert_eq!(init.permissions().mode() & 0o7777, 0o755);
        // A second time changes nothing.
        complete(&root).unwrap();
    }
}
