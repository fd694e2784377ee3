//! The steps before a network that a device does in one pass over the stored samples: which they are, and what they come to.
//!
//! Each value is that of the steps one by one to within 32 units in the last place of the real values, through the contrast's
//! gain: linear weights sum to 1, so that rescaling and contrast may come behind the interpolation.
use crate::decode::Samples;
use crate::fault::Fault;
use crate::model::step::{How, Step};
use crate::preprocess::volume::grid_of;
use crate::preprocess::{Values, operation_failed};
use std::sync::Arc;
use sund_kernels as kernels;
use sund_kernels::device::{self, Series};
use sund_kernels::{Contrast, Grid, Interpolation, KernelError, Orientation, Preparation};

/// The name of what a model is given.
pub(super) const INPUT: &str = "input";

/// The steps between a value and a network, none of whose results is read by anything but the next.
#[derive(Debug, PartialEq)]
pub(super) struct Chain<'a> {
    /// The value that they begin with.
    root: &'a str,
    /// Whether that is what the model is given.
    is_given: bool,
    /// Numbers of the steps, in their order; at least one.
    numbers: Vec<usize>,
}

/// What the model is given, as it was stored: real value = stored * slope + intercept.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) samples: device::Samples,
    pub(super) grid: Grid,
    pub(super) slope: f32,
    pub(super) intercept: f32,
}

impl Stored {
    /// None for samples of 32 bits, which are rare: their real values go in their place.
    pub(super) fn new(samples: Samples, grid: Grid, slope: f32, intercept: f32) -> Option<Self> {
        let samples = match samples {
            Samples::U8(samples) => device::Samples::U8(Arc::new(samples)),
            Samples::I16(samples) => device::Samples::I16(Arc::new(samples)),
            Samples::U16(samples) => device::Samples::U16(Arc::new(samples)),
            Samples::F32(samples) => device::Samples::F32(Arc::new(samples)),
            Samples::I32(_) => return None,
        };
        Some(Self { samples, grid, slope, intercept })
    }
}

/// What a step of a chain does, in the order in which one pass does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Turns axes.
    Turn,
    /// Another grid over the same extent; once.
    Sample,
    /// A window or a range; once.
    Contrast,
    /// Scale and offset.
    Scale,
}

/// None where one pass cannot do it: it looks at all values, moves none, or picks the nearest voxel, where a tie would be
/// decided by the last bit of a coordinate.
fn part(step: &Step) -> Option<Part> {
    match step {
        Step::Orient { .. } => Some(Part::Turn),
        Step::Resize { how: How::Linear, .. } | Step::Resample { how: How::Linear, .. } => Some(Part::Sample),
        Step::Window { .. } | Step::ClipRange { .. } => Some(Part::Contrast),
        Step::ScaleOffset { .. } => Some(Part::Scale),
        _ => None,
    }
}

impl<'a> Chain<'a> {
    /// The longest chain that ends at step `at`, which runs a network; `kept` are the values that are read after the last step.
    pub(super) fn before(steps: &'a [Step], at: usize, kept: &[&str]) -> Option<Self> {
        let Step::Infer { from, .. } = steps.get(at)? else { return None };
        let (mut root, mut reader, mut numbers) = (from.as_str(), at, Vec::new());
        let mut least = Part::Scale;
        while let Some(made) = (0..reader).rfind(|n| steps[*n].values().1 == root) {
            let Some(part) = part(&steps[made]).filter(|part| *part <= least) else { break };
            let is_once = matches!(part, Part::Sample | Part::Contrast);
            if (is_once && part == least && numbers.iter().any(|n| self::part(&steps[*n]) == Some(part)))
                || !is_read_once(steps, made, kept)
                || is_changed(steps, made, at, &numbers)
            {
                break;
            }
            (root, reader, least) = (steps[made].values().0[0], made, part);
            numbers.insert(0, made);
        }
        let is_given = root == INPUT && (0..reader).all(|n| steps[n].values().1 != INPUT);
        (!numbers.is_empty()).then_some(Self { root, is_given, numbers })
    }

    pub(super) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// What the steps come to.
    pub(super) fn series(&self, steps: &[Step], values: &Values, stored: Option<&Stored>) -> Result<Series, Fault> {
        let (samples, grid, slope, intercept) = match stored.filter(|_| self.is_given) {
            Some(stored) => (stored.samples.clone(), stored.grid, stored.slope, stored.intercept),
            None => {
                let volume = values.volume(self.root)?;
                (device::Samples::F32(Arc::new(volume.voxels.clone())), volume.grid, 1.0, 0.0)
            }
        };
        let (mut onto, mut contrast, mut scale, mut offset) = (grid, Contrast::Whole, 1.0, 0.0);
        for number in &self.numbers {
            match &steps[*number] {
                Step::Orient { axes, .. } => {
                    onto = kernels::oriented(&onto, Orientation::parse(axes).map_err(operation_failed)?);
                }
                Step::Resize { dims, .. } => onto = resized(&onto, *dims)?,
                Step::Resample { spacing, .. } => onto = resized(&onto, grid_of(&onto, *spacing)?.dims)?,
                Step::Window { center, width, .. } => {
                    contrast = Contrast::Window { center: *center, width: *width };
                }
                Step::ClipRange { range, .. } => {
                    let (low, high) = values.range(range)?;
                    contrast = Contrast::Range { low, high };
                }
                Step::ScaleOffset { scale: by, offset: and, .. } => (scale, offset) = (scale * by, offset * by + and),
                _ => {}
            }
        }
        // No voxel of the new grid lies beyond the old one's extent.
        let outside = 0.0;
        let how = Interpolation::Linear;
        let preparation = Preparation { slope, intercept, how, outside, contrast, scale, offset };
        Ok(Series { samples, grid, onto, preparation })
    }
}

fn resized(grid: &Grid, dims: [usize; 3]) -> Result<Grid, Fault> {
    if dims.contains(&0) {
        return Err(operation_failed(KernelError::Empty));
    }
    Ok(kernels::resized(grid, dims))
}

/// Whether what a step makes is read once, before it is made anew or all is over.
pub(super) fn is_read_once(steps: &[Step], made: usize, kept: &[&str]) -> bool {
    let name = steps[made].values().1;
    let behind = steps.iter().skip(made + 1);
    let again = behind.clone().position(|step| step.values().1 == name);
    let readers = behind.take(again.map_or(usize::MAX, |again| again + 1));
    let reads = readers.flat_map(|step| step.values().0).filter(|read| *read == name).count();
    reads == 1 && (again.is_some() || !kept.contains(&name))
}

/// Whether something that a step reads is made anew before step `until`, at which the chain is done, but by the chain.
fn is_changed(steps: &[Step], made: usize, until: usize, chain: &[usize]) -> bool {
    let (reads, _) = steps[made].values();
    (made + 1..until).any(|n| !chain.contains(&n) && reads.contains(&steps[n].values().1))
}

#[cfg(test)]
pub(super) mod tests;
