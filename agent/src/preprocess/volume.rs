//! Steps on volumes and masks.
use super::{Value, Values, operation_failed};
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use crate::infer::Tensor;
use crate::limits::model::MAX_VOXELS;
use crate::model::step::{How, Step};
use sund_kernels as kernels;
use sund_kernels::{Grid, Interpolation, Orientation, Region, Volume};

/// Runs a step on volumes; `None` where it is of another kind.
pub fn apply(step: &Step, values: &Values) -> Option<Result<Value, Fault>> {
    Some(match step {
        Step::Orient { from, axes, .. } => orient(values, from, axes),
        Step::Resize { from, dims, how, .. } => values.volume(from).and_then(|volume| {
            kernels::resize(volume, *dims, interpolation(*how)).map(Value::Volume).map_err(operation_failed)
        }),
        Step::Resample { from, spacing, how, .. } => values.volume(from).and_then(|volume| {
            let dims = grid_of(&volume.grid, *spacing)?.dims;
            kernels::resize(volume, dims, interpolation(*how)).map(Value::Volume).map_err(operation_failed)
        }),
        Step::Pad { from, dims, value, .. } => pad(values, from, *dims, *value),
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
        Step::Softmax { from, .. } => softmax(values, from),
        Step::Argmax { from, label, .. } => argmax(values, from, *label),
        Step::Channel { from, channel, .. } => self::channel(values, from, *channel),
        Step::Threshold { from, above, .. } => values.volume(from).map(|volume| {
            Value::Mask(Volume { grid: volume.grid, voxels: kernels::threshold(&volume.voxels, *above) })
        }),
        Step::LargestComponent { from, .. } => {
            values.mask(from).map(|mask| Value::Mask(kernels::largest_component(mask)))
        }
        Step::FillHoles { from, .. } => values.mask(from).map(|mask| Value::Mask(kernels::fill_holes(mask))),
        Step::OccupiedRegion { from, of, occupancy, margin, .. } => values.mask(from).and_then(|mask| {
            let found = kernels::occupied_region(mask, *occupancy);
            region_over(found, mask.grid.dims, values.grid(of)?.dims, *margin)
        }),
        Step::Crop { from, region, .. } => values.volume(from).and_then(|volume| {
            kernels::crop(volume, values.region(region)?).map(Value::Volume).map_err(operation_failed)
        }),
        Step::Paste { from, region, onto, .. } => paste(values, from, region, onto),
        Step::Onto { from, grid, how, .. } => onto(values, from, grid, *how),
        _ => return None,
    })
}

pub(crate) fn interpolation(how: How) -> Interpolation {
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

/// The grid of about this spacing, where it has no more voxels than a step may make: the series decides how many.
pub(crate) fn grid_of(grid: &Grid, spacing: [f64; 3]) -> Result<Grid, Fault> {
    let grid = kernels::grid_with_spacing(grid, spacing);
    let voxels = grid.dims.iter().try_fold(1_usize, |n, side| n.checked_mul(*side));
    if voxels.is_some_and(|n| n <= MAX_VOXELS) {
        return Ok(grid);
    }
    let reason = format!("at {spacing:?} mm the series has {:?} voxels, at most {MAX_VOXELS} are taken", grid.dims);
    Err(Fault::new("volume-too-large", Blame::Study, reason))
}

fn pad(values: &Values, from: &str, dims: [usize; 3], value: f32) -> Result<Value, Fault> {
    let volume = values.volume(from)?;
    let lacks: [usize; 3] = std::array::from_fn(|a| dims[a].saturating_sub(volume.grid.dims[a]));
    let before = lacks.map(|voxels| voxels / 2);
    let after = std::array::from_fn(|a| lacks[a] - before[a]);
    kernels::pad(volume, before, after, value).map(Value::Volume).map_err(operation_failed)
}

/// A network's answer on the grid of its input: values, channels, grid.
fn answer<'a>(values: &'a Values, from: &str) -> Result<(&'a Tensor, usize, Grid), Fault> {
    let Value::Answer { tensor, grid: Some(grid), .. } = values.get(from)? else {
        return Err(Fault::new("step-wrong-kind", Blame::Package, format!("`{from}` is not the answer for a volume")));
    };
    match tensor.shape[..] {
        [1, channels, k, j, i] if grid.dims == [k, j, i] && tensor.values.len() == channels * grid.len() => {
            Ok((tensor, channels, *grid))
        }
        _ => Err(Fault::new("step-failed", Blame::Package, format!("`{from}` is not on the grid of its input"))),
    }
}

fn softmax(values: &Values, from: &str) -> Result<Value, Fault> {
    let (tensor, channels, grid) = answer(values, from)?;
    let mut tensor = tensor.clone();
    kernels::softmax(&mut tensor.values, channels).map_err(operation_failed)?;
    Ok(Value::Answer { tensor, grid: Some(grid), source: None })
}

fn argmax(values: &Values, from: &str, label: usize) -> Result<Value, Fault> {
    let (tensor, channels, grid) = answer(values, from)?;
    has_channel(from, label, channels)?;
    let mut voxels = kernels::argmax(&tensor.values, channels).map_err(operation_failed)?;
    for largest in &mut voxels {
        *largest = u8::from(usize::from(*largest) == label);
    }
    Ok(Value::Mask(Volume { grid, voxels }))
}

fn channel(values: &Values, from: &str, channel: usize) -> Result<Value, Fault> {
    let (tensor, channels, grid) = answer(values, from)?;
    has_channel(from, channel, channels)?;
    let n = grid.len();
    Ok(Value::Volume(Volume { grid, voxels: tensor.values[channel * n..(channel + 1) * n].to_vec() }))
}

pub(crate) fn has_channel(from: &str, channel: usize, channels: usize) -> Result<(), Fault> {
    if channel < channels {
        return Ok(());
    }
    let reason = format!(
        "`{from}` has {}, the last is {}",
        counted(channels, "channel", "channels"),
        channels.saturating_sub(1)
    );
    Err(Fault::new("step-failed", Blame::Package, reason))
}

/// The region in a grid of `dims` over what a mask of `of_mask` occupies. With `f = dims / of_mask` and occupied planes `a..b` it is
/// centred on `round(f (a + b) / 2)` and `round(margin f (b - a))` long, cut at the edges.
pub(crate) fn region_over(
    found: Option<Region>,
    of_mask: [usize; 3],
    dims: [usize; 3],
    margin: f64,
) -> Result<Value, Fault> {
    let nothing = || {
        Fault::new("nothing-located", Blame::Study, "the first network did not find the organ that the model is for")
    };
    let found = found.ok_or_else(nothing)?;
    let region: Region = std::array::from_fn(|a| {
        let f = dims[a] as f64 / of_mask[a] as f64;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(dims: [usize; 3], mm: [f64; 3]) -> Grid {
        let to_patient = [[0.0, 0.0, mm[2], 5.0], [0.0, mm[1], 0.0, 6.0], [mm[0], 0.0, 0.0, 7.0]];
        Grid { dims, to_patient }
    }

    fn given(value: Value) -> Values {
        let mut values = Values::default();
        values.set("given", value);
        values
    }

    fn volume() -> Volume<f32> {
        let grid = grid([4, 5, 6], [2.5, 0.7, 0.7]);
        Volume { grid, voxels: (0..120).map(|n| (n * 37 % 101) as f32).collect() }
    }

    fn step(text: &str) -> Step {
        toml::from_str(&format!("from = 'given'\ninto = 'made'\n{text}")).unwrap()
    }

    fn made(values: &Values, text: &str) -> Result<Value, Fault> {
        apply(&step(text), values).unwrap()
    }

    #[test]
    fn resample_and_pad_do_what_the_kernels_do() {
        let values = given(Value::Volume(volume()));
        for (word, how) in [("linear", Interpolation::Linear), ("nearest", Interpolation::Nearest)] {
            let text = format!("do = 'resample'\nspacing = [1.0, 1.0, 1.5]\nhow = '{word}'");
            let Value::Volume(made) = made(&values, &text).unwrap() else { panic!("a volume was expected") };
            let onto = kernels::grid_with_spacing(&volume().grid, [1.0, 1.0, 1.5]);
            assert_eq!(onto.dims, [10, 4, 3]);
            assert_eq!(made, kernels::resample(&volume(), &onto, how, 0.0).unwrap());
        }
        let text = "do = 'pad'\ndims = [7, 5, 2]\nvalue = -1.0";
        let Value::Volume(made) = made(&values, text).unwrap() else { panic!("a volume was expected") };
        assert_eq!(made, kernels::pad(&volume(), [1, 0, 0], [2, 0, 0], -1.0).unwrap());
        assert_eq!(made.grid.dims, [7, 5, 6]);
    }

    #[test]
    fn a_spacing_that_would_eat_the_memory_is_refused() {
        let text = "do = 'resample'\nspacing = [0.001, 0.001, 0.001]\nhow = 'linear'";
        assert_eq!(made(&given(Value::Volume(volume())), text).unwrap_err().code, "volume-too-large");
    }

    #[test]
    fn softmax_and_argmax_do_what_the_kernels_do() {
        let grid = grid([1, 2, 2], [1.0; 3]);
        let logits = [0.0, 3.0, 1.0, 1.0, 1.0, 2.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0];
        let tensor = Tensor { shape: vec![1, 3, 1, 2, 2], values: logits.to_vec() };
        let values = given(Value::Answer { tensor, grid: Some(grid), source: None });
        let Value::Answer { tensor, .. } = made(&values, "do = 'softmax'").unwrap() else { panic!("an answer") };
        let mut shares = logits;
        kernels::softmax(&mut shares, 3).unwrap();
        assert_eq!(tensor.values, shares);
        let largest = kernels::argmax(&logits, 3).unwrap();
        for label in 0..3 {
            let Value::Mask(mask) = made(&values, &format!("do = 'argmax'\nlabel = {label}")).unwrap() else {
                panic!("a mask was expected")
            };
            let expected: Vec<u8> = largest.iter().map(|channel| u8::from(*channel == label)).collect();
            assert_eq!(mask, Volume { grid, voxels: expected });
        }
        assert!(made(&values, "do = 'argmax'\nlabel = 3").unwrap_err().reason.contains("3 channels, the last is 2"));
    }

    #[test]
    fn an_answer_on_another_grid_is_not_taken_apart() {
        let tensor = Tensor { shape: vec![1, 4, 1, 1, 2], values: vec![0.0; 8] };
        let values = given(Value::Answer { tensor, grid: Some(grid([1, 2, 2], [1.0; 3])), source: None });
        assert_eq!(made(&values, "do = 'channel'\nchannel = 0").unwrap_err().code, "step-failed");
    }
}
