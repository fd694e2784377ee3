//! A volume too large for a network, tile by tile: where the tiles lie, and their answers blended.
//!
//! Tiles overlap. Each answer counts by a Gaussian bell over its tile, so that the middle, which the network saw with all its
//! surroundings, decides and no seam shows: `result = sum(weight * score) / sum(weight)`.
use crate::KernelError;
use crate::grid::voxels_of;
use crate::room::room;

/// The first indices of tiles of `tile` along an axis of `n`, as few as overlap by at least `overlap` (a share of the tile,
/// 0 up to 0.9) and evenly spread; one tile at 0 where it is at least as long as the axis.
///
/// Worked: 160 in tiles of 64, half of which may overlap: 0, 32, 64, 96.
pub fn tile_starts(n: usize, tile: usize, overlap: f64) -> Vec<usize> {
    let Some(last) = n.checked_sub(tile).filter(|last| *last > 0 && tile > 0) else { return vec![0] };
    let step = ((tile as f64 * (1.0 - overlap.clamp(0.0, 0.9))) as usize).max(1);
    let steps = last.div_ceil(step);
    (0..=steps).map(|n| (n * last + steps / 2) / steps).collect()
}

/// The bell along one axis of a tile: `exp(-x * x / 2)`, x the distance from the tile's middle in eighths of its length.
///
/// Worked: 8 voxels, voxel 0 lies 3.5 of them from the middle: exp(-6.125) = 0.00219.
pub fn tile_weights(tile: usize) -> Vec<f32> {
    let (middle, deviation) = ((tile as f64 - 1.0) / 2.0, tile as f64 / 8.0);
    (0..tile).map(|n| (-0.5 * ((n as f64 - middle) / deviation).powi(2)).exp() as f32).collect()
}

/// A network's scores on a volume, growing tile by tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend {
    /// Slices, rows, columns of the volume.
    pub dims: [usize; 3],
    /// Channels of the scores.
    pub channels: usize,
    /// Weighted sums, `[channels, slices, rows, columns]`.
    pub sums: Vec<f32>,
    /// Sums of the weights, `[slices, rows, columns]`.
    pub weights: Vec<f32>,
}

impl Blend {
    /// Of nothing yet.
    pub fn new(dims: [usize; 3], channels: usize) -> Result<Self, KernelError> {
        let voxels = voxels_of(dims)?;
        let values = voxels.checked_mul(channels).ok_or(KernelError::TooLarge)?;
        let zeros = |n| {
            let mut list = room([1, 1, n])?;
            list.resize(n, 0.0);
            Ok(list)
        };
        Ok(Self { dims, channels, sums: zeros(values)?, weights: zeros(voxels)? })
    }
}

/// Adds the scores `[channels, tile]` of the tile whose first voxel is `at`: `sum += weight * score`, `weight sum += weight`, the
/// weight being the product of the three `tile_weights`. What of the tile lies beyond the volume (it was padded) is left out.
///
/// `Region` where the tile lies outside altogether, `Shape` where the scores do not fill it.
/// Worked: a tile of 1 x 1 x 2 with scores 2, 4: both weigh exp(-2) = 0.135; the sums grow by 0.271, 0.541.
pub fn accumulate_tile(blend: &mut Blend, scores: &[f32], tile: [usize; 3], at: [usize; 3]) -> Result<(), KernelError> {
    check_tile(blend.dims, blend.channels, scores.len(), tile, at)?;
    let [down, along, across] = tile.map(tile_weights);
    let [slices, rows, columns] = std::array::from_fn(|a| tile[a].min(blend.dims[a] - at[a]));
    for (k, in_slice) in down[..slices].iter().enumerate() {
        for (j, in_row) in along[..rows].iter().enumerate() {
            let line = ((at[0] + k) * blend.dims[1] + at[1] + j) * blend.dims[2] + at[2];
            let weights: Vec<f32> = across[..columns].iter().map(|in_column| in_slice * in_row * in_column).collect();
            blend.weights[line..][..columns].iter_mut().zip(&weights).for_each(|(sum, weight)| *sum += weight);
            let voxels = blend.weights.len();
            for channel in 0..blend.channels {
                let scores = &scores[((channel * tile[0] + k) * tile[1] + j) * tile[2]..];
                let sums = blend.sums[channel * voxels + line..][..columns].iter_mut();
                sums.zip(&weights).zip(scores).for_each(|((sum, weight), score)| *sum += weight * score);
            }
        }
    }
    Ok(())
}

/// Weighted sums to weighted means, in place: `sum / weight sum`; 0 where no tile was.
///
/// Worked: sums 0.271 and 0.541 over weights 0.135: 2 and 4, as one tile had said.
pub fn normalise_tiles(blend: &mut Blend) {
    for channel in blend.sums.chunks_exact_mut(blend.weights.len().max(1)) {
        for (sum, weight) in channel.iter_mut().zip(&blend.weights) {
            *sum = if *weight > 0.0 { *sum / weight } else { 0.0 };
        }
    }
}

/// Checks that a tile's scores fill it and that it begins within the volume.
pub(crate) fn check_tile(
    dims: [usize; 3],
    channels: usize,
    found: usize,
    tile: [usize; 3],
    at: [usize; 3],
) -> Result<(), KernelError> {
    let expected = voxels_of(tile)?.checked_mul(channels).ok_or(KernelError::TooLarge)?;
    if found != expected {
        return Err(KernelError::Shape { expected, found });
    }
    if (0..3).any(|a| at[a] >= dims[a] || tile[a] == 0) {
        return Err(KernelError::Region);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_axis_and_overlap_enough() {
        assert_eq!(tile_starts(160, 64, 0.5), [0, 32, 64, 96]);
        assert_eq!(
            (tile_starts(64, 64, 0.5), tile_starts(3, 64, 0.5), tile_starts(5, 0, 0.5)),
            (vec![0], vec![0], vec![0])
        );
        for (n, tile, overlap) in [(65, 64, 0.0), (1000, 96, 0.25), (97, 96, 0.5), (17, 5, 0.9), (9, 1, 0.5)] {
            let starts = tile_starts(n, tile, overlap);
            assert_eq!((starts[0], starts[starts.len() - 1] + tile), (0, n));
            let longest = (tile as f64 * (1.0 - overlap)).max(1.0) as usize;
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= longest), "{starts:?}");
        }
    }

    #[test]
    fn one_tile_comes_back_as_it_was_and_takes_the_worked_values() {
        let mut blend = Blend::new([1, 1, 3], 1).unwrap();
        accumulate_tile(&mut blend, &[2.0, 4.0], [1, 1, 2], [0, 0, 0]).unwrap();
        assert!((blend.weights[0] - 0.1353).abs() < 1e-4 && (blend.sums[1] - 0.5413).abs() < 1e-4);
        normalise_tiles(&mut blend);
        assert!((blend.sums[0] - 2.0).abs() < 1e-6 && (blend.sums[1] - 4.0).abs() < 1e-6 && blend.sums[2] == 0.0);
        assert!((tile_weights(8)[0] - 0.00219).abs() < 1e-5 && tile_weights(8)[0] == tile_weights(8)[7]);
    }

    #[test]
    fn tiles_that_agree_leave_no_seam_and_the_middle_decides_where_they_differ() {
        let told = |channel: usize, [k, j, i]: [usize; 3]| (channel * 100 + k * 31 + j * 7 + i) as f32;
        let (dims, tile) = ([7, 9, 11], [4, 4, 6]);
        let mut blend = Blend::new(dims, 2).unwrap();
        let starts: [Vec<usize>; 3] = std::array::from_fn(|a| tile_starts(dims[a], tile[a], 0.5));
        for at in starts[0].iter().flat_map(|k| starts[1].iter().flat_map(|j| starts[2].iter().map(|i| [*k, *j, *i]))) {
            let scores: Vec<f32> =
                (0..2 * 96).map(|n| told(n / 96, [at[0] + n % 96 / 24, at[1] + n % 24 / 6, at[2] + n % 6])).collect();
            accumulate_tile(&mut blend, &scores, tile, at).unwrap();
        }
        normalise_tiles(&mut blend);
        for (n, value) in blend.sums.iter().enumerate() {
            let v = n % 693;
            assert!((value - told(n / 693, [v / 99, v / 11 % 9, v % 11])).abs() < 1e-3, "at {n}: {value}");
        }

        let mut blend = Blend::new([1, 1, 12], 1).unwrap();
        accumulate_tile(&mut blend, &[0.0; 8], [1, 1, 8], [0, 0, 0]).unwrap();
        accumulate_tile(&mut blend, &[1.0; 8], [1, 1, 8], [0, 0, 4]).unwrap();
        normalise_tiles(&mut blend);
        assert!(blend.sums[4] < 0.1 && blend.sums[7] > 0.9 && blend.sums.is_sorted());
    }

    #[test]
    fn a_padded_tile_ends_with_the_volume_and_one_outside_is_refused() {
        let mut blend = Blend::new([1, 2, 2], 1).unwrap();
        accumulate_tile(&mut blend, &[5.0; 16], [1, 4, 4], [0, 1, 0]).unwrap();
        normalise_tiles(&mut blend);
        assert_eq!((blend.sums[..2].to_vec(), blend.sums[2]), (vec![0.0; 2], 5.0));
        assert_eq!(accumulate_tile(&mut blend, &[5.0; 16], [1, 4, 4], [0, 2, 0]), Err(KernelError::Region));
        let torn = accumulate_tile(&mut blend, &[5.0; 15], [1, 4, 4], [0, 0, 0]);
        assert_eq!(torn, Err(KernelError::Shape { expected: 16, found: 15 }));
    }
}
