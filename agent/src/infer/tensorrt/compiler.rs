//! The builder of TensorRT, as what compiles the networks of a package.
use super::unavailable;
use crate::compile::{Bounds, Compiler};
use crate::fault::Fault;
use std::path::Path;
use sund_kernels::tensorrt::{BuildOptions, Kind, Library, MAX_THREADS, ProfileInput, build};

/// A library of TensorRT that compiles.
pub struct TensorRtCompiler(Library);

impl TensorRtCompiler {
    /// Opens the library of an engine class.
    pub fn open(class: &str, library: &Path) -> Result<Self, Fault> {
        Library::open(kind(class), library).map(Self).map_err(unavailable)
    }
}

/// Which of the two TensorRTs an engine class is.
pub(super) fn kind(class: &str) -> Kind {
    if class == Kind::Rtx.class() { Kind::Rtx } else { Kind::Enterprise }
}

impl Compiler for TensorRtCompiler {
    fn version(&self) -> String {
        self.0.version().to_string()
    }

    fn compile(&self, onnx: &[u8], architectures: &[String], bounds: Option<&Bounds>) -> Result<Vec<u8>, String> {
        // Enterprise TensorRT compiles for the GPU that is here, and takes no targets.
        let targets = match self.0.kind() {
            Kind::Rtx => architectures.iter().filter_map(|name| name.strip_prefix("sm")?.parse().ok()).collect(),
            Kind::Enterprise => Vec::new(),
        };
        let profile = bounds.map(|Bounds { input, shortest, longest }| ProfileInput {
            name: input.clone(),
            min: shortest.clone(),
            opt: longest.clone(),
            max: longest.clone(),
        });
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let options = BuildOptions {
            targets,
            profiles: profile.map(|input| vec![input]).into_iter().collect(),
            threads: Some(threads),
            ..BuildOptions::default()
        };
        build(&self.0, onnx, &options).map_err(|error| error.to_string())
    }
}
