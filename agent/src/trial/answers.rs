//! What the pipeline said, for a terminal and a folder.
use crate::fault::Fault;
use crate::outcome::Outcome;
use std::time::Duration;

/// What one job ended with.
#[derive(Clone, Debug)]
pub struct TrialAnswer {
    /// The study, counted from 1: no patient's data.
    pub study: usize,
    /// The series, counted from 1 within the study; `None` where no series was fit.
    pub series: Option<usize>,
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
