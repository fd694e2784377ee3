//! Where the voxels of one grid lie among those of another, and which of them a target takes its value from.
use crate::resample::Interpolation;
use crate::{Grid, KernelError};
use std::ops::Range;

/// A place this close (in voxels) to a voxel's centre or edge is on it: geometry that was read from decimal text and
/// inverted must not cost a second slice, nor put the outermost voxel outside.
pub const SNAP: f64 = 1e-6;

/// The source index as an affine function of the target index, each slice, row, column:
/// `source[a] = step[a][0] * k + step[a][1] * j + step[a][2] * i + start[a]`.
pub struct Placement {
    /// Source steps for each target step.
    pub step: [[f64; 3]; 3],
    /// The source index of target voxel (0, 0, 0).
    pub start: [f64; 3],
}

impl Placement {
    /// The places of `onto`'s voxels in `source`.
    pub fn between(source: &Grid, onto: &Grid) -> Result<Self, KernelError> {
        let inverse = source.from_patient()?;
        let through = |a: usize, c: usize| (0..3).map(|r| inverse[a][r] * onto.to_patient[r][c]).sum::<f64>();
        Ok(Self {
            step: std::array::from_fn(|a| std::array::from_fn(|b| through(a, b))),
            start: std::array::from_fn(|a| through(a, 3) + inverse[a][3]),
        })
    }

    /// Step and start along each axis, where the axes of both grids run alike (either way) over all of `dims`.
    pub fn along_axes(&self, dims: [usize; 3]) -> Option<[(f64, f64); 3]> {
        let sways = |a: usize, b: usize| a != b && self.step[a][b].abs() * dims[b] as f64 > SNAP;
        if (0..3).any(|a| (0..3).any(|b| sways(a, b))) {
            return None;
        }
        Some(std::array::from_fn(|a| (self.step[a][a], self.start[a])))
    }
}

/// Along one axis: for each target index inside the source, the source voxel below and the weight of the one above.
pub struct Taps {
    /// The target indices that lie inside the source.
    pub inside: Range<usize>,
    /// For each of them the lower source index.
    pub low: Vec<usize>,
    /// For each of them the weight, 0 up to but not 1, of the source index above; 0 for nearest.
    pub weight: Vec<f32>,
}

impl Taps {
    /// `place(n)` is where target `n` lies, in voxels from the source's outer edge: its first voxel reaches from 0 to 1.
    pub fn new(from: usize, to: usize, how: Interpolation, place: impl Fn(usize) -> f64) -> Self {
        let is_inside = |n: &usize| (-SNAP..=from as f64 + SNAP).contains(&place(*n));
        let first = (0..to).find(is_inside).unwrap_or(to);
        let inside = first..(first..to).rfind(is_inside).map_or(first, |last| last + 1);
        let (low, weight) = inside
            .clone()
            .map(|n| match how {
                Interpolation::Nearest => ((place(n) as usize).min(from - 1), 0.0),
                Interpolation::Linear => {
                    // Beyond the centre of an edge voxel its value holds.
                    let at = (place(n) - 0.5).clamp(0.0, (from - 1) as f64);
                    (at as usize, at.fract() as f32)
                }
            })
            // A fraction that rounds up to 1 in 32 bits is the next voxel.
            .map(|(low, weight)| if weight < 1.0 { (low, weight) } else { (low + 1, 0.0) })
            .unzip();
        Self { inside, low, weight }
    }

    /// The taps of the half-voxel convention for the same extent: `place = (n + 0.5) * from / to`; neither side is 0.
    pub fn over(from: usize, to: usize, how: Interpolation) -> Self {
        let scale = from as f64 / to as f64;
        Self::new(from, to, how, |n| match how {
            // Exactly the formula: models were trained on what it gives in 64 bits where a cell's edge meets a voxel's.
            Interpolation::Nearest => (n as f64 + 0.5) * scale,
            Interpolation::Linear => snapped((n as f64 + 0.5) * scale),
        })
    }

    /// Lower source index and weight for target `n`, if it lies inside.
    #[inline]
    pub fn at(&self, n: usize) -> Option<(usize, f32)> {
        let n = self.inside.contains(&n).then(|| n - self.inside.start)?;
        Some((self.low[n], self.weight[n]))
    }
}

/// A place moved onto the half voxel that it is within `SNAP` of.
pub fn snapped(place: f64) -> f64 {
    let half = (place * 2.0).round() / 2.0;
    if (place - half).abs() < SNAP { half } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_hold_the_edge_for_half_a_voxel_and_no_further() {
        // Targets at source indices -0.6, -0.1, 0.4, 0.9, 1.4, 1.9 of two voxels.
        let taps = Taps::new(2, 6, Interpolation::Linear, |n| n as f64 * 0.5 - 0.1);
        assert_eq!((taps.inside.clone(), taps.low.clone()), (1..5, vec![0, 0, 0, 1]));
        assert!((taps.weight[1] - 0.4).abs() < 1e-6 && taps.weight[0] == 0.0 && taps.weight[3] == 0.0);
        assert_eq!(taps.at(0), None);
        assert_eq!(taps.at(4), Some((1, 0.0)));
    }

    #[test]
    fn a_rounding_error_costs_no_second_slice() {
        assert_eq!(snapped(3.5 - 1e-9), 3.5);
        assert_eq!(snapped(3.4), 3.4);
        let taps = Taps::new(9, 1, Interpolation::Linear, |_| snapped(3.5 - 1e-9));
        assert_eq!(taps.at(0), Some((3, 0.0)));
    }
}
