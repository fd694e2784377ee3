//! From tensors to findings on the source grid.
pub mod boxes;
pub mod preview;
