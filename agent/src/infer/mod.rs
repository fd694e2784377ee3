//! Engines: what runs a network. tract is always there; ONNX Runtime and TensorRT where they are installed.
mod accepted;
mod choose;
mod gpu;
mod lacking;
mod onnxruntime;
mod plans;
#[cfg(feature = "tensorrt")]
mod tensorrt;
mod tract;

pub use accepted::{Accepted, AcceptedEngines};
pub use choose::{Candidate, Choice, EngineKind, Engines, ONNXRUNTIME_VARIABLE, kept_name};
pub use gpu::{Found, Gpu, TensorRtLibrary};
pub use lacking::Lacking;
pub use onnxruntime::OnnxRuntimeEngine;
pub use plans::Plans;
#[cfg(feature = "tensorrt")]
pub use tensorrt::TensorRtCompiler;
pub use tract::TractEngine;

use crate::fault::{Blame, Fault};
use crate::inference::EngineUsed;
use crate::preprocess::operation_failed;
use std::fmt;
use sund_kernels::device::place::Place;
use sund_kernels::device::{Ending, Input, OnDevice, Series};

pub use sund_kernels::device::Tensor;

/// Runs networks.
pub trait Engine {
    /// Class, precision and version.
    fn used(&self) -> EngineUsed;

    /// What it takes for a network: the bytes that [`Engine::run`] is given.
    fn takes(&self) -> Form {
        Form::Onnx
    }

    /// Forgets the networks that it has loaded: the next ones are another package's, under whatever names.
    fn unload(&mut self);

    /// Runs the network `name` on one input; its first output. `network` gives its bytes, where they are not loaded yet.
    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault>;

    /// Whether it makes a network's input of stored samples itself, in one pass where they are to be read anyway.
    fn takes_samples(&self) -> bool {
        false
    }

    /// As `run`, on what `preprocess` makes of a series.
    fn run_on_samples(&mut self, name: &str, network: &Network<'_>, series: Series) -> Result<Tensor, Fault> {
        let values = series.prepared().map_err(operation_failed)?;
        self.run(name, network, Tensor { shape: series.shape(), values })
    }

    /// Whether it does the steps behind a network where its answer is, so that a mask comes back and not the scores.
    fn makes_masks(&self) -> bool {
        false
    }

    /// As `run` or `run_on_samples`, and what the ending makes of the answer; or the answer, to be ended elsewhere.
    fn run_to_mask(&mut self, name: &str, network: &Network<'_>, input: Input, _: Ending) -> Result<Made, Fault> {
        match input {
            Input::Values(tensor) => self.run(name, network, tensor),
            Input::Series(series) => self.run_on_samples(name, network, *series),
            Input::Held(_) => return Err(not_held(name)),
        }
        .map(Made::Scores)
    }

    /// Where a task's steps are done beside the networks, so that a cascade's values stay on the device.
    fn place(&mut self) -> Option<&mut dyn Place> {
        None
    }

    /// As `run`, on what the place has made; the answer is there too.
    fn run_held(&mut self, name: &str, _: &Network<'_>, _: OnDevice) -> Result<OnDevice, Fault> {
        Err(not_held(name))
    }
}

/// What an engine made of a network's answer. Every value of that was finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// The answer as it is.
    Scores(Tensor),
    /// The mask that was asked for.
    Mask {
        /// Of the answer.
        shape: Vec<usize>,
        /// 0 or 1 for each voxel, column fastest.
        voxels: Vec<u8>,
    },
    /// The answer, in the device's memory still; whether it is finite is not known yet.
    Held {
        /// Of the answer.
        shape: Vec<usize>,
        /// For the task's place to take over.
        memory: OnDevice,
    },
}

impl Made {
    /// Of the network's answer: length of each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Scores(tensor) => &tensor.shape,
            Self::Mask { shape, .. } | Self::Held { shape, .. } => shape,
        }
    }
}

/// What an engine takes for a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its ONNX file.
    Onnx,
    /// What this engine's library has compiled of it.
    Compiled {
        /// The GPU that it is for: `sm89`.
        architecture: String,
    },
}

/// Gives the bytes of a network.
pub type Network<'a> = dyn Fn() -> Result<Vec<u8>, Fault> + 'a;

/// What TensorRT is asked for, where it was not built in.
#[cfg(not(feature = "tensorrt"))]
pub fn without_tensorrt() -> Fault {
    let reason =
        "this sund was built without TensorRT: cargo build --release --features tensorrt (kernels/TENSORRT.md)";
    Fault::new("engine-unavailable", Blame::Configuration, reason)
}

/// A network that cannot be loaded or run, and why in one line: libraries answer with many.
fn failed(name: &str, what: &str, why: &dyn fmt::Display) -> Fault {
    let why = why.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Fault::new("network-failed", Blame::Package, format!("network {name} {what}: {why}"))
}

/// An answer that can be judged. A NaN compares as "not above the threshold", so it would read as "nothing found".
pub(crate) fn checked(name: &str, output: Tensor) -> Result<Tensor, Fault> {
    if output.values.iter().all(|value| value.is_finite()) { Ok(output) } else { Err(not_finite(name)) }
}

/// An engine was given what lies in a device's memory, and has none.
pub(crate) fn not_held(name: &str) -> Fault {
    let reason = format!("network {name} was given a value of a device to an engine that has none");
    Fault::new("gpu-failed", Blame::Sund, reason)
}

/// The fault of an answer that cannot be judged.
pub(crate) fn not_finite(name: &str) -> Fault {
    let reason = format!("network {name} gave values that are not finite");
    Fault::new("network-not-finite", Blame::Package, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_one_line() {
        let fault = failed("n", "failed", &"index: 2\n Got: 20\tExpected: 64\n Please fix.");
        assert_eq!(fault.reason, "network n failed: index: 2 Got: 20 Expected: 64 Please fix.");
    }

    #[test]
    fn values_that_are_not_finite_are_a_failure_and_not_nothing_found() {
        let output = |value| Tensor { shape: vec![2], values: vec![0.0, value] };
        assert!(checked("n", output(1.0)).is_ok());
        for value in [f32::NAN, f32::INFINITY] {
            assert_eq!(checked("n", output(value)).unwrap_err().code, "network-not-finite");
        }
    }
}
