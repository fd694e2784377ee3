//! One SOP instance on its way through the box.
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Where an instance came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Received by C-STORE.
    Received {
        /// Calling AE title of the association.
        calling_ae: String,
        /// Called AE title of the association.
        called_ae: String,
        /// Address of the peer.
        peer: String,
        /// Number of the association since the agent started.
        association: u64,
    },
    /// Made here: a result, kept as the very bytes that are sent.
    Produced,
}

/// What the index knows of an instance before its data set is opened again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// Transfer Syntax UID that the data set is encoded in.
    pub transfer_syntax: String,
    /// When its last byte came, UTC.
    pub at: SystemTime,
    /// Who sent it.
    pub origin: Origin,
}

/// An instance on stable storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInstance {
    /// Position in the order of commits; unique in this spool, never used again.
    pub id: u64,
    /// Length of the data set in bytes, as it came.
    pub length: u64,
    /// What is known of it.
    pub arrival: Arrival,
}
