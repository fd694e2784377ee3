//! The manifest of a model package, format 1, as agent/MODELS.md specifies it. Unknown keys are refused.
use super::compiled::Compiled;
use super::step::Step;
use super::tensors::TensorSpec;
use crate::code::Code;
use crate::route::Selection;
use serde::{Deserialize, Serialize};

/// `model.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: 1.
    pub format: u32,
    /// Name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Semantic version.
    pub version: String,
    /// Who answers for it.
    pub vendor: String,
    /// What it is for, in a sentence.
    pub intended_use: String,
    /// Regulatory status, in a sentence.
    pub regulatory_status: String,
    /// Licence of the weights (SPDX).
    pub licence: String,
    /// Documents that travel with it; packing needs them.
    #[serde(default)]
    pub documents: Option<Documents>,
    /// `declared`: the steps below run here. `external` is reserved.
    pub runtime: Runtime,
    /// Engine classes and precisions that it is validated for; nothing else serves it.
    pub engines: Vec<ValidatedEngine>,
    /// What a series must be.
    pub selection: Selection,
    /// What the steps are given.
    pub input: Input,
    /// The networks, by name.
    pub networks: Vec<Network>,
    /// Networks that are compiled already, for some GPUs.
    #[serde(default)]
    pub compiled: Vec<Compiled>,
    /// The declared steps, in order.
    pub steps: Vec<Step>,
    /// Segments that it gives.
    #[serde(default)]
    pub segments: Vec<SegmentSpec>,
    /// Boxes that it gives.
    #[serde(default)]
    pub boxes: Option<BoxSpec>,
    /// Known answers that an engine must give before it serves.
    #[serde(default)]
    pub golden: Vec<Golden>,
}

/// Documents of a package: paths in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Model card: training and test data, performance, limits, for people.
    pub card: String,
    /// Text of the licence.
    pub licence: String,
    /// Software bill of materials, machine-readable.
    pub sbom: String,
}

/// How a package is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// By the declared steps.
    Declared,
    /// By another node; reserved.
    External,
}

/// An engine that the package is validated for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatedEngine {
    /// `tract`, `onnxruntime`, `tensorrt-rtx`, `tensorrt`.
    pub class: String,
    /// `fp32`, `fp16`.
    pub precision: String,
}

/// What the steps are given as the value `input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A series as one volume, in real values.
    Volume,
    /// Single images, one at a time.
    Images,
}

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Name that steps use.
    pub name: String,
    /// File in the package.
    pub file: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// The tensor that it takes.
    pub input: TensorSpec,
    /// Its answer: the first output of the file.
    pub output: TensorSpec,
}

/// A segment, from a mask that the steps made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSpec {
    /// The mask.
    pub from: String,
    /// Label for people.
    pub label: String,
    /// Segmented Property Category.
    pub category: Code,
    /// Segmented Property Type.
    pub property: Code,
    /// Display colour, sRGB.
    pub colour: [u8; 3],
    /// True: its volume is reported in ml.
    #[serde(default)]
    pub volume_ml: bool,
    /// A finding from this volume on, in ml.
    #[serde(default)]
    pub finding_from_ml: f64,
}

/// Boxes, from what the steps made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxSpec {
    /// The boxes.
    pub from: String,
    /// What each box is.
    pub finding: Code,
}

/// A known answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Name.
    pub name: String,
    /// Where the input comes from, and that it identifies nobody.
    pub origin: String,
    /// Folder in the package with the DICOM files.
    pub folder: String,
    /// The volume in ml that the first segment must have.
    #[serde(default)]
    pub volume_ml: Option<f64>,
    /// Largest difference to it.
    #[serde(default)]
    pub tolerance_ml: f64,
    /// File in the package with the mask that the first segment must have: a bit for each voxel of the input.
    #[serde(default)]
    pub mask: Option<String>,
    /// Least Dice coefficient with it.
    #[serde(default)]
    pub least_dice: f64,
    /// Boxes (left, top, right, bottom) of which each must be met.
    #[serde(default)]
    pub boxes: Vec<[f32; 4]>,
    /// Least overlap (intersection over union) for a box to be met.
    #[serde(default)]
    pub least_overlap: f32,
    /// The score that the found box must have which meets the expected one of the same place in `boxes`.
    #[serde(default)]
    pub scores: Vec<f32>,
    /// Largest difference to it.
    #[serde(default)]
    pub tolerance_score: f32,
}
