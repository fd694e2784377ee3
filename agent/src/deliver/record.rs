//! What the spool keeps of a result: which bytes, of which job, for whom.
use crate::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A result, as the table of results keeps it under `job/kind`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultRecord {
    /// SOP Instance UID.
    pub uid: String,
    /// SOP Class UID.
    pub sop_class: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
    /// Study Instance UID.
    pub study: String,
    /// The job that made it.
    pub job: u64,
    /// `SEG`, `SR`, `SC`, `OUTCOME`.
    pub kind: String,
    /// Number of the instance in the spool that holds its bytes.
    pub instance: u64,
    /// Model name and version.
    pub model: String,
    /// How the job ended.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
}

/// One line of the ledger: which package said what about which study, and where it went. Recall, concordance and
/// evidence read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When.
    pub at: SystemTime,
    /// Digest of the package.
    pub package: String,
    /// Study Instance UID.
    pub study: String,
    /// Number of the job.
    pub job: u64,
    /// What happened.
    pub event: LedgerEvent,
}

/// What the ledger records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerEvent {
    /// A job ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// SOP Instance UIDs of its results.
        results: Vec<String>,
    },
    /// The identity was corrected: the same findings, in new results.
    Corrected {
        /// Version of the identity.
        identity: u32,
        /// SOP Instance UIDs of the new results.
        results: Vec<String>,
    },
    /// A destination confirmed a result.
    Delivered {
        /// SOP Instance UID.
        result: String,
        /// Name of the destination.
        destination: String,
    },
    /// A result was given up for a destination.
    Dead {
        /// SOP Instance UID.
        result: String,
        /// Name of the destination.
        destination: String,
        /// Why.
        reason: String,
    },
    /// The results of the job were recalled: none of them is made or sent again.
    Recalled {
        /// Why.
        reason: String,
    },
    /// A result that was recalled will not go to a destination.
    Cancelled {
        /// SOP Instance UID.
        result: String,
        /// Name of the destination.
        destination: String,
    },
    /// A note for a destination rejects a result.
    Rejected {
        /// SOP Instance UID.
        result: String,
        /// Name of the destination.
        destination: String,
        /// SOP Instance UID of the note.
        note: String,
    },
    /// A result is held: the destination has the study under another patient.
    Held {
        /// SOP Instance UID.
        result: String,
        /// Name of the destination.
        destination: String,
        /// Why.
        reason: String,
    },
}
