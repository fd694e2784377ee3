//! From data sets as they came to images and volumes: codecs, photometric interpretation, geometry.
//!
//! Every length that a header or a codestream claims is checked against a limit and against what is there before anything
//! is allocated by it. What remains, a codec that crashes, costs the worker's process and one job.
mod colour;
mod frames;
mod functional_groups;
mod geometry;
mod image;
mod jpeg;
mod jpeg2000;
mod pixel;
mod rle;
mod samples;
mod series;
mod volume;

pub use image::images;
pub use volume::volume;

use crate::dataset::Header;
use crate::inference::SourceFrame;
use sund_kernels::Grid;

/// One instance to decode: its data set as it came, and the header that was scanned from it.
#[derive(Clone, Debug)]
pub struct SourceInstance {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Top-level elements.
    pub header: Header,
    /// The whole data set as it came.
    pub dataset: bytes::Bytes,
}

/// Stored sample values, before the modality LUT.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Unsigned 8 bit.
    U8(Vec<u8>),
    /// Signed 16 bit.
    I16(Vec<i16>),
    /// Unsigned 16 bit.
    U16(Vec<u16>),
    /// Signed 32 bit.
    I32(Vec<i32>),
    /// Already real values (Float Pixel Data, or slices with different rescale).
    F32(Vec<f32>),
}

/// A volume in stored values; real value = stored * slope + intercept.
#[derive(Clone, Debug)]
pub struct DecodedVolume {
    /// Shape and place, from ImagePositionPatient and ImageOrientationPatient, never from instance numbers.
    pub grid: Grid,
    /// `grid.len()` samples, column index fastest.
    pub samples: Samples,
    /// Rescale Slope, one for the whole volume.
    pub slope: f32,
    /// Rescale Intercept.
    pub intercept: f32,
    /// The frame that gave slice `k`.
    pub sources: Vec<SourceFrame>,
    /// What was left out, for people, e.g. a localizer.
    pub partial: Option<String>,
}

/// A single image, photometric interpretation resolved: one channel where larger is brighter (MONOCHROME2 sense), or RGB.
#[derive(Clone, Debug)]
pub struct DecodedImage {
    /// Rows, columns.
    pub dims: [usize; 2],
    /// 1 or 3 (interleaved RGB).
    pub channels: usize,
    /// `rows * columns * channels` samples. RGB is always `U8`.
    pub samples: Samples,
    /// Real value = stored * slope + intercept (1, 0 for colour).
    pub slope: f32,
    /// Rescale Intercept.
    pub intercept: f32,
    /// First Window Center and Width (0028,1050/1051) in real values.
    pub window: Option<(f32, f32)>,
    /// Millimetres between rows, between columns, where known.
    pub spacing: Option<[f32; 2]>,
    /// The frame that it came from.
    pub source: SourceFrame,
}
