//! The operations as CUDA kernels: sources, launchers, and the driver that runs them.
//!
//! An operation has the same name here, in its reference, in its source (kernels/cuda), in the tests and in the benchmark.
//! Nothing of NVIDIA's is needed to build this or to start: the driver's library is opened when a GPU is.
pub mod launch;
pub mod machine;
pub mod sources;
