//! Operations on a network's scores, one channel behind the other (`[channels, n]`).
use crate::KernelError;

/// Positions that are worked on together, so that all channels of them stay in the first-level cache.
const BLOCK: usize = 512;

/// Softmax over the channels, in place: `exp(x - max) / sum exp(x - max)`. At most 256 channels.
///
/// Worked: (0, ln 3) → (0.25, 0.75). `Shape` where the values do not fill the channels.
pub fn softmax(logits: &mut [f32], channels: usize) -> Result<(), KernelError> {
    let n = per_channel(logits.len(), channels)?;
    let (mut top, mut sum) = ([0.0; BLOCK], [0.0; BLOCK]);
    for first in (0..n).step_by(BLOCK) {
        let count = BLOCK.min(n - first);
        let (top, sum) = (&mut top[..count], &mut sum[..count]);
        top.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        for c in 0..channels {
            top.iter_mut().zip(&logits[c * n + first..]).for_each(|(top, x)| *top = top.max(*x));
        }
        for c in 0..channels {
            for ((x, top), sum) in logits[c * n + first..].iter_mut().zip(&*top).zip(&mut *sum) {
                *x = (*x - top).exp();
                *sum += *x;
            }
        }
        for c in 0..channels {
            logits[c * n + first..].iter_mut().zip(&*sum).for_each(|(x, sum)| *x /= sum);
        }
    }
    Ok(())
}

/// The channel with the largest score, the first of equals; at most 256 channels. Worked: (0.2, 0.5, 0.5) → 1.
pub fn argmax(scores: &[f32], channels: usize) -> Result<Vec<u8>, KernelError> {
    let n = per_channel(scores.len(), channels)?;
    let mut best = vec![0u8; n];
    let Some((first, others)) = scores.split_at_checked(n) else { return Ok(best) };
    let mut top = first.to_vec();
    for (c, channel) in others.chunks_exact(n.max(1)).enumerate() {
        for ((best, top), score) in best.iter_mut().zip(&mut top).zip(channel) {
            if *score > *top {
                (*best, *top) = ((c + 1) as u8, *score);
            }
        }
    }
    Ok(best)
}

/// 1 where the score is above the threshold, else 0; NaN is not above. Worked: at 0.5: 0.5 → 0, 0.6 → 1.
pub fn threshold(scores: &[f32], above: f32) -> Vec<u8> {
    scores.iter().map(|score| u8::from(*score > above)).collect()
}

/// Whether one of the values is infinite or NaN. Worked: (1, 2) → no; (1, NaN) → yes.
pub fn not_finite(values: &[f32]) -> bool {
    values.iter().any(|value| !value.is_finite())
}

/// How many positions each channel has.
pub(crate) fn per_channel(length: usize, channels: usize) -> Result<usize, KernelError> {
    if channels == 0 || channels > 256 || !length.is_multiple_of(channels) {
        return Err(KernelError::Shape { expected: channels, found: length });
    }
    Ok(length / channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_whatever_the_size_of_the_logits() {
        let mut worked = [0.0, 3.0f32.ln()];
        softmax(&mut worked, 2).unwrap();
        assert!((worked[0] - 0.25).abs() < 1e-6 && (worked[1] - 0.75).abs() < 1e-6);

        let n = 3 * BLOCK + 7;
        let mut logits: Vec<f32> = (0..3 * n).map(|i| (i as f32 * 0.37).sin() * 900.0).collect();
        let order = argmax(&logits, 3).unwrap();
        softmax(&mut logits, 3).unwrap();
        assert!((0..n).all(|i| ((0..3).map(|c| logits[c * n + i]).sum::<f32>() - 1.0).abs() < 1e-5));
        assert_eq!(argmax(&logits, 3).unwrap(), order);
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        assert_eq!(argmax(&[0.1, 0.9, 0.2, 0.8], 2).unwrap(), [1, 0]);
        assert_eq!(argmax(&[0.2, 0.5, 0.5], 3).unwrap(), [1]);
        assert_eq!(argmax(&[], 3).unwrap(), []);
        assert_eq!(threshold(&[0.5, 0.6, f32::NAN], 0.5), [0, 1, 0]);
        assert!(!not_finite(&[1.0, f32::MAX]) && not_finite(&[1.0, f32::NAN]) && not_finite(&[f32::NEG_INFINITY]));
    }

    #[test]
    fn scores_that_do_not_fill_their_channels_are_refused() {
        assert_eq!(softmax(&mut [0.0; 5], 2), Err(KernelError::Shape { expected: 2, found: 5 }));
        assert!(argmax(&[0.0; 4], 0).is_err() && argmax(&[0.0; 257], 257).is_err());
    }
}
