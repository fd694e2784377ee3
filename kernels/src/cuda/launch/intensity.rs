//! window, clip_range, scale_offset, quantiles, z_score. What few numbers come of many are finished on the host, which waits for
//! them.
use super::fills;
use crate::KernelError;
use crate::cuda::machine::{Call, Machine, Memory};
use crate::intensity::{LANES, between, mean, place, window_foot, z_scale};

/// Values of one half of a rank's bits.
const HALVES: usize = 1 << 16;

/// A window to 0..1; `windowed` takes as many.
pub fn window<M: Machine>(
    machine: &mut M,
    values: &M::Memory<f32>,
    center: f32,
    width: f32,
    windowed: &mut M::Memory<f32>,
) -> Result<(), M::Error> {
    let (low, span) = window_foot(center, width);
    each(machine, "window", values, [low, span], windowed)
}

/// A range to 0..1, and 0 throughout where it is empty; `clipped` takes as many.
pub fn clip_range<M: Machine>(
    machine: &mut M,
    values: &M::Memory<f32>,
    low: f32,
    high: f32,
    clipped: &mut M::Memory<f32>,
) -> Result<(), M::Error> {
    if high > low {
        return each(machine, "clip_range", values, [low, high - low], clipped);
    }
    fills(clipped, values.count())?;
    machine.clear(clipped)
}

/// `x * scale + offset`; `scaled` takes as many.
pub fn scale_offset<M: Machine>(
    machine: &mut M,
    values: &M::Memory<f32>,
    scale: f32,
    offset: f32,
    scaled: &mut M::Memory<f32>,
) -> Result<(), M::Error> {
    each(machine, "scale_offset", values, [scale, offset], scaled)
}

/// A kernel on each value, with two numbers.
fn each<M: Machine>(
    machine: &mut M,
    kernel: &str,
    values: &M::Memory<f32>,
    [first, second]: [f32; 2],
    into: &mut M::Memory<f32>,
) -> Result<(), M::Error> {
    let n = values.count();
    fills(into, n)?;
    let call = Call::over(kernel, n)?.pointer(values).value(n as u64).value(first).value(second);
    machine.launch(&call.pointer(into))
}

/// Quantiles, as the reference has them. `TooLarge` from 2^32 values on, otherwise the reference's errors.
pub fn quantiles<M: Machine>(machine: &mut M, values: &M::Memory<f32>, shares: &[f64]) -> Result<Vec<f32>, M::Error> {
    let n = values.count();
    if n == 0 || shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        return Err(KernelError::Empty.into());
    }
    if u32::try_from(n).is_err() {
        return Err(KernelError::TooLarge.into());
    }
    let mut counts = machine.zeros::<u32>(HALVES + 1)?;
    machine.launch(&Call::over("quantiles_upper", n)?.pointer(values).value(n as u64).pointer(&counts))?;
    let uppers = machine.download(&counts)?;
    if uppers[HALVES] > 0 {
        return Err(KernelError::NotANumber.into());
    }
    let mut lowers: Vec<(usize, Vec<u32>)> = Vec::new();
    let mut statistic = |machine: &mut M, number: usize| -> Result<f32, M::Error> {
        let (upper, number) = holder(&uppers[..HALVES], number);
        let known = match lowers.iter().position(|(of, _)| *of == upper) {
            Some(known) => known,
            None => {
                machine.clear(&mut counts)?;
                let call = Call::over("quantiles_lower", n)?.pointer(values).value(n as u64).value(upper as u32);
                machine.launch(&call.pointer(&counts))?;
                lowers.push((upper, machine.download(&counts)?));
                lowers.len() - 1
            }
        };
        let (lower, _) = holder(&lowers[known].1, number);
        Ok(with_rank((upper as u32) << 16 | lower as u32))
    };
    let mut found = Vec::with_capacity(shares.len());
    for share in shares {
        let (number, weight) = place(*share, n);
        let low = statistic(machine, number)?;
        let next = statistic(machine, (number + 1).min(n - 1))?;
        found.push(between(low, next, weight));
    }
    Ok(found)
}

/// Which of these counts the value of that number belongs to, and its number there.
fn holder(counts: &[u32], mut number: usize) -> (usize, usize) {
    for (at, count) in counts.iter().enumerate() {
        match number.checked_sub(*count as usize) {
            Some(left) => number = left,
            None => return (at, number),
        }
    }
    (counts.len().saturating_sub(1), 0)
}

/// The float of a rank.
fn with_rank(rank: u32) -> f32 {
    f32::from_bits(if rank >> 31 == 1 { rank & 0x7fff_ffff } else { !rank })
}

/// `(x - mean) / s`; `scores` takes as many.
pub fn z_score<M: Machine>(
    machine: &mut M,
    values: &M::Memory<f32>,
    scores: &mut M::Memory<f32>,
) -> Result<(), M::Error> {
    let n = values.count();
    fills(scores, n)?;
    let lanes = machine.zeros::<f64>(LANES)?;
    machine.launch(&Call::over("z_score_sums", LANES)?.pointer(values).value(n as u64).pointer(&lanes))?;
    let mean = mean(summed(machine, &lanes, n)?, n);
    let call = Call::over("z_score_squares", LANES)?.pointer(values).value(n as u64).value(mean);
    machine.launch(&call.pointer(&lanes))?;
    let scale = z_scale(summed(machine, &lanes, n)?, n);
    let call = Call::over("z_score_apply", n)?.pointer(values).value(n as u64).value(mean).value(scale);
    machine.launch(&call.pointer(scores))
}

/// The sum of the lanes that n values reach.
fn summed<M: Machine>(machine: &mut M, lanes: &M::Memory<f64>, n: usize) -> Result<f64, M::Error> {
    Ok(machine.download(lanes)?.iter().take(n).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_total_order() {
        let values = [f32::NEG_INFINITY, -2.5, -f32::MIN_POSITIVE, -0.0, 0.0, 1.0e-40, 3.0, f32::INFINITY];
        let rank = |value: f32| match value.to_bits() {
            bits if bits >> 31 == 1 => !bits,
            bits => bits | 0x8000_0000,
        };
        assert!(values.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert!(values.iter().all(|value| with_rank(rank(*value)).to_bits() == value.to_bits()));
    }

    #[test]
    fn a_value_is_found_behind_those_that_are_counted_before_it() {
        assert_eq!([0, 1, 2, 5].map(|number| holder(&[2, 0, 3, 1], number)), [(0, 0), (0, 1), (2, 0), (3, 0)]);
    }
}
