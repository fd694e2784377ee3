//! The operations as CUDA kernels: sources, launchers, and the GPU that runs them. See KERNELS.md.
//!
//! An operation has the same name here, in its reference, in its source (kernels/cuda), in the tests and in the benchmark.
//! Nothing of NVIDIA's is needed to build this or to start: the driver's library is opened when a GPU is.
pub mod code;
mod error;
mod gpu;
pub mod launch;
pub mod machine;
mod pinned;
pub mod sources;

pub use error::{CudaError, OLDEST_CARD, OLDEST_DRIVER};
pub use gpu::{Code, Cuda, CudaMemory};
pub use pinned::Pinned;
