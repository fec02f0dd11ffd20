//! The tool's verbs, one file each.

pub mod bench;
pub mod build;
pub mod check;
pub mod clean;
pub mod doctor;
pub mod run;
pub mod test;
