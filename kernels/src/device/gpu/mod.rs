//! An NVIDIA GPU: copies from page-locked memory, `preprocess`, TensorRT and the steps behind it on one stream for each lane, no
//! host between.
//!
//! A network has one context, so that it takes its memory once. Two lanes may use it: a run waits, on the GPU, for the one
//! before it on the other lane, while the copies of both pass it by.
mod capture;
mod lane;
mod network;
mod place;

pub use network::GpuNetwork;
pub use place::GpuPlace;

use self::lane::Lane;
use super::{Device, DeviceError, Output, Run};
use crate::cuda::{Cuda, CudaError};
use crate::tensorrt::{Library, Severity, TensorRtError, tell};

/// Lanes: one's copies while the other's network runs.
const LANES: usize = 2;

/// Where kernels that TensorRT-RTX compiled for this GPU are kept from one start to the next.
pub trait KeptKernels {
    /// Those of a plan; empty where there are none.
    fn load(&self, plan: &[u8]) -> Vec<u8>;
    /// Keeps those of a plan.
    fn store(&self, plan: &[u8], kernels: &[u8]);
}

/// A GPU with two lanes.
pub struct GpuDevice {
    library: Library,
    lanes: Vec<Lane>,
    kept: Option<Box<dyn KeptKernels>>,
}

impl GpuDevice {
    /// The GPU of that number, of those that the process may see.
    pub fn open(library: Library, ordinal: usize) -> Result<Self, CudaError> {
        let lanes = (0..LANES).map(|_| Ok(Lane::new(Cuda::open(ordinal)?))).collect::<Result<_, CudaError>>()?;
        Ok(Self { library, lanes, kept: None })
    }

    /// Keeps compiled kernels there from now on.
    #[must_use]
    pub fn keep(self, kept: Box<dyn KeptKernels>) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// Compute capability: major and minor.
    pub fn capability(&self) -> Result<(i32, i32), CudaError> {
        self.lanes[0].cuda().capability()
    }
}

impl Device for GpuDevice {
    type Network = GpuNetwork;

    fn memory(&self) -> Result<u64, DeviceError> {
        Ok(self.lanes[0].cuda().memory()?.1 as u64)
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Runs each profile once on zeros, which is when TensorRT-RTX compiles; then decides whether the network runs as a graph.
    fn load(&mut self, plan: &[u8]) -> Result<GpuNetwork, DeviceError> {
        let kept = self.kept.as_ref().map(|kept| kept.load(plan)).unwrap_or_default();
        let mut network = GpuNetwork::open(&self.library, self.lanes[0].cuda(), plan, &kept)?;
        network.warm_up(self.lanes[0].cuda_mut())?;
        capture::decide(&mut network, &mut self.lanes)?;
        for why in network.called_because() {
            tell(Severity::Warning, &format!("a network runs call by call, not as a graph: {why}"));
        }
        let kernels = network.kernels()?;
        if let Some(store) = self.kept.as_ref().filter(|_| kernels != kept) {
            store.store(plan, &kernels);
        }
        Ok(network)
    }

    fn begin(&mut self, lane: usize, network: &mut GpuNetwork, batch: &[Run<'_>]) -> Result<(), DeviceError> {
        let mut begun = self.lanes[lane].begin(network, batch);
        if matches!(begun, Err(DeviceError::OutOfMemory(_))) {
            // Nothing may be on its way when the memory that it uses goes, here and below.
            self.lanes[lane].cuda().wait()?;
            if network.give_up_graphs()? {
                begun = self.lanes[lane].begin(network, batch);
            }
        }
        if begun.is_err() {
            // The error that led here is the one to tell.
            let _ = self.lanes[lane].cuda().wait();
        }
        begun
    }

    fn poll(&mut self, lane: usize) -> Result<Option<Vec<Output>>, DeviceError> {
        self.lanes[lane].poll()
    }
}

impl From<CudaError> for DeviceError {
    fn from(error: CudaError) -> Self {
        let said = error.to_string();
        match error {
            CudaError::OutOfMemory { .. } => Self::OutOfMemory(said),
            CudaError::Lost { .. } => Self::Lost(said),
            CudaError::Operation(_) => Self::Refused(said),
            _ => Self::Failed(said),
        }
    }
}

impl From<TensorRtError> for DeviceError {
    fn from(error: TensorRtError) -> Self {
        let said = error.to_string();
        match error {
            TensorRtError::Memory { .. } => Self::OutOfMemory(said),
            TensorRtError::Device { .. } | TensorRtError::Execution { .. } | TensorRtError::Thrown { .. } => {
                Self::Failed(said)
            }
            _ => Self::Refused(said),
        }
    }
}
