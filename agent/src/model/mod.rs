//! Model packages, format 1: what a vendor declares, checked before anything runs.
mod check;
pub mod golden;
pub mod keys;
mod kinds;
pub mod manifest;
mod onnx;
mod package;
mod place;
mod rule;
pub mod step;
pub mod template;
pub mod tensors;
mod types;

pub use check::{ENGINES, PRECISIONS, is_name};
pub use package::{Defects, MANIFEST, Package};
