//! A cascade on a device whose memory is the processor's: the same masks as without one, and nothing comes back on the way.
use crate::bracket;
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Form, Network, Tensor, TractEngine, not_finite};
use crate::inference::{EngineUsed, Findings, Inference};
use crate::model::{Package, golden};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sund_kernels as kernels;
use sund_kernels::device::place::{Brought, Done, Kind, OnDevice, Place};
use sund_kernels::device::steps::Step;
use sund_kernels::device::{DeviceError, Samples, Series};
use sund_kernels::{Grid, Volume};

/// What a value of this device is.
enum Value {
    Stored(Samples),
    Reals(Vec<f32>),
    Mask(Vec<u8>),
}

/// Steps by the references.
#[derive(Default)]
struct Processor {
    counts: Arc<Counts>,
    /// Steps from this one on find no memory.
    full_from: Option<usize>,
}

#[derive(Default)]
struct Counts {
    steps: AtomicUsize,
    brought: AtomicUsize,
}

fn grid(dims: [usize; 3]) -> Grid {
    Grid { dims, to_patient: [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]] }
}

fn refused(error: kernels::KernelError) -> DeviceError {
    DeviceError::Refused(error.to_string())
}

impl Processor {
    fn made(step: &Step, from: &OnDevice) -> Result<Done, DeviceError> {
        let dims = from.dims;
        let mask = |volume: Volume<u8>| {
            Ok(Done::Held(OnDevice::new(Kind::Mask, volume.grid.dims, Value::Mask(volume.voxels))))
        };
        let reals = |volume: Volume<f32>| {
            Ok(Done::Held(OnDevice::new(Kind::Reals, volume.grid.dims, Value::Reals(volume.voxels))))
        };
        match (from.held::<Value>()?, from.kind) {
            (Value::Stored(samples), _) => {
                let Step::Prepare { grid, onto, preparation } = step else { panic!("{step:?} of samples") };
                let series = Series { samples: samples.clone(), grid: *grid, onto: *onto, preparation: *preparation };
                reals(Volume { grid: *onto, voxels: series.prepared().map_err(refused)? })
            }
            (Value::Mask(voxels), _) => {
                let volume = Volume { grid: grid(dims), voxels: voxels.clone() };
                match step {
                    Step::LargestComponent => mask(kernels::largest_component(&volume)),
                    Step::FillHoles => mask(kernels::fill_holes(&volume)),
                    Step::OccupiedRegion { occupancy } => {
                        Ok(Done::Region(kernels::occupied_region(&volume, *occupancy)))
                    }
                    Step::Resample { grid, onto, how } => {
                        let voxels = voxels.iter().map(|v| f32::from(*v)).collect();
                        let moved =
                            kernels::resample(&Volume { grid: *grid, voxels }, onto, *how, 0.0).map_err(refused)?;
                        mask(Volume { grid: *onto, voxels: kernels::threshold(&moved.voxels, 0.5) })
                    }
                    Step::Paste { region, dims } => {
                        mask(kernels::paste(&volume, &grid(*dims), region, 0).map_err(refused)?)
                    }
                    step => panic!("{step:?} of a mask"),
                }
            }
            (Value::Reals(values), Kind::Scores(channels)) => match step {
                Step::Channel { channel } => {
                    let n = values.len() / channels;
                    reals(Volume { grid: grid(dims), voxels: values[channel * n..(channel + 1) * n].to_vec() })
                }
                step => panic!("{step:?} of scores"),
            },
            (Value::Reals(values), _) => {
                let mut volume = Volume { grid: grid(dims), voxels: values.clone() };
                match step {
                    Step::Resample { grid, onto, how } => {
                        volume.grid = *grid;
                        return reals(kernels::resample(&volume, onto, *how, 0.0).map_err(refused)?);
                    }
                    Step::Resize { dims, how } => {
                        return reals(kernels::resize(&volume, *dims, *how).map_err(refused)?);
                    }
                    Step::Crop { region } => return reals(kernels::crop(&volume, region).map_err(refused)?),
                    Step::Paste { region, dims } => {
                        return reals(kernels::paste(&volume, &grid(*dims), region, 0.0).map_err(refused)?);
                    }
                    Step::Quantiles { shares } => {
                        let found = kernels::quantiles(values, shares).map_err(refused)?;
                        return Ok(Done::Range(found[0], found[1]));
                    }
                    Step::Threshold { above } => {
                        return mask(Volume { grid: volume.grid, voxels: kernels::threshold(values, *above) });
                    }
                    Step::ClipRange { low, high } => kernels::clip_range(&mut volume.voxels, *low, *high),
                    Step::ZScore => kernels::z_score(&mut volume.voxels),
                    Step::ScaleOffset { scale, offset } => kernels::scale_offset(&mut volume.voxels, *scale, *offset),
                    step => panic!("{step:?} of reals"),
                }
                reals(volume)
            }
        }
    }
}

impl Place for Processor {
    fn stored(&mut self, samples: &Samples, dims: [usize; 3]) -> Result<OnDevice, DeviceError> {
        Ok(OnDevice::new(Kind::Stored, dims, Value::Stored(samples.clone())))
    }

    fn step(&mut self, step: &Step, from: &OnDevice) -> Result<Done, DeviceError> {
        let number = self.counts.steps.fetch_add(1, Ordering::Relaxed);
        if self.full_from.is_some_and(|from| number >= from) {
            return Err(DeviceError::OutOfMemory("none is left".into()));
        }
        Self::made(step, from)
    }

    fn take(&mut self, answer: OnDevice) -> Result<OnDevice, DeviceError> {
        Ok(answer)
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn is_finite(&mut self, scores: &OnDevice) -> Result<bool, DeviceError> {
        let Value::Reals(values) = scores.held::<Value>()? else { panic!("no scores") };
        Ok(!kernels::not_finite(values))
    }

    fn bring(&mut self, value: &OnDevice) -> Result<Brought, DeviceError> {
        self.counts.brought.fetch_add(1, Ordering::Relaxed);
        Ok(match value.held::<Value>()? {
            Value::Reals(values) => Brought::Reals(values.clone()),
            Value::Mask(voxels) => Brought::Mask(voxels.clone()),
            Value::Stored(_) => panic!("samples do not come back"),
        })
    }
}

/// tract, with the steps between its networks on that device.
struct Placed {
    networks: TractEngine,
    place: Processor,
    /// What becomes of each answer.
    change: fn(&mut [f32]),
}

impl Engine for Placed {
    fn used(&self) -> EngineUsed {
        self.networks.used()
    }

    fn unload(&mut self) {
        self.networks.unload();
    }

    fn takes(&self) -> Form {
        self.networks.takes()
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        self.networks.run(name, network, input)
    }

    fn place(&mut self) -> Option<&mut dyn Place> {
        Some(&mut self.place)
    }

    fn run_held(&mut self, name: &str, network: &Network<'_>, input: OnDevice) -> Result<OnDevice, Fault> {
        let Ok(Value::Reals(values)) = input.held::<Value>() else { panic!("no reals") };
        let [k, j, i] = input.dims;
        let input = Tensor { shape: vec![1, 1, k, j, i], values: values.clone() };
        let Tensor { shape, mut values } = self.networks.run(name, network, input)?;
        (self.change)(&mut values);
        if kernels::not_finite(&values) {
            return Err(not_finite(name));
        }
        let [1, channels, k, j, i] = shape[..] else {
            return Err(Fault::new("gpu-failed", Blame::Box, format!("an answer of {shape:?}")));
        };
        Ok(OnDevice::new(Kind::Scores(channels), [k, j, i], Value::Reals(values)))
    }
}

fn package() -> Package {
    Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/brain-extraction")).unwrap()
}

/// The demonstration's cascade on its golden case.
fn brain(engine: &mut dyn Engine) -> Result<Inference, Fault> {
    let package = package();
    let series = golden::series(&package, &package.manifest.golden[0]).unwrap();
    bracket::run(&package, engine, &series, &mut |_| {})
}

fn placed(full_from: Option<usize>, change: fn(&mut [f32])) -> (Placed, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let place = Processor { counts: Arc::clone(&counts), full_from };
    (Placed { networks: TractEngine::default(), place, change }, counts)
}

fn mask(inference: &Inference) -> &[u8] {
    let Findings::Volume { segments, .. } = &inference.findings else { panic!("no volume") };
    &segments[0].mask
}

#[test]
fn a_cascade_on_a_device_has_the_processors_mask_and_nothing_but_that_comes_back() {
    let here = brain(&mut TractEngine::default()).unwrap();
    let (mut engine, counts) = placed(None, |_| {});
    let there = brain(&mut engine).unwrap();
    assert!(mask(&here) == mask(&there) && here.measurements == there.measurements);
    assert_eq!(counts.brought.load(Ordering::Relaxed), 1);
    // All steps of the manifest but its two networks, and the rescaling of what was stored.
    let steps = package().manifest.steps.len();
    assert_eq!(counts.steps.load(Ordering::Relaxed), steps - 2 + 1);
    // Without memory for its later steps it goes on here.
    let (mut full, counts) = placed(Some(9), |_| {});
    let there = brain(&mut full).unwrap();
    assert!(mask(&here) == mask(&there));
    assert!(counts.brought.load(Ordering::Relaxed) > 1);
}

#[test]
fn an_answer_that_is_not_finite_fails_where_it_never_comes_back() {
    let (mut engine, _) = placed(None, |values| values[7] = f32::NAN);
    assert_eq!(brain(&mut engine).unwrap_err().code, "network-not-finite");
}
