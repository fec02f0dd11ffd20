//! `cargo xtask build`: a system's image and everything that it was made from.

use crate::assemble::{self, Options};
use crate::cli::Config;
use crate::guest::disk::Disk;
use crate::repo::Repo;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds a system into `build/SYSTEM/`.
///
/// It leaves there: `loader.img`, the image for the bundled kernel; `SYSTEM.system`, the description that the
/// Microkit SDK's own tool takes too, with the programs in `programs/`; `GUEST.dtb`, each guest's device tree; each
/// PD's configuration; `report.txt`, the image's contents and each PD's memory; `SYSTEM.txt`, a picture of the
/// system; and `GUEST.disk.img`, each guest's disk.
///
/// What is missing (QEMU, a compiler for the bare-metal target, Debian's packages for the guest) is fetched with
/// apt-get if you are root on Debian; otherwise the command to type is printed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The system: a path, or a name in `system/`.
    #[arg(default_value = assemble::DEFAULT)]
    system: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What `build` and `run` have in common.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Configuration of the kernel.
    #[arg(long, value_enum, default_value = "release")]
    config: Config,
    /// Throw the guests' disks away and start from pristine ones.
    #[arg(long)]
    fresh_disk: bool,
    /// Look for newer versions of the guest's packages in Debian's archive.
    #[arg(long)]
    refresh_guest: bool,
}

impl Common {
    /// The options of a build.
    pub fn options(&self) -> Options {
        Options {
            configuration: self.config.into(),
            disk: if self.fresh_disk {
                Disk::Fresh
            } else {
                Disk::Keep
            },
            refresh: self.refresh_guest,
            folder: None,
        }
    }
}

/// Builds, and says where the results are.
///
/// # Errors
/// Whatever is wrong with the system, the machine, or the code.
pub fn run(repo: &Repo, arguments: Arguments) -> Result<ExitCode> {
    let path = assemble::find(repo, Some(&arguments.system))?;
    let built = assemble::build(repo, &path, &arguments.common.options())?;
    println!("image   {}", repo.shown(&built.image));
    println!("system  {}", repo.shown(&built.generated.sdf));
    println!("report  {}", repo.shown(&built.report));
    Ok(ExitCode::SUCCESS)
}
