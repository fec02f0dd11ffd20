//! Which kernel a system is built for.

use crate::pack::Configuration;
use crate::sdk::{self, Sdk};
use crate::system::{KernelKind, System, Target};
use anyhow::{Result, bail};
use sel4cp_abi::label::Labels;
use std::fmt;
use std::path::PathBuf;

/// What the names of configurations for several cores begin with.
const SMP: &str = "smp-";

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

    /// QEMU's model of the processor for it, if no other is asked for. The bundled kernel is much faster with the host
    /// extensions (FEAT_VHE); the SDK's kernels are built for the other core.
    pub(super) const fn cpu(&self) -> &'static str {
        match self {
            Self::Bundled(_) => "cortex-a76",
            Self::Sel4 { .. } => "cortex-a53",
        }
    }

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

    /// The same kernel on several cores, if it can be had so.
    pub fn on_several_cores(self) -> Option<Self> {
        match self {
            Self::Bundled(_) => None,
            Self::Sel4 { sdk, config } if config.starts_with(SMP) => {
                Some(Self::Sel4 { sdk, config })
            }
            Self::Sel4 { sdk, config } => Some(Self::Sel4 {
                sdk,
                config: format!("{SMP}{config}"),
            }),
        }
    }

    /// Checks that it can be had for `system`.
    pub(super) fn find(&self, system: &System) -> Result<Found> {
        let found = match self {
            Self::Bundled(_) if !system.is_qemu() => bail!(
                "the bundled kernel does not run on {}; expected --kernel sel4 with it",
                system.board()
            ),
            Self::Bundled(configuration) => Found::Bundled(*configuration),
            Self::Sel4 { sdk, config } => {
                let wanted = sdk::Wanted {
                    board: system.board(),
                    config,
                    kernel: &system.kernel_needs(),
                };
                Found::Sel4(Sdk::open(sdk, wanted)?)
            }
        };
        system.check_cores(found.cores(), &self.to_string())?;
        Ok(found)
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
pub(super) enum Found {
    Bundled(Configuration),
    Sel4(Sdk),
}

impl Found {
    /// How many cores it uses.
    pub(super) const fn cores(&self) -> u32 {
        match self {
            Self::Bundled(_) => 1,
            Self::Sel4(sdk) => sdk.processors,
        }
    }
}

/// What generated files depend on.
pub(super) fn target(kernel: &Found) -> Target {
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

#[cfg(test)]
mod tests {
    use super::super::DEFAULT;
    use super::*;
    use crate::repo::Repo;

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
        assert_eq!(sel4.clone().debug().to_string(), "seL4, debug");
        assert_eq!(sel4.clone().on_several_cores(), Some(sel4.clone()));
        assert_eq!(
            sel4.clone().debug().on_several_cores().unwrap().to_string(),
            "seL4, smp-debug"
        );
        let bundled = Kernel::Bundled(Configuration::Release);
        assert_eq!(bundled.clone().on_several_cores(), None);
        assert_eq!(bundled.to_string(), "bundled kernel, release");
        assert_eq!(bundled.debug(), Kernel::Bundled(Configuration::Debug));
    }
}
