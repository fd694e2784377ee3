//! How a routed job ends. Silence is never "negative": each job ends as exactly one of these.
use serde::{Deserialize, Serialize};

/// The five outcomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The model found what it looks for.
    Finding,
    /// The model ran and found nothing.
    NoFinding,
    /// The model is not meant for this study; it did not run.
    NotApplicable,
    /// The model should have run, and could not.
    Failed,
    /// The answer came after the time in which it is of use.
    TooLate,
}

impl Outcome {
    /// All five, in order.
    pub const ALL: [Outcome; 5] =
        [Outcome::Finding, Outcome::NoFinding, Outcome::NotApplicable, Outcome::Failed, Outcome::TooLate];

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Outcome::Finding => "finding",
            Outcome::NoFinding => "no finding",
            Outcome::NotApplicable => "not applicable",
            Outcome::Failed => "failed",
            Outcome::TooLate => "too late",
        }
    }
}
