//! What the spool keeps of a study, beside its instances.
use crate::fault::Fault;
use crate::limits::study::MAX_TIMELINE;
use crate::status::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// A study, as the table of studies keeps it under its Study Instance UID.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Opaque identifier for the console's addresses.
    pub id: String,
    /// Study Instance UID.
    pub study: String,
    /// How often it was complete: 1 after the first time.
    pub revision: u32,
    /// Instances with a number up to this one have been considered.
    pub considered: u64,
    /// The newest version of each SOP instance.
    pub instances: BTreeMap<String, KnownInstance>,
    /// Modalities, in order of appearance.
    pub modalities: Vec<String>,
    /// Version of the identity record, 1 for the first.
    pub identity_version: u32,
    /// Why no model may run on it, where that is so.
    pub refused: Option<Fault>,
    /// SOP Instance UIDs of instances that were refused and have not come since; an empty one stands for those without.
    #[serde(default)]
    pub lacking: BTreeSet<String>,
    /// The set that answers what is open of it, by its mark (`ServingSet::mark`); absent until a job has begun. Says nothing where no job is
    /// open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_on: Option<String>,
    /// The steps so far, oldest first.
    pub timeline: Vec<Moment>,
}

/// The newest version of one SOP instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownInstance {
    /// Its number in the spool.
    pub id: u64,
    /// Series Instance UID.
    pub series: String,
    /// SHA-256 of the data set as it came, hex.
    pub dataset_digest: String,
    /// SHA-256 of what a model sees: pixels and acquisition, not who the patient is, hex.
    pub acquisition_digest: String,
}

impl StudyRecord {
    /// A study of which the first instance has just come.
    pub fn new(study: &str, id: String) -> Self {
        Self {
            id,
            study: study.to_owned(),
            revision: 0,
            considered: 0,
            instances: BTreeMap::new(),
            modalities: Vec::new(),
            identity_version: 0,
            refused: None,
            lacking: BTreeSet::new(),
            begun_on: None,
            timeline: Vec::new(),
        }
    }

    /// Adds a step to the timeline; the oldest steps beyond the limit are in the audit trail alone.
    pub fn note(&mut self, step: &str, text: impl Into<String>, code: Option<&str>) {
        self.timeline.push(Moment {
            step: step.to_owned(),
            at: SystemTime::now(),
            text: text.into(),
            code: code.map(str::to_owned),
        });
        if self.timeline.len() > MAX_TIMELINE {
            self.timeline.remove(0);
        }
    }
}
