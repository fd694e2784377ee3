//! Model packages, format 1: what a vendor declares, checked before anything runs, in a folder or packed in one file.
mod anonymous;
mod check;
pub mod compiled;
mod contents;
mod floors;
pub mod golden;
pub mod half;
pub mod keys;
mod kinds;
pub mod manifest;
mod onnx;
mod package;
pub mod packed;
mod place;
mod rule;
pub mod signed;
pub mod step;
pub mod template;
pub mod tensors;
mod types;

pub use check::{ENGINES, PRECISIONS, is_name};
pub use contents::Contents;
pub use floors::Floors;
pub use package::{Defects, FORMATS, MANIFEST, Package};
