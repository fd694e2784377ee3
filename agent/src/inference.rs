//! What a model said: the value that crosses from the worker to the results, on the grid of the images it was given.
use crate::code::Code;
use crate::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use sund_kernels::Grid;

/// One frame of one source instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceFrame {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Frame number from 1; `None` for a single-frame instance.
    pub frame: Option<u32>,
}

/// The engine that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineUsed {
    /// Engine class: `tract`, `onnxruntime`, `tensorrt-rtx`, `tensorrt`.
    pub class: String,
    /// Numeric precision: `fp32`, `fp16`.
    pub precision: String,
    /// Version of the library.
    pub version: String,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRef {
    /// Name in the package's manifest, e.g. `brain-extraction`.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Semantic version.
    pub version: String,
    /// Manufacturer.
    pub vendor: String,
    /// `sha256:` and 64 hex digits over the whole package.
    pub digest: String,
}

/// A binary segment on the source grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Label for people (SegmentLabel).
    pub label: String,
    /// Segmented Property Category Code.
    pub category: Code,
    /// Segmented Property Type Code.
    pub property: Code,
    /// Recommended display colour, sRGB.
    pub colour: [u8; 3],
    /// One byte (0 or 1) for each voxel of `Findings::Volume::grid`, column index fastest.
    #[serde(skip)]
    pub mask: Vec<u8>,
}

/// A number with its meaning and unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured, e.g. (118565006, SCT, "Volume").
    pub concept: Code,
    /// Value in `unit`.
    pub value: f64,
    /// UCUM unit, e.g. (ml, UCUM, "milliliter").
    pub unit: Code,
    /// Index into the segments, where it is a segment that was measured.
    pub segment: Option<usize>,
}

/// A rectangle on one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundBox {
    /// Index into `Findings::Images::sources`.
    pub image: usize,
    /// What was found.
    pub finding: Code,
    /// Left, top, right, bottom in pixels of the source frame: the top left corner of the first pixel is (0, 0).
    pub corners: [f32; 4],
    /// The model's score, 0 to 1.
    pub score: f32,
}

/// What was found, by the kind of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Findings {
    /// Segments of a volume.
    Volume {
        /// The source grid: slice `k` is `sources[k]`.
        #[serde(with = "grid")]
        grid: Grid,
        /// One source frame for each slice.
        sources: Vec<SourceFrame>,
        /// Segments, each a mask on the grid.
        segments: Vec<Segment>,
    },
    /// Boxes on single images.
    Images {
        /// The images that the model was given.
        sources: Vec<SourceFrame>,
        /// Boxes.
        boxes: Vec<FoundBox>,
    },
}

/// 8-bit RGB picture, rows top to bottom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` bytes.
    #[serde(skip)]
    pub rgb: Vec<u8>,
}

/// How long each step of the bracket took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// `decode`, `preprocess`, `infer`, `postprocess`.
    pub step: String,
    /// The network that was run, where the step is `infer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Wall time.
    pub took: Duration,
}

/// Everything that a model said about one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inference {
    /// The model.
    pub package: PackageRef,
    /// The engine.
    pub engine: EngineUsed,
    /// Finding or no finding.
    pub outcome: Outcome,
    /// Coded statements beside segments and boxes.
    pub findings: Findings,
    /// Numbers.
    pub measurements: Vec<Measurement>,
    /// Colour preview with the overlay, at the source's resolution or below; no text burned in yet.
    pub preview: Picture,
    /// What part of the input was not used, where that is so.
    pub partial: Option<String>,
    /// Times of the bracket's steps.
    pub times: Vec<StepTime>,
}

mod grid {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use sund_kernels::Grid;

    #[derive(Serialize, Deserialize)]
    struct Fields {
        dims: [usize; 3],
        to_patient: [[f64; 4]; 3],
    }

    pub fn serialize<S: Serializer>(grid: &Grid, serializer: S) -> Result<S::Ok, S::Error> {
        Fields { dims: grid.dims, to_patient: grid.to_patient }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grid, D::Error> {
        Fields::deserialize(deserializer).map(|f| Grid { dims: f.dims, to_patient: f.to_patient })
    }
}
