//! The GPU that sessions run on, by CUDA's driver, which is opened at run time.
use super::error::TensorRtError;
use super::library::Kind;
use cudarc::driver::{CudaContext, CudaStream, DriverError, sys};
use std::fmt;
use std::sync::Arc;

/// A GPU with a stream on it.
#[derive(Clone)]
pub struct Gpu {
    stream: Arc<CudaStream>,
}

impl Gpu {
    /// The GPU of that number, of those that the process may see.
    pub fn open(kind: Kind, number: usize) -> Result<Self, TensorRtError> {
        // SAFETY: opens libcuda by its name and looks for nothing but its being there.
        if !unsafe { sys::is_culib_present() } {
            let why = "there is no CUDA driver (libcuda.so.1) on this machine".into();
            return Err(TensorRtError::Device { kind, why });
        }
        let open = || CudaContext::new(number)?.new_stream();
        let stream = open().map_err(|error| TensorRtError::Device { kind, why: told(error) })?;
        Ok(Self { stream })
    }

    /// On a stream of the caller's.
    pub fn on(stream: Arc<CudaStream>) -> Self {
        Self { stream }
    }

    /// As NVIDIA names it.
    pub fn name(&self, kind: Kind) -> Result<String, TensorRtError> {
        self.stream.context().name().map_err(|error| failed(kind, error))
    }

    /// Compute capability: 89 for 8.9.
    pub fn capability(&self, kind: Kind) -> Result<u32, TensorRtError> {
        let capability = self.stream.context().compute_capability().map_err(|error| failed(kind, error))?;
        Ok((capability.0 * 10 + capability.1) as u32)
    }

    /// Bytes of its memory.
    pub fn memory(&self, kind: Kind) -> Result<u64, TensorRtError> {
        self.stream.context().total_mem().map(|bytes| bytes as u64).map_err(|error| failed(kind, error))
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {}", self.stream.context().ordinal())
    }
}

/// What an answer of the driver means.
pub(super) fn failed(kind: Kind, error: DriverError) -> TensorRtError {
    let why = told(error);
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => TensorRtError::Memory { kind, why },
        sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_INVALID_DEVICE => {
            TensorRtError::Device { kind, why }
        }
        _ => TensorRtError::Execution { kind, why },
    }
}

fn told(error: DriverError) -> String {
    let text = error.error_string().map_or_else(|_| "no description".into(), |text| text.to_string_lossy());
    format!("the CUDA driver says {:?}: {text}", error.0)
}
