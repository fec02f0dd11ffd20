//! The configuration region.

use crate::state::with;
use crate::sys;
use core::fmt;
use sel4cp_abi::config::{Config, Header, Refused, parse};
use zerocopy::FromBytes;

/// Why there is no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The system file gives the PD no configuration region (`setvar_vaddr="sel4cp_config"`).
    Missing,
    /// What is in the region does not fit the program.
    Refused(Refused),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "no configuration: expected a region mapped with setvar_vaddr=\"sel4cp_config\"",
            ),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

/// The program's configuration.
///
/// # Errors
/// [`ConfigError`] says what is missing or does not fit.
pub fn config<T: Config>() -> Result<&'static T, ConfigError> {
    let bytes = sys::config_bytes().ok_or(ConfigError::Missing)?;
    parse(bytes).map_err(ConfigError::Refused)
}

/// Takes the kernel's labels and the log's ring from the configuration, before the program starts.
pub(crate) fn prepare() {
    let Some(bytes) = sys::config_bytes() else {
        return;
    };
    if let Ok((header, _)) = Header::ref_from_prefix(bytes) {
        with(|state| state.labels.set(header.labels));
        crate::log::open(header);
    }
}
