//! One shape for every refusal and failure: whose fault, a stable code, a sentence for people.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose doing a failure is; it decides who is told and whether a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The sender of the data or of the request.
    Peer,
    /// The study itself: well-formed, but not what the model is for.
    Study,
    /// The configuration of this node.
    Configuration,
    /// The model package.
    Package,
    /// A destination that does not answer as it should.
    Destination,
    /// Disk, memory, GPU: this box.
    Box,
    /// Sund itself.
    Sund,
}

/// Why a stage refused or failed. `code` is stable and documented in agent/REFUSALS.md; `reason` is a sentence for
/// people that says what was wrong and what to do. Neither carries patient data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Fault {
    /// Stable identifier in kebab case, e.g. `volume-mixed-spacing`.
    pub code: std::borrow::Cow<'static, str>,
    /// Whose doing it is.
    pub blame: Blame,
    /// One or two sentences for people.
    pub reason: String,
}

impl Fault {
    /// A fault from its three parts.
    pub fn new(code: &'static str, blame: Blame, reason: impl Into<String>) -> Self {
        Self { code: code.into(), blame, reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reason, self.code)
    }
}

/// What each stage of the pipeline answers when it cannot go on.
pub type StageError = Fault;
