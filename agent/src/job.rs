//! A job: one model on one series, from the decision to run it to its outcome.
use crate::fault::Fault;
use crate::inference::{PackageRef, StepTime};
use crate::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A job, as the table of jobs keeps it under its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Number; later jobs have higher ones.
    pub id: u64,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID of the input; `None` where no series of the study was fit for the model.
    pub series: Option<String>,
    /// The route that asked for it.
    pub route: String,
    /// The model, with its digest.
    pub package: PackageRef,
    /// Instances of the input, by their number in the spool.
    pub inputs: Vec<u64>,
    /// Acquisition digests of the input, sorted: the same input is not inferred twice.
    pub input_digests: Vec<String>,
    /// When the job was decided; the time that its results carry.
    pub created: SystemTime,
    /// After this the answer is too late to be of use.
    pub deadline: Option<SystemTime>,
    /// The job whose results this one supersedes.
    pub supersedes: Option<u64>,
    /// What the study lacked when the job was decided; its results say so.
    #[serde(default)]
    pub partial: Option<String>,
    /// Why the model does not run, where it is not meant for the study.
    pub not_applicable: Option<String>,
    /// Where it stands.
    pub state: JobState,
}

/// Where a job stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Waits for a worker.
    Waiting {
        /// Times that a worker was lost on it.
        attempts: u32,
    },
    /// Has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// When.
        at: SystemTime,
        /// Why it did not end with a finding or no finding.
        fault: Option<Fault>,
        /// One line for people.
        summary: String,
        /// Times of the bracket's steps.
        times: Vec<StepTime>,
    },
}

impl Job {
    /// Key in the table of jobs; the order of keys is the order of jobs.
    pub fn key(id: u64) -> String {
        format!("{id:020}")
    }

    /// True where this job asks the question of an earlier one again: the same model, of the same route, on the same series;
    /// where one of the two says that no series is fit, it speaks of all of them.
    pub fn asks_again(&self, earlier: &Self) -> bool {
        self.asks_of(&earlier.route, &earlier.package.name, earlier.series.as_deref())
    }

    /// The same, of a question that is no job yet.
    pub fn asks_of(&self, route: &str, model: &str, series: Option<&str>) -> bool {
        let is_of_one_series = self.series.is_none() || series.is_none() || self.series.as_deref() == series;
        self.route == route && self.package.name == model && is_of_one_series
    }

    /// True until it has ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, JobState::Waiting { .. })
    }
}
