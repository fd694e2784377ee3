//! TensorRT on the GPU. What it is given for a network is a plan: the network as this very version of TensorRT has compiled it
//! for this GPU.
mod cache;
mod compiler;
mod found;
mod kept;

pub use compiler::TensorRtCompiler;
pub(super) use found::found;

use self::cache::Cache;
use self::compiler::kind;
use self::kept::KeptEngine;
use super::{Engine, Form, Plans, TensorRtLibrary};
use crate::fault::{Blame, Fault};
use crate::inference::EngineUsed;
use crate::schedule::{GpuEngine, Opened, start};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use sund_kernels::cuda::CudaError;
use sund_kernels::device::place::Place;
use sund_kernels::device::{DeviceError, GpuDevice, GpuPlace};
use sund_kernels::tensorrt::{Kind, Library, Severity, TensorRtError, log_to};

/// What the process has opened: the networks of all packages share one schedule, and the memory that it watches over.
static OPENED: Mutex<Vec<(Kind, PathBuf, GpuEngine)>> = Mutex::new(Vec::new());

/// Opens what runs these plans; `files` are those that were compiled on this box. `precision` is that of the plans, as packages
/// name it. `kernels`: the folder in which TensorRT-RTX's kernels are kept, so that they are not compiled at each start.
pub(super) fn open(
    library: &TensorRtLibrary,
    precision: &str,
    plans: &Plans,
    files: &[OwnedFd],
    kernels: Option<&Path>,
) -> Result<Box<dyn Engine>, Fault> {
    let (kind, path) = (kind(&library.class), &library.path);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = opened.iter().find(|(class, known, _)| *class == kind && known == path);
    let engine = match known {
        Some((.., engine)) => engine.clone(),
        None => {
            let (library, folder) = (path.clone(), kernels.map(Path::to_owned));
            let engine = start(move || device(kind, &library, folder.as_deref())).map_err(lost)?;
            opened.push((kind, path.clone(), engine.clone()));
            engine
        }
    };
    let engine = engine.with_precision(precision);
    Ok(match plans {
        Plans::Packaged => Box::new(engine),
        Plans::Kept(plans) => {
            let names = plans.iter().map(|plan| plan.network.clone());
            Box::new(KeptEngine::new(engine, names.zip(files).collect()).map_err(unheld)?)
        }
    })
}

fn unheld(error: std::io::Error) -> Fault {
    Fault::new("engine-unavailable", Blame::Box, format!("an engine cannot be held open: {error}"))
}

/// The library, and the first GPU that the process may see.
fn device(kind: Kind, library: &Path, kernels: Option<&Path>) -> Result<Opened<GpuDevice>, Fault> {
    log_to(logged);
    let library = Library::open(kind, library).map_err(unavailable)?;
    let without_gpu = |error: CudaError| Fault::new("engine-unavailable", Blame::Box, error.to_string());
    let version = library.version().to_string();
    let device = GpuDevice::open(library, 0).map_err(without_gpu)?;
    let (major, minor) = device.capability().map_err(without_gpu)?;
    let architecture = format!("sm{major}{minor}");
    let device = match kernels.filter(|_| kind == Kind::Rtx) {
        Some(folder) => device.keep(Box::new(Cache::new(folder, &format!("{version}-{architecture}")))),
        None => device,
    };
    let used = EngineUsed { class: kind.class().into(), precision: String::new(), version };
    let places = Arc::new(|| -> Result<Box<dyn Place>, DeviceError> { Ok(Box::new(GpuPlace::open(0)?)) });
    Ok(Opened { device, used, takes: Form::Compiled { architecture }, places })
}

/// A GPU that was found on this box and cannot be opened by a worker is as lost as one that fails at work.
fn lost(fault: Fault) -> Fault {
    let is_gpus = fault.code == "engine-unavailable" && fault.blame == Blame::Box;
    if is_gpus { Fault { code: "gpu-lost".into(), ..fault } } else { fault }
}

/// Another engine may serve then.
fn unavailable(error: TensorRtError) -> Fault {
    match &error {
        TensorRtError::Open { .. } | TensorRtError::NotTensorRt { .. } | TensorRtError::Version { .. } => {
            Fault::new("engine-unavailable", Blame::Configuration, error.to_string())
        }
        _ => Fault::new("engine-unavailable", Blame::Box, error.to_string()),
    }
}

fn logged(severity: Severity, line: &str) {
    match severity {
        Severity::Error => tracing::error!(target: "tensorrt", "{line}"),
        Severity::Warning => tracing::warn!(target: "tensorrt", "{line}"),
        Severity::Info => tracing::debug!(target: "tensorrt", "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_cannot_be_opened_is_lost_and_a_library_that_is_none_is_not() {
        let fault = |blame| lost(Fault::new("engine-unavailable", blame, "no device"));
        assert_eq!(fault(Blame::Box).code, "gpu-lost");
        assert_eq!(fault(Blame::Configuration).code, "engine-unavailable");
    }

    #[test]
    fn a_library_that_is_not_there_is_the_configurations_fault() {
        for class in [Kind::Rtx.class(), Kind::Enterprise.class()] {
            let path = PathBuf::from("/no/such/library.so");
            let library = TensorRtLibrary { class: class.into(), path, version: "1.7.0".into() };
            let fault = open(&library, "fp32", &Plans::Packaged, &[], None).err().unwrap();
            assert_eq!((fault.code.as_ref(), fault.blame), ("engine-unavailable", Blame::Configuration));
        }
    }
}
