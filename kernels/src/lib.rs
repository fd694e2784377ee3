//! Image operations of Sund: one operation, one name, one CPU reference.
//!
//! Volumes are indexed slice, row, column; column runs fastest. Places are in mm in the patient coordinate system (LPS).
#![cfg_attr(test, allow(clippy::float_cmp, reason = "worked numbers are exact"))]
mod across;
mod boxes;
mod component;
mod ct;
mod grid;
mod image;
mod intensity;
mod lanes;
mod orient;
mod placement;
mod region;
mod resample;
mod room;
mod rows;
mod sample;
mod scores;

pub use boxes::{BoxRule, ScoredBox, boxes};
pub use component::{Component, components, fill_holes, largest_component};
pub use ct::preprocess_ct;
pub use grid::{Grid, Volume};
pub use image::{planes, resize_image};
pub use intensity::{clip_range, quantiles, scale_offset, window, z_score};
pub use orient::{Orientation, orient};
pub use region::{Region, crop, occupied_region, pad, paste};
pub use resample::{Interpolation, grid_with_spacing, resample, resize, resized};
pub use sample::{Sample, rescale};
pub use scores::{argmax, softmax, threshold};

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
    /// Three letters out of R/L, A/P, S/I were expected.
    #[error("`{0}` is no orientation; write e.g. RAS")]
    Orientation(String),
    /// The grid has no extent in some direction.
    #[error("the grid's axes lie in one plane")]
    Singular,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oblique, anisotropic, with one axis reversed, every voxel different.
    fn phantom() -> Volume<f32> {
        let (s, c) = (0.2f64.sin(), 0.2f64.cos());
        let grid = Grid {
            dims: [3, 4, 5],
            to_patient: [[0.0, -0.8 * s, 0.5 * c, 10.0], [0.0, 0.8 * c, 0.5 * s, -20.0], [-3.0, 0.0, 0.0, 30.0]],
        };
        Volume { grid, voxels: (0..60).map(|n| n as f32).collect() }
    }

    fn place(volume: &Volume<f32>, value: f32) -> [f64; 3] {
        let n = volume.voxels.iter().position(|v| *v == value).unwrap();
        let [_, rows, columns] = volume.grid.dims;
        volume.grid.to_mm([(n / (rows * columns)) as f64, (n / columns % rows) as f64, (n % columns) as f64])
    }

    #[test]
    fn orienting_moves_no_voxel_in_the_patient() {
        let volume = phantom();
        for to in ["RAS", "LPS", "SAR", "PIR"] {
            let turned = orient(&volume, Orientation::parse(to).unwrap());
            for value in 0..60 {
                let (a, b) = (place(&volume, value as f32), place(&turned, value as f32));
                assert!((0..3).all(|r| (a[r] - b[r]).abs() < 1e-9), "{to}: {a:?} {b:?}");
            }
        }
        let ras = orient(&volume, Orientation::parse("RAS").unwrap());
        let m = ras.grid.to_patient;
        assert!(
            m[2][0] > 0.0 && m[1][1] < 0.0 && m[0][2] < 0.0,
            "slices to superior, rows to anterior, columns to right"
        );
        assert!(Orientation::parse("RLS").is_err());
    }

    #[test]
    fn resampling_onto_the_own_grid_or_back_changes_nothing() {
        let volume = phantom();
        for how in [Interpolation::Nearest, Interpolation::Linear] {
            let same = resample(&volume, &volume.grid, how, -1.0).unwrap();
            assert!(same.voxels.iter().zip(&volume.voxels).all(|(a, b)| (a - b).abs() < 1e-4));
            let turned = orient(&volume, Orientation::parse("SAR").unwrap());
            let back = resample(&turned, &volume.grid, how, -1.0).unwrap();
            assert!(back.voxels.iter().zip(&volume.voxels).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn resize_keeps_the_extent_and_takes_the_worked_values() {
        let grid =
            Grid { dims: [1, 1, 4], to_patient: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]] };
        let line = Volume { grid, voxels: vec![0.0, 1.0, 2.0, 3.0] };
        assert_eq!(resize(&line, [1, 1, 2], Interpolation::Nearest).unwrap().voxels, [1.0, 3.0]);
        let half = resize(&line, [1, 1, 2], Interpolation::Linear).unwrap();
        assert_eq!(half.voxels, [0.5, 2.5]);
        assert_eq!(half.grid.to_patient[2], [0.0, 0.0, 2.0, 0.5]);
        let by_resample = resample(&line, &half.grid, Interpolation::Linear, 0.0).unwrap();
        assert_eq!(by_resample.voxels, half.voxels, "both know the same half-voxel convention");
    }

    #[test]
    fn crop_then_paste_gives_the_part_back_and_keeps_its_place() {
        let volume = phantom();
        let region = [1..3, 0..2, 2..5];
        let part = crop(&volume, &region).unwrap();
        assert_eq!(place(&part, 22.0), place(&volume, 22.0));
        let back = paste(&part, &volume.grid, &region, -1.0).unwrap();
        assert_eq!(back.voxels.iter().filter(|v| **v >= 0.0).count(), 12);
        assert_eq!(place(&back, 47.0), place(&volume, 47.0));
        let padded = pad(&part, [1, 0, 2], [0, 1, 0], -1.0).unwrap();
        let (a, b) = (place(&padded, 22.0), place(&volume, 22.0));
        assert!((0..3).all(|r| (a[r] - b[r]).abs() < 1e-9));
        assert_eq!(crop(&volume, &[0..4, 0..1, 0..1]), Err(KernelError::Region));
    }

    #[test]
    fn values_follow_their_formulas() {
        assert_eq!(quantiles(&[3.0, 0.0, 2.0, 1.0], &[0.25, 1.0]).unwrap(), [0.75, 3.0]);
        let mut v = [39.5, -1000.0, 3000.0];
        window(&mut v, 40.0, 400.0);
        assert_eq!(v, [0.5, 0.0, 1.0]);
        let mut v = [1.0, 2.0, 3.0];
        z_score(&mut v);
        assert_eq!(v, [-1.0, 0.0, 1.0]);
        let mut v = [0.0, 3.0f32.ln()];
        softmax(&mut v, 2).unwrap();
        assert!((v[1] - 0.75).abs() < 1e-6);
        assert_eq!(argmax(&[0.1, 0.9, 0.2, 0.8], 2).unwrap(), [1, 0]);
        assert_eq!(threshold(&[0.5, 0.6], 0.5), [0, 1]);
    }

    #[test]
    fn the_largest_component_stays_and_holes_are_filled() {
        let grid = Grid { dims: [6, 6, 6], to_patient: phantom().grid.to_patient };
        let at = |k: usize, j: usize, i: usize| (k * 6 + j) * 6 + i;
        let mut mask = Volume { grid, voxels: vec![0u8; 216] };
        for (k, j, i) in (1..4).flat_map(|k| (1..4).flat_map(move |j| (1..4).map(move |i| (k, j, i)))) {
            mask.voxels[at(k, j, i)] = u8::from((k, j, i) != (2, 2, 2));
        }
        mask.voxels[at(5, 5, 5)] = 1;
        let largest = largest_component(&mask);
        assert_eq!(largest.voxels[at(5, 5, 5)], 0);
        assert_eq!(largest.voxels.iter().filter(|v| **v == 1).count(), 26);
        let filled = fill_holes(&largest);
        assert_eq!(filled.voxels[at(2, 2, 2)], 1);
        assert_eq!(filled.voxels.iter().filter(|v| **v == 1).count(), 27);
        assert_eq!(occupied_region(&filled, 0.02), Some([1..4, 1..4, 1..4]));
        let found = components(&[0.0, 0.9, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0, 0.7], 3, 3, 0.5);
        assert_eq!((found.len(), found[0].bounds, found[0].area), (1, [1, 0, 2, 2], 3));
    }
}
