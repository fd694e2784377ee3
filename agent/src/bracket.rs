//! The bracket: decode → preprocess → infer → postprocess, on one series, in the worker.
//!
//! The steps that a package declares run in their order; time is booked on decode, on networks (infer), on what comes before
//! the first network (preprocess) and on everything else (postprocess).
mod chain;
mod ending;
mod held;

use self::chain::{Chain, INPUT, Stored};
use self::ending::{Done, End};
use self::held::{Held, Lying};
use crate::code::Code;
use crate::decode::{self, SourceInstance};
use crate::fault::{Blame, Fault, StageError};
use crate::infer::{Engine, Form, Made, Tensor};
use crate::inference::{Findings, FoundBox, Inference, Measurement, Segment, StepTime};
use crate::model::Package;
use crate::model::manifest::{Input, Manifest};
use crate::model::step::Step;
use crate::model::tensors::{Lengths, wrong_shape};
use crate::outcome::Outcome;
use crate::postprocess::{boxes, preview};
use crate::preprocess::{Value, Values, image, operation_failed, volume};
use std::time::{Duration, Instant};
use sund_kernels::device::place::{Kind, Place};
use sund_kernels::device::{Ending, Input as Given};
use sund_kernels::{Grid, Volume};

/// Runs a package on a series.
pub fn run(
    package: &Package,
    engine: &mut dyn Engine,
    series: &[SourceInstance],
    on_step: &mut dyn FnMut(&StepTime),
) -> Result<Inference, StageError> {
    let used = engine.used();
    let is_validated =
        package.manifest.engines.iter().any(|valid| valid.class == used.class && valid.precision == used.precision);
    if !is_validated {
        let reason = format!("the package is not validated for {} {}", used.class, used.precision);
        return Err(Fault::new("engine-not-validated", Blame::Package, reason));
    }
    let mut clock = Clock { times: Vec::new(), on_step };
    let mut inference = match package.manifest.input {
        Input::Volume => on_volume(package, engine, series, &mut clock)?,
        Input::Images => on_images(package, engine, series, &mut clock)?,
    };
    inference.times = clock.times;
    Ok(inference)
}

struct Clock<'a> {
    times: Vec<StepTime>,
    on_step: &'a mut dyn FnMut(&StepTime),
}

impl Clock<'_> {
    fn book(&mut self, step: &str, took: Duration) {
        self.add(StepTime { step: step.to_owned(), network: None, took });
    }

    fn book_network(&mut self, network: &str, took: Duration) {
        self.add(StepTime { step: "infer".to_owned(), network: Some(network.to_owned()), took });
    }

    fn add(&mut self, time: StepTime) {
        (self.on_step)(&time);
        match self.times.iter_mut().find(|known| known.step == time.step && known.network == time.network) {
            Some(known) => known.took += time.took,
            None => self.times.push(time),
        }
    }
}

fn on_volume(
    package: &Package,
    engine: &mut dyn Engine,
    series: &[SourceInstance],
    clock: &mut Clock<'_>,
) -> Result<Inference, Fault> {
    let begun = Instant::now();
    let decoded = decode::volume(series)?;
    let source = Volume { grid: decoded.grid, voxels: decoded.samples.to_real(decoded.slope, decoded.intercept) };
    let stored = Stored::new(decoded.samples, decoded.grid, decoded.slope, decoded.intercept);
    clock.book("decode", begun.elapsed());
    let mut values = Values::default();
    values.set(INPUT, Value::Volume(source));
    steps(package, engine, &mut values, stored.as_ref(), clock)?;

    let begun = Instant::now();
    let source = values.volume(INPUT)?;
    let mut segments = Vec::new();
    let mut measurements = Vec::new();
    let mut outcome = Outcome::NoFinding;
    for (n, spec) in package.manifest.segments.iter().enumerate() {
        let mask = values.mask(&spec.from)?;
        if mask.grid != source.grid {
            let reason = format!("segment `{}` is not on the grid of the input", spec.from);
            return Err(Fault::new("segment-off-grid", Blame::Package, reason));
        }
        let voxels = mask.voxels.iter().filter(|v| **v > 0).count();
        let ml = voxels as f64 * source.grid.voxel_mm3() / 1000.0;
        if voxels > 0 && ml >= spec.finding_from_ml {
            outcome = Outcome::Finding;
        }
        if spec.volume_ml {
            measurements.push(Measurement {
                concept: Code::new("118565006", "SCT", "Volume"),
                value: ml,
                unit: Code::new("ml", "UCUM", "milliliter"),
                segment: Some(n),
            });
        }
        segments.push(Segment {
            label: spec.label.clone(),
            category: spec.category.clone(),
            property: spec.property.clone(),
            colour: spec.colour,
            mask: mask.voxels.clone(),
        });
    }
    let preview = preview::mosaic(source, &segments).map_err(operation_failed)?;
    clock.book("postprocess", begun.elapsed());
    Ok(Inference {
        package: package.reference(),
        engine: engine.used(),
        outcome,
        findings: Findings::Volume { grid: source.grid, sources: decoded.sources, segments },
        measurements,
        preview,
        partial: decoded.partial,
        times: Vec::new(),
    })
}

fn on_images(
    package: &Package,
    engine: &mut dyn Engine,
    series: &[SourceInstance],
    clock: &mut Clock<'_>,
) -> Result<Inference, Fault> {
    let begun = Instant::now();
    let images = decode::images(series)?;
    clock.book("decode", begun.elapsed());
    let spec = package.manifest.boxes.as_ref().ok_or_else(|| {
        Fault::new("package-invalid", Blame::Package, "a model on images gives boxes, and this one declares none")
    })?;
    let mut found = Vec::new();
    let mut first_with_boxes = None;
    for (n, one) in images.iter().enumerate() {
        let begun = Instant::now();
        let mut values = Values::default();
        values.set(INPUT, Value::Image(image::planes(one)?));
        clock.book("preprocess", begun.elapsed());
        steps(package, engine, &mut values, None, clock)?;
        let begun = Instant::now();
        let boxes = values.boxes(&spec.from)?;
        if first_with_boxes.is_none() && (!boxes.is_empty() || n + 1 == images.len()) {
            first_with_boxes = Some(preview::outlined(one.dims, image::rgb(one)?, boxes));
        }
        found.extend(boxes.iter().map(|one| FoundBox {
            image: n,
            finding: spec.finding.clone(),
            corners: one.corners,
            score: one.score,
        }));
        clock.book("postprocess", begun.elapsed());
    }
    let preview =
        first_with_boxes.ok_or_else(|| Fault::new("volume-empty", Blame::Study, "the series has no image"))?;
    let outcome = if found.is_empty() { Outcome::NoFinding } else { Outcome::Finding };
    let sources = images.into_iter().map(|image| image.source).collect();
    Ok(Inference {
        package: package.reference(),
        engine: engine.used(),
        outcome,
        findings: Findings::Images { sources, boxes: found },
        measurements: Vec::new(),
        preview,
        partial: None,
        times: Vec::new(),
    })
}

/// Runs the declared steps. An engine that makes a network's input of stored samples is given these, with all steps between; one
/// that makes a mask of its answer, the steps behind.
fn steps(
    package: &Package,
    engine: &mut dyn Engine,
    values: &mut Values,
    stored: Option<&Stored>,
    clock: &mut Clock<'_>,
) -> Result<(), Fault> {
    let manifest = &package.manifest;
    let is_volume = manifest.input == Input::Volume;
    if let Some(stored) = stored.filter(|_| manifest.networks.len() > 1)
        && engine.place().is_some()
    {
        return cascade(package, engine, values, stored, clock);
    }
    let chains = if engine.takes_samples() && is_volume { chains(manifest) } else { Vec::new() };
    let ends = if engine.makes_masks() && is_volume { ends(manifest) } else { Vec::new() };
    let (mut inferred, mut done) = (false, Done::default());
    for (number, step) in manifest.steps.iter().enumerate() {
        if chains.iter().any(|(_, chain)| chain.numbers().contains(&number)) || done.step(number, step, values)? {
            continue;
        }
        let begun = Instant::now();
        let (_, into) = step.values();
        let made = match step {
            Step::Infer { from, network, .. } => {
                let asked = match chains.iter().find(|(at, _)| *at == number) {
                    Some((_, chain)) => {
                        let series = chain.series(&manifest.steps, values, stored)?;
                        Asked { grid: Some(series.onto), given: Given::Series(Box::new(series)), source: None }
                    }
                    None => asked(values, from)?,
                };
                let end = ends.iter().find(|(at, _)| *at == number).map(|(_, end)| end);
                match infer(package, engine, asked, network, end)? {
                    Inferred::Answer(answer) => Ok(answer),
                    Inferred::Mask(end, mask) => {
                        done.take(end, mask);
                        inferred = true;
                        clock.book_network(network, begun.elapsed());
                        continue;
                    }
                }
            }
            other => here(other, values),
        }?;
        values.set(into, made);
        match step {
            Step::Infer { network, .. } => {
                inferred = true;
                clock.book_network(network, begun.elapsed());
            }
            _ => clock.book(if inferred { "postprocess" } else { "preprocess" }, begun.elapsed()),
        }
    }
    Ok(())
}

/// A step that runs no network, on the processor.
fn here(step: &Step, values: &Values) -> Result<Value, Fault> {
    match step {
        Step::FitImage { from, longest, multiple, order, mean, deviation, .. } => {
            image::fit(values, from, *longest, *multiple, *order, *mean, *deviation)
        }
        Step::TextBoxes { from, above, score, grow, least_side, .. } => {
            boxes::text_boxes(values, from, *above, *score, *grow, *least_side)
        }
        other => volume::apply(other, values)
            .unwrap_or_else(|| Err(Fault::new("step-wrong-kind", Blame::Sund, "a step has no operation"))),
    }
}

/// Runs the declared steps of several networks where the engine has a place for them: what they make for each other stays there.
fn cascade(
    package: &Package,
    engine: &mut dyn Engine,
    values: &mut Values,
    stored: &Stored,
    clock: &mut Clock<'_>,
) -> Result<(), Fault> {
    let manifest = &package.manifest;
    let shown: Vec<&str> = kept(manifest).into_iter().filter(|name| *name != INPUT).collect();
    let (mut held, mut inferred) = (Held::default(), false);
    held.begin(placed(engine)?, stored)?;
    for (number, step) in manifest.steps.iter().enumerate() {
        let begun = Instant::now();
        let (reads, into) = step.values();
        match step {
            Step::Infer { from, network, .. } => {
                match held.reals(from) {
                    Some(from) => {
                        let answer = infer_held(package, engine, from, network)?;
                        held.set(into, answer, values);
                    }
                    None => {
                        held.bring(reads, values, placed(engine)?)?;
                        let Inferred::Answer(answer) = infer(package, engine, asked(values, from)?, network, None)?
                        else {
                            return Err(Fault::new(
                                "gpu-failed",
                                Blame::Sund,
                                "a mask came, and scores were asked for",
                            ));
                        };
                        held.forget(into);
                        values.set(into, answer);
                    }
                }
                inferred = true;
                clock.book_network(network, begun.elapsed());
            }
            step => {
                if !held.step(step, values, placed(engine)?)? {
                    held.bring(reads, values, placed(engine)?)?;
                    let made = here(step, values)?;
                    held.forget(into);
                    values.set(into, made);
                }
                clock.book(if inferred { "postprocess" } else { "preprocess" }, begun.elapsed());
            }
        }
        held.give_up(&manifest.steps[number + 1..], &shown);
    }
    held.bring(shown, values, placed(engine)?)
}

/// The engine's place, which it has had.
fn placed(engine: &mut dyn Engine) -> Result<&mut dyn Place, Fault> {
    engine.place().ok_or_else(|| Fault::new("gpu-failed", Blame::Sund, "the engine's place is gone"))
}

/// As `infer`, where what is given is in the device's memory, and the answer is to stay there.
fn infer_held(package: &Package, engine: &mut dyn Engine, from: Lying, network: &str) -> Result<Lying, Fault> {
    let Lying { memory, grid } = from;
    match admitted(package, engine, network, Given::Held(memory), None)? {
        Made::Held { memory, .. } if memory.dims == grid.dims => Ok(Lying { memory, grid }),
        Made::Held { .. } => {
            let reason = format!("the answer of network {network} is not on the grid of its input");
            Err(Fault::new("step-failed", Blame::Package, reason))
        }
        _ => Err(Fault::new("gpu-failed", Blame::Sund, format!("network {network}'s answer did not stay on the GPU"))),
    }
}

/// For each network, by its step's number, the steps before it that are one pass over samples.
fn chains(manifest: &Manifest) -> Vec<(usize, Chain<'_>)> {
    let (steps, kept) = (&manifest.steps, kept(manifest));
    (0..steps.len()).filter_map(|at| Some((at, Chain::before(steps, at, &kept)?))).collect()
}

/// For each network, by its step's number, the steps behind it that make a mask of its answer.
fn ends(manifest: &Manifest) -> Vec<(usize, End)> {
    let (steps, kept) = (&manifest.steps, kept(manifest));
    let networks = (0..steps.len()).filter(|at| matches!(steps[*at], Step::Infer { .. }));
    networks.filter_map(|at| Some((at, End::behind(steps, at, &kept)?))).collect()
}

/// The values that are read after the last step: all of them, for what is not named here may never be made.
fn kept(manifest: &Manifest) -> Vec<&str> {
    let segments = manifest.segments.iter().map(|segment| segment.from.as_str());
    let boxes = manifest.boxes.iter().map(|boxes| boxes.from.as_str());
    segments.chain(boxes).chain([INPUT]).collect()
}

/// What a network is given, and where that lies.
struct Asked {
    given: Given,
    grid: Option<Grid>,
    /// Size of the source image, where it is an image.
    source: Option<[usize; 2]>,
}

/// What came of running a network.
enum Inferred {
    Answer(Value),
    /// The steps behind it are done.
    Mask(End, Volume<u8>),
}

fn asked(values: &Values, from: &str) -> Result<Asked, Fault> {
    let (shape, values, grid, source) = match values.get(from)? {
        Value::Image(planes) => {
            let shape = vec![1, planes.channels, planes.dims[0], planes.dims[1]];
            (shape, planes.values.clone(), None, Some(planes.source))
        }
        _ => {
            let volume = values.volume(from)?;
            let [k, j, i] = volume.grid.dims;
            (vec![1, 1, k, j, i], volume.voxels.clone(), Some(volume.grid), None)
        }
    };
    Ok(Asked { given: Given::Values(Tensor { shape, values }), grid, source })
}

fn infer(
    package: &Package,
    engine: &mut dyn Engine,
    asked: Asked,
    network: &str,
    end: Option<&End>,
) -> Result<Inferred, Fault> {
    let Asked { given, grid, source } = asked;
    let end = end.zip(grid);
    let made = admitted(package, engine, network, given, end.map(|(end, grid)| end.on(&grid)))?;
    match (made, end) {
        (Made::Scores(tensor), _) => Ok(Inferred::Answer(Value::Answer { tensor, grid, source })),
        (Made::Mask { voxels, .. }, Some((end, grid))) if voxels.len() == grid.len() => {
            Ok(Inferred::Mask(end.clone(), Volume { grid, voxels }))
        }
        (Made::Mask { .. } | Made::Held { .. }, _) => {
            let reason = format!("what was made of network {network}'s answer is no mask on the grid of its input");
            Err(Fault::new("gpu-failed", Blame::Sund, reason))
        }
    }
}

/// Runs a network on an input of a shape that it declares; the answer is of one too.
fn admitted(
    package: &Package,
    engine: &mut dyn Engine,
    network: &str,
    given: Given,
    ending: Option<Ending>,
) -> Result<Made, Fault> {
    let absent = || Fault::new("package-invalid", Blame::Package, format!("there is no network `{network}`"));
    let declared = package.manifest.networks.iter().find(|known| known.name == network).ok_or_else(absent)?;
    let (mut lengths, input) = (Lengths::new(), given.shape());
    if !declared.input.admits(&input, &mut lengths) {
        return Err(wrong_shape(declared, "takes", &declared.input, &input));
    }
    let used = engine.used();
    let form = engine.takes();
    let bytes = || match &form {
        Form::Onnx => package.network(network),
        Form::Compiled { architecture } => {
            package.plan(network, (&used.class, &used.precision), &used.version, architecture)
        }
    };
    let made = match (given, ending) {
        (given, Some(ending)) => engine.run_to_mask(network, &bytes, given, ending)?,
        (Given::Values(tensor), None) => Made::Scores(engine.run(network, &bytes, tensor)?),
        (Given::Series(series), None) => Made::Scores(engine.run_on_samples(network, &bytes, *series)?),
        (Given::Held(values), None) => {
            let memory = engine.run_held(network, &bytes, values)?;
            let (Kind::Scores(channels), [k, j, i]) = (memory.kind, memory.dims) else {
                return Err(Fault::new("gpu-failed", Blame::Sund, format!("network {network} gave no scores")));
            };
            Made::Held { shape: vec![1, channels, k, j, i], memory }
        }
    };
    if !declared.output.admits(made.shape(), &mut lengths) {
        return Err(wrong_shape(declared, "gives", &declared.output, made.shape()));
    }
    Ok(made)
}
