//! resize and resample: values of a volume on another lattice.
//!
//! Half-voxel convention: index `n` is the centre of a cell that reaches from `n - 0.5` to `n + 0.5`.
use crate::placement::{Placement, Taps};
use crate::room::room;
use crate::rows::{Plan, Sampling};
use crate::{Grid, KernelError, Volume};

/// How a value between voxels is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest voxel; midway, the one of higher index.
    Nearest,
    /// Trilinear.
    Linear,
}

/// A volume over the same extent with other dimensions.
///
/// Along each axis `source = (target + 0.5) * n / m - 0.5`; nearest takes `floor((target + 0.5) * n / m)`. Beyond the centre
/// of an edge voxel its value holds. Worked: 4 → 2, nearest, takes voxels 1 and 3; linear takes the means (0+1)/2, (2+3)/2.
pub fn resize(volume: &Volume<f32>, dims: [usize; 3], how: Interpolation) -> Result<Volume<f32>, KernelError> {
    volume.whole()?;
    if volume.grid.is_empty() || dims.contains(&0) {
        return Err(KernelError::Empty);
    }
    let from = volume.grid.dims;
    let taps = std::array::from_fn(|a| Taps::over(from[a], dims[a], how));
    let sampling = Sampling { source: &volume.voxels, from, to: dims, plan: Plan::Separable(taps), outside: 0.0 };
    collect(&sampling, resized(&volume.grid, dims))
}

/// The grid that `resize` gives.
pub fn resized(grid: &Grid, dims: [usize; 3]) -> Grid {
    let scale: [f64; 3] = std::array::from_fn(|a| grid.dims[a] as f64 / dims[a] as f64);
    // The centre of the first new voxel lies at index 0.5 * scale - 0.5 of the old grid.
    let origin = grid.to_mm(scale.map(|s| 0.5 * s - 0.5));
    Grid {
        dims,
        to_patient: std::array::from_fn(|r| {
            let m = grid.to_patient[r];
            [m[0] * scale[0], m[1] * scale[1], m[2] * scale[2], origin[r]]
        }),
    }
}

/// A grid of about the given spacing (mm along slice, row, column) over the same extent: at least one voxel along each axis,
/// the spacing stretched to fit.
///
/// Worked: 512 columns of 0.703 mm are 359.94 mm; at 1 mm 360 columns of 0.99982 mm.
pub fn grid_with_spacing(grid: &Grid, mm: [f64; 3]) -> Grid {
    let spacing = grid.spacing();
    let dims = std::array::from_fn(|a| ((grid.dims[a] as f64 * spacing[a] / mm[a]).round() as usize).max(1));
    resized(grid, dims)
}

/// A volume's values on any grid, oblique ones and the source's own included; `outside` where a target lies more than half
/// a voxel beyond the centres of the edge voxels, whose value holds until there.
///
/// Worked: values 0, 1, 2, 3 at x = 0 to 3 mm, read at x = 1.25 mm: linear 1.25, nearest 1; at x = 3.4: 3; at x = 3.6: `outside`.
pub fn resample(
    volume: &Volume<f32>,
    onto: &Grid,
    how: Interpolation,
    outside: f32,
) -> Result<Volume<f32>, KernelError> {
    volume.whole()?;
    if volume.grid.is_empty() {
        return Err(KernelError::Empty);
    }
    let (from, to) = (volume.grid.dims, onto.dims);
    let plan = Plan::new(Placement::between(&volume.grid, onto)?, from, to, how);
    collect(&Sampling { source: &volume.voxels, from, to, plan, outside }, *onto)
}

fn collect(sampling: &Sampling<f32>, grid: Grid) -> Result<Volume<f32>, KernelError> {
    let mut voxels = room(grid.dims)?;
    sampling.rows(|row| voxels.extend_from_slice(row));
    Ok(Volume { grid, voxels })
}
