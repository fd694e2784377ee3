//! What can go wrong in the spool, named after what failed.
use crate::fault::{Blame, Fault};
use std::io;
use std::path::PathBuf;

/// Why the spool refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// Quota or disk is full up to the reserve (C-STORE answers A700); service resumes when space is freed.
    #[error("the spool is full")]
    Full,
    /// Another agent has the directory.
    #[error("the spool in {} is held by another agent, {holder}", directory.display())]
    Held {
        /// The directory.
        directory: PathBuf,
        /// Who holds it, e.g. `process 4711`.
        holder: String,
    },
    /// A file was written by a format that this version does not know; nothing was touched.
    #[error("{file} has format version {found}{}, this agent reads up to version {known}", written_by(by.as_deref()))]
    UnknownFormat {
        /// Name of the file in the spool directory.
        file: String,
        /// Version that it states; 0 where it is no file of a spool at all.
        found: u32,
        /// Newest version that is read here.
        known: u32,
        /// Version of the agent that wrote it, where it says so: that one, or a newer one, reads it.
        by: Option<String>,
    },
    /// The log is there, the master key is not; nothing was touched.
    #[error("the spool has data but no master key in {0}; bring the key back or start with an empty directory")]
    NoMasterKey(String),
    /// The master key does not open this spool; nothing was touched.
    #[error("the master key does not open {0}: it belongs to another spool, or the file is damaged")]
    WrongMasterKey(String),
    /// The study was erased: its instances cannot be read, and what was on its way for it must be sent again.
    #[error("the study was erased")]
    Erased,
    /// What was stored does not read back as it was written.
    #[error("segment {segment} of the spool is damaged at byte {offset}")]
    Damaged {
        /// Number of the segment.
        segment: u64,
        /// Offset in its file.
        offset: u64,
    },
    /// A key, a value, a batch or an instance is longer than its limit.
    #[error("{what} has {length} bytes, at most {limit} are taken")]
    TooLarge {
        /// Which length.
        what: &'static str,
        /// As given.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The ledger only grows: an entry is neither changed nor removed.
    #[error("an entry of the ledger is neither changed nor removed")]
    LedgerIsAppendOnly,
    /// A table's value is not what its reader expects.
    #[error("a table's value cannot be written or read as JSON: {0}")]
    Value(String),
    /// The options contradict themselves.
    #[error("the spool's options do not fit: {0}")]
    Options(&'static str),
    /// The spool was closed, or a write failed and nobody knows what is on the disk; open it anew.
    #[error("the spool takes no writes any more: it was closed, or a write failed")]
    Stopped,
    /// A thread ended half-way through a write.
    #[error("a write to the log was left half-way")]
    HalfWritten,
    /// The disk failed.
    #[error("cannot {action}: {reason}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Kind of the error.
        kind: io::ErrorKind,
        /// As the system says it.
        reason: String,
    },
    /// The system gave no random numbers, or the cipher refused.
    #[error("encryption is not available")]
    Crypto,
}

impl SpoolError {
    /// Names the action that an I/O error stopped; a full disk becomes [`SpoolError::Full`].
    pub(super) fn disk(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Disk { action, kind, reason: error.to_string() },
        }
    }

    /// Names the table value that JSON refused.
    pub(super) fn value(error: &serde_json::Error) -> Self {
        // The category alone: the text of the error may quote what the value says.
        Self::Value(format!("{:?} at byte {}", error.classify(), error.column()))
    }
}

fn written_by(agent: Option<&str>) -> String {
    agent.map_or_else(String::new, |agent| format!(" and was written by Sund {agent}: start that version again"))
}

impl From<SpoolError> for Fault {
    fn from(error: SpoolError) -> Self {
        let (code, blame) = match error {
            SpoolError::Full => ("spool-full", Blame::Box),
            SpoolError::Held { .. } => ("spool-held", Blame::Configuration),
            SpoolError::UnknownFormat { .. } => ("spool-unknown-format", Blame::Box),
            SpoolError::NoMasterKey(_) => ("spool-no-master-key", Blame::Configuration),
            SpoolError::WrongMasterKey(_) => ("spool-wrong-master-key", Blame::Configuration),
            SpoolError::Erased => ("study-erased", Blame::Box),
            SpoolError::Damaged { .. } => ("spool-damaged", Blame::Box),
            SpoolError::TooLarge { .. } => ("spool-too-large", Blame::Peer),
            SpoolError::LedgerIsAppendOnly => ("spool-ledger", Blame::Sund),
            SpoolError::Value(_) => ("spool-value", Blame::Sund),
            SpoolError::Options(_) => ("spool-options", Blame::Configuration),
            SpoolError::Stopped => ("spool-stopped", Blame::Box),
            SpoolError::HalfWritten => ("spool-stopped", Blame::Sund),
            SpoolError::Disk { .. } => ("spool-disk", Blame::Box),
            SpoolError::Crypto => ("spool-encryption", Blame::Box),
        };
        Fault::new(code, blame, error.to_string())
    }
}
