//! softmax, argmax, threshold.
use super::fills;
use crate::KernelError;
use crate::cuda::machine::{Call, Machine, Memory, Plain};
use crate::scores::per_channel;

/// A network's scores: 32-bit or 16-bit floats.
pub trait Score: Plain {}
impl Score for f32 {}
impl Score for half::f16 {}

/// Softmax over the channels of `[channels, n]`, in place, as the reference but for the last bits of the exponential.
pub fn softmax<M: Machine, T: Score>(
    machine: &mut M,
    scores: &mut M::Memory<T>,
    channels: usize,
) -> Result<(), M::Error> {
    let n = per_channel(scores.count(), channels)?;
    let call = Call::over(format!("softmax_{}", T::NAME), n)?.pointer(scores).value(channels as u32).value(n as u64);
    machine.launch(&call)
}

/// The channel with the largest score of `[channels, n]`, the first of equals; `labels` takes n.
pub fn argmax<M: Machine, T: Score>(
    machine: &mut M,
    scores: &M::Memory<T>,
    channels: usize,
    labels: &mut M::Memory<u8>,
) -> Result<(), M::Error> {
    let n = per_channel(scores.count(), channels)?;
    fills(labels, n)?;
    let call = Call::over(format!("argmax_{}", T::NAME), n)?.pointer(scores).value(channels as u32).value(n as u64);
    machine.launch(&call.pointer(labels))
}

/// 1 where a score is above, else 0; `mask` takes as many.
pub fn threshold<M: Machine, T: Score>(
    machine: &mut M,
    scores: &M::Memory<T>,
    above: f32,
    mask: &mut M::Memory<u8>,
) -> Result<(), M::Error> {
    threshold_channel(machine, scores, 1, 0, above, mask)
}

/// The same of one channel of `[channels, n]`; `mask` takes n.
pub fn threshold_channel<M: Machine, T: Score>(
    machine: &mut M,
    scores: &M::Memory<T>,
    channels: usize,
    channel: usize,
    above: f32,
    mask: &mut M::Memory<u8>,
) -> Result<(), M::Error> {
    let n = per_channel(scores.count(), channels)?;
    if channel >= channels {
        return Err(KernelError::Shape { expected: channels, found: channel }.into());
    }
    fills(mask, n)?;
    let call = Call::over(format!("threshold_{}", T::NAME), n)?.pointer(scores).value((channel * n) as u64);
    machine.launch(&call.value(n as u64).value(above).pointer(mask))
}

/// Labels to a mask, in place: 1 where it is this one, else 0.
pub fn argmax_is<M: Machine>(machine: &mut M, labels: &mut M::Memory<u8>, label: usize) -> Result<(), M::Error> {
    let n = labels.count();
    // One that no byte holds is nowhere.
    let label = u32::try_from(label).unwrap_or(u32::MAX);
    machine.launch(&Call::over("argmax_is", n)?.pointer(labels).value(n as u64).value(label))
}

/// Whether one of the values is infinite or NaN: `found` takes a 1 or a 0.
pub fn not_finite<M: Machine, T: Score>(
    machine: &mut M,
    values: &M::Memory<T>,
    found: &mut M::Memory<u32>,
) -> Result<(), M::Error> {
    fills(found, 1)?;
    machine.clear(found)?;
    let n = values.count();
    let call = Call::over(format!("not_finite_{}", T::NAME), n)?;
    machine.launch(&call.pointer(values).value(n as u64).pointer(found))
}
