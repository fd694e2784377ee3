//! The declared steps: pre- and postprocessing as data, never as shipped code. Each is one operation of the kernels.
use serde::{Deserialize, Serialize};

/// One step. It reads the values that it names and makes the value `into`. The value `input` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "from, into and the parameters are explained with each step")]
pub enum Step {
    /// Turns a volume's axes: three letters, the directions in which columns, rows and slices grow.
    Orient { from: String, into: String, axes: String },
    /// Other dimensions over the same extent (slices, rows, columns).
    Resize { from: String, into: String, dims: [usize; 3], how: How },
    /// About this spacing over the same extent (mm between slices, rows, columns).
    Resample { from: String, into: String, spacing: [f64; 3], how: How },
    /// At least these dimensions (slices, rows, columns), `value` around what is there.
    Pad { from: String, into: String, dims: [usize; 3], value: f32 },
    /// Two quantiles as a range.
    Quantiles { from: String, into: String, low: f64, high: f64 },
    /// Range to 0..1, clipped.
    ClipRange { from: String, into: String, range: String },
    /// Window to 0..1, clipped (PS3.3 C.11.2.1.2.1).
    Window { from: String, into: String, center: f32, width: f32 },
    /// Zero mean, unit sample deviation.
    ZScore { from: String, into: String },
    /// `x * scale + offset`.
    ScaleOffset { from: String, into: String, scale: f32, offset: f32 },
    /// Runs a network on a volume `[1, 1, slices, rows, columns]` or an image `[1, 3, rows, columns]`.
    Infer { from: String, into: String, network: String },
    /// Softmax over the channels of a network's answer.
    Softmax { from: String, into: String },
    /// Where a channel of a network's answer is the largest.
    Argmax { from: String, into: String, label: usize },
    /// One channel of a network's answer, on the grid of its input.
    Channel { from: String, into: String, channel: usize },
    /// 1 above the threshold.
    Threshold { from: String, into: String, above: f32 },
    /// The largest 26-connected component of a mask.
    LargestComponent { from: String, into: String },
    /// A mask without holes.
    FillHoles { from: String, into: String },
    /// The region of `of` that a mask (of the same extent) occupies: planes filled by more than `occupancy`, widened by
    /// `margin` about its middle.
    OccupiedRegion { from: String, into: String, of: String, occupancy: f64, margin: f64 },
    /// A region of a volume.
    Crop { from: String, into: String, region: String },
    /// A part back in the grid of `onto`, 0 around it.
    Paste { from: String, into: String, region: String, onto: String },
    /// A volume or mask on the grid of `grid`.
    Onto { from: String, into: String, grid: String, how: How },
    /// An image at most `longest` pixels long, both sides multiples of `multiple`, channels as `order`, `(x / 255 - mean) / deviation`.
    FitImage {
        from: String,
        into: String,
        longest: usize,
        multiple: usize,
        order: ChannelOrder,
        mean: f32,
        deviation: f32,
    },
    /// Boxes around what a text detector's score map shows (differentiable binarisation): components above `above`, mean score
    /// of at least `score`, grown by `grow` times area over perimeter, in pixels of the source.
    TextBoxes { from: String, into: String, above: f32, score: f32, grow: f32, least_side: usize },
}

/// How values between voxels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The nearest voxel.
    Nearest,
    /// Linear.
    Linear,
}

/// The order of colour channels that a network wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

impl Step {
    /// The values that it reads, and the one that it makes.
    pub fn values(&self) -> (Vec<&str>, &str) {
        match self {
            Step::ClipRange { from, into, range: other }
            | Step::OccupiedRegion { from, into, of: other, .. }
            | Step::Crop { from, into, region: other }
            | Step::Onto { from, into, grid: other, .. } => (vec![from, other], into),
            Step::Paste { from, into, region, onto } => (vec![from, region, onto], into),
            Step::Orient { from, into, .. }
            | Step::Resize { from, into, .. }
            | Step::Resample { from, into, .. }
            | Step::Pad { from, into, .. }
            | Step::Quantiles { from, into, .. }
            | Step::Window { from, into, .. }
            | Step::ZScore { from, into }
            | Step::ScaleOffset { from, into, .. }
            | Step::Infer { from, into, .. }
            | Step::Softmax { from, into }
            | Step::Argmax { from, into, .. }
            | Step::Channel { from, into, .. }
            | Step::Threshold { from, into, .. }
            | Step::LargestComponent { from, into }
            | Step::FillHoles { from, into }
            | Step::FitImage { from, into, .. }
            | Step::TextBoxes { from, into, .. } => (vec![from], into),
        }
    }
}
