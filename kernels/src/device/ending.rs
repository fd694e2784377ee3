//! The steps behind a network that a device does itself: softmax, then the mask of one label or of one channel above a threshold.
use super::{OnDevice, Tensor};
use crate::{KernelError, argmax, not_finite, softmax, threshold};

/// Most channels that softmax and argmax take.
const MOST_CHANNELS: usize = 256;

/// What is made of an answer on a grid, so that a byte for each voxel comes back and not its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ending {
    /// Slices, rows, columns of the grid.
    pub dims: [usize; 3],
    /// Softmax over the channels comes first.
    pub softmax: bool,
    /// Where the mask is 1; elsewhere it is 0.
    pub mask: Mask,
}

/// Where a mask is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mask {
    /// Where this channel's score is the largest, the first of equals.
    Label(usize),
    /// Where the score of one channel is above a threshold.
    Above {
        /// From 0.
        channel: usize,
        /// A score that equals it is not above.
        above: f32,
    },
}

/// What a network gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Its answer as it is. Also where an ending was asked for that cannot be done on it: whoever asked says why not.
    Scores(Tensor),
    /// What the ending made of it.
    Mask {
        /// Of the answer: batch, channels, slices, rows, columns.
        shape: Vec<usize>,
        /// 0 or 1 for each voxel, column fastest.
        voxels: Vec<u8>,
    },
    /// A value of the answer is infinite or NaN, which compares as "not above": no mask is made of it.
    NotFinite,
    /// Its answer in the device's memory: scores, of which nobody has seen whether they are finite.
    Held {
        /// Of the answer: batch, channels, slices, rows, columns.
        shape: Vec<usize>,
        /// For a task's place to take over.
        memory: OnDevice,
    },
}

impl Ending {
    /// The channels of an answer of this shape; none where the ending cannot be done on it.
    pub fn channels(&self, shape: &[usize]) -> Option<usize> {
        let [1, channels, ref dims @ ..] = *shape else { return None };
        let (Mask::Label(last) | Mask::Above { channel: last, .. }) = self.mask;
        (dims == self.dims && last < channels && channels <= MOST_CHANNELS).then_some(channels)
    }

    /// The reference: what is to come of an answer.
    pub fn of(&self, answer: Tensor) -> Output {
        let n = self.dims.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
        let (Some(channels), Some(n)) = (self.channels(&answer.shape), n) else { return Output::Scores(answer) };
        if channels.checked_mul(n) != Some(answer.values.len()) {
            return Output::Scores(answer);
        }
        if not_finite(&answer.values) {
            return Output::NotFinite;
        }
        let made = self.voxels(&answer, channels, n);
        // That fails on no answer whose channels are full.
        made.map_or_else(
            |_| Output::Scores(answer.clone()),
            |voxels| Output::Mask { shape: answer.shape.clone(), voxels },
        )
    }

    fn voxels(&self, answer: &Tensor, channels: usize, n: usize) -> Result<Vec<u8>, KernelError> {
        let mut shares = Vec::new();
        let mut scores = answer.values.as_slice();
        if self.softmax {
            shares.extend_from_slice(scores);
            softmax(&mut shares, channels)?;
            scores = &shares;
        }
        Ok(match self.mask {
            Mask::Label(label) => {
                let mut voxels = argmax(scores, channels)?;
                for best in &mut voxels {
                    *best = u8::from(usize::from(*best) == label);
                }
                voxels
            }
            Mask::Above { channel, above } => threshold(&scores[channel * n..(channel + 1) * n], above),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(channels: usize, values: &[f32]) -> Tensor {
        Tensor { shape: vec![1, channels, 1, 1, values.len() / channels], values: values.to_vec() }
    }

    fn ending(mask: Mask) -> Ending {
        Ending { dims: [1, 1, 2], softmax: false, mask }
    }

    #[test]
    fn a_mask_is_that_of_a_label_or_of_a_channel_above_a_threshold() {
        let scores = answer(3, &[0.0, 5.0, 2.0, 1.0, 1.0, 5.0]);
        let mask = |ending: Ending| match ending.of(scores.clone()) {
            Output::Mask { shape, voxels } if shape == scores.shape => voxels,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2].map(|label| mask(ending(Mask::Label(label)))), [[0, 1], [1, 0], [0, 0]]);
        assert_eq!(mask(ending(Mask::Above { channel: 1, above: 1.0 })), [1, 0]);
        // The share of the first channel of (0, 2, 1) is 0.09, of (5, 1, 5) 0.495.
        let share = Mask::Above { channel: 0, above: 0.4 };
        assert_eq!(mask(Ending { softmax: true, ..ending(share) }), [0, 1]);
    }

    #[test]
    fn an_answer_with_a_value_that_is_not_finite_gives_no_mask_whatever_channel_it_is_in() {
        for (at, odd) in [(0, f32::NAN), (1, f32::INFINITY), (3, f32::NEG_INFINITY)] {
            let mut values = [0.0; 4];
            values[at] = odd;
            assert_eq!(ending(Mask::Above { channel: 0, above: 0.5 }).of(answer(2, &values)), Output::NotFinite);
        }
    }

    #[test]
    fn an_answer_of_another_shape_comes_back_as_it_is() {
        let label = |n| ending(Mask::Label(n));
        let scores = |ending: Ending, answer: Tensor| assert_eq!(ending.of(answer.clone()), Output::Scores(answer));
        scores(label(2), answer(2, &[0.0; 4]));
        scores(label(0), answer(2, &[0.0; 6]));
        scores(label(0), Tensor { shape: vec![2, 1, 1, 1, 2], values: vec![0.0; 4] });
        scores(label(0), Tensor { shape: vec![1, 2, 2], values: vec![0.0; 4] });
        scores(label(0), Tensor { shape: vec![1, 2, 1, 1, 2], values: vec![0.0; 3] });
        scores(label(0), answer(257, &[0.0; 514]));
        scores(label(0), Tensor { shape: vec![], values: vec![] });
    }
}
