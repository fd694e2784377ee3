//! Steps on volumes and masks.
use super::{Value, Values, operation_failed};
use crate::fault::{Blame, Fault};
use crate::model::step::{How, Step};
use sund_kernels as kernels;
use sund_kernels::{Interpolation, Orientation, Region, Volume};

/// Runs a step on volumes; `None` where it is of another kind.
pub fn apply(step: &Step, values: &Values) -> Option<Result<Value, Fault>> {
    Some(match step {
        Step::Orient { from, axes, .. } => orient(values, from, axes),
        Step::Resize { from, dims, how, .. } => values.volume(from).and_then(|volume| {
            kernels::resize(volume, *dims, interpolation(*how)).map(Value::Volume).map_err(operation_failed)
        }),
        Step::Quantiles { from, low, high, .. } => values.volume(from).and_then(|volume| {
            let found = kernels::quantiles(&volume.voxels, &[*low, *high]).map_err(operation_failed)?;
            Ok(Value::Range(found[0], found[1]))
        }),
        Step::ClipRange { from, range, .. } => {
            values.range(range).and_then(|(low, high)| changed(values, from, |v| kernels::clip_range(v, low, high)))
        }
        Step::Window { from, center, width, .. } => changed(values, from, |v| kernels::window(v, *center, *width)),
        Step::ZScore { from, .. } => changed(values, from, kernels::z_score),
        Step::ScaleOffset { from, scale, offset, .. } => {
            changed(values, from, |v| kernels::scale_offset(v, *scale, *offset))
        }
        Step::Channel { from, channel, .. } => self::channel(values, from, *channel),
        Step::Threshold { from, above, .. } => values.volume(from).map(|volume| {
            Value::Mask(Volume { grid: volume.grid, voxels: kernels::threshold(&volume.voxels, *above) })
        }),
        Step::LargestComponent { from, .. } => {
            values.mask(from).map(|mask| Value::Mask(kernels::largest_component(mask)))
        }
        Step::FillHoles { from, .. } => values.mask(from).map(|mask| Value::Mask(kernels::fill_holes(mask))),
        Step::OccupiedRegion { from, of, occupancy, margin, .. } => {
            values.mask(from).and_then(|mask| occupied(mask, values.grid(of)?.dims, *occupancy, *margin))
        }
        Step::Crop { from, region, .. } => values.volume(from).and_then(|volume| {
            kernels::crop(volume, values.region(region)?).map(Value::Volume).map_err(operation_failed)
        }),
        Step::Paste { from, region, onto, .. } => paste(values, from, region, onto),
        Step::Onto { from, grid, how, .. } => onto(values, from, grid, *how),
        _ => return None,
    })
}

fn interpolation(how: How) -> Interpolation {
    match how {
        How::Nearest => Interpolation::Nearest,
        How::Linear => Interpolation::Linear,
    }
}

fn orient(values: &Values, from: &str, axes: &str) -> Result<Value, Fault> {
    let to = Orientation::parse(axes).map_err(operation_failed)?;
    Ok(match values.get(from)? {
        Value::Mask(mask) => Value::Mask(kernels::orient(mask, to)),
        _ => Value::Volume(kernels::orient(values.volume(from)?, to)),
    })
}

fn changed(values: &Values, from: &str, change: impl FnOnce(&mut [f32])) -> Result<Value, Fault> {
    let mut volume = values.volume(from)?.clone();
    change(&mut volume.voxels);
    Ok(Value::Volume(volume))
}

fn channel(values: &Values, from: &str, channel: usize) -> Result<Value, Fault> {
    let mismatch =
        || Fault::new("step-failed", Blame::Package, format!("`{from}` has no channel {channel} on its grid"));
    let Value::Answer { tensor, grid: Some(grid), .. } = values.get(from)? else {
        return Err(mismatch());
    };
    let n = grid.len();
    if tensor.shape.get(2..) != Some(&grid.dims) {
        return Err(mismatch());
    }
    let voxels = tensor.values.get(channel * n..(channel + 1) * n).ok_or_else(mismatch)?.to_vec();
    Ok(Value::Volume(Volume { grid: *grid, voxels }))
}

/// The region in a grid of `dims` over the mask's extent. With `f = dims / mask dims` and occupied planes `a..b` it is
/// centred on `round(f (a + b) / 2)` and `round(margin f (b - a))` long, cut at the edges.
fn occupied(mask: &Volume<u8>, dims: [usize; 3], occupancy: f64, margin: f64) -> Result<Value, Fault> {
    let nothing = || {
        Fault::new("nothing-located", Blame::Study, "the first network did not find the organ that the model is for")
    };
    let found = kernels::occupied_region(mask, occupancy).ok_or_else(nothing)?;
    let region: Region = std::array::from_fn(|a| {
        let f = dims[a] as f64 / mask.grid.dims[a] as f64;
        // As Python's round(): half to even.
        let center = (f * (found[a].start + found[a].end) as f64 / 2.0).round_ties_even();
        let length = (margin * f * found[a].len() as f64).round_ties_even();
        let low = (center - length / 2.0).trunc().max(0.0) as usize;
        low..((center + length / 2.0).trunc() as usize).min(dims[a])
    });
    if region.iter().any(std::ops::Range::is_empty) { Err(nothing()) } else { Ok(Value::Region(region)) }
}

fn paste(values: &Values, from: &str, region: &str, onto: &str) -> Result<Value, Fault> {
    let (region, grid) = (values.region(region)?, values.grid(onto)?);
    match values.get(from)? {
        Value::Mask(mask) => kernels::paste(mask, &grid, region, 0).map(Value::Mask),
        _ => kernels::paste(values.volume(from)?, &grid, region, 0.0).map(Value::Volume),
    }
    .map_err(operation_failed)
}

fn onto(values: &Values, from: &str, grid: &str, how: How) -> Result<Value, Fault> {
    let grid = values.grid(grid)?;
    match values.get(from)? {
        Value::Mask(mask) => {
            let real = Volume { grid: mask.grid, voxels: mask.voxels.iter().map(|v| f32::from(*v)).collect() };
            let moved = kernels::resample(&real, &grid, interpolation(how), 0.0).map_err(operation_failed)?;
            Ok(Value::Mask(Volume { grid, voxels: kernels::threshold(&moved.voxels, 0.5) }))
        }
        _ => kernels::resample(values.volume(from)?, &grid, interpolation(how), 0.0)
            .map(Value::Volume)
            .map_err(operation_failed),
    }
}
