//! The repository's own rules, as functions that return every violation: [`tidy`] for files, [`dependencies`] for
//! who may use whom.

pub mod dependencies;
pub mod tidy;
