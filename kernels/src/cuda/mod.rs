//! The operations as CUDA kernels: sources, launchers, and the GPU that runs them. See KERNELS.md.
//!
//! An operation has the same name here, in its reference, in its source (kernels/cuda), in the tests and in the benchmark.
//! Nothing of NVIDIA's is needed to build this or to start: the driver's library is opened when a GPU is.
pub mod code;
mod device;
mod error;
mod gpu;
pub mod launch;
pub mod machine;
#[cfg(feature = "tensorrt")]
mod network;
mod pinned;
pub mod sources;
mod staging;

pub use device::{CudaBuffer, CudaDevice, CudaLane, CudaLoader, CudaNetwork, LoadedNetwork};
pub use error::{CudaError, OLDEST_CARD, OLDEST_DRIVER};
pub use gpu::{Code, Cuda, CudaMemory};
#[cfg(feature = "tensorrt")]
pub use network::plans;
pub use pinned::Pinned;
pub use staging::CudaStaging;
