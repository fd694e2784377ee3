//! What of a GPU matters to the choice of an engine. Who looks for it makes these values; where nothing looks, there is none.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// As its maker calls it: `NVIDIA L4`.
    pub name: String,
    /// CUDA compute capability: (8, 9).
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
    /// Version of the driver.
    pub driver: String,
}

impl Gpu {
    /// As compilers name it: `sm89`.
    pub fn architecture(&self) -> String {
        format!("sm{}{}", self.capability.0, self.capability.1)
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, driver {})", self.name, self.architecture(), self.driver)
    }
}

/// What somebody found who looked for a GPU and for libraries of TensorRT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The GPU.
    pub gpu: Option<Gpu>,
    /// Libraries that can be opened.
    pub tensorrt: Vec<TensorRtLibrary>,
    /// Why there is no GPU, or no other library.
    pub trouble: Option<String>,
}

impl Found {
    /// Looks for the first GPU that the process may see, and opens these libraries, by their classes: only in a process that
    /// may be lost.
    #[cfg(feature = "tensorrt")]
    pub fn look(named: &[(String, PathBuf)]) -> Self {
        super::tensorrt::found(named)
    }

    /// There is nothing to look with.
    #[cfg(not(feature = "tensorrt"))]
    pub fn look(_: &[(String, PathBuf)]) -> Self {
        Self { trouble: Some(super::without_tensorrt().reason), ..Self::default() }
    }
}

/// A library of TensorRT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRtLibrary {
    /// `tensorrt-rtx`, `tensorrt`.
    pub class: String,
    /// Its file.
    pub path: PathBuf,
    /// Its version: `1.7.1`.
    pub version: String,
}
