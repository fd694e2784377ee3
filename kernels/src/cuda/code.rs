//! The kernels' code: the image that was built ahead of time, or what NVRTC makes of the sources.
use super::error::CudaError;
use super::sources;
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};
use std::sync::{Mutex, PoisonError};

/// Machine code for each card that Sund knows, and PTX for newer ones, if the build has it: see build/fatbin.rs.
pub fn image() -> Option<&'static [u8]> {
    #[cfg(feature = "fatbin")]
    return Some(include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
    #[cfg(not(feature = "fatbin"))]
    None
}

/// The sources as PTX that runs on every card from compute capability 7.5 on, compiled once in a process. Needs no GPU, only
/// NVRTC.
pub fn compile() -> Result<Ptx, CudaError> {
    static COMPILED: Mutex<Option<Ptx>> = Mutex::new(None);
    // Whoever comes meanwhile waits for it instead of compiling it too.
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ptx) = &*compiled {
        return Ok(ptx.clone());
    }
    let ptx = by_nvrtc()?;
    *compiled = Some(ptx.clone());
    Ok(ptx)
}

fn by_nvrtc() -> Result<Ptx, CudaError> {
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
