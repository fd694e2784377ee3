//! From decoded images to tensors: the values that steps work on, and the operations on volumes and images.
pub mod image;
pub mod volume;

use crate::fault::{Blame, Fault};
use crate::infer::Tensor;
use crate::postprocess::boxes::ScoredBox;
use std::collections::BTreeMap;
use sund_kernels::{Grid, Region, Volume};

/// What a step reads or makes.
#[derive(Clone, Debug)]
pub enum Value {
    /// Real values on a grid.
    Volume(Volume<f32>),
    /// 0 or 1 on a grid.
    Mask(Volume<u8>),
    /// A low and a high value.
    Range(f32, f32),
    /// Part of a grid.
    Region(Region),
    /// An image in channel planes.
    Image(Planes),
    /// A network's answer, and what it was given.
    Answer {
        /// The answer.
        tensor: Tensor,
        /// Grid of the volume that the network was given.
        grid: Option<Grid>,
        /// Size of the source image, where it was an image.
        source: Option<[usize; 2]>,
    },
    /// Boxes in pixels of the source image.
    Boxes(Vec<ScoredBox>),
}

/// An image, channel by channel.
#[derive(Clone, Debug)]
pub struct Planes {
    /// Rows, columns.
    pub dims: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// `channels * rows * columns` values, column fastest.
    pub values: Vec<f32>,
    /// Rows and columns of the image that it came from.
    pub source: [usize; 2],
}

/// The values by name.
#[derive(Debug, Default)]
pub struct Values(BTreeMap<String, Value>);

macro_rules! typed {
    ($name:ident, $variant:ident, $kind:ty, $text:literal) => {
        #[doc = concat!("A value that must be ", $text, ".")]
        pub fn $name(&self, name: &str) -> Result<&$kind, Fault> {
            match self.0.get(name) {
                Some(Value::$variant(value)) => Ok(value),
                _ => Err(wrong_kind(name, $text)),
            }
        }
    };
}

impl Values {
    typed!(volume, Volume, Volume<f32>, "a volume");
    typed!(mask, Mask, Volume<u8>, "a mask");
    typed!(region, Region, Region, "a region");
    typed!(image, Image, Planes, "an image");
    typed!(boxes, Boxes, Vec<ScoredBox>, "boxes");

    /// Sets a value.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Forgets a value.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// A value of any kind.
    pub fn get(&self, name: &str) -> Result<&Value, Fault> {
        self.0.get(name).ok_or_else(|| wrong_kind(name, "a value"))
    }

    /// A range.
    pub fn range(&self, name: &str) -> Result<(f32, f32), Fault> {
        match self.get(name)? {
            Value::Range(low, high) => Ok((*low, *high)),
            _ => Err(wrong_kind(name, "a range")),
        }
    }

    /// The grid of a volume or a mask.
    pub fn grid(&self, name: &str) -> Result<Grid, Fault> {
        match self.get(name)? {
            Value::Volume(volume) => Ok(volume.grid),
            Value::Mask(mask) => Ok(mask.grid),
            _ => Err(wrong_kind(name, "a volume or a mask")),
        }
    }
}

fn wrong_kind(name: &str, kind: &str) -> Fault {
    Fault::new("step-wrong-kind", Blame::Package, format!("`{name}` is not {kind}"))
}

/// An operation refused what a step gave it.
pub fn operation_failed(error: sund_kernels::KernelError) -> Fault {
    Fault::new("step-failed", Blame::Package, error.to_string())
}
