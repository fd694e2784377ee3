//! What agent and worker say to each other.
use super::bulk::Layout;
use super::sources::Place;
use crate::compile::Order;
use crate::fault::Fault;
use crate::infer::{EngineKind, Found, Gpu};
use crate::inference::{Inference, StepTime};
use crate::metrics::GpuFigures;
use crate::spool::ReadGrant;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;

/// What the agent sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question<'a> {
    /// The answer bears it: one that comes late, or twice, is never taken for that of another job.
    pub number: u64,
    /// What is asked.
    pub asked: Asked<'a>,
}

/// What the worker is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked<'a> {
    /// To see this GPU, or part of one, and no other. Comes before everything else.
    See(String),
    /// To hold one more conversation like this one, on the connection that comes as the file.
    Lane,
    /// To do a job.
    Task(Cow<'a, Task>),
    /// To look for a GPU and to open these libraries of TensorRT, by their classes: the agent opens nothing of others.
    Gpu(Vec<(String, PathBuf)>),
    /// To tell of all GPUs for as long as the agent listens.
    Watch(Watch),
    /// To compile a package's networks. Its files: the package's directory, then one to write to for each network.
    Compile(Cow<'a, Order>),
}

/// What the worker that watches the GPUs begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// What to describe first: GPUs, and parts of them, by the names that `nvidia-smi -L` gives.
    pub named: Vec<String>,
    /// Resident memory that the worker may take, in bytes.
    pub memory: u64,
}

/// One job for the worker. Its files: the package's directory, then those of the series, then those of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Number of the job.
    pub job: u64,
    /// Digest that the package must have.
    pub package_digest: String,
    /// What it runs on.
    pub engine: EngineKind,
    /// The golden case of the package that is the input, by its name; the series otherwise.
    pub golden: Option<String>,
    /// Resident memory that the worker may take, in bytes.
    pub memory: u64,
    /// The series, in no particular order.
    pub series: ReadGrant,
}

/// What the worker sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the question.
    pub number: u64,
    /// What is answered.
    pub said: Said,
}

/// What the worker answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one message at a time, never held in numbers")]
pub enum Said {
    /// A step has ended.
    Step(StepTime),
    /// The job has ended; one file, the sealed bulk.
    Done {
        /// The inference, without its bulk; on a series without the names of its source frames.
        inference: Inference,
        /// The source frames in their order, by their places in the series.
        sources: Vec<Place>,
        /// The bulk's parts.
        layout: Layout,
    },
    /// What there is to run compiled networks.
    Found(Found),
    /// Something of the GPUs that it watches.
    Told(Told),
    /// The lengths of the plans that were written.
    Compiled(Vec<u64>),
    /// The job cannot be done; the worker itself is well.
    Failed(Fault),
    /// The worker has taken more memory than the task allows, and ends.
    Overgrown {
        /// Resident memory, in bytes.
        bytes: u64,
    },
}

/// What the worker tells that watches the GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Comes first: what those are that were named, in their order, or why one cannot be used.
    Described(Vec<Result<Gpu, Fault>>),
    /// How all that there are fare, by their UUIDs.
    Figures(Vec<(String, GpuFigures)>),
    /// What the driver told of since the last word.
    Errors(Vec<GpuError>),
}

/// An error of a GPU (Xid).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuError {
    /// The GPU's UUID; `None` where it does not even tell that any more.
    pub gpu: Option<String>,
    /// The driver's number for it.
    pub xid: Option<u64>,
    /// How often.
    pub count: u64,
}
