//! Image operations of Sund: one operation, one name, one CPU reference.
mod grid;
pub use grid::{Grid, Volume};
