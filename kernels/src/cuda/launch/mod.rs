//! The launchers: one for each operation, named as it is. Each checks shapes, then says which kernels run on which memory.
//!
//! All are written against `Machine`, so that what the tests prove on the processor is what runs on a GPU.
mod component;
mod ending;
mod intensity;
mod overlay;
mod preprocess;
mod region;
mod scores;
mod tiles;

pub use component::{Work, fill_holes, largest_component};
pub use ending::{Ended, end, is_exact};
pub use intensity::{clip_range, quantiles, scale_offset, window, z_score};
pub use overlay::overlay;
pub use preprocess::{Prepared, Target, preprocess};
pub use region::{Voxel, crop, occupied_region, paste};
pub use scores::{Score, argmax, argmax_is, not_finite, softmax, threshold, threshold_channel};
pub use tiles::{TiledScores, accumulate_tile, normalise_tiles};

use super::machine::Memory;
use crate::KernelError;
use crate::grid::voxels_of;

/// Slices, rows, columns as kernels take them (`Dims`).
fn dims(dims: [usize; 3]) -> Result<[i32; 3], KernelError> {
    let [Ok(slices), Ok(rows), Ok(columns)] = dims.map(i32::try_from) else { return Err(KernelError::TooLarge) };
    Ok([slices, rows, columns])
}

/// Checks that memory holds as many values as a shape.
fn fills(memory: &impl Memory, expected: usize) -> Result<(), KernelError> {
    match memory.count() {
        found if found == expected => Ok(()),
        found => Err(KernelError::Shape { expected, found }),
    }
}

/// Checks that memory holds a value for each voxel; how many these are.
fn fills_dims(memory: &impl Memory, dims: [usize; 3]) -> Result<usize, KernelError> {
    let voxels = voxels_of(dims)?;
    fills(memory, voxels)?;
    Ok(voxels)
}
