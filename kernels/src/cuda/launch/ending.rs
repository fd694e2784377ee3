//! The steps behind a network, on its answer where that is.
use super::{Score, argmax, argmax_is, fills, not_finite, softmax, threshold_channel};
use crate::KernelError;
use crate::cuda::machine::{Machine, Plain};
use crate::device::{Ending, Mask};

/// What an ending makes of an answer.
pub struct Ended<M: Machine> {
    /// 0 or 1 for each voxel.
    pub mask: M::Memory<u8>,
    /// One value: not 0 where a value of the answer was not finite, and the mask is worth nothing.
    pub not_finite: M::Memory<u32>,
}

/// Whether an ending on scores of this type is its reference within what `Device::poll` allows: softmax rounds its shares to the
/// scores' type, which is too coarse where that has 16 bits.
pub fn is_exact<T: Score>(ending: &Ending) -> bool {
    !ending.softmax || T::NAME == f32::NAME
}

/// Looks whether all scores are finite, and does the ending on them; with softmax they are shares afterwards. `shape`: of the
/// answer, batch and channels first.
pub fn end<M: Machine, T: Score>(
    machine: &mut M,
    scores: &mut M::Memory<T>,
    shape: &[usize],
    ending: &Ending,
) -> Result<Ended<M>, M::Error> {
    let voxels = ending.dims.iter().try_fold(1usize, |n, side| n.checked_mul(*side)).ok_or(KernelError::TooLarge)?;
    let channels =
        ending.channels(shape).ok_or(KernelError::Shape { expected: voxels, found: shape.iter().product() })?;
    fills(scores, voxels.checked_mul(channels).ok_or(KernelError::TooLarge)?)?;
    let mut ended = Ended { mask: machine.zeros(voxels)?, not_finite: machine.zeros(1)? };
    not_finite(machine, scores, &mut ended.not_finite)?;
    if ending.softmax {
        softmax(machine, scores, channels)?;
    }
    match ending.mask {
        Mask::Label(label) => {
            argmax(machine, scores, channels, &mut ended.mask)?;
            argmax_is(machine, &mut ended.mask, label)?;
        }
        Mask::Above { channel, above } => {
            threshold_channel(machine, scores, channels, channel, above, &mut ended.mask)?;
        }
    }
    Ok(ended)
}
