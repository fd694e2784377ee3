//! The kernels' code: the image that was built ahead of time, or what NVRTC makes of the sources.
use super::error::CudaError;
use super::sources;
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};

/// Machine code for each card that Sund knows, and PTX for newer ones, if the build has it: see build/fatbin.rs.
pub fn image() -> Option<&'static [u8]> {
    #[cfg(feature = "fatbin")]
    return Some(include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
    #[cfg(not(feature = "fatbin"))]
    None
}

/// Compiles the sources to PTX that runs on every card from compute capability 7.5 on. Needs no GPU, only NVRTC.
pub fn compile() -> Result<Ptx, CudaError> {
    // SAFETY: opens libnvrtc by its name and looks for nothing but its being there.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err(CudaError::NoCompiler);
    }
    let options = CompileOptions {
        fmad: Some(false),
        name: Some("kernels.cu".into()),
        options: vec!["--std=c++20".into(), "--gpu-architecture=compute_75".into()],
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(sources::program(), options).map_err(|error| {
        CudaError::Compiler(match error {
            CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => other.to_string(),
        })
    })
}
