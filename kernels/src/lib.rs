//! Image operations of Sund: one operation, one name, one CPU reference.
//!
//! Volumes are indexed slice, row, column; column runs fastest. Places are in mm in the patient coordinate system (LPS).
#![cfg_attr(test, allow(clippy::float_cmp, reason = "worked numbers are exact"))]
mod across;
mod boxes;
mod component;
pub mod cuda;
pub mod device;
mod grid;
mod image;
mod intensity;
mod lanes;
mod orient;
mod overlay;
mod placement;
mod preprocess;
mod region;
mod resample;
mod room;
mod rows;
mod sample;
mod scores;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;
mod tiles;

pub use boxes::{BoxRule, ScoredBox, boxes};
pub use component::{Component, components, fill_holes, largest_component};
pub use grid::{Grid, Volume};
pub use image::{planes, resize_image};
pub use intensity::{clip_range, quantiles, scale_offset, window, z_score};
pub use orient::{Orientation, orient, oriented};
pub use overlay::overlay;
pub use preprocess::{Contrast, Element, Preparation, preprocess};
pub use region::{Region, crop, cropped, occupied_region, pad, paste};
pub use resample::{Interpolation, grid_with_spacing, resample, resize, resized};
pub use sample::{Sample, rescale};
pub use scores::{argmax, not_finite, softmax, threshold};
pub use tiles::{Blend, accumulate_tile, normalise_tiles, tile_starts, tile_weights};

/// Why an operation cannot be done on what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A length does not fit the shape.
    #[error("{found} values do not fit a shape of {expected}")]
    Shape {
        /// What the shape needs.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// No values, or a quantile outside 0..1.
    #[error("there are no values, or a quantile is not between 0 and 1")]
    Empty,
    /// A value is NaN.
    #[error("a value is not a number")]
    NotANumber,
    /// There are more voxels than memory has room for.
    #[error("the shape has more voxels than memory has room for")]
    TooLarge,
    /// A region reaches beyond the volume or is empty.
    #[error("the region is empty or reaches beyond the volume")]
    Region,
    /// A step is none for what it was given: reals, a mask, or scores.
    #[error("the step is none for this kind of values")]
    Kind,
    /// Three letters out of R/L, A/P, S/I were expected.
    #[error("`{0}` is no orientation; write e.g. RAS")]
    Orientation(String),
    /// The grid has no extent in some direction.
    #[error("the grid's axes lie in one plane")]
    Singular,
}
