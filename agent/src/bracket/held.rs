//! The steps of a cascade where its networks run: what one makes for the next stays in the device's memory. A volume comes back
//! where a step has to be done here, and at the end as a mask.
use super::chain::{INPUT, Stored};
use crate::fault::{Blame, Fault};
use crate::model::step::Step;
use crate::preprocess::volume::{grid_of, has_channel, interpolation, region_over};
use crate::preprocess::{Value, Values, operation_failed};
use std::collections::BTreeMap;
use sund_kernels as kernels;
use sund_kernels::device::DeviceError;
use sund_kernels::device::place::{Brought, Done, Kind, OnDevice, Place};
use sund_kernels::device::steps::Step as Operation;
use sund_kernels::{Grid, Interpolation, Orientation, Preparation, Volume};

/// The values that a device holds, by name. What is here is not in [`Values`], but for the input.
#[derive(Default)]
pub(super) struct Held(BTreeMap<String, Lying>);

/// A value on a grid.
#[derive(Clone)]
pub(super) struct Lying {
    pub(super) memory: OnDevice,
    pub(super) grid: Grid,
}

impl Held {
    /// Real values that are there.
    pub(super) fn reals(&self, name: &str) -> Option<Lying> {
        self.0.get(name).filter(|lying| lying.memory.kind == Kind::Reals).cloned()
    }

    /// A value is there from now on.
    pub(super) fn set(&mut self, name: &str, value: Lying, values: &mut Values) {
        values.forget(name);
        self.0.insert(name.to_owned(), value);
    }

    /// A value is made here now, and no longer what the device has of that name.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Brings the input's samples to the device and makes its real values there.
    pub(super) fn begin(&mut self, place: &mut dyn Place, stored: &Stored) -> Result<(), Fault> {
        let Stored { samples, grid, slope, intercept } = stored;
        let made = (|| {
            let samples = place.stored(samples, grid.dims)?;
            let preparation = Preparation::rescaled(*slope, *intercept);
            place.step(&Operation::Prepare { grid: *grid, onto: *grid, preparation }, &samples)
        })();
        match made {
            Ok(Done::Held(memory)) => {
                self.0.insert(INPUT.to_owned(), Lying { memory, grid: *grid });
                Ok(())
            }
            Ok(_) | Err(DeviceError::OutOfMemory(_)) => Ok(()),
            Err(error) => Err(told(INPUT, &error)),
        }
    }

    /// Does a step there, where what it reads is there and it can be; true where it did.
    pub(super) fn step(&mut self, step: &Step, values: &mut Values, place: &mut dyn Place) -> Result<bool, Fault> {
        let (reads, into) = step.values();
        let Some(from) = reads.first().and_then(|from| self.0.get(*from)).cloned() else { return Ok(false) };
        let Some((operation, grid)) = self.operation(step, &from, values)? else { return Ok(false) };
        let made = match place.step(&operation, &from.memory) {
            Ok(made) => made,
            // Here there is more memory.
            Err(DeviceError::OutOfMemory(_)) => return Ok(false),
            Err(error) => return Err(told(into, &error)),
        };
        let value = match (made, step) {
            (Done::Held(memory), _) => {
                self.set(into, Lying { memory, grid }, values);
                return Ok(true);
            }
            (Done::Range(low, high), _) => Value::Range(low, high),
            (Done::Region(found), Step::OccupiedRegion { of, margin, .. }) => {
                region_over(found, from.grid.dims, self.grid(of, values)?.dims, *margin)?
            }
            (Done::Region(_), _) => return Err(told(into, &DeviceError::Failed("a region was not asked for".into()))),
        };
        self.0.remove(into);
        values.set(into, value);
        Ok(true)
    }

    /// What the device is to do for a step, and the grid of what it makes; none where it cannot.
    fn operation(&self, step: &Step, from: &Lying, values: &Values) -> Result<Option<(Operation, Grid)>, Fault> {
        let (kind, grid) = (from.memory.kind, from.grid);
        let is_field = matches!(kind, Kind::Reals | Kind::Mask);
        let operation = match (step, kind) {
            (Step::Orient { axes, .. }, _) if is_field => {
                let onto = kernels::oriented(&grid, Orientation::parse(axes).map_err(operation_failed)?);
                return Ok(Some((Operation::Resample { grid, onto, how: Interpolation::Nearest }, onto)));
            }
            (Step::Resize { dims, how, .. }, Kind::Reals) => return Ok(resized(&grid, *dims, interpolation(*how))),
            (Step::Resample { spacing, how, .. }, Kind::Reals) => {
                return Ok(resized(&grid, grid_of(&grid, *spacing)?.dims, interpolation(*how)));
            }
            (Step::Onto { grid: of, how, .. }, _) if is_field => {
                let onto = self.grid(of, values)?;
                return Ok(Some((Operation::Resample { grid, onto, how: interpolation(*how) }, onto)));
            }
            (Step::Crop { region, .. }, Kind::Reals) => {
                let region = values.region(region)?.clone();
                let onto = kernels::cropped(&grid, &region);
                return Ok(Some((Operation::Crop { region }, onto)));
            }
            (Step::Paste { region, onto, .. }, _) if is_field => {
                let (region, onto) = (values.region(region)?.clone(), self.grid(onto, values)?);
                return Ok(Some((Operation::Paste { region, dims: onto.dims }, onto)));
            }
            (Step::Quantiles { low, high, .. }, Kind::Reals) => Operation::Quantiles { shares: [*low, *high] },
            (Step::ClipRange { range, .. }, Kind::Reals) => {
                let (low, high) = values.range(range)?;
                Operation::ClipRange { low, high }
            }
            (Step::Window { center, width, .. }, Kind::Reals) => Operation::Window { center: *center, width: *width },
            (Step::ZScore { .. }, Kind::Reals) => Operation::ZScore,
            (Step::ScaleOffset { scale, offset, .. }, Kind::Reals) => {
                Operation::ScaleOffset { scale: *scale, offset: *offset }
            }
            (Step::Threshold { above, .. }, Kind::Reals) => Operation::Threshold { above: *above },
            (Step::Softmax { .. }, Kind::Scores(_)) => Operation::Softmax,
            (Step::Argmax { from, label, .. }, Kind::Scores(channels)) => {
                has_channel(from, *label, channels)?;
                Operation::Argmax { label: *label }
            }
            (Step::Channel { from, channel, .. }, Kind::Scores(channels)) => {
                has_channel(from, *channel, channels)?;
                Operation::Channel { channel: *channel }
            }
            (Step::LargestComponent { .. }, Kind::Mask) => Operation::LargestComponent,
            (Step::FillHoles { .. }, Kind::Mask) => Operation::FillHoles,
            (Step::OccupiedRegion { occupancy, .. }, Kind::Mask) => Operation::OccupiedRegion { occupancy: *occupancy },
            _ => return Ok(None),
        };
        Ok(Some((operation, grid)))
    }

    /// The grid of a value, wherever it is.
    fn grid(&self, name: &str, values: &Values) -> Result<Grid, Fault> {
        self.0.get(name).map_or_else(|| values.grid(name), |lying| Ok(lying.grid))
    }

    /// Brings back what a step reads that is done here, or what is read at the end. The device keeps its own.
    pub(super) fn bring<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        values: &mut Values,
        place: &mut dyn Place,
    ) -> Result<(), Fault> {
        for name in names {
            let Some(Lying { memory, grid }) = self.0.get(name) else { continue };
            if values.get(name).is_ok() {
                continue;
            }
            let brought = place.bring(memory).map_err(|error| told(name, &error))?;
            values.set(name, value(memory, *grid, brought)?);
        }
        Ok(())
    }

    /// Gives up what no later step reads.
    pub(super) fn give_up(&mut self, later: &[Step], kept: &[&str]) {
        self.0.retain(|name, _| {
            kept.contains(&name.as_str()) || later.iter().any(|step| step.values().0.contains(&name.as_str()))
        });
    }
}

fn resized(grid: &Grid, dims: [usize; 3], how: Interpolation) -> Option<(Operation, Grid)> {
    // What is refused is refused here.
    (!dims.contains(&0)).then(|| (Operation::Resize { dims, how }, kernels::resized(grid, dims)))
}

fn value(memory: &OnDevice, grid: Grid, brought: Brought) -> Result<Value, Fault> {
    let [k, j, i] = memory.dims;
    Ok(match (memory.kind, brought) {
        (Kind::Reals, Brought::Reals(voxels)) => Value::Volume(Volume::new(grid, voxels).map_err(operation_failed)?),
        (Kind::Mask, Brought::Mask(voxels)) => Value::Mask(Volume::new(grid, voxels).map_err(operation_failed)?),
        (Kind::Scores(channels), Brought::Reals(values)) => {
            let tensor = crate::infer::Tensor { shape: vec![1, channels, k, j, i], values };
            Value::Answer { tensor, grid: Some(grid), source: None }
        }
        _ => return Err(Fault::new("gpu-failed", Blame::Sund, "another kind of value came back from the GPU")),
    })
}

/// A step that failed where it was done.
fn told(name: &str, error: &DeviceError) -> Fault {
    let reason = format!("`{name}` could not be made on the GPU: {error}");
    match error {
        DeviceError::OutOfMemory(_) => Fault::new("gpu-memory", Blame::Box, reason),
        DeviceError::Lost(_) => Fault::new("gpu-lost", Blame::Box, reason),
        DeviceError::Refused(_) => Fault::new("step-failed", Blame::Package, reason),
        DeviceError::Failed(_) => Fault::new("gpu-failed", Blame::Box, reason),
    }
}

#[cfg(test)]
mod tests;
