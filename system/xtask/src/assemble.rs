//! One system, whole: its programs, its guests' files, what is generated from its description, and its image.

use crate::guest::disk::Disk;
use crate::guest::{Debian, debian, disk};
use crate::pack::{self, Configuration};
use crate::progress::{Step, say};
use crate::qemu::bare::Bare;
use crate::qemu::{self, Serial};
use crate::repo::{Lock, Repo, make_folder};
use crate::sdk::{self, Sdk};
use crate::system::{self, Generated, Guest, GuestFiles, KernelKind, Source, System, Target};
use crate::toolchain::Toolchain;
use anyhow::{Context as _, Result, bail};
use sel4cp_abi::label::Labels;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system that is meant when none is named.
pub const DEFAULT: &str = "system/linux.toml";

/// The kernel that a system is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The one in this repository.
    Bundled(Configuration),
    /// seL4.
    Sel4 {
        /// The SDK's folder.
        sdk: PathBuf,
        /// The name of one of its configurations.
        config: String,
    },
}

impl Kernel {
    /// Variables that tell another process about a kernel; the SDK's folder goes by the SDK's own variable.
    const VARIABLES: [&str; 2] = ["SEL4CP_KERNEL", "SEL4CP_CONFIG"];

    /// The variables and values from which [`Self::from_environment`] makes this kernel.
    pub fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let [kernel, config] = Self::VARIABLES;
        let mut all = vec![(kernel, self.name().into()), (config, self.config().into())];
        if let Self::Sel4 { sdk, .. } = self {
            all.push((sdk::VARIABLE, sdk.into()));
        }
        all
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bundled(_) => "bundled",
            Self::Sel4 { .. } => "sel4",
        }
    }

    /// The name of its configuration.
    pub fn config(&self) -> &str {
        match self {
            Self::Bundled(configuration) => configuration.name(),
            Self::Sel4 { config, .. } => config,
        }
    }

    /// The kernel that the environment names: the bundled one in its release configuration if it names none.
    pub fn from_environment() -> Self {
        let [kernel, config] = Self::VARIABLES.map(|name| std::env::var(name).unwrap_or_default());
        match kernel.as_str() {
            "sel4" => Self::Sel4 {
                sdk: std::env::var_os(sdk::VARIABLE).unwrap_or_default().into(),
                config,
            },
            _ if config == Configuration::Debug.name() => Self::Bundled(Configuration::Debug),
            _ => Self::Bundled(Configuration::Release),
        }
    }

    /// The same kernel in its debug configuration.
    #[must_use]
    pub fn debug(self) -> Self {
        let debug = Configuration::Debug;
        match self {
            Self::Bundled(_) => Self::Bundled(debug),
            Self::Sel4 { sdk, .. } => Self::Sel4 {
                sdk,
                config: debug.name().to_owned(),
            },
        }
    }

    /// Checks that it can be had for `system`.
    fn find(&self, system: &System) -> Result<Found> {
        match self {
            Self::Bundled(_) if !system.is_qemu() => bail!(
                "the bundled kernel does not run on {}; expected --kernel sel4 with it",
                system.board()
            ),
            Self::Bundled(configuration) => Ok(Found::Bundled(*configuration)),
            Self::Sel4 { sdk, config } => {
                let wanted = sdk::Wanted {
                    board: system.board(),
                    config,
                    kernel: &system.kernel_needs(),
                };
                Ok(Found::Sel4(Sdk::open(sdk, wanted)?))
            }
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled(configuration) => write!(f, "bundled kernel, {}", configuration.name()),
            Self::Sel4 { config, .. } => write!(f, "seL4, {config}"),
        }
    }
}

/// A kernel that is there.
#[derive(Clone, Debug)]
enum Found {
    Bundled(Configuration),
    Sel4(Sdk),
}

/// What a build depends on besides the system file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which kernel.
    pub kernel: Kernel,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: Kernel::Bundled(Configuration::Release),
            board: None,
            disk: Disk::Keep,
            refresh: false,
            folder: None,
            append: None,
        }
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
    /// How many processors the machine has.
    pub processors: u32,
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
    if let Some(words) = &options.append {
        system.append(words);
    }
    let files = guest_files(repo, &system, &folder, options)?;
    let generated = system::generate(&system, &files, &target(kernel), &folder)?;
    Ok(Built {
        image: folder.join("loader.img"),
        report: folder.join("report.txt"),
        processors: match kernel {
            Found::Bundled(_) => 1,
            Found::Sel4(sdk) => sdk.processors,
        },
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

/// What generated files depend on.
fn target(kernel: &Found) -> Target {
    let (labels, debug_put_char, kernel_kind) = match kernel {
        Found::Bundled(Configuration::Debug) => (Labels::DEBUG, true, KernelKind::Bundled),
        Found::Bundled(Configuration::Release) => (Labels::RELEASE, false, KernelKind::Bundled),
        Found::Sel4(sdk) => (sdk.labels, sdk.debug_put_char, KernelKind::Sel4),
    };
    Target {
        labels,
        debug_put_char,
        kernel_kind,
    }
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

    /// The QEMU command that runs it.
    ///
    /// # Errors
    /// When there is no QEMU, or it is too old.
    pub fn qemu(&self, serial: Serial) -> Result<Command> {
        let program = qemu::version::find()?;
        Ok(qemu::command(
            &program,
            &self.image,
            self.processors,
            &self.generated.qemu,
            serial,
        ))
    }

    /// The QEMU command that runs its only guest without the VMM.
    ///
    /// # Errors
    /// When there are several guests, or no usable QEMU.
    pub fn bare(&self, serial: Serial) -> Result<Command> {
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

    #[test]
    fn the_bundled_kernel_refuses_a_board_that_it_does_not_know() {
        let repo = Repo::find().unwrap();
        let path = repo.path(DEFAULT);
        let find = |board| {
            let system = System::load_on(&path, Some(board)).unwrap();
            Kernel::Bundled(Configuration::Release).find(&system)
        };
        find("qemu_virt_aarch64").unwrap();
        let error = find("maaxboard").unwrap_err().to_string();
        assert!(
            error.contains("maaxboard; expected --kernel sel4"),
            "{error}"
        );
    }

    #[test]
    fn a_configuration_has_its_kernels_labels() {
        let target = |configuration| target(&Found::Bundled(configuration));
        assert_eq!(target(Configuration::Debug).labels, Labels::DEBUG);
        assert!(!target(Configuration::Release).debug_put_char);
    }

    #[test]
    fn a_kernel_has_a_name_and_a_debug_configuration() {
        let sel4 = Kernel::Sel4 {
            sdk: "/sdk".into(),
            config: "smp-release".into(),
        };
        assert_eq!(sel4.to_string(), "seL4, smp-release");
        assert_eq!(sel4.debug().to_string(), "seL4, debug");
        let bundled = Kernel::Bundled(Configuration::Release);
        assert_eq!(bundled.to_string(), "bundled kernel, release");
        assert_eq!(bundled.debug(), Kernel::Bundled(Configuration::Debug));
    }
}
