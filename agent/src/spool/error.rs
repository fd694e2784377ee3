//! Why the spool could not do what it was asked.
use std::path::PathBuf;

/// Why the spool could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// No room for instances; tables can still be written.
    #[error("the spool is full")]
    Full,
    /// Another agent has it.
    #[error("the spool in {} is held by another agent", directory.display())]
    Held {
        /// Its directory.
        directory: PathBuf,
    },
    /// A file is of a format that this version does not know; nothing was changed.
    #[error("{file} is not of a format that this version knows")]
    UnknownFormat {
        /// Its name.
        file: String,
    },
    /// The master key is gone: nothing in this spool can be read.
    #[error("the spool has data but no master key")]
    NoMasterKey,
    /// The study was erased.
    #[error("the study was erased")]
    Erased,
    /// What is on disk does not open under its key.
    #[error("a stored part does not open under its key: the disk gave back other bytes than were written")]
    Corrupt,
    /// An earlier sync failed; nothing is acknowledged until the agent starts again.
    #[error("the spool cannot be relied on since a sync failed: {0}")]
    Broken(String),
    /// The disk refused.
    #[error("disk: {0}")]
    Io(String),
    /// The system gave no random numbers, or a cipher refused.
    #[error("encryption is not available")]
    Crypto,
    /// A value cannot be written or read as JSON.
    #[error("a table's value cannot be read: {0}")]
    Value(String),
    /// The writer ended without an answer.
    #[error("the spool's writer gave no answer")]
    Lost,
}

impl From<std::io::Error> for SpoolError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => SpoolError::Full,
            _ => SpoolError::Io(error.to_string()),
        }
    }
}

impl From<SpoolError> for crate::fault::Fault {
    fn from(error: SpoolError) -> Self {
        use crate::fault::{Blame, Fault};
        let code = match error {
            SpoolError::Full => "spool-full",
            SpoolError::Held { .. } => "spool-held",
            SpoolError::UnknownFormat { .. } => "spool-unknown-format",
            SpoolError::NoMasterKey => "spool-no-master-key",
            SpoolError::Erased => "study-erased",
            SpoolError::Corrupt => "spool-corrupt",
            SpoolError::Broken(_) => "spool-broken",
            SpoolError::Io(_) | SpoolError::Lost => "spool-io",
            SpoolError::Crypto => "spool-encryption",
            SpoolError::Value(_) => "spool-value",
        };
        Fault::new(code, Blame::Box, error.to_string())
    }
}
