//! Studies through the bracket on the device: the demonstration's own steps, masks made where the scores are, against the same
//! with every step behind a network on the processor. The phantom is like itself under no turn or mirror.
use super::host::{HostDevice, without_places};
use crate::phantom::python;
use std::path::Path;
use sund_agent::bracket;
use sund_agent::dataset::part10;
use sund_agent::decode::SourceInstance;
use sund_agent::fault::Fault;
use sund_agent::infer::{Engine, Form, Made, Network, Tensor};
use sund_agent::inference::{EngineUsed, Findings, Inference};
use sund_agent::model::Package;
use sund_agent::model::step::Step;
use sund_agent::outcome::Outcome;
use sund_agent::schedule::{GpuEngine, Opened, start};
use sund_kernels::device::{Ending, Input, Series};

/// An engine on the device, and what came of it.
struct Watched {
    engine: GpuEngine,
    makes_masks: bool,
    masks: usize,
    scores: usize,
}

impl Watched {
    fn new(makes_masks: bool, computes: fn(Tensor) -> Tensor) -> Self {
        let opened = move || {
            let mut device = HostDevice::new(1 << 30, 2).0;
            device.computes = Some(computes);
            // As which the package is validated; the network's own bytes name it.
            let used = EngineUsed { class: "tract".into(), precision: "fp32".into(), version: "1".into() };
            Ok(Opened { device, used, takes: Form::Onnx, places: without_places() })
        };
        Self { engine: start(opened).unwrap(), makes_masks, masks: 0, scores: 0 }
    }
}

impl Engine for Watched {
    fn used(&self) -> EngineUsed {
        self.engine.used()
    }

    fn unload(&mut self) {
        self.engine.unload();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        self.scores += 1;
        self.engine.run(name, network, input)
    }

    fn takes_samples(&self) -> bool {
        self.engine.takes_samples()
    }

    fn run_on_samples(&mut self, name: &str, network: &Network<'_>, series: Series) -> Result<Tensor, Fault> {
        self.scores += 1;
        self.engine.run_on_samples(name, network, series)
    }

    fn makes_masks(&self) -> bool {
        self.makes_masks
    }

    fn run_to_mask(&mut self, name: &str, network: &Network<'_>, input: Input, ending: Ending) -> Result<Made, Fault> {
        let made = self.engine.run_to_mask(name, network, input, ending)?;
        match made {
            Made::Mask { .. } => self.masks += 1,
            Made::Scores(_) => self.scores += 1,
            Made::Held { .. } => panic!("nothing is held here"),
        }
        Ok(made)
    }
}

/// Two channels: what is not bright, and what is.
fn bright(input: Tensor) -> Tensor {
    let [_, _, k, j, i] = input.shape[..] else { panic!("a volume was expected") };
    let dark = input.values.iter().map(|x| 1.0 - x);
    let values = dark.chain(input.values.iter().copied()).collect();
    Tensor { shape: vec![1, 2, k, j, i], values }
}

/// The same with one voxel that is not a number, in the channel that no step reads.
fn torn(input: Tensor) -> Tensor {
    let mut answer = bright(input);
    answer.values[5] = f32::NAN;
    answer
}

/// As `bright`, and a channel more than the package declares.
fn wide(input: Tensor) -> Tensor {
    let mut answer = bright(input);
    answer.shape[1] = 3;
    answer.values.extend_from_within(..answer.values.len() / 2);
    answer
}

fn phantom() -> Vec<SourceInstance> {
    let folder = tempfile::tempdir().unwrap();
    python("make.py", folder.path());
    let files = std::fs::read_dir(folder.path().join("series")).unwrap();
    files.map(|file| part10::read_file(&file.unwrap().path()).unwrap()).collect()
}

fn brain() -> Package {
    Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/brain-extraction")).unwrap()
}

/// The first network's mask by softmax and the largest channel, not by a threshold on one.
fn with_labels(mut package: Package) -> Package {
    for step in &mut package.manifest.steps {
        *step = match step {
            Step::Channel { from, into, channel: 1 } if from == "located" => {
                Step::Softmax { from: from.clone(), into: into.clone() }
            }
            Step::Threshold { from, into, .. } if from == "located-score" => {
                Step::Argmax { from: from.clone(), into: into.clone(), label: 1 }
            }
            _ => continue,
        };
    }
    package
}

fn run(package: &Package, engine: &mut Watched, series: &[SourceInstance]) -> Result<Inference, Fault> {
    bracket::run(package, engine, series, &mut |_| {})
}

#[test]
fn a_study_has_the_same_masks_whether_its_scores_stay_on_the_device_or_not() {
    let series = phantom();
    for package in [brain(), with_labels(brain())] {
        let (mut masks, mut scores) = (Watched::new(true, bright), Watched::new(false, bright));
        let made = run(&package, &mut masks, &series).unwrap();
        assert_eq!((masks.masks, masks.scores), (2, 0), "both networks' scores stay there");
        let expected = run(&package, &mut scores, &series).unwrap();
        assert_eq!((scores.masks, scores.scores), (0, 2));
        assert_eq!(made.outcome, Outcome::Finding);
        assert_eq!((&made.findings, &made.measurements), (&expected.findings, &expected.measurements));
        assert_eq!((&made.preview, &made.partial), (&expected.preview, &expected.partial));
        let Findings::Volume { segments, grid, .. } = &made.findings else { panic!("a volume was expected") };
        let mask = &segments[0].mask;
        let set: usize = mask.iter().map(|voxel| usize::from(*voxel)).sum();
        assert!(set > 100 && set < grid.len(), "{set} of {} voxels", grid.len());
        assert!(mask.iter().ne(mask.iter().rev()), "turned by half it would be another");
    }
}

#[test]
fn an_answer_that_is_not_finite_fails_the_study_with_its_scores_on_the_device_as_without() {
    let (package, series) = (brain(), phantom());
    let faults = [true, false].map(|masks| run(&package, &mut Watched::new(masks, torn), &series).unwrap_err());
    assert_eq!(faults[0], faults[1]);
    assert_eq!(faults[0].code, "network-not-finite");
}

#[test]
fn an_answer_that_the_package_does_not_declare_fails_the_study_with_its_scores_on_the_device_as_without() {
    let (package, series) = (brain(), phantom());
    let faults = [true, false].map(|masks| run(&package, &mut Watched::new(masks, wide), &series).unwrap_err());
    assert_eq!(faults[0], faults[1]);
    assert_eq!(faults[0].code, "network-wrong-shape");
}
