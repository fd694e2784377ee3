//! What a device does for the one who schedules work on it: it holds networks in its memory and runs batches on lanes.
//!
//! A lane is a queue of copies, kernels and networks of its own: while a network runs on one, the samples of the next batch
//! travel on another. Nothing here waits; whoever schedules asks.
mod ending;
#[cfg(feature = "tensorrt")]
mod gpu;
#[cfg(any(feature = "tensorrt", test))]
mod graphs;
pub mod place;
mod series;
pub mod steps;

pub use ending::{Ending, Mask, Output};
#[cfg(feature = "tensorrt")]
pub use gpu::{GpuDevice, GpuNetwork, GpuPlace, KeptKernels};
pub use place::OnDevice;
pub use series::{Samples, Series};

/// A device of one owner.
pub trait Device {
    /// A network in its memory; dropped, the memory is free again.
    type Network: Network;

    /// Bytes of its memory, all of it.
    fn memory(&self) -> Result<u64, DeviceError>;

    /// How many lanes it has, from 0; at least one.
    fn lanes(&self) -> usize;

    /// Puts a network into its memory, ready to run: what is still to be compiled is compiled now.
    fn load(&mut self, plan: &[u8]) -> Result<Self::Network, DeviceError>;

    /// Begins a batch on a lane that has none: inputs of one shape, at least one and at most [`Network::most`]. Returns before
    /// it is done. After an error nothing runs on the lane.
    fn begin(&mut self, lane: usize, network: &mut Self::Network, batch: &[Run<'_>]) -> Result<(), DeviceError>;

    /// The outputs of the lane's batch, one for each input and in their order, once they are there. Does not wait. After an
    /// error nothing runs on the lane. Where an ending was asked for, a mask is what [`Ending::of`] makes of the scores, but that
    /// it may be another where softmax leaves two scores, or a score and the threshold, within 1e-6 of each other.
    fn poll(&mut self, lane: usize) -> Result<Option<Vec<Output>>, DeviceError>;
}

/// A network in a device's memory.
pub trait Network {
    /// Bytes that it takes of that memory, runs left aside.
    fn bytes(&self) -> u64;

    /// Gives up memory that it runs without as well. False where it has none.
    fn shrink(&mut self) -> bool {
        false
    }

    /// Most inputs of this shape that run as one batch; at least one. More than one only where the network's own batch axis
    /// is free: then each answer depends on its own input alone.
    fn most(&self, shape: &[usize]) -> usize;
}

/// Real numbers, last axis fastest; the first axis counts a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: Vec<f32>,
}

/// What a network is given: one input, its first axis 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// As it is.
    Values(Tensor),
    /// Made of stored samples by `preprocess`.
    Series(Box<Series>),
    /// Real values in the device's memory, where a task's place has finished them. The answer stays there too, where it can.
    Held(OnDevice),
}

impl Input {
    /// Length of each axis.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Values(tensor) => tensor.shape.clone(),
            Self::Series(series) => series.shape(),
            Self::Held(values) => {
                let [slices, rows, columns] = values.dims;
                vec![1, 1, slices, rows, columns]
            }
        }
    }
}

/// One input of a batch, and what is to be made of the network's answer to it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The input.
    pub input: &'a Input,
    /// None: the answer is wanted as it is. A device may always give that.
    pub ending: Option<Ending>,
}

/// Why a device does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Its memory is full, or the page-locked part of the host's; with less in it the same may succeed.
    #[error("no memory is left: {0}")]
    OutOfMemory(String),
    /// It is lost to this process.
    #[error("the device is lost: {0}")]
    Lost(String),
    /// The plan or the input is not what it takes.
    #[error("{0}")]
    Refused(String),
    /// It failed at this, and may serve others.
    #[error("{0}")]
    Failed(String),
}
