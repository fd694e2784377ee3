//! The steps behind a network that a device does on its answer, so that a mask comes back and not the scores: which they are.
//!
//! A threshold may stand behind steps that only move voxels. Then it comes before them: voxels that are moved keep their values,
//! and what is filled in is 0 before and after it. The mask is that of the steps one by one, to the bit; with softmax, but for
//! voxels where two scores, or a score and the threshold, are within 1e-6 of each other.
use super::chain::is_read_once;
use crate::fault::{Blame, Fault};
use crate::model::step::{How, Step};
use crate::preprocess::{Value, Values};
use sund_kernels::device::{Ending, Mask};
use sund_kernels::{Grid, Volume};

/// Steps behind a network, of whose results nothing but the mask is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    /// Numbers of the steps whose results are never seen.
    hidden: Vec<usize>,
    /// The number of the step whose result is the mask.
    shown: usize,
    /// The threshold that this mask has behind it, where that is a later step.
    passed: Option<usize>,
    softmax: bool,
    mask: Mask,
}

impl End {
    /// What ends the answer of step `at`, which runs a network; `kept` are the values that are read after the last step.
    pub(super) fn behind(steps: &[Step], at: usize, kept: &[&str]) -> Option<Self> {
        let (mut hidden, mut next) = (Vec::new(), reader(steps, at, kept)?);
        let softmax = matches!(steps[next], Step::Softmax { .. });
        if softmax {
            hidden.push(next);
            next = reader(steps, next, kept)?;
        }
        match &steps[next] {
            Step::Argmax { label, .. } => {
                Some(Self { hidden, shown: next, passed: None, softmax, mask: Mask::Label(*label) })
            }
            Step::Channel { channel, .. } => {
                let (threshold, above) = threshold(steps, next, kept)?;
                let mask = Mask::Above { channel: *channel, above };
                if reader(steps, next, kept) == Some(threshold) {
                    hidden.push(next);
                    return Some(Self { hidden, shown: threshold, passed: None, softmax, mask });
                }
                Some(Self { hidden, shown: next, passed: Some(threshold), softmax, mask })
            }
            _ => None,
        }
    }

    /// On an answer for a volume on this grid.
    pub(super) fn on(&self, grid: &Grid) -> Ending {
        Ending { dims: grid.dims, softmax: self.softmax, mask: self.mask }
    }
}

/// The one step that reads what step `made` makes, where that works on it.
fn reader(steps: &[Step], made: usize, kept: &[&str]) -> Option<usize> {
    if !is_read_once(steps, made, kept) {
        return None;
    }
    let name = steps[made].values().1;
    let reader = (made + 1..steps.len()).find(|n| steps[*n].values().0.contains(&name))?;
    (steps[reader].values().0.first() == Some(&name)).then_some(reader)
}

/// The threshold behind a channel, with nothing between them but steps before which it may come as well.
fn threshold(steps: &[Step], channel: usize, kept: &[&str]) -> Option<(usize, f32)> {
    let (mut at, mut is_filled) = (channel, false);
    loop {
        at = reader(steps, at, kept)?;
        match &steps[at] {
            // What is filled in, 0, is not above it.
            Step::Threshold { above, .. } => return (!is_filled || *above >= 0.0).then_some((at, *above)),
            Step::Orient { .. } => {}
            Step::Paste { .. } | Step::Onto { how: How::Nearest, .. } => is_filled = true,
            _ => return None,
        }
    }
}

/// What the device has done of the steps that are still to come.
#[derive(Default)]
pub(super) struct Done {
    ends: Vec<(End, Option<Volume<u8>>)>,
}

impl Done {
    /// Takes a mask that the device made.
    pub(super) fn take(&mut self, end: End, mask: Volume<u8>) {
        self.ends.push((end, Some(mask)));
    }

    /// Whether a step is done. What it makes is set, where it is seen.
    pub(super) fn step(&mut self, number: usize, step: &Step, values: &mut Values) -> Result<bool, Fault> {
        let (from, into) = step.values();
        for (end, mask) in &mut self.ends {
            if end.hidden.contains(&number) {
                return Ok(true);
            }
            if end.shown == number {
                let twice = || Fault::new("gpu-failed", Blame::Sund, format!("`{into}` is made twice"));
                values.set(into, Value::Mask(mask.take().ok_or_else(twice)?));
                return Ok(true);
            }
            if end.passed == Some(number) {
                let mask = values.mask(from[0])?.clone();
                values.set(into, Value::Mask(mask));
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
