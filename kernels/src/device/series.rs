//! Stored samples that become a network's input.
use crate::{Element, Grid, KernelError, Preparation, preprocess};
use std::sync::Arc;

/// Stored samples, shared: a series is not copied on its way to a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Unsigned 8 bit.
    U8(Arc<Vec<u8>>),
    /// Signed 16 bit.
    I16(Arc<Vec<i16>>),
    /// Unsigned 16 bit.
    U16(Arc<Vec<u16>>),
    /// Real values.
    F32(Arc<Vec<f32>>),
}

/// Stored samples on a grid, and what `preprocess` is to make of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Slices, rows, columns, column fastest.
    pub samples: Samples,
    /// Where they lie.
    pub grid: Grid,
    /// The grid of the network's input.
    pub onto: Grid,
    /// How.
    pub preparation: Preparation,
}

impl Series {
    /// Of the network's input: batch, channel, slices, rows, columns.
    pub fn shape(&self) -> Vec<usize> {
        let [slices, rows, columns] = self.onto.dims;
        vec![1, 1, slices, rows, columns]
    }

    /// The network's input, made here on the host.
    pub fn prepared<E: Element>(&self) -> Result<Vec<E>, KernelError> {
        let Self { samples, grid, onto, preparation } = self;
        match samples {
            Samples::U8(samples) => preprocess(samples, grid, onto, preparation),
            Samples::I16(samples) => preprocess(samples, grid, onto, preparation),
            Samples::U16(samples) => preprocess(samples, grid, onto, preparation),
            Samples::F32(samples) => preprocess(samples, grid, onto, preparation),
        }
    }
}
