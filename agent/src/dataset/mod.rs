//! Reads a data set without recursion and within limits (PS3.5 7).
//!
//! [`scan`](scan::scan) walks a data set as it came and keeps the top-level values; it never builds a tree, so that no
//! nesting of a peer's can exhaust the stack. What it accepts is safe to hand to readers that recurse.
pub mod charset;
mod header;
pub mod part10;
pub mod scan;

pub use header::{Element, Header, PixelData, Skipped};
