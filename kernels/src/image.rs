//! Pictures with interleaved channels (rows, columns, channels): resize, and planes for a network.
use crate::placement::Taps;
use crate::room::room;
use crate::sample::Sample;
use crate::{Interpolation, KernelError};

/// A picture of `[rows, columns, channels]` at other `[rows, columns]`, same extent, in the half-voxel convention of `resize`.
///
/// Worked: one row of grey 0, 10, 20, 30 to two columns: linear 5, 25; nearest 10, 30.
pub fn resize_image<T: Sample>(
    pixels: &[T],
    [rows, columns, channels]: [usize; 3],
    to: [usize; 2],
    how: Interpolation,
) -> Result<Vec<f32>, KernelError> {
    let expected = crate::grid::voxels_of([rows, columns, channels])?;
    if pixels.len() != expected {
        return Err(KernelError::Shape { expected, found: pixels.len() });
    }
    let mut out = room([to[0], to[1], channels])?;
    if expected == 0 || to.contains(&0) {
        return Err(KernelError::Empty);
    }
    let taps = |from: usize, to: usize| Taps::over(from, to, how);
    let (down, across) = (taps(rows, to[0]), taps(columns, to[1]));
    let width = columns * channels;
    let mut blended = vec![0.0; width];
    for (low, weight) in down.low.iter().zip(&down.weight) {
        let line = &pixels[low * width..][..width];
        let below = if *weight > 0.0 { &pixels[(low + 1) * width..][..width] } else { line };
        for ((value, a), b) in blended.iter_mut().zip(line).zip(below) {
            *value = a.number() + (b.number() - a.number()) * weight;
        }
        for (low, weight) in across.low.iter().zip(&across.weight) {
            let left = &blended[low * channels..][..channels];
            let right = if *weight > 0.0 { &blended[(low + 1) * channels..][..channels] } else { left };
            out.extend(left.iter().zip(right).map(|(a, b)| a + (b - a) * weight));
        }
    }
    Ok(out)
}

/// Interleaved channels to planes, one channel behind the other, normalised: `(x * scale - mean[c]) / deviation[c]`.
///
/// `mean` and `deviation` have a value for each channel. Worked: scale 1/255, mean 0.5, deviation 0.5: 255 → 1, 0 → -1.
pub fn planes(values: &[f32], scale: f32, mean: &[f32], deviation: &[f32]) -> Result<Vec<f32>, KernelError> {
    let channels = mean.len();
    if channels == 0 || deviation.len() != channels || !values.len().is_multiple_of(channels) {
        return Err(KernelError::Shape { expected: channels, found: values.len() });
    }
    let mut out = room([1, 1, values.len()])?;
    for (c, (mean, deviation)) in mean.iter().zip(deviation).enumerate() {
        out.extend(values.iter().skip(c).step_by(channels).map(|x| (x * scale - mean) / deviation));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Interpolation::{Linear, Nearest};

    #[test]
    fn each_channel_is_resized_on_its_own() {
        assert_eq!(resize_image(&[0u8, 10, 20, 30], [1, 4, 1], [1, 2], Linear).unwrap(), [5.0, 25.0]);
        assert_eq!(resize_image(&[0u8, 10, 20, 30], [1, 4, 1], [1, 2], Nearest).unwrap(), [10.0, 30.0]);
        let colour = [0u8, 100, 255, 10, 110, 155];
        assert_eq!(resize_image(&colour, [2, 1, 3], [1, 1], Linear).unwrap(), [5.0, 105.0, 205.0]);
        let same: Vec<f32> = colour.map(f32::from).to_vec();
        assert_eq!(resize_image(&colour, [1, 2, 3], [1, 2], Linear).unwrap(), same);
        assert_eq!(resize_image(&[7u8], [1, 1, 1], [2, 3], Linear).unwrap(), [7.0; 6]);
    }

    #[test]
    fn planes_come_one_behind_the_other() {
        let got = planes(&[255.0, 0.0, 0.0, 255.0], 1.0 / 255.0, &[0.5, 0.0], &[0.5, 2.0]).unwrap();
        assert_eq!(got, [1.0, -1.0, 0.0, 0.5]);
    }

    #[test]
    fn pixels_that_do_not_fill_the_picture_are_refused() {
        assert_eq!(
            resize_image(&[0u8; 5], [1, 2, 3], [1, 1], Linear),
            Err(KernelError::Shape { expected: 6, found: 5 })
        );
        assert_eq!(resize_image(&[0u8; 0], [0, 2, 3], [1, 1], Linear), Err(KernelError::Empty));
        assert_eq!(resize_image(&[0u8; 6], [1, 2, 3], [0, 1], Linear), Err(KernelError::Empty));
        assert!(
            planes(&[0.0; 5], 1.0, &[0.0; 2], &[1.0; 2]).is_err() && planes(&[0.0; 4], 1.0, &[0.0; 2], &[1.0]).is_err()
        );
    }
}
