//! `cargo xtask build`: a system's image and everything that it was made from.

use crate::assemble::{self, Kernel, Options};
use crate::cli::{self, Config, KernelName};
use crate::guest::disk::Disk;
use crate::repo::Repo;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds a system into `build/SYSTEM/`.
///
/// It leaves there: `loader.img`, the image, made by the tool itself for the bundled kernel and by the SDK's `microkit` for
/// seL4; `SYSTEM.system`, the description that both take, with the programs in `programs/`; `GUEST.dtb`, each guest's device tree; each
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
    #[command(flatten)]
    kernel: KernelArguments,
    /// Throw the guests' disks away and start from pristine ones.
    #[arg(long)]
    fresh_disk: bool,
    /// Look for newer versions of the guest's packages in Debian's archive.
    #[arg(long)]
    refresh_guest: bool,
}

/// Which kernel, and on what.
#[derive(Clone, Debug, Args)]
pub struct KernelArguments {
    /// The kernel.
    #[arg(long, value_enum, default_value = "bundled")]
    kernel: KernelName,
    /// For seL4: the folder of a Microkit SDK 2.3.0, which its releases offer for download. Without this, the variable
    /// MICROKIT_SDK names it.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
    /// Configuration of the kernel; release if not given.
    #[arg(long, value_enum)]
    config: Option<Config>,
    /// QEMU's model of the processor; if not given, cortex-a76 with the bundled kernel, which uses that core's host
    /// extensions (FEAT_VHE), and cortex-a53 with seL4.
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// The board, instead of the one that the system file names.
    #[arg(long, value_name = "BOARD")]
    board: Option<String>,
}

impl KernelArguments {
    /// The kernel, in the configuration `otherwise` if none was named.
    ///
    /// # Errors
    /// When what was asked for does not go together, or no SDK was named where one is needed.
    pub fn choose(&self, otherwise: Config) -> Result<Kernel> {
        let config = self.config.unwrap_or(otherwise);
        cli::kernel(self.kernel, self.sdk.as_deref(), config)
    }

    /// QEMU's model of the processor, if one was named.
    pub fn cpu(&self) -> Option<String> {
        self.cpu.clone()
    }

    /// The board, if one was named.
    pub fn board(&self) -> Option<String> {
        self.board.clone()
    }

    /// Whether seL4 was asked for.
    pub fn is_sel4(&self) -> bool {
        self.kernel == KernelName::Sel4
    }

    /// Whether a configuration was named.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }
}

impl Common {
    /// The options of a build.
    ///
    /// # Errors
    /// When what was asked for does not go together, or no SDK was named where one is needed.
    pub fn options(&self) -> Result<Options> {
        Ok(Options {
            kernel: self.kernel.choose(Config::Release)?,
            cpu: self.kernel.cpu(),
            board: self.kernel.board(),
            disk: if self.fresh_disk {
                Disk::Fresh
            } else {
                Disk::Keep
            },
            refresh: self.refresh_guest,
            folder: None,
            append: None,
            bulk: false,
        })
    }
}

/// Builds, and says where the results are.
///
/// # Errors
/// Whatever is wrong with the system, the machine, or the code.
pub fn run(repo: &Repo, arguments: Arguments) -> Result<ExitCode> {
    let path = assemble::find(repo, Some(&arguments.system))?;
    let built = assemble::build(repo, &path, &arguments.common.options()?)?;
    println!("image   {}", repo.shown(&built.image));
    println!("system  {}", repo.shown(&built.generated.sdf));
    println!("report  {}", repo.shown(&built.report));
    Ok(ExitCode::SUCCESS)
}
