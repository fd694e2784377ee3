//! Model packages, format 1: what a vendor declares, checked before anything runs.
pub mod golden;
pub mod manifest;
mod package;
pub mod step;
pub mod template;

pub use package::{Package, problems as package_problems};
