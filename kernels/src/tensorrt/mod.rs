//! TensorRT: NVIDIA's engine compiler and runtime, both TensorRT-RTX and enterprise TensorRT, opened at run time.
//!
//! [`Library::open`] opens one of the two and checks that it is what it is said to be; [`build`] makes a plan of ONNX; a
//! [`Session`] runs a plan on memory and a stream of the caller's, a [`Runner`] on its own. See TENSORRT.md for how the C++ shim below is built.
mod boundary;
mod build;
mod error;
mod gpu;
mod library;
mod log;
mod runner;
mod session;

pub use build::{BuildOptions, ProfileInput, RTX_TARGETS, build};
pub use error::TensorRtError;
pub use gpu::Gpu;
pub use library::{Kind, Library, Version};
pub(crate) use log::tell;
pub use log::{Severity, log_to};
pub use runner::{Runner, Values};
pub use session::{Buffer, DataType, Range, Session, Tensor};

/// Longest ONNX: protobuf knows no longer message.
pub const MAX_NETWORK: usize = 2 * 1024 * 1024 * 1024 - 1;
/// Longest plan: one that says it is longer would not fit the GPUs that Sund runs on.
pub const MAX_PLAN: usize = 16 * 1024 * 1024 * 1024;
/// Longest runtime cache: the kernels of one network for one GPU.
pub const MAX_CACHE: usize = 1024 * 1024 * 1024;
/// Most optimisation profiles of a plan; each costs memory and time to build.
pub const MAX_PROFILES: usize = 16;
/// Most inputs and outputs of a plan.
pub const MAX_TENSORS: usize = 64;
/// Longest name of an input or output.
pub const MAX_NAME: usize = boundary::NAME - 1;
/// Most threads of the builder.
pub const MAX_THREADS: usize = 64;
