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
use super::{Engine, Form, Network, Plans, Tensor, TensorRtLibrary, checked, failed};
use crate::fault::{Blame, Fault};
use crate::inference::EngineUsed;
use crate::limits::model::MAX_SESSIONS;
use half::f16;
use std::path::Path;
use sund_kernels::tensorrt::{DataType, Gpu, Kind, Library, Runner, Severity, TensorRtError, Values, log_to};

/// Opens what runs these plans.
pub(super) fn open(
    library: &TensorRtLibrary,
    precision: &str,
    plans: &Plans,
    kernels: Option<&Path>,
) -> Result<Box<dyn Engine>, Fault> {
    let engine = TensorRtEngine::open(kind(&library.class), &library.path, precision, kernels)?;
    Ok(match plans {
        Plans::Packaged => Box::new(engine),
        Plans::Kept(plans) => Box::new(KeptEngine::new(engine, plans.clone())),
    })
}

/// Networks with their runners, the newest last.
pub struct TensorRtEngine {
    library: Library,
    gpu: Gpu,
    architecture: String,
    precision: String,
    cache: Option<Cache>,
    runners: Vec<(String, Runner)>,
}

impl TensorRtEngine {
    /// Opens the library and the first GPU that the process may see. `precision` is that of the plans, as packages name it.
    /// `kernels`: the folder in which TensorRT-RTX's kernels are kept, so that they are not compiled at each start.
    pub fn open(kind: Kind, library: &Path, precision: &str, kernels: Option<&Path>) -> Result<Self, Fault> {
        log_to(logged);
        let library = Library::open(kind, library).map_err(unavailable)?;
        let gpu = Gpu::open(kind, 0).map_err(unavailable)?;
        let capability = gpu.capability(kind).map_err(unavailable)?;
        let cache = kernels.filter(|_| kind == Kind::Rtx);
        let cache = cache.map(|folder| Cache::new(folder, &format!("{}-sm{capability}", library.version())));
        let architecture = format!("sm{capability}");
        Ok(Self { library, gpu, architecture, precision: precision.to_owned(), cache, runners: Vec::new() })
    }

    /// Loads the plan and runs it once on zeros: kernels that are still to be compiled are compiled now.
    fn load(&self, name: &str, plan: &[u8]) -> Result<Runner, Fault> {
        let kept = self.cache.as_ref().map(|cache| cache.load(plan)).unwrap_or_default();
        let open = || -> Result<(Runner, Vec<u8>), TensorRtError> {
            let mut runner = Runner::open(&self.library, &self.gpu, plan, &kept)?;
            runner.warm_up()?;
            let kernels = runner.cache()?;
            Ok((runner, kernels))
        };
        let (runner, kernels) = open().map_err(|error| told(name, "cannot be loaded", error))?;
        if let Some(cache) = self.cache.as_ref().filter(|_| kernels != kept) {
            cache.store(plan, &kernels);
        }
        Ok(runner)
    }

    fn runner(&mut self, name: &str, network: &Network<'_>) -> Result<&mut Runner, Fault> {
        let at = match self.runners.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                if self.runners.len() >= MAX_SESSIONS {
                    self.runners.remove(0);
                }
                let runner = self.load(name, &network()?)?;
                self.runners.push((name.to_owned(), runner));
                self.runners.len() - 1
            }
        };
        Ok(&mut self.runners[at].1)
    }
}

impl Engine for TensorRtEngine {
    fn used(&self) -> EngineUsed {
        EngineUsed {
            class: self.library.kind().class().into(),
            precision: self.precision.clone(),
            version: self.library.version().to_string(),
        }
    }

    fn takes(&self) -> Form {
        Form::Compiled { architecture: self.architecture.clone() }
    }

    fn unload(&mut self) {
        self.runners.clear();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        let runner = self.runner(name, network)?;
        let mut inputs = runner.tensors().iter().filter(|tensor| tensor.is_input);
        let (Some(own), None) = (inputs.next(), inputs.next()) else {
            return Err(failed(name, "cannot be run", &"it does not have one input"));
        };
        let shape = input.shape.iter().map(|length| *length as i64).collect();
        let bytes = written(&input.values, own.data_type)
            .ok_or_else(|| failed(name, "cannot be run", &"its input is not of real numbers"))?;
        let output = runner.tensors().iter().find(|tensor| !tensor.is_input).map(|tensor| tensor.data_type);
        let outputs = runner.run(&[Values { shape, bytes }]).map_err(|error| told(name, "failed", error))?;
        let (Some(data_type), Some(output)) = (output, outputs.into_iter().next()) else {
            return Err(failed(name, "failed", &"it gives no output"));
        };
        let values = read(&output.bytes, data_type)
            .ok_or_else(|| failed(name, "failed", &"its output is not of real numbers"))?;
        let shape = output.shape.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect();
        checked(name, Tensor { shape, values })
    }
}

/// As the plan's input has them; none where it is not of reals.
fn written(values: &[f32], data_type: DataType) -> Option<Vec<u8>> {
    match data_type {
        DataType::Float32 => Some(values.iter().flat_map(|value| value.to_ne_bytes()).collect()),
        DataType::Float16 => Some(values.iter().flat_map(|value| f16::from_f32(*value).to_ne_bytes()).collect()),
        _ => None,
    }
}

/// From what the plan's output has; none where it is not of reals.
fn read(bytes: &[u8], data_type: DataType) -> Option<Vec<f32>> {
    match data_type {
        DataType::Float32 => Some(bytes.as_chunks().0.iter().map(|value| f32::from_ne_bytes(*value)).collect()),
        DataType::Float16 => {
            Some(bytes.as_chunks().0.iter().map(|value| f16::from_ne_bytes(*value).to_f32()).collect())
        }
        _ => None,
    }
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

/// The box's fault where the GPU or its memory failed, else the package's.
fn told(name: &str, what: &str, error: TensorRtError) -> Fault {
    match error {
        TensorRtError::Device { .. }
        | TensorRtError::Memory { .. }
        | TensorRtError::Execution { .. }
        | TensorRtError::Thrown { .. } => {
            Fault::new("gpu-failed", Blame::Box, format!("network {name} {what}: {error}"))
        }
        error => failed(name, what, &error),
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
    fn reals_of_both_lengths_come_back_as_they_went() {
        let values = [0.0, -1.5, 65504.0, f32::INFINITY];
        for data_type in [DataType::Float32, DataType::Float16] {
            let bytes = written(&values, data_type).unwrap();
            assert_eq!(bytes.len(), values.len() * data_type.bytes());
            assert_eq!(read(&bytes, data_type).unwrap(), values);
        }
        assert_eq!(written(&values, DataType::Int32), None);
        assert_eq!(read(&[0; 4], DataType::Int32), None);
    }

    #[test]
    fn a_library_that_is_not_there_is_the_configurations_fault() {
        for kind in [Kind::Rtx, Kind::Enterprise] {
            let fault = TensorRtEngine::open(kind, Path::new("/no/such/library.so"), "fp32", None).err().unwrap();
            assert_eq!((fault.code.as_ref(), fault.blame), ("engine-unavailable", Blame::Configuration));
        }
    }

    #[test]
    fn a_plan_that_does_not_fit_is_the_packages_fault_and_a_full_gpu_the_boxs() {
        let (kind, why) = (Kind::Rtx, "why".to_owned());
        let fault = told("n", "cannot be loaded", TensorRtError::Plan { kind, why: why.clone() });
        assert_eq!((fault.code.as_ref(), fault.blame), ("network-failed", Blame::Package));
        let fault = told("n", "failed", TensorRtError::Memory { kind, why });
        assert_eq!((fault.code.as_ref(), fault.blame), ("gpu-failed", Blame::Box));
        assert_eq!(fault.reason, "network n failed: TensorRT-RTX has no memory left: why");
    }
}
