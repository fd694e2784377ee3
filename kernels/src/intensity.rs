//! Operations on values alone: rescale, window, clip, normalise; softmax, argmax, threshold.
use crate::KernelError;

/// Window to 0..1 (PS3.3 C.11.2.1.2.1, LINEAR): `((x - (c - 0.5)) / (w - 1)) + 0.5`, clipped. Worked: c = 40, w = 400: 39.5 → 0.5.
pub fn window(values: &mut [f32], center: f32, width: f32) {
    let width = (width - 1.0).max(f32::MIN_POSITIVE);
    values.iter_mut().for_each(|v| *v = ((*v - (center - 0.5)) / width + 0.5).clamp(0.0, 1.0));
}

/// `clip((x - low) / (high - low), 0, 1)`; a constant 0 where high equals low. Worked: low 10, high 20: 15 → 0.5.
pub fn clip_range(values: &mut [f32], low: f32, high: f32) {
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    values.iter_mut().for_each(|v| *v = ((*v - low) * scale).clamp(0.0, 1.0));
}

/// Quantiles by linear interpolation between order statistics (Hyndman and Fan 7). Worked: the 0.25 quantile of 0, 1, 2, 3 is 0.75.
pub fn quantiles(values: &[f32], at: &[f64]) -> Result<Vec<f32>, KernelError> {
    if values.is_empty() || at.iter().any(|q| !(0.0..=1.0).contains(q)) {
        return Err(KernelError::Empty);
    }
    let mut work = values.to_vec();
    Ok(at
        .iter()
        .map(|q| {
            let place = q * (work.len() - 1) as f64;
            let low = place as usize;
            let (_, low_value, above) = work.select_nth_unstable_by(low, f32::total_cmp);
            let low_value = *low_value;
            let next = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low_value);
            (f64::from(low_value) + (place - low as f64) * f64::from(next - low_value)) as f32
        })
        .collect())
}

/// `(x - mean) / s` with the sample deviation (n - 1), sums in 64 bits. All 0 where there is no deviation.
pub fn z_score(values: &mut [f32]) {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    values.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) * scale) as f32);
}

/// `x * scale + offset`.
pub fn scale_offset(values: &mut [f32], scale: f32, offset: f32) {
    values.iter_mut().for_each(|v| *v = *v * scale + offset);
}

/// Softmax over channels, which come one behind the other (`[channels, n]`), in place. Worked: (0, ln 3) → (0.25, 0.75).
pub fn softmax(logits: &mut [f32], channels: usize) -> Result<(), KernelError> {
    let n = per_channel(logits.len(), channels)?;
    for i in 0..n {
        let top = (0..channels).map(|c| logits[c * n + i]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for c in 0..channels {
            let e = (logits[c * n + i] - top).exp();
            logits[c * n + i] = e;
            sum += e;
        }
        (0..channels).for_each(|c| logits[c * n + i] /= sum);
    }
    Ok(())
}

/// The channel with the largest score, the first of equals; at most 256 channels.
pub fn argmax(scores: &[f32], channels: usize) -> Result<Vec<u8>, KernelError> {
    let n = per_channel(scores.len(), channels)?;
    Ok((0..n)
        .map(|i| (1..channels).fold(0, |best, c| if scores[c * n + i] > scores[best * n + i] { c } else { best }) as u8)
        .collect())
}

/// 1 where the score is above the threshold, else 0.
pub fn threshold(scores: &[f32], above: f32) -> Vec<u8> {
    scores.iter().map(|score| u8::from(*score > above)).collect()
}

fn per_channel(length: usize, channels: usize) -> Result<usize, KernelError> {
    if channels == 0 || channels > 256 || !length.is_multiple_of(channels) {
        return Err(KernelError::Shape { expected: channels, found: length });
    }
    Ok(length / channels)
}
