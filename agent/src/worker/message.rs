//! What agent and worker say to each other.
use super::bulk::Layout;
use crate::compile::Order;
use crate::fault::Fault;
use crate::infer::{EngineKind, Found};
use crate::inference::{Inference, StepTime};
use crate::spool::GrantExtents;
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
    /// To do a job.
    Task(Cow<'a, Task>),
    /// To look for a GPU and to open these libraries of TensorRT, by their classes: the agent opens nothing of others.
    Gpu(Vec<(String, PathBuf)>),
    /// To compile a package's networks. Its files: the package's directory, then one to write to for each network.
    Compile(Cow<'a, Order>),
}

/// One job for the worker. Its files: the package's directory, then the segments that the extents name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Number of the job.
    pub job: u64,
    /// Digest that the package must have.
    pub package_digest: String,
    /// What it runs on.
    pub engine: EngineKind,
    /// The golden case of the package that is the input, by its name; the instances otherwise.
    pub golden: Option<String>,
    /// Resident memory that the worker may take, in bytes.
    pub memory: u64,
    /// The series, in no particular order.
    pub instances: Vec<TaskInstance>,
}

/// One instance of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskInstance {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
    /// Where its bytes lie in the files, and the key that opens them.
    pub extents: GrantExtents,
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
        /// The inference, without its bulk.
        inference: Inference,
        /// The bulk's parts.
        layout: Layout,
    },
    /// What there is to run compiled networks.
    Found(Found),
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
