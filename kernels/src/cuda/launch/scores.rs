//! softmax, argmax, threshold.
use super::fills;
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
    let n = scores.count();
    fills(mask, n)?;
    let call = Call::over(format!("threshold_{}", T::NAME), n)?.pointer(scores).value(n as u64).value(above);
    machine.launch(&call.pointer(mask))
}
