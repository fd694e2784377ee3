//! Why a GPU cannot be had, or cannot go on.
use crate::KernelError;
use cudarc::driver::{DriverError, sys::CUresult};

/// The oldest driver whose CUDA runs what the kernels are built to: CUDA 13.0, as the driver writes it.
pub const OLDEST_DRIVER: i32 = 13_000;

/// The oldest compute capability that the kernels are built for.
pub const OLDEST_CARD: (i32, i32) = (7, 5);

/// Why a GPU cannot be had, or cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// No driver is installed.
    #[error("this machine has no NVIDIA driver (libcuda)")]
    NoDriver,
    /// The driver knows no CUDA 13.
    #[error("the NVIDIA driver knows CUDA {}.{}, and at least {}.{} is needed", .found / 1000, .found % 1000 / 10, OLDEST_DRIVER / 1000, OLDEST_DRIVER % 1000 / 10)]
    DriverTooOld {
        /// 1000 * major + 10 * minor.
        found: i32,
    },
    /// The driver finds no GPU at all.
    #[error("the NVIDIA driver finds no GPU ({said})")]
    NoDevice {
        /// What the driver said.
        said: String,
    },
    /// There is no GPU of this number.
    #[error("there is no GPU {ordinal}, only {found}")]
    NoSuchDevice {
        /// The number asked for, counted from 0.
        ordinal: usize,
        /// How many there are.
        found: usize,
    },
    /// The card is older than the kernels.
    #[error("{name} has compute capability {}.{}, and at least {}.{} is needed", .capability.0, .capability.1, OLDEST_CARD.0, OLDEST_CARD.1)]
    CardTooOld {
        /// As the driver names it.
        name: String,
        /// Major and minor.
        capability: (i32, i32),
    },
    /// The image built ahead of time does not run here, and the sources cannot be compiled either.
    #[error("the kernels do not load ({image}), and cannot be compiled here ({compiler})")]
    NoCode {
        /// What the driver said of the image.
        image: String,
        /// What came of compiling.
        compiler: String,
    },
    /// NVRTC is not installed.
    #[error("this machine has no NVRTC (libnvrtc)")]
    NoCompiler,
    /// NVRTC did not compile the sources.
    #[error("NVRTC does not compile the kernels: {0}")]
    Compiler(String),
    /// The loaded code lacks a kernel.
    #[error("the code that was loaded has no kernel {0}")]
    NoKernel(String),
    /// There is not enough memory on the GPU, or of the page-locked kind on the host.
    #[error("the GPU has no memory left for {bytes} bytes")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// The GPU or its driver failed in a way that only a new process gets over.
    #[error("the GPU is lost to this process ({said})")]
    Lost {
        /// What the driver said.
        said: String,
    },
    /// Memory of another machine.
    #[error("the memory belongs to another GPU or stream")]
    ForeignMemory,
    /// The operation cannot be done on what it was given.
    #[error(transparent)]
    Operation(#[from] KernelError),
    /// Anything else that the driver refused.
    #[error("the NVIDIA driver refused: {said}")]
    Driver {
        /// What the driver said.
        said: String,
    },
}

impl CudaError {
    /// Whether the process has to end before the GPU serves again.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// What the driver said, by the names that its documentation has.
pub(super) fn said(error: DriverError) -> String {
    format!("{:?}", error.0)
}

impl From<DriverError> for CudaError {
    fn from(error: DriverError) -> Self {
        let said = said(error);
        match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => Self::NoDevice { said },
            // From these on every call of this process fails.
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUresult::CUDA_ERROR_CONTAINED
            | CUresult::CUDA_ERROR_UNKNOWN => Self::Lost { said },
            _ => Self::Driver { said },
        }
    }
}
