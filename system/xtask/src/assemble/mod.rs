//! One system, whole: its programs, its guests' files, what is generated from its description, and its image.

mod kernel;

pub use kernel::Kernel;

use crate::guest::disk::Disk;
use crate::guest::{Debian, debian, disk};
use crate::pack::{self, Configuration};
use crate::progress::{Step, say};
use crate::qemu::bare::Bare;
use crate::qemu::{self, Serial};
use crate::repo::{Lock, Repo, make_folder};
use crate::system::{self, Generated, Guest, GuestFiles, Source, System};
use crate::toolchain::Toolchain;
use anyhow::{Context as _, Result, bail};
use kernel::{Found, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system that is meant when none is named.
pub const DEFAULT: &str = "system/linux.toml";

/// What a build depends on besides the system file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which kernel.
    pub kernel: Kernel,
    /// QEMU's model of the processor, if it is not the kernel's usual one.
    pub cpu: Option<String>,
    /// The board, if it is not the one that the system file names.
    pub board: Option<String>,
    /// What happens to the guests' disks of an earlier run.
    pub disk: Disk,
    /// Whether to look for newer versions of Debian's packages.
    pub refresh: bool,
    /// The folder below `build/` that everything goes to; the system's name if there is none.
    pub folder: Option<String>,
    /// Words that are added to every guest's command line.
    pub append: Option<String>,
    /// Whether network devices whose section does not say it are for bulk.
    pub bulk: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: Kernel::Bundled(Configuration::Release),
            cpu: None,
            board: None,
            disk: Disk::Keep,
            refresh: false,
            folder: None,
            append: None,
            bulk: false,
        }
    }
}

impl Options {
    /// The variable that tells another process about a processor's model.
    pub const CPU: &str = "SEL4CP_CPU";
    /// The same for a board.
    pub const BOARD: &str = "SEL4CP_BOARD";

    /// The kernel, the processor and the board that the environment names.
    pub fn from_environment() -> Self {
        Self {
            kernel: Kernel::from_environment(),
            cpu: std::env::var(Self::CPU).ok(),
            board: std::env::var(Self::BOARD).ok(),
            ..Self::default()
        }
    }

    /// QEMU's model of the processor.
    pub fn cpu(&self) -> &str {
        self.cpu.as_deref().unwrap_or_else(|| self.kernel.cpu())
    }
}

/// A system that is ready to run.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its description.
    pub system: System,
    /// The folder with everything that belongs to it.
    pub folder: PathBuf,
    /// The image.
    pub image: PathBuf,
    /// How many processors the machine has, and which.
    pub processors: u32,
    /// QEMU's name of their model.
    pub cpu: String,
    /// What is in the image and how much memory each PD has, as text.
    pub report: PathBuf,
    /// Its guests' files, in the order of [`System::guests`].
    pub files: Vec<GuestFiles>,
    /// What was generated.
    pub generated: Generated,
}

/// The system file that `name` means: a path, or the name of one in `system/`.
///
/// # Errors
/// Lists the systems that there are.
pub fn find(repo: &Repo, name: Option<&Path>) -> Result<PathBuf> {
    let Some(name) = name else {
        return Ok(repo.path(DEFAULT));
    };
    if name.is_file() {
        return Ok(name.to_owned());
    }
    let ours = repo.path("system").join(name);
    for candidate in [
        ours.clone(),
        ours.with_extension("toml"),
        repo.root().join(name),
    ] {
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(repo.path("system"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    bail!(
        "there is no system file {}; expected a path, or one of {} (in system/)",
        name.display(),
        names.join(", ")
    );
}

/// Builds the system described by `path`.
///
/// # Errors
/// Whatever is wrong with the description, the machine, or the code.
pub fn build(repo: &Repo, path: &Path, options: &Options) -> Result<Built> {
    build_changed(repo, path, options, |_| Ok(()))
}

/// Like [`build`], but before the image is made, `change` gets the folder with the copies of the programs: for tests of
/// what a system does with broken ones.
///
/// # Errors
/// As [`build`], and those of `change`.
pub fn build_changed(
    repo: &Repo,
    path: &Path,
    options: &Options,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<Built> {
    // Mistakes in the description and a kernel that cannot be had are told before anything takes time.
    let system = System::load_on(path, options.board.as_deref())?;
    let kernel = options.kernel.find(&system)?;
    warn(&system);
    let folder = folder(repo, &system, options)?;
    let _lock = Lock::wait(&folder)?;
    let programs = Toolchain::ensure()?.build(repo)?;
    let built = complete(repo, system, folder, options, &kernel)?;
    let folder = make_folder(built.folder.join("programs"))?;
    programs.copy_to(&folder)?;
    change(&folder)?;
    pack(&built, &programs.kernel, folder, &kernel)?;
    Ok(built)
}

/// Makes everything but programs and image: enough for [`Built::bare`].
///
/// # Errors
/// Whatever is wrong with the description or the machine.
pub fn describe(repo: &Repo, path: &Path, options: &Options) -> Result<Built> {
    let system = System::load_on(path, options.board.as_deref())?;
    let kernel = options.kernel.find(&system)?;
    let folder = folder(repo, &system, options)?;
    let _lock = Lock::wait(&folder)?;
    complete(repo, system, folder, options, &kernel)
}

/// Says what `system` goes without.
fn warn(system: &System) {
    for line in system.warnings() {
        say(format!("warning: {line}"));
    }
}

/// The folder of everything that belongs to `system`.
fn folder(repo: &Repo, system: &System, options: &Options) -> Result<PathBuf> {
    repo.build(options.folder.as_deref().unwrap_or(system.name()))
}

/// Assembles the guests' files and generates what follows from the description.
fn complete(
    repo: &Repo,
    mut system: System,
    folder: PathBuf,
    options: &Options,
    kernel: &Found,
) -> Result<Built> {
    system.prefer_bulk(options.bulk);
    if let Some(words) = &options.append {
        system.append(words);
    }
    let files = guest_files(repo, &system, &folder, options)?;
    let generated = system::generate(&system, &files, &target(kernel), &folder)?;
    Ok(Built {
        image: folder.join("loader.img"),
        report: folder.join("report.txt"),
        processors: kernel.cores(),
        cpu: options.cpu().to_owned(),
        system,
        folder,
        files,
        generated,
    })
}

/// Makes the image of the programs in a folder: with the packer and the bundled kernel's ELF file, or with the SDK's own
/// tool.
fn pack(built: &Built, bundled: &Path, programs: PathBuf, kernel: &Found) -> Result<()> {
    let _step = Step::new("packing the image");
    let mut search = built.generated.search_paths.clone();
    search.push(programs);
    let sdf = &built.generated.sdf;
    match kernel {
        Found::Bundled(configuration) => pack::pack(
            sdf,
            &search,
            bundled,
            *configuration,
            &built.image,
            &built.report,
        )?,
        Found::Sel4(sdk) => sdk.build(sdf, &search, &built.image, &built.report)?,
    }
    Ok(())
}

/// The files of all guests. Debian's are assembled only if some guest uses one.
fn guest_files(
    repo: &Repo,
    system: &System,
    folder: &Path,
    options: &Options,
) -> Result<Vec<GuestFiles>> {
    let uses =
        |guest: &Guest| [&guest.kernel, &guest.initrd, &guest.root].contains(&&Source::Debian);
    let debian = match system.guests().iter().any(uses) {
        true => Some(debian(repo, options.refresh)?),
        false => None,
    };
    system
        .guests()
        .iter()
        .map(|guest| files_of(guest, debian.as_ref(), folder, options))
        .collect()
}

fn files_of(
    guest: &Guest,
    debian: Option<&Debian>,
    folder: &Path,
    options: &Options,
) -> Result<GuestFiles> {
    let ours = || debian.context("the Debian guest was not assembled");
    let root = match &guest.root {
        Source::None => None,
        // A disk of the user's own is used where it is: what the guest writes is what the user wants to keep.
        Source::File(path) => Some(path.clone()),
        Source::Debian => {
            let debian = ours()?;
            let pristine = &debian.root;
            Some(disk::working(
                folder,
                &guest.name,
                pristine,
                &debian.key,
                options.disk,
            )?)
        }
    };
    Ok(GuestFiles {
        kernel: match &guest.kernel {
            Source::File(path) => path.clone(),
            Source::Debian | Source::None => ours()?.kernel.clone(),
        },
        initrd: match &guest.initrd {
            Source::File(path) => Some(path.clone()),
            Source::Debian => Some(ours()?.initrd.clone()),
            Source::None => None,
        },
        root,
    })
}

impl Built {
    /// The names of the guests.
    pub fn guests(&self) -> Vec<String> {
        let guests = self.system.guests().iter();
        guests.map(|guest| guest.name.clone()).collect()
    }

    /// Whether the guests' kernels can run on the processor.
    fn check_pages(&self) -> Result<()> {
        for (guest, files) in self.system.guests().iter().zip(&self.files) {
            if let Some(kib) = system::page_size(&files.kernel)
                && !qemu::has_pages(&self.cpu, kib)
            {
                bail!(
                    "found a kernel for pages of {kib} KiB, {} of guest {}; expected one for pages that a {} has: take one for 4 KiB, or \
                     another processor (`--cpu cortex-a76`, on the bundled kernel)",
                    files.kernel.display(),
                    guest.name,
                    self.cpu
                );
            }
        }
        Ok(())
    }

    /// The QEMU command that runs it.
    ///
    /// # Errors
    /// When there is no QEMU, or it is too old; when the processor does not have a kernel's pages.
    pub fn qemu(&self, serial: Serial) -> Result<Command> {
        self.check_pages()?;
        let program = qemu::version::find()?;
        Ok(qemu::command(
            &program,
            &self.image,
            qemu::Hardware {
                cpu: &self.cpu,
                processors: self.processors,
                gic: self.system.gic_version(),
            },
            &self.generated.qemu,
            serial,
        ))
    }

    /// The QEMU command that runs its only guest without the VMM.
    ///
    /// # Errors
    /// When there are several guests, or no usable QEMU; when the processor does not have the kernel's pages.
    pub fn bare(&self, serial: Serial) -> Result<Command> {
        self.check_pages()?;
        let ([guest], [files]) = (self.system.guests(), self.files.as_slice()) else {
            bail!(
                "{} has {} guests; expected one to run on bare QEMU",
                self.system.name(),
                self.files.len()
            );
        };
        let bare = Bare {
            kernel: files.kernel.clone(),
            initrd: files.initrd.clone(),
            cpu: self.cpu.clone(),
            vcpus: guest.vcpus,
            gic: self.system.gic_version(),
            memory: guest.memory,
            command_line: guest.command_line.clone(),
            devices: self.generated.qemu.clone(),
        };
        Ok(bare.command(&qemu::version::find()?, serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_named_by_path_or_by_name() {
        let repo = Repo::find().unwrap();
        let linux = repo.path("system/linux.toml");
        assert_eq!(find(&repo, None).unwrap(), linux);
        assert_eq!(find(&repo, Some(Path::new("linux"))).unwrap(), linux);
        assert_eq!(find(&repo, Some(Path::new("linux.toml"))).unwrap(), linux);
        assert_eq!(
            find(&repo, Some(Path::new("system/linux.toml"))).unwrap(),
            linux
        );
        let error = find(&repo, Some(Path::new("lunix")))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lunix") && error.contains("linux"),
            "{error}"
        );
    }
}
