//! resize and resample: values of a volume on another lattice.
//!
//! Half-voxel convention: index `n` is the centre of a cell that reaches from `n - 0.5` to `n + 0.5`.
use crate::{Grid, KernelError, Volume};

/// How a value between voxels is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest voxel.
    Nearest,
    /// Trilinear.
    Linear,
}

/// A volume over the same extent with other dimensions.
///
/// Along each axis `source = (target + 0.5) * n / m - 0.5`; nearest takes `floor((target + 0.5) * n / m)`. Beyond the centre
/// of an edge voxel its value holds. Worked: 4 → 2, nearest, takes voxels 1 and 3; linear takes the means (0+1)/2, (2+3)/2.
pub fn resize(volume: &Volume<f32>, dims: [usize; 3], how: Interpolation) -> Result<Volume<f32>, KernelError> {
    let from = volume.grid.dims;
    if volume.grid.is_empty() || dims.contains(&0) || volume.voxels.len() != volume.grid.len() {
        return Err(KernelError::Shape { expected: volume.grid.len(), found: volume.voxels.len() });
    }
    let grid = resized(&volume.grid, dims);
    let taps: [Vec<(usize, usize, f32)>; 3] = std::array::from_fn(|a| taps(from[a], dims[a], how));
    let mut voxels = Vec::with_capacity(grid.len());
    let line = |k: usize, j: usize| &volume.voxels[(k * from[1] + j) * from[2]..][..from[2]];
    let mut blended = vec![0.0; from[2]];
    for &(k0, k1, kw) in &taps[0] {
        for &(j0, j1, jw) in &taps[1] {
            if how == Interpolation::Nearest {
                let source = line(k0, j0);
                voxels.extend(taps[2].iter().map(|(i0, _, _)| source[*i0]));
                continue;
            }
            let corners = [line(k0, j0), line(k0, j1), line(k1, j0), line(k1, j1)];
            let weights = [(1.0 - kw) * (1.0 - jw), (1.0 - kw) * jw, kw * (1.0 - jw), kw * jw];
            for (n, value) in blended.iter_mut().enumerate() {
                *value = (0..4).map(|c| corners[c][n] * weights[c]).sum();
            }
            voxels.extend(taps[2].iter().map(|(i0, i1, w)| blended[*i0] * (1.0 - w) + blended[*i1] * w));
        }
    }
    Ok(Volume { grid, voxels })
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

/// For each target index the two source indices and the weight of the second.
fn taps(from: usize, to: usize, how: Interpolation) -> Vec<(usize, usize, f32)> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|n| match how {
            Interpolation::Nearest => {
                let at = (((n as f64 + 0.5) * scale) as usize).min(from - 1);
                (at, at, 0.0)
            }
            Interpolation::Linear => {
                let at = ((n as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
                let low = at as usize;
                (low, (low + 1).min(from - 1), (at - low as f64) as f32)
            }
        })
        .collect()
}

/// A volume's values on any grid; `outside` where a target lies more than half a voxel beyond the edge.
pub fn resample(
    volume: &Volume<f32>,
    onto: &Grid,
    how: Interpolation,
    outside: f32,
) -> Result<Volume<f32>, KernelError> {
    let inverse = inverse(&volume.grid).ok_or(KernelError::Singular)?;
    let dims = volume.grid.dims;
    if volume.voxels.len() != volume.grid.len() {
        return Err(KernelError::Shape { expected: volume.grid.len(), found: volume.voxels.len() });
    }
    let at = |k: usize, j: usize, i: usize| volume.voxels[(k * dims[1] + j) * dims[2] + i];
    let mut voxels = Vec::with_capacity(onto.len());
    for k in 0..onto.dims[0] {
        for j in 0..onto.dims[1] {
            for i in 0..onto.dims[2] {
                let mm = onto.to_mm([k as f64, j as f64, i as f64]);
                let index: [f64; 3] = std::array::from_fn(|r| {
                    let m = inverse[r];
                    m[0] * mm[0] + m[1] * mm[1] + m[2] * mm[2] + m[3]
                });
                // A rounding error must not put a voxel that lies on the edge outside.
                const EDGE: f64 = 0.5 + 1e-6;
                if (0..3).any(|a| index[a] < -EDGE || index[a] > dims[a] as f64 - 1.0 + EDGE) {
                    voxels.push(outside);
                    continue;
                }
                let inner: [f64; 3] = std::array::from_fn(|a| index[a].clamp(0.0, (dims[a] - 1) as f64));
                if how == Interpolation::Nearest {
                    let [k, j, i] = inner.map(|v| v.round() as usize);
                    voxels.push(at(k, j, i));
                    continue;
                }
                let low = inner.map(|v| v as usize);
                let high: [usize; 3] = std::array::from_fn(|a| (low[a] + 1).min(dims[a] - 1));
                let w: [f32; 3] = std::array::from_fn(|a| (inner[a] - low[a] as f64) as f32);
                let along = |k: usize, j: usize| at(k, j, low[2]) * (1.0 - w[2]) + at(k, j, high[2]) * w[2];
                let plane = |k: usize| along(k, low[1]) * (1.0 - w[1]) + along(k, high[1]) * w[1];
                voxels.push(plane(low[0]) * (1.0 - w[0]) + plane(high[0]) * w[0]);
            }
        }
    }
    Ok(Volume { grid: *onto, voxels })
}

/// A grid of the given spacing (mm along slice, row, column) over the same extent: at least one voxel along each axis.
pub fn grid_with_spacing(grid: &Grid, mm: [f64; 3]) -> Grid {
    let spacing = grid.spacing();
    let dims = std::array::from_fn(|a| ((grid.dims[a] as f64 * spacing[a] / mm[a]).round() as usize).max(1));
    resized(grid, dims)
}

fn inverse(grid: &Grid) -> Option<[[f64; 4]; 3]> {
    let m = &grid.to_patient;
    let minor = |r0: usize, r1: usize, c0: usize, c1: usize| m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0];
    let adjugate = [
        [minor(1, 2, 1, 2), -minor(0, 2, 1, 2), minor(0, 1, 1, 2)],
        [-minor(1, 2, 0, 2), minor(0, 2, 0, 2), -minor(0, 1, 0, 2)],
        [minor(1, 2, 0, 1), -minor(0, 2, 0, 1), minor(0, 1, 0, 1)],
    ];
    let determinant = m[0][0] * adjugate[0][0] + m[0][1] * adjugate[1][0] + m[0][2] * adjugate[2][0];
    if determinant.abs() < 1e-12 {
        return None;
    }
    Some(std::array::from_fn(|r| {
        let row = adjugate[r].map(|v| v / determinant);
        let origin = -(row[0] * m[0][3] + row[1] * m[1][3] + row[2] * m[2][3]);
        [row[0], row[1], row[2], origin]
    }))
}
