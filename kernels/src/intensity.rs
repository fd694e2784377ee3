//! Operations on values alone, one by one: window, clip, normalise, quantiles.
use crate::KernelError;

/// Window to 0..1 (PS3.3 C.11.2.1.2.1, LINEAR): `(x - (c - 0.5)) / (w - 1) + 0.5`, clipped.
///
/// A width below 1, which the standard forbids, is taken as 1: a step behind `c - 0.5`.
/// Worked: c = 40, w = 400: 39.5 → 0.5, -160 → 0, 239 → 1.
pub fn window(values: &mut [f32], center: f32, width: f32) {
    let (low, span) = window_foot(center, width);
    for v in values {
        *v = ((*v - low) / span).clamp(0.0, 1.0);
    }
}

/// The span of a step, 2^-60: with 0 the foot itself would be 0 / 0, with less a stored value over the span could be infinite.
pub(crate) const STEP: f32 = 1.0 / (1u64 << 60) as f32;

/// The value at which a window leaves 0 and how far it is from there to 1: `x` becomes `(x - low) / span`.
pub(crate) fn window_foot(center: f32, width: f32) -> (f32, f32) {
    let span = (width - 1.0).max(0.0);
    (center - 0.5 - span / 2.0, span.max(STEP))
}

/// `clip((x - low) / (high - low), 0, 1)`; 0 throughout where high is not above low. Worked: low 10, high 20: 15 → 0.5.
pub fn clip_range(values: &mut [f32], low: f32, high: f32) {
    if high > low {
        let span = high - low;
        for v in values {
            *v = ((*v - low) / span).clamp(0.0, 1.0);
        }
    } else {
        values.fill(0.0);
    }
}

/// Quantiles by linear interpolation between order statistics (Hyndman and Fan 7, numpy's `linear`), in 64 bits.
///
/// Selects, does not sort: O(n) for each. `Empty` without values or where a share is not within 0..1, `NotANumber` where a
/// value is NaN, which has no rank. Worked: the 0.25 quantile of 0, 1, 2, 3 is 0.75.
pub fn quantiles(values: &[f32], shares: &[f64]) -> Result<Vec<f32>, KernelError> {
    if values.is_empty() || shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        return Err(KernelError::Empty);
    }
    if values.iter().any(|value| value.is_nan()) {
        return Err(KernelError::NotANumber);
    }
    let mut work = values.to_vec();
    let found = shares.iter().map(|share| {
        let (place, weight) = place(*share, work.len());
        let (_, low, above) = work.select_nth_unstable_by(place, f32::total_cmp);
        let low = *low;
        between(low, above.iter().copied().min_by(f32::total_cmp).unwrap_or(low), weight)
    });
    Ok(found.collect())
}

/// For a share of `n` values the number of the order statistic below its quantile, and the weight of the next one.
pub(crate) fn place(share: f64, n: usize) -> (usize, f64) {
    let place = share * (n - 1) as f64;
    (place as usize, place.fract())
}

/// Between two order statistics.
pub(crate) fn between(low: f32, next: f32, weight: f64) -> f32 {
    let (low, next) = (f64::from(low), f64::from(next));
    (low + weight * (next - low)) as f32
}

/// `(x - mean) / s` with the sample deviation (divisor n - 1), sums in 64 bits; all 0 where there is no deviation.
///
/// A sum has lanes, each of every `LANES`-th value: its order depends on the number of values alone. Worked: 1, 2, 3 → -1, 0, 1.
pub fn z_score(values: &mut [f32]) {
    let n = values.len();
    let mean = mean(summed(values, |v| v), n);
    let scale = z_scale(summed(values, |v| (v - mean) * (v - mean)), n);
    for v in values {
        *v = ((f64::from(*v) - mean) * scale) as f32;
    }
}

/// Lanes of a sum: `LANES` in z_score.cu.
pub(crate) const LANES: usize = 16384;

/// The sum of a term of each value.
fn summed(values: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = vec![0.0; LANES.min(values.len())];
    for part in values.chunks(LANES) {
        for (lane, v) in lanes.iter_mut().zip(part) {
            *lane += term(f64::from(*v));
        }
    }
    lanes.iter().sum()
}

pub(crate) fn mean(sum: f64, n: usize) -> f64 {
    sum / n as f64
}

/// What a z-score multiplies with, from the sum of the squares of all deviations.
pub(crate) fn z_scale(squares: f64, n: usize) -> f64 {
    let variance = squares / (n as f64 - 1.0);
    if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 }
}

/// `x * scale + offset`, rounded after each. Worked: scale 2, offset 1: 3 → 7.
pub fn scale_offset(values: &mut [f32], scale: f32, offset: f32) {
    for v in values {
        *v = *v * scale + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(mut values: Vec<f32>, change: impl FnOnce(&mut [f32])) -> Vec<f32> {
        change(&mut values);
        values
    }

    #[test]
    fn a_window_follows_the_standard_to_its_narrowest() {
        let values = vec![39.5, -160.0, 239.0, -1000.0, 3000.0];
        assert_eq!(changed(values, |v| window(v, 40.0, 400.0)), [0.5, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(changed(vec![39.4, 39.5, 39.6], |v| window(v, 40.0, 1.0)), [0.0, 0.0, 1.0]);
        assert_eq!(changed(vec![39.4, 39.5, 39.6], |v| window(v, 40.0, -7.0)), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn values_follow_their_formulas() {
        assert_eq!(changed(vec![15.0, 9.0, 21.0], |v| clip_range(v, 10.0, 20.0)), [0.5, 0.0, 1.0]);
        assert_eq!(changed(vec![15.0, 9.0], |v| clip_range(v, 10.0, 10.0)), [0.0, 0.0]);
        assert_eq!(changed(vec![1.0, 2.0, 3.0], z_score), [-1.0, 0.0, 1.0]);
        assert_eq!(changed(vec![7.0], z_score), [0.0]);
        assert_eq!(changed(vec![7.0; 9], z_score), [0.0; 9]);
        assert_eq!(changed(vec![3.0], |v| scale_offset(v, 2.0, 1.0)), [7.0]);
    }

    #[test]
    fn quantiles_lie_between_the_order_statistics() {
        assert_eq!(quantiles(&[3.0, 0.0, 2.0, 1.0], &[0.25, 1.0, 0.0]).unwrap(), [0.75, 3.0, 0.0]);
        assert_eq!(quantiles(&[-5.0], &[0.3]).unwrap(), [-5.0]);
        assert_eq!(quantiles(&[], &[0.5]), Err(KernelError::Empty));
        assert_eq!(quantiles(&[1.0], &[1.5]), Err(KernelError::Empty));
        assert_eq!(quantiles(&[1.0, f32::NAN], &[0.5]), Err(KernelError::NotANumber));
    }
}
