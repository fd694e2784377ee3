//! What the pipeline said, for a terminal and a folder.
use crate::fault::Fault;
use crate::outcome::Outcome;
use std::time::Duration;

/// A series as a person finds it, without patient's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSeen {
    /// Counted from 1 within the study, in the order of the files.
    pub number: usize,
    /// Modality (0008,0060).
    pub modality: String,
    /// Instances.
    pub images: usize,
}

/// What one model said on one series, or why it did not run on it.
#[derive(Clone, Debug)]
pub struct TrialAnswer {
    /// The study, counted from 1 in the order of the files.
    pub study: usize,
    /// The series; `None` where the study as a whole is meant.
    pub series: Option<SeriesSeen>,
    /// Name of the model's package; empty where the study as a whole was refused.
    pub model: String,
    /// How it ended; `None` for a study that was refused.
    pub outcome: Option<Outcome>,
    /// One line for people.
    pub summary: String,
    /// Why there is no answer.
    pub fault: Option<Fault>,
    /// What it took, decode to postprocess.
    pub took: Duration,
    /// Results: kind and data set in a file of PS3.10.
    pub objects: Vec<(String, Vec<u8>)>,
}
