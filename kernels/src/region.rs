//! Parts of a volume: crop, pad, paste, boxes around a mask.
use crate::{Grid, KernelError, Volume};
use std::ops::Range;

/// Slices, rows, columns of a part.
pub type Region = [Range<usize>; 3];

/// The part of a volume; its grid keeps its place in the patient.
pub fn crop<T: Copy>(volume: &Volume<T>, to: &Region) -> Result<Volume<T>, KernelError> {
    let dims = volume.grid.dims;
    if (0..3).any(|a| to[a].start >= to[a].end || to[a].end > dims[a]) {
        return Err(KernelError::Region);
    }
    let mut voxels = Vec::with_capacity(to.iter().map(ExactSizeIterator::len).product());
    for k in to[0].clone() {
        for j in to[1].clone() {
            let line = (k * dims[1] + j) * dims[2];
            voxels.extend_from_slice(&volume.voxels[line + to[2].start..line + to[2].end]);
        }
    }
    Ok(Volume { grid: cropped(&volume.grid, to), voxels })
}

/// The grid that `crop` gives.
pub fn cropped(grid: &Grid, to: &Region) -> Grid {
    let origin = grid.to_mm([to[0].start as f64, to[1].start as f64, to[2].start as f64]);
    let mut part = Grid { dims: [to[0].len(), to[1].len(), to[2].len()], to_patient: grid.to_patient };
    for (r, row) in part.to_patient.iter_mut().enumerate() {
        row[3] = origin[r];
    }
    part
}

/// A volume of `fill` on `grid` with `part` at `at`: the inverse of `crop`.
pub fn paste<T: Copy>(part: &Volume<T>, grid: &Grid, at: &Region, fill: T) -> Result<Volume<T>, KernelError> {
    if (0..3).any(|a| at[a].len() != part.grid.dims[a] || at[a].end > grid.dims[a]) {
        return Err(KernelError::Region);
    }
    let mut voxels = vec![fill; grid.len()];
    let mut lines = part.voxels.chunks_exact(part.grid.dims[2]);
    for k in at[0].clone() {
        for j in at[1].clone() {
            let line = (k * grid.dims[1] + j) * grid.dims[2];
            if let Some(source) = lines.next() {
                voxels[line + at[2].start..line + at[2].end].copy_from_slice(source);
            }
        }
    }
    Ok(Volume { grid: *grid, voxels })
}

/// A larger volume with `before` and `after` voxels of `fill` along each axis; its grid keeps its place in the patient.
pub fn pad<T: Copy>(
    volume: &Volume<T>,
    before: [usize; 3],
    after: [usize; 3],
    fill: T,
) -> Result<Volume<T>, KernelError> {
    let dims = volume.grid.dims;
    let origin = volume.grid.to_mm(before.map(|n| -(n as f64)));
    let mut grid =
        Grid { dims: std::array::from_fn(|a| before[a] + dims[a] + after[a]), to_patient: volume.grid.to_patient };
    for (r, row) in grid.to_patient.iter_mut().enumerate() {
        row[3] = origin[r];
    }
    let at = std::array::from_fn(|a| before[a]..before[a] + dims[a]);
    paste(volume, &grid, &at, fill)
}

/// The extent, in indices, of a mask: along each axis the first and last index whose plane is occupied by more than
/// `occupancy` (a share of the plane's voxels). `None` where there is no such plane along an axis.
pub fn occupied_region(mask: &Volume<u8>, occupancy: f64) -> Option<Region> {
    let dims = mask.grid.dims;
    let mut counts = dims.map(|n| vec![0u32; n]);
    for (n, _) in mask.voxels.iter().enumerate().filter(|(_, v)| **v > 0) {
        counts[0][n / (dims[1] * dims[2])] += 1;
        counts[1][n / dims[2] % dims[1]] += 1;
        counts[2][n % dims[2]] += 1;
    }
    occupied([&counts[0], &counts[1], &counts[2]], occupancy)
}

/// The same from how many voxels are set in each slice, row, column.
pub(crate) fn occupied(counts: [&[u32]; 3], occupancy: f64) -> Option<Region> {
    let voxels: usize = counts.iter().map(|counts| counts.len()).product();
    let mut region: Region = [0..0, 0..0, 0..0];
    for a in 0..3 {
        let plane = (voxels / counts[a].len().max(1)) as f64;
        let is_occupied = |count: &u32| f64::from(*count) / plane > occupancy;
        let first = counts[a].iter().position(is_occupied)?;
        let last = counts[a].iter().rposition(is_occupied)?;
        region[a] = first..last + 1;
    }
    Some(region)
}
