//! The Debian guest: kernel, initial RAM disk and root disk, made from packages and kept in the cache.
//!
//! The result depends on the packages' versions and on the scripts in this crate; a hash of both names its folder
//! in `build/cache`, so that it is made again exactly when one of them changes. Versions stay as they are until a
//! refresh is asked for. The pristine root disk is never booted: each system gets a copy, which then belongs to
//! the user ([`disk`]).

pub mod disk;
mod initramfs;
mod kernel;
mod modules;
mod packages;
mod root;
mod unpack;

use crate::apt;
use crate::progress::{Step, say};
use crate::repo::{Lock, Repo, make_folder};
use anyhow::{Context as _, Result};
use packages::{Archive, Packages};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Changed by hand when the way of assembling changes.
const FORMAT: &str = "1";

/// The assembled guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debian {
    /// A plain arm64 `Image`.
    pub kernel: PathBuf,
    /// The initial RAM disk, a cpio archive.
    pub initrd: PathBuf,
    /// The pristine root disk, a raw ext4 image.
    pub root: PathBuf,
    /// What the three were made from.
    pub key: String,
}

impl Debian {
    fn in_folder(folder: &Path, key: String) -> Self {
        Self {
            kernel: folder.join("Image"),
            initrd: folder.join("initramfs.cpio"),
            root: folder.join("root.ext4"),
            key,
        }
    }
}

/// The guest, assembled if it is not there; `refresh` asks Debian's archive for newer packages.
///
/// # Errors
/// When packages cannot be had, or something they should contain is missing.
pub fn debian(repo: &Repo, refresh: bool) -> Result<Debian> {
    let cache = repo.cache()?;
    let _lock = Lock::wait(&cache)?;
    let packages = Archive::open(&cache)?.packages(refresh)?;
    let key = key(&packages);
    let guests = make_folder(cache.join("guest"))?;
    let folder = guests.join(&key);
    let guest = Debian::in_folder(&folder, key);
    if folder.is_dir() {
        return Ok(guest);
    }
    apt::ensure(&[apt::MKE2FS, apt::DEPMOD])?;
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(&guests)?;
    assemble(&packages, partial.path())
        .context("cannot assemble the Debian guest from its packages")?;
    remove_others(&guests, partial.path())?;
    std::fs::rename(partial.keep(), &folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(guest)
}

fn assemble(packages: &Packages, out: &Path) -> Result<()> {
    let files = Debian::in_folder(out, String::new());
    let root = make_folder(out.join("root"))?;
    std::fs::set_permissions(out, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut all = packages.root.clone();
    all.push(packages.kernel.clone());
    {
        let step = Step::new("unpacking the guest's packages");
        unpack::packages(&all, &root, &step)?;
    }
    let step = Step::new("making the guest's kernel, initial RAM disk and root disk");
    let (version, path) = kernel_in(&root)?;
    let image = kernel::read(&path)?;
    std::fs::write(&files.kernel, image)?;
    // The kernel comes from outside the disk.
    std::fs::remove_dir_all(root.join("boot"))?;
    step.detail("modules");
    crate::process::run(
        Command::new(crate::process::find("depmod").context("depmod is gone")?)
            .arg("-b")
            .arg(&root)
            .arg(&version),
        Duration::from_secs(120),
    )?;
    std::fs::write(&files.initrd, initramfs::build(&root, &version)?)?;
    step.detail("file system");
    root::complete(&root)?;
    root::make_disk(&root, &files.root)?;
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

/// The version and the file of the kernel in an unpacked package.
fn kernel_in(root: &Path) -> Result<(String, PathBuf)> {
    let boot = root.join("boot");
    let entries = std::fs::read_dir(&boot)
        .with_context(|| format!("the kernel package has no folder {}", boot.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(version) = name.strip_prefix("vmlinuz-") {
            return Ok((version.to_owned(), boot.join(&name)));
        }
    }
    anyhow::bail!("the kernel package has no /boot/vmlinuz-*");
}

/// What the guest depends on, as a short name.
fn key(packages: &Packages) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(FORMAT);
    for name in packages.names() {
        add(&name);
    }
    add(initramfs::INIT);
    for (path, permissions, contents) in root::FILES {
        add(path);
        add(&permissions.to_string());
        add(contents);
    }
    for (path, target) in root::LINKS {
        add(path);
        add(target);
    }
    let mut key = String::new();
    for byte in hash.finalize().iter().take(8) {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// Removes guests of other versions, and what an interrupted run left.
fn remove_others(guests: &Path, keep: &Path) -> Result<()> {
    for entry in std::fs::read_dir(guests)? {
        let path = entry?.path();
        if path != keep {
            std::fs::remove_dir_all(&path)?;
        }
    }
    say("the Debian guest was assembled; later runs take it from build/cache");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> Packages {
        Packages {
            kernel: "/cache/linux_1.deb".into(),
            root: names
                .iter()
                .map(|name| Path::new("/cache").join(name))
                .collect(),
        }
    }

    #[test]
    fn the_key_depends_on_versions_and_not_on_order() {
        let one = key(&packages(&["bash_1.deb", "fio_1.deb"]));
        assert_eq!(one, key(&packages(&["fio_1.deb", "bash_1.deb"])));
        assert_ne!(one, key(&packages(&["bash_1.deb", "fio_2.deb"])));
        assert_eq!(one.len(), 16);
    }

    #[test]
    fn the_kernel_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(kernel_in(folder.path()).is_err());
        std::fs::create_dir(folder.path().join("boot")).unwrap();
        std::fs::write(folder.path().join("boot/config-6.1"), "").unwrap();
        std::fs::write(folder.path().join("boot/vmlinuz-6.1.0-56-cloud-arm64"), "").unwrap();
        assert_eq!(kernel_in(folder.path()).unwrap().0, "6.1.0-56-cloud-arm64");
    }
}
